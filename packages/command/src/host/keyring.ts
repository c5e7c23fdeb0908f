// Adds a key to a keyring of the running kernel: add_key(2), which the C library does not have, so by its number. Through koffi, as
// native-calls.ts; Linux only.

import { createRequire } from 'node:module';
import { HostCallError } from './native-calls.ts';

/** The keyrings that the reference's `unlock` offers, as add_key(2) numbers them. */
const keyrings = { session: -3, user: -4, user_session: -5 } as const;

export type KeyringName = keyof typeof keyrings;
export const keyringNames = Object.keys(keyrings) as readonly KeyringName[];

/** Adds a key of type `user`, or replaces one of that description. @throws HostCallError when the kernel refuses */
export type AddKey = (keyring: KeyringName, description: string, payload: Uint8Array) => void;

/** The number of add_key; syscall(2) of these takes its arguments as any function does. */
const callNumbers: Readonly<Record<string, number>> = { x64: 248, arm64: 217, riscv64: 217, loong64: 217, ppc64: 269 };

/** Undefined on other systems, and where koffi is not installed or has no binding for this machine. */
export function loadAddKey(): AddKey | undefined {
  const callNumber = callNumbers[process.arch];
  if (process.platform !== 'linux' || callNumber === undefined) return undefined;
  try {
    return bind(callNumber);
  } catch {
    // Not installed. The command says what that costs.
    return undefined;
  }
}

function bind(callNumber: number): AddKey {
  // Not an import: a bundler would follow it and stumble over the binary.
  const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi');
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
