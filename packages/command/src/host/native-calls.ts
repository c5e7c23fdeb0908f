// The system calls that commands need and Node does not have: times in nanoseconds, extended attributes, device nodes, fifos and sockets,
// and where a file has holes or is to have them. They are called in the C library through koffi, an optional dependency; Linux only.
// Without it, commands report what could not be kept (docs/adr/0008-host-calls.md).

import { createRequire } from 'node:module';
import { type DeviceNumbers, joinDeviceNumber, printableBytes } from '@bcachefs-ts/core/engine';

/** A path, whose last part is not followed when it is a symlink, or the descriptor of an open file. */
export type CallTarget = Uint8Array | number;

/** All of these throw HostCallError. */
export interface NativeCalls {
  setTimes(target: CallTarget, atimeNs: bigint, mtimeNs: bigint): void;
  /** Those of a file, in no order; none where the filesystem has no attributes. */
  xattrNames(path: Uint8Array): readonly Uint8Array[];
  /** Undefined when it is not there (any more). */
  xattr(path: Uint8Array, name: Uint8Array): Uint8Array | undefined;
  setXattr(target: CallTarget, name: Uint8Array, value: Uint8Array): void;
  removeXattr(target: CallTarget, name: Uint8Array): void;
  /** @param mode with the type's bits */
  makeNode(path: Uint8Array, mode: number, rdev: DeviceNumbers): void;
  /** The next byte from `offset` that is in data; undefined when there is none up to the end. */
  nextData(fd: number, offset: number): number | undefined;
  /** The next byte from `offset` that is in a hole, or the end. */
  nextHole(fd: number, offset: number): number;
  /** Makes bytes of a file or a disk read as zeroes, without writing them. @returns false where it cannot */
  punchHole(fd: number, offset: number, length: number): boolean;
}

/** The system refused. It has the properties of Node's own errors of the system, and counts as one. */
export class HostCallError extends Error {
  override readonly name = 'HostCallError';
  /** @param words the system's for the code; @param path for people */
  constructor(
    readonly code: string,
    readonly syscall: string,
    readonly words: string = 'refused',
    readonly path?: string,
  ) {
    super(`${code}: ${words}, ${syscall}${path === undefined ? '' : ` '${path}'`}`);
  }
}

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const NS_PER_SECOND = 1_000_000_000n;
/** XATTR_LIST_MAX and XATTR_SIZE_MAX of Linux. */
const XATTR_BYTES_MAX = 65_536;
/** The filesystem, or the kernel, has none. */
const NO_XATTRS: readonly string[] = ['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/** Undefined on other systems, and where koffi is not installed or has no binding for this machine. */
export function loadNativeCalls(): NativeCalls | undefined {
  // Struct timespec is taken as two words of 64 bits; off_t and ssize_t as one.
  const isFitting =
    process.platform === 'linux' && ['x64', 'arm64', 'riscv64', 'loong64', 'ppc64'].includes(process.arch);
  if (!isFitting) return undefined;
  try {
    return bind();
  } catch {
    // Not installed, or the C library lacks a function. The command reports what that costs.
    return undefined;
  }
}

function bind(): NativeCalls {
  // Not an import: a bundler would follow it and stumble over the binary.
  const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
  const libc = koffi.load(null);
  const codes = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
  const strerror = libc.func('str strerror(int)');
  const utimensat = libc.func('int utimensat(int, const void *, const void *, int)');
  const futimens = libc.func('int futimens(int, const void *)');
  const llistxattr = libc.func('int64_t llistxattr(const void *, void *, size_t)');
  const lgetxattr = libc.func('int64_t lgetxattr(const void *, const void *, void *, size_t)');
  const lsetxattr = libc.func('int lsetxattr(const void *, const void *, const void *, size_t, int)');
  const fsetxattr = libc.func('int fsetxattr(int, const void *, const void *, size_t, int)');
  const lremovexattr = libc.func('int lremovexattr(const void *, const void *)');
  const fremovexattr = libc.func('int fremovexattr(int, const void *)');
  const mknod = libc.func('int mknod(const void *, uint32_t, uint64_t)');
  const fallocate = libc.func('int fallocate(int, int, int64_t, int64_t)');
  const lseek = libc.func('int64_t lseek(int, int64_t, int)');
  const buffer = new Uint8Array(XATTR_BYTES_MAX);

  /** @param answers codes that say something, which is undefined here; @returns what the call gave */
  const check = (
    result: unknown,
    syscall: string,
    path: Uint8Array | undefined,
    ...answers: readonly string[]
  ): number | undefined => {
    const number = Number(result);
    if (number >= 0) return number;
    const errno = koffi.errno();
    const code = codes.get(errno) ?? `errno ${errno}`;
    if (answers.includes(code)) return undefined;
    throw new HostCallError(code, syscall, strerror(errno), path && printableBytes(path));
  };
  return {
    setTimes(target, atimeNs, mtimeNs) {
      const times = new BigInt64Array([...timespec(atimeNs), ...timespec(mtimeNs)]);
      if (typeof target === 'number') check(futimens(target, times), 'futimens', undefined);
      else check(utimensat(AT_FDCWD, cString(target), times, AT_SYMLINK_NOFOLLOW), 'utimensat', target);
    },
    xattrNames(path) {
      const result = llistxattr(cString(path), buffer, buffer.length);
      const length = check(result, 'llistxattr', path, ...NO_XATTRS) ?? 0;
      const names: Uint8Array[] = [];
      for (let start = 0; start < length; ) {
        const end = buffer.indexOf(0, start);
        names.push(buffer.slice(start, end));
        start = end + 1;
      }
      return names;
    },
    xattr(path, name) {
      const result = lgetxattr(cString(path), cString(name), buffer, buffer.length);
      const length = check(result, 'lgetxattr', path, 'ENODATA', ...NO_XATTRS);
      return length === undefined ? undefined : buffer.slice(0, length);
    },
    setXattr(target, name, value) {
      if (typeof target === 'number')
        check(fsetxattr(target, cString(name), value, value.length, 0), 'fsetxattr', undefined);
      else check(lsetxattr(cString(target), cString(name), value, value.length, 0), 'lsetxattr', target);
    },
    removeXattr(target, name) {
      if (typeof target === 'number') check(fremovexattr(target, cString(name)), 'fremovexattr', undefined);
      else check(lremovexattr(cString(target), cString(name)), 'lremovexattr', target);
    },
    makeNode(path, mode, rdev) {
      check(mknod(cString(path), mode, joinDeviceNumber(rdev)), 'mknod', path);
    },
    nextData: (fd, offset) => check(lseek(fd, offset, SEEK_DATA), 'lseek', undefined, 'ENXIO'),
    nextHole: (fd, offset) => check(lseek(fd, offset, SEEK_HOLE), 'lseek', undefined, 'ENXIO') ?? offset,
    punchHole(fd, offset, length) {
      const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
      return check(fallocate(fd, mode, offset, length), 'fallocate', undefined, 'EOPNOTSUPP', 'ENOTSUP') !== undefined;
    },
  };
}

/** @throws HostCallError for what would be cut short */
function cString(bytes: Uint8Array): Uint8Array {
  if (bytes.includes(0)) throw new HostCallError('EINVAL', 'libc', 'a path or name with a NUL in it');
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  return terminated;
}

/** Seconds, rounded down, and the nanoseconds above them. */
function timespec(ns: bigint): [bigint, bigint] {
  const rest = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  return [(ns - rest) / NS_PER_SECOND, rest];
}
