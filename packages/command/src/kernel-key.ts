// The key of an encrypted filesystem, handed to the running kernel, which looks for it in its keyrings when it mounts.

import { keyringDescription, keyringKey, type Superblock } from '@bcachefs-ts/core/engine';
import { CommandFailed } from './errors.ts';
import type { AddKey, KeyringName } from './host/keyring.ts';
import { HostCallError } from './host/native-calls.ts';

/** @throws CommandFailed no_keyring */
export function neededAddKey(addKey: AddKey | undefined): AddKey {
  if (addKey !== undefined) return addKey;
  throw new CommandFailed(
    'no keyring can be reached from here: this takes Linux and the optional package koffi; unlock it on the machine that mounts it',
    { code: 'no_keyring' },
  );
}

/**
 * @returns what the kernel knows the key by
 * @throws CommandFailed for a wrong passphrase, or when the kernel refuses the key
 */
export function addKeyOf(
  sb: Superblock,
  passphrase: Uint8Array,
  keyring: KeyringName,
  addKey: AddKey,
): { readonly description: string } {
  const key = keyringKey(sb, passphrase);
  if (key === undefined) throw new CommandFailed('the passphrase is wrong', { code: 'wrong_passphrase' });
  const description = keyringDescription(sb);
  try {
    addKey(keyring, description, key);
  } catch (error) {
    if (!(error instanceof HostCallError)) throw error;
    throw new CommandFailed(`the kernel does not take the key into the keyring ${keyring}: ${error.words}`, {
      code: error.code,
    });
  }
  return { description };
}
