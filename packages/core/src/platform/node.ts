// Node. Its modules are fetched when something of them is first used: node:crypto alone takes longer to load than all that show-super does
// (docs/adr/0025-starting-further.md).

import type { HostFiles, Platform, StreamCipher, Thread, Threads, ZstdDecoder } from './platform.ts';

/** A module of Node's, fetched once. */
function lazy<T>(fetch: () => T): Lazy<T> {
  let fetched: T | undefined;
  return Object.assign(
    () => {
      fetched ??= fetch();
      return fetched;
    },
    { isFetched: () => fetched !== undefined },
  );
}

interface Lazy<T> {
  (): T;
  readonly isFetched: () => boolean;
}

const crypto = lazy(() => process.getBuiltinModule('node:crypto'));
const fs = lazy(() => process.getBuiltinModule('node:fs'));
const path = lazy(() => process.getBuiltinModule('node:path'));
const url = lazy(() => process.getBuiltinModule('node:url'));
const workers = lazy(() => process.getBuiltinModule('node:worker_threads'));
const zlib = lazy(() => process.getBuiltinModule('node:zlib'));
const requireHere = lazy(() => process.getBuiltinModule('node:module').createRequire(import.meta.url));

export const platform: Platform = {
  randomBytes: length => (crypto.isFetched() ? undefined : kernelRandom(length)) ?? plain(crypto().randomBytes(length)),
  sha256(...pieces) {
    const hash = crypto().createHash('sha256');
    for (const piece of pieces) hash.update(piece);
    return plain(hash.digest());
  },
  scrypt(passphrase, salt, { N, r, p, keyBytes, maxMemoryBytes }) {
    return plain(crypto().scryptSync(passphrase, salt, keyBytes, { N, r, p, maxmem: maxMemoryBytes }));
  },
  chacha20,
  crc32c,
  inflateRaw,
  zstd,
  get threads() {
    return threads;
  },
  get files() {
    return files;
  },
};

/** Of /dev/random. */
const RANDOM_MAJOR_MINOR = 0x108;

/**
 * What Linux gives through /dev/random since 5.6: the same as by getrandom(), which node:crypto asks, and as late after the machine has started.
 * Undefined where there is no such device, or it might wait for more. node:crypto takes 11 ms to load.
 */
function kernelRandom(length: number): Uint8Array | undefined {
  if (process.platform !== 'linux' || !isAtLeast(process.getBuiltinModule('node:os').release(), 5, 6)) return undefined;
  const { openSync, fstatSync, readSync, closeSync } = fs();
  let fd: number;
  try {
    fd = openSync('/dev/random', 'r');
  } catch {
    // A changed root without devices.
    return undefined;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isCharacterDevice() || stat.rdev !== RANDOM_MAJOR_MINOR) return undefined;
    const bytes = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      const count = readSync(fd, bytes, filled, length - filled, null);
      if (count === 0) return undefined;
      filled += count;
    }
    return bytes;
  } finally {
    closeSync(fd);
  }
}

/** @param release as uname says it: `6.12.9-amd64` */
function isAtLeast(release: string, major: number, minor: number): boolean {
  const [, theirMajor = 0, theirMinor = 0] = /^(\d+)\.(\d+)/.exec(release)?.map(Number) ?? [];
  return theirMajor > major || (theirMajor === major && theirMinor >= minor);
}

/** Not a Buffer, whose methods are others. */
const plain = ({ buffer, byteOffset, length }: Uint8Array): Uint8Array => new Uint8Array(buffer, byteOffset, length);

/** Undefined where Node's OpenSSL has no chacha20: in FIPS mode, in builds with BoringSSL. */
function chacha20(): StreamCipher | undefined {
  const { createCipheriv, getCiphers } = crypto();
  if (!getCiphers().includes('chacha20')) return undefined;
  return (key, iv, bytes) => {
    bytes.set(createCipheriv('chacha20', key, iv).update(bytes));
  };
}

/** The processor's own instruction, if the optional dependency @node-rs/crc32 has a binding for this machine. Takes 5 to 12 ms. */
function crc32c(): ((crc: number, bytes: Uint8Array) => number) | undefined {
  try {
    // Not an import: a bundler would follow it and stumble over the binary.
    const native: typeof import('@node-rs/crc32') = requireHere()('@node-rs/crc32');
    // Theirs inverts at both ends.
    return (crc, bytes) => ~native.crc32c(bytes, ~crc >>> 0) >>> 0;
  } catch {
    // Not installed, or no binding for this processor and C library. Nothing to report: the results are the same.
    return undefined;
  }
}

