// Keys. Everything encrypted is encrypted with one random master key, which stands in the superblock's crypt section: sealed
// with a key derived from the passphrase by scrypt, or in the clear where there is no passphrase. The salt is the same for
// all filesystems (seven bytes, the NUL counts), and neither UUID takes part in the derivation; the internal one is the nonce
// of the seal. Source: c_src/crypto.c, checksum.c and bcachefs_format.h, v1.13.0.

import { platform } from '#platform';
import { assert, IncompatibleError } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import { KDF_SCRYPT, type KdfParameters, KEY_MAGIC } from '../ondisk/sb-fields/crypt.ts';
import { chacha20, KEY_BYTES } from './chacha20.ts';
import type { Nonce } from './nonce.ts';

/** What new filesystems use: 16 MiB of memory, about half a second. */
export const DEFAULT_KDF: KdfParameters = { type: KDF_SCRYPT, n: 14, r: 3, p: 4 };

const SALT = new TextEncoder().encode('bcache\0');

/** struct bch_encrypted_key: magic and key, sealed together. */
const SEALED_BYTES = 8 + KEY_BYTES;

// A superblock could ask for any amount of memory and time. Base-2 logarithms: 1 GiB, and 64 times the default's work.
const MEMORY_MAX_LOG2 = 30;
const WORK_MAX_LOG2 = 27;
const BLOCK_LOG2 = 7;

/**
 * The 32-byte key that a passphrase stands for. Takes half a second with the usual parameters.
 * @param passphrase without the line's end; at most up to the first NUL counts in the reference, so there should be none
 * @param kdf from the crypt section
 * @throws IncompatibleError invalid_sb_crypt for an unknown derivation, or one that needs more than 1 GiB or a minute
 */
export function deriveKey(passphrase: Uint8Array, kdf: KdfParameters): Uint8Array {
  const { type, n, r, p } = kdf;
  if (type !== KDF_SCRYPT) {
    throw new IncompatibleError('invalid_sb_crypt', { field: 'crypt' }, `key derivation ${type}, expected 0 (scrypt)`);
  }
  const memoryLog2 = BLOCK_LOG2 + Math.max(n + r, r + p);
  if (n < 1 || memoryLog2 > MEMORY_MAX_LOG2 || n + r + p > WORK_MAX_LOG2) {
    throw new IncompatibleError(
      'invalid_sb_crypt',
      { field: 'crypt.kdf_flags' },
      `scrypt with n 2^${n}, r 2^${r}, p 2^${p} is out of bounds`,
    );
  }
  const maxMemoryBytes = 2 ** (memoryLog2 + 2);
  return platform.scrypt(passphrase, SALT, { N: 2 ** n, r: 2 ** r, p: 2 ** p, keyBytes: KEY_BYTES, maxMemoryBytes });
}

/** The key in the crypt section, as decoded there. */
export interface SealedKey {
  readonly key_magic: bigint;
  /** 32 bytes */
  readonly key: Uint8Array;
}

/** Whether a passphrase is needed to use the key. Mirrors bch2_key_is_encrypted. */
export function isKeySealed(sealed: SealedKey): boolean {
  return sealed.key_magic !== KEY_MAGIC;
}

/**
 * The master key, or undefined if `passphraseKey` is not the right one.
 * @param passphraseKey from `deriveKey`
 * @param nonce `sbKeyNonce` of the superblock's internal uuid
 */
export function openKey(sealed: SealedKey, passphraseKey: Uint8Array, nonce: Nonce): Uint8Array | undefined {
  const opened = crypted(sealed, passphraseKey, nonce);
  return isKeySealed(opened) ? undefined : opened.key;
}

/** What to store for master key `key`, so that `openKey` gives it back. */
export function sealKey(key: Uint8Array, passphraseKey: Uint8Array, nonce: Nonce): SealedKey {
  return crypted(clearKey(key), passphraseKey, nonce);
}

/** What to store where there is no passphrase. */
export function clearKey(key: Uint8Array): SealedKey {
  assert(key.length === KEY_BYTES, `a key has ${KEY_BYTES} bytes, not ${key.length}`);
  return { key_magic: KEY_MAGIC, key };
}

/** Whether `passphrase` opens the key; half a second. */
export function passphraseMatches(
  passphrase: Uint8Array,
  sealed: SealedKey,
  kdf: KdfParameters,
  nonce: Nonce,
): boolean {
  return openKey(sealed, deriveKey(passphrase, kdf), nonce) !== undefined;
}

/** Sealing and opening are the same operation over magic and key together. */
function crypted(from: SealedKey, passphraseKey: Uint8Array, nonce: Nonce): SealedKey {
  const bytes = new Uint8Array(SEALED_BYTES);
  viewOf(bytes).setBigUint64(0, from.key_magic, true);
  bytes.set(from.key, 8);
  chacha20(passphraseKey, nonce, bytes);
  return { key_magic: viewOf(bytes).getBigUint64(0, true), key: bytes.slice(8) };
}
