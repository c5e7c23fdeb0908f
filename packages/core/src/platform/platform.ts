// What core needs of the machine and the JavaScript engine that it runs on, apart from devices (those are device/'s). One implementation is
// chosen when the package is resolved, by `#platform` in package.json: node.ts. Nothing else of core imports from Node, but for device/
// (scripts/check-imports.ts).
//
// What is optional is undefined where a platform lacks it: core then does the same with code of its own, slower, or goes without.
// Everything is synchronous, and costs nothing before it is called for the first time.

export interface Platform {
  /** From the system's generator, good enough for keys; a new array. */
  randomBytes(length: number): Uint8Array;
  /** SHA-256 of the pieces one after the other, 32 bytes. */
  sha256(...pieces: readonly Uint8Array[]): Uint8Array;
  /** @throws when the parameters are out of what the implementation allows */
  scrypt(passphrase: Uint8Array, salt: Uint8Array, parameters: ScryptParameters): Uint8Array;
  /** ChaCha20 in place, for inputs of a KiB and more; asked for once. */
  chacha20(): StreamCipher | undefined;
  /** Carries a running CRC-32C over bytes, with no inversion at either end; asked for once, when much is to come. */
  crc32c(): ((crc: number, bytes: Uint8Array) => number) | undefined;
  /**
   * What a raw deflate stream holds, whatever follows it. 1.4 GB/s for 64 KiB of source code, 0.9 GB/s for 256 KiB (Node 20, x64).
   * @returns undefined when it is damaged, cut off, or holds more than `limitBytes`
   */
  inflateRaw(input: Uint8Array, limitBytes: number): Uint8Array | undefined;
  /** Asked for once. */
  zstd(): ZstdDecoder | undefined;
  readonly threads: Threads | undefined;
  readonly files: HostFiles;
}

export interface ScryptParameters {
  readonly N: number;
  readonly r: number;
  readonly p: number;
  readonly keyBytes: number;
  /** The most that may be used: a bound, not an allocation. */
  readonly maxMemoryBytes: number;
}

/** @param iv 16 bytes: the block counter and the nonce, little-endian */
export type StreamCipher = (key: Uint8Array, iv: Uint8Array, bytes: Uint8Array) => void;

/** The `outputBytes` bytes that a frame holds, or undefined when it is damaged, cut off, or holds more or less. */
export type ZstdDecoder = (frame: Uint8Array, outputBytes: number) => Uint8Array | undefined;

/** Other threads, which share memory with this one. */
export interface Threads {
  /** How many can run at once, this one included. */
  readonly cores: number;
  /**
   * What starts a thread that runs a module, which finds the memory by `threadMemory`.
   * @param module a URL; `.ts` where sources are run as they are
   * @returns undefined where the program was put together without that module
   */
  starter(module: URL): ((memory: SharedArrayBuffer) => Thread) | undefined;
  /** In a thread that was started so: its memory; undefined elsewhere. */
  threadMemory(): SharedArrayBuffer | undefined;
}

export interface Thread {
  onError(report: () => void): void;
  /** The process may end although it runs. */
  unref(): void;
}

/** The files of the machine, as far as members of filesystems are looked for among them. */
export interface HostFiles {
  /** As process.platform has it. */
  readonly platform: string;
  exists(path: string): boolean;
  /** The same file under the one path that has no symbolic links. */
  realPath(path: string): string;
  /** Links followed; undefined when there is nothing. */
  kind(path: string): 'file' | 'block device' | 'directory' | 'other' | undefined;
  /**
   * The paths of what is in a folder, in the order of their names.
   * @throws Error of the system
   */
  list(folder: string): readonly string[];
}
