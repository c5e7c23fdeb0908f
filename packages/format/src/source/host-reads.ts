// The system calls that reading a directory needs and Node does not have: extended attributes, and where a file has holes. They are called
// in the C library through koffi, an optional dependency; Linux only. Without it attributes are not kept, which is told, and holes are
// found by reading them. Restoring has its own three calls, for writing, in packages/files.

import { createRequire } from 'node:module';

/** Paths and names end with a NUL. Nothing here follows a symlink in the last part of a path. */
export interface HostReads {
  /** The names one after the other, a NUL behind each; empty where the filesystem has no attributes. @throws HostReadError */
  listXattrs(path: Uint8Array): Uint8Array;
  /** Undefined when it is not there (any more). @throws HostReadError */
  getXattr(path: Uint8Array, name: Uint8Array): Uint8Array | undefined;
  /** The next byte from `offset` that is in data; undefined when there is none up to the end. @throws HostReadError */
  nextData(fd: number, offset: number): number | undefined;
  /** The next byte from `offset` that is in a hole, or the end. @throws HostReadError */
  nextHole(fd: number, offset: number): number;
}

/** The system refused: its name for it, as in Node's own errors. */
export class HostReadError extends Error {
  override readonly name = 'HostReadError';
  constructor(
    readonly code: string,
    call: string,
  ) {
    super(`${code}: ${call}`);
  }
}

/** What the kernel allows at most for a list of names and for a value. */
const XATTR_BYTES_MAX = 65_536;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Undefined on other systems, and where koffi is not installed or has no binding for this machine. */
export function loadHostReads(): HostReads | undefined {
  // off_t and ssize_t are taken as 64 bits.
  const isFitting =
    process.platform === 'linux' && ['x64', 'arm64', 'riscv64', 'loong64', 'ppc64'].includes(process.arch);
  if (!isFitting) return undefined;
  try {
    return bind();
  } catch {
    // Not installed, or the C library lacks a function. What that costs is told with the first file.
    return undefined;
  }
}

function bind(): HostReads {
  // Not an import: a bundler would follow it and stumble over the binary.
  const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
  const libc = koffi.load(null);
  const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
  const llistxattr = libc.func('int64_t llistxattr(const void *, void *, size_t)');
  const lgetxattr = libc.func('int64_t lgetxattr(const void *, const void *, void *, size_t)');
  const lseek = libc.func('int64_t lseek(int, int64_t, int)');
  const buffer = new Uint8Array(XATTR_BYTES_MAX);
  /** Calls; gives undefined for the errors that are an answer. */
  const ask = (call: () => unknown, name: string, ...answers: readonly string[]): number | undefined => {
    const result = Number(call());
    if (result >= 0) return result;
    const number = koffi.errno();
    const code = names.get(number) ?? `errno ${number}`;
    if (answers.includes(code)) return undefined;
    throw new HostReadError(code, name);
  };
  return {
    listXattrs(path) {
      const length = ask(
        () => llistxattr(path, buffer, buffer.length),
        'llistxattr',
        'ENOTSUP',
        'EOPNOTSUPP',
        'ENOSYS',
      );
      return buffer.slice(0, length ?? 0);
    },
    getXattr(path, name) {
      const length = ask(() => lgetxattr(path, name, buffer, buffer.length), 'lgetxattr', 'ENODATA', 'ENOATTR');
      return length === undefined ? undefined : buffer.slice(0, length);
    },
    nextData: (fd, offset) => ask(() => lseek(fd, offset, SEEK_DATA), 'lseek', 'ENXIO'),
    nextHole(fd, offset) {
      const found = ask(() => lseek(fd, offset, SEEK_HOLE), 'lseek', 'ENXIO');
      return found ?? offset;
    },
  };
}
