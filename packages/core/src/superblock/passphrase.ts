// The passphrase of an encrypted filesystem: is there one, does it fit, and how it is changed. Changing it reseals the master
// key; the data keep being encrypted with the same key. Encryption itself is decided at format and cannot be switched here.

import { clearKey, DEFAULT_KDF, deriveKey, isKeySealed, openKey, sealKey } from '../crypto/keys.ts';
import { sbKeyNonce } from '../crypto/nonce.ts';
import { getBits, withBits } from '../ondisk/bits.ts';
import { CorruptError, UsageError } from '../ondisk/errors.ts';
import { uuidBytes } from '../ondisk/layout.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { type BchSbCrypt, CRYPT, decodeCrypt, encodeCrypt, kdfParameters } from '../ondisk/sb-fields/crypt.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';

/** Not encrypted; encrypted with a key that stands in the superblock in the clear; encrypted, the key sealed. */
export type Encryption = 'none' | 'no passphrase' | 'passphrase';

/**
 * What was encrypted would look lost to who takes it for a filesystem that is not: so flags and section have to agree.
 * @throws CorruptError invalid_sb_crypt
 */
export function encryptionOf(sb: Superblock): Encryption {
  const crypt = cryptOf(sb);
  const type = getBits(sb.flags, sbBits.ENCRYPTION_TYPE);
  if (crypt === undefined && type === 0) return 'none';
  const where = { field: 'crypt' };
  if (crypt === undefined)
    throw new CorruptError(
      'invalid_sb_crypt',
      where,
      'the superblock says encrypted, and the section with the key is missing',
    );
  if (type === 0)
    throw new CorruptError('invalid_sb_crypt', where, 'the superblock has a key, and says that nothing is encrypted');
  return isKeySealed(crypt) ? 'passphrase' : 'no passphrase';
}

/**
 * The filesystem's master key, or undefined when the passphrase is wrong. Takes half a second with a passphrase.
 * @param passphrase not needed where the key is in the clear
 * @throws UsageError when the filesystem is not encrypted
 */
export function masterKey(sb: Superblock, passphrase: Uint8Array | undefined): Uint8Array | undefined {
  const crypt = neededCrypt(sb);
  if (!isKeySealed(crypt)) return crypt.key;
  if (passphrase === undefined) return undefined;
  return openKey(crypt, deriveKey(passphrase, kdfParameters(crypt)), sbKeyNonce(uuidBytes(sb.uuid)));
}

/**
 * The key that a kernel looks for in its keyrings to open this filesystem, by `keyringDescription`; undefined when the passphrase is
 * wrong. It opens the master key and is made from the passphrase, which takes half a second.
 */
export function keyringKey(sb: Superblock, passphrase: Uint8Array): Uint8Array | undefined {
  const crypt = neededCrypt(sb);
  const key = deriveKey(passphrase, kdfParameters(crypt));
  return openKey(crypt, key, sbKeyNonce(uuidBytes(sb.uuid))) === undefined ? undefined : key;
}

export function keyringDescription(sb: Superblock): string {
  return `bcachefs:${sb.user_uuid}`;
}

/** The superblock with the master key sealed by a passphrase, or in the clear without one. */
export function withPassphrase(sb: Superblock, key: Uint8Array, passphrase: Uint8Array | undefined): Superblock {
  const sealed =
    passphrase === undefined
      ? clearKey(key)
      : sealKey(key, deriveKey(passphrase, DEFAULT_KDF), sbKeyNonce(uuidBytes(sb.uuid)));
  let words: readonly bigint[] = [0n, 0n];
  words = withBits(words, CRYPT.kdf_type, DEFAULT_KDF.type);
  if (passphrase !== undefined) {
    words = withBits(words, CRYPT.scrypt_n, DEFAULT_KDF.n);
    words = withBits(words, CRYPT.scrypt_r, DEFAULT_KDF.r);
    words = withBits(words, CRYPT.scrypt_p, DEFAULT_KDF.p);
  }
  const crypt: BchSbCrypt = { flags: words[0]!, kdf_flags: words[1]!, ...sealed };
  return withSection(sb, 'crypt', encodeCrypt(crypt));
}

function cryptOf(sb: Superblock): BchSbCrypt | undefined {
  const payload = sectionPayload(sb, 'crypt');
  return payload === undefined ? undefined : decodeCrypt(payload);
}

function neededCrypt(sb: Superblock): BchSbCrypt {
  const crypt = cryptOf(sb);
  if (crypt === undefined) {
    throw new UsageError(`filesystem ${sb.user_uuid} is not encrypted; encryption is chosen when a filesystem is made`);
  }
  return crypt;
}
