// The three system calls that a restore needs and Node does not have: times in nanoseconds, extended attributes, and device nodes, fifos
// and sockets. They are called in the C library through koffi, an optional dependency; Linux only. Whoever has none of it restores
// nevertheless and says what could not be kept.

import { createRequire } from 'node:module';

/** Paths and names end with a NUL, see `cString`. Nothing here follows a symlink in the last part of a path. */
export interface NativeCalls {
  /** @throws HostCallError */
  setTimes(path: Uint8Array, atimeNs: bigint, mtimeNs: bigint): void;
  /** @throws HostCallError */
  setXattr(path: Uint8Array, name: Uint8Array, value: Uint8Array): void;
  /** @throws HostCallError */
  removeXattr(path: Uint8Array, name: Uint8Array): void;
  /** @param mode with the type's bits. @throws HostCallError */
  makeNode(path: Uint8Array, mode: number, rdev: { readonly major: number; readonly minor: number }): void;
}

/** The system refused: its name for it, as in Node's own errors. */
export class HostCallError extends Error {
  override readonly name = 'HostCallError';
  constructor(
    readonly code: string,
    call: string,
  ) {
    super(`${code}: ${call}`);
  }
}

export function cString(bytes: Uint8Array): Uint8Array {
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  return terminated;
}

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const NS_PER_SECOND = 1_000_000_000n;

/** Undefined on other systems, and where koffi is not installed or has no binding for this machine. */
export function loadNativeCalls(): NativeCalls | undefined {
  // Struct timespec is taken as two words of 64 bits.
  const isFitting =
    process.platform === 'linux' && ['x64', 'arm64', 'riscv64', 'loong64', 'ppc64'].includes(process.arch);
  if (!isFitting) return undefined;
  try {
    return bind();
  } catch {
    // Not installed, or the C library lacks a function. What that costs is reported with what could not be kept.
    return undefined;
  }
}

function bind(): NativeCalls {
  // Not an import: a bundler would follow it and stumble over the binary.
  const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
  const libc = koffi.load(null);
  const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
  const utimensat = libc.func('int utimensat(int, const void *, const void *, int)');
  const lsetxattr = libc.func('int lsetxattr(const void *, const void *, const void *, size_t, int)');
  const lremovexattr = libc.func('int lremovexattr(const void *, const void *)');
  const mknod = libc.func('int mknod(const void *, uint32_t, uint64_t)');
  const check = (result: number, call: string): void => {
    if (result === 0) return;
    const number = koffi.errno();
    throw new HostCallError(names.get(number) ?? `errno ${number}`, call);
  };
  return {
    setTimes(path, atimeNs, mtimeNs) {
      const times = new BigInt64Array([...timespec(atimeNs), ...timespec(mtimeNs)]);
      check(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 'utimensat');
    },
    setXattr(path, name, value) {
      check(lsetxattr(path, name, value, value.length, 0), 'lsetxattr');
    },
    removeXattr(path, name) {
      check(lremovexattr(path, name), 'lremovexattr');
    },
    makeNode(path, mode, { major, minor }) {
      check(mknod(path, mode, deviceNumber(BigInt(major), BigInt(minor))), 'mknod');
    },
  };
}

/** Seconds, rounded down, and the nanoseconds above them. */
function timespec(ns: bigint): [bigint, bigint] {
  const rest = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  return [(ns - rest) / NS_PER_SECOND, rest];
}

/** dev_t as the C libraries of Linux have it (gnu_dev_makedev). */
function deviceNumber(major: bigint, minor: bigint): bigint {
  return ((major & 0xfffn) << 8n) | ((major & ~0xfffn) << 32n) | (minor & 0xffn) | ((minor & ~0xffn) << 12n);
}