/** Room for zlib to see the stream's end without asking for a second buffer, which is made for it. */
const SPARE_BYTES = 64;

function inflateRaw(input: Uint8Array, limitBytes: number): Uint8Array | undefined {
  const { constants, inflateRawSync } = zlib();
  try {
    const options = { maxOutputLength: limitBytes, chunkSize: limitBytes + SPARE_BYTES };
    return plain(inflateRawSync(input, { ...options, windowBits: constants.Z_MAX_WINDOWBITS }));
  } catch {
    // Z_DATA_ERROR, Z_BUF_ERROR or ERR_BUFFER_TOO_LARGE: all say that these bytes are not the stream that was written.
    return undefined;
  }
}

/** What the type definitions for Node 20 lack. */
interface NodeZstd {
  zstdDecompressSync(
    frame: Uint8Array,
    options: { maxOutputLength: number; chunkSize: number; params: Record<number, number>; info: true },
  ): { readonly buffer: Uint8Array; readonly engine: { readonly bytesWritten: number } };
}

const ZSTD_D_WINDOW_LOG_MAX = 100;
/** 8 MiB, what every decoder has to support; the kernel's encoder never asks for more than the largest extent. */
const WINDOW_LOG_MAX = 23;

/**
 * Since 22.15 and 23.8. Node's decoder stops after the first frame, and takes the end of the input for the end of the frame without
 * complaint: so both ends are compared here. All that it still lets through is a frame whose contents are complete and whose end is not.
 */
function zstd(): ZstdDecoder | undefined {
  const { zstdDecompressSync }: Partial<NodeZstd> = zlib() as Partial<NodeZstd>;
  if (zstdDecompressSync === undefined) return undefined;
  return (frame, outputBytes) => {
    try {
      const { buffer, engine } = zstdDecompressSync(frame, {
        maxOutputLength: outputBytes,
        chunkSize: outputBytes + SPARE_BYTES,
        params: { [ZSTD_D_WINDOW_LOG_MAX]: WINDOW_LOG_MAX },
        info: true,
      });
      return buffer.length === outputBytes && engine.bytesWritten === frame.length ? plain(buffer) : undefined;
    } catch {
      // ZSTD_error_… or ERR_BUFFER_TOO_LARGE: both say that these bytes are not what was written.
      return undefined;
    }
  };
}

const threads: Threads = {
  get cores() {
    return process.getBuiltinModule('node:os').availableParallelism();
  },
  starter(module) {
    if (!fs().existsSync(url().fileURLToPath(module))) return undefined;
    const { Worker } = workers();
    const threadOf = (worker: InstanceType<typeof Worker>): Thread => ({
      onError: report => void worker.on('error', report),
      unref: () => worker.unref(),
    });
    if (!module.pathname.endsWith('.ts')) return memory => threadOf(new Worker(module, { workerData: memory }));
    // A worker does not inherit the loader that runs sources, and ignores one in its own arguments.
    const loader = url().pathToFileURL(requireHere().resolve('tsx/esm/api')).href;
    const code = `import('${loader}').then(({ register }) => { register(); return import('${module.href}'); });`;
    const execArgv = ['--conditions=@bcachefs-ts/source'];
    return memory => threadOf(new Worker(code, { eval: true, workerData: memory, execArgv }));
  },
  threadMemory() {
    const { workerData } = workers();
    return workerData instanceof SharedArrayBuffer ? workerData : undefined;
  },
};

const files: HostFiles = {
  platform: process.platform,
  exists: path => fs().existsSync(path),
  realPath: path => fs().realpathSync(path),
  kind(path) {
    const stat = fs().statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    if (stat.isFile()) return 'file';
    if (stat.isBlockDevice()) return 'block device';
    return stat.isDirectory() ? 'directory' : 'other';
  },
  list(folder) {
    const { join } = path();
    return fs()
      .readdirSync(folder)
      .toSorted()
      .map(name => join(folder, name));
  },
};
