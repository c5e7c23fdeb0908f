// Extended attributes of the host's files, which Node does not have: read in the C library through koffi, an optional dependency; Linux
// only. Without it they are not taken, which put says.

import { createRequire } from 'node:module';
import { cString, HostCallError } from '../restore/native-calls.ts';

export interface HostXattr {
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** @returns those of a file, which is not followed when it is a symlink. @throws HostCallError */
export type ReadXattrs = (path: Uint8Array) => readonly HostXattr[];

/** XATTR_LIST_MAX and XATTR_SIZE_MAX of Linux. */
const BYTES_MAX = 65_536;
/** The filesystem has none, or this one went meanwhile. */
const NONE = ['ENOTSUP', 'EOPNOTSUPP', 'ENODATA'];

/** Undefined on other systems, and where koffi is not installed or has no binding for this machine. */
export function loadReadXattrs(): ReadXattrs | undefined {
  // ssize_t is taken as 64 bits.
  const isFitting =
    process.platform === 'linux' && ['x64', 'arm64', 'riscv64', 'loong64', 'ppc64'].includes(process.arch);
  if (!isFitting) return undefined;
  try {
    return bind();
  } catch {
    // Not installed, or the C library lacks a function. The command says what that costs.
    return undefined;
  }
}

function bind(): ReadXattrs {
  // Not an import: a bundler would follow it and stumble over the binary.
  const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
  const libc = koffi.load(null);
  const errors = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
  const llistxattr = libc.func('int64_t llistxattr(const void *, void *, size_t)');
  const lgetxattr = libc.func('int64_t lgetxattr(const void *, const void *, void *, size_t)');
  const names = new Uint8Array(BYTES_MAX);
  const value = new Uint8Array(BYTES_MAX);
  /** Undefined where there is nothing. */
  const lengthOf = (result: unknown, call: string): number | undefined => {
    const length = Number(result);
    if (length >= 0) return length;
    const number = koffi.errno();
    const code = errors.get(number) ?? `errno ${number}`;
    if (NONE.includes(code)) return undefined;
    throw new HostCallError(code, call);
  };
  return path => {
    const terminated = cString(path);
    const listed = lengthOf(llistxattr(terminated, names, names.length), 'llistxattr') ?? 0;
    const found: HostXattr[] = [];
    for (let start = 0; start < listed; ) {
      const end = names.indexOf(0, start);
      const name = names.slice(start, end);
      start = end + 1;
      const length = lengthOf(lgetxattr(terminated, cString(name), value, value.length), 'lgetxattr');
      if (length !== undefined) found.push({ name, value: value.slice(0, length) });
    }
    return found;
  };
}
