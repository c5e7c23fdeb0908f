// Adds a key to a keyring of the running kernel, and looks for one: add_key(2) and keyctl(2), which the C library does not have, so by their
// numbers. Through koffi, as native-calls.ts; Linux only.

import { createRequire } from 'node:module';
import { HostCallError } from './native-calls.ts';

/** The keyrings that the reference's `unlock` offers, as add_key(2) numbers them. */
const keyrings = { session: -3, user: -4, user_session: -5 } as const;

export type KeyringName = keyof typeof keyrings;
export const keyringNames = Object.keys(keyrings) as readonly KeyringName[];

/** Adds a key of type `user`, or replaces one of that description. @throws HostCallError when the kernel refuses */
export type AddKey = (keyring: KeyringName, description: string, payload: Uint8Array) => void;

/** Whether there is a key of type `user` with that description in one of the keyrings. */
export type HasKey = (description: string) => boolean;

/** The numbers of the calls; syscall(2) of these takes its arguments as any function does. */
const callNumbers: Readonly<Record<string, { readonly addKey: number; readonly keyctl: number }>> = {
  x64: { addKey: 248, keyctl: 250 },
  arm64: { addKey: 217, keyctl: 219 },
  riscv64: { addKey: 217, keyctl: 219 },
  loong64: { addKey: 217, keyctl: 219 },
  ppc64: { addKey: 269, keyctl: 271 },
};

const KEYCTL_SEARCH = 10;

/** Undefined on other systems, and where koffi is not installed or has no binding for this machine. */
export const loadAddKey = (): AddKey | undefined => load(({ addKey }) => bindAddKey(addKey));

/** Undefined where loadAddKey is. */
export const loadHasKey = (): HasKey | undefined => load(({ keyctl }) => bindHasKey(keyctl));

function load<T>(bind: (numbers: { readonly addKey: number; readonly keyctl: number }) => T): T | undefined {
  const numbers = callNumbers[process.arch];
  if (process.platform !== 'linux' || numbers === undefined) return undefined;
  try {
    return bind(numbers);
  } catch {
    // Not installed. The command says what that costs.
    return undefined;
  }
}

function loadKoffi(): typeof import('koffi') {
  // Not an import: a bundler would follow it and stumble over the binary.
  return createRequire(import.meta.url)('koffi');
}

function bindHasKey(callNumber: number): HasKey {
  const syscall = loadKoffi().load(null).func('int64_t syscall(int64_t, int64_t, int64_t, str, str, int64_t)');
  return description =>
    Object.values(keyrings).some(
      keyring => Number(syscall(callNumber, KEYCTL_SEARCH, keyring, 'user', description, 0)) > 0,
    );
}

function bindAddKey(callNumber: number): AddKey {
  const koffi = loadKoffi();
  const libc = koffi.load(null);
  const strerror = libc.func('str strerror(int)');
  const syscall = libc.func('int64_t syscall(int64_t, str, str, const void *, size_t, int64_t)');
  return (keyring, description, payload) => {
    if (Number(syscall(callNumber, 'user', description, payload, payload.length, keyrings[keyring])) >= 0) return;
    const errno = koffi.errno();
    const code = Object.entries(koffi.os.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`;
    throw new HostCallError(code, 'add_key', strerror(errno));
  };
}
