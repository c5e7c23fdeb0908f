// Section `crypt`: the filesystem's master key, normally encrypted with a key that is derived from a passphrase; without a
// passphrase it stands there in the clear. A clear key starts with KEY_MAGIC, which shows that a passphrase is right.
// Deriving and decrypting are crypto/'s. Sources: bcachefs_format.h and data/checksum.c, v1.36.1.

import { bits, getBits } from '../bits.ts';
import { CorruptError } from '../errors.ts';
import { at, bytes, layout, type Struct, u64, viewOf } from '../layout.ts';
import { problem, type SbFieldKind } from './kind.ts';

/** "bch**key": what a decrypted key starts with. */
export const KEY_MAGIC = 0x7965_6b2a_2a68_6362n;

/** struct bch_sb_field_crypt without its header. */
export const BchSbCrypt = layout('bch_sb_field_crypt', 56, {
  flags: at(0, u64), // see CRYPT
  kdf_flags: at(8, u64), // see CRYPT
  key_magic: at(16, u64), // KEY_MAGIC when the key is in the clear
  key: at(24, bytes(32)),
});
export type BchSbCrypt = Struct<typeof BchSbCrypt>;

/** Bit ranges of the words [flags, kdf_flags]; n, r and p are base-2 logarithms. */
export const CRYPT = {
  kdf_type: bits(0, 0, 4),
  scrypt_n: bits(1, 0, 16),
  scrypt_r: bits(1, 16, 32),
  scrypt_p: bits(1, 32, 48),
} as const;

/** The only key derivation function there is. */
export const KDF_SCRYPT = 0;

export interface KdfParameters {
  readonly type: number;
  /** Base-2 logarithms of scrypt's parameters. */
  readonly n: number;
  readonly r: number;
  readonly p: number;
}

export function kdfParameters(crypt: BchSbCrypt): KdfParameters {
  const words = [crypt.flags, crypt.kdf_flags];
  return {
    type: getBits(words, CRYPT.kdf_type),
    n: getBits(words, CRYPT.scrypt_n),
    r: getBits(words, CRYPT.scrypt_r),
    p: getBits(words, CRYPT.scrypt_p),
  };
}

/** @throws CorruptError invalid_sb_crypt */
export function decodeCrypt(payload: Uint8Array): BchSbCrypt {
  if (payload.length < BchSbCrypt.size) {
    throw new CorruptError(
      'invalid_sb_crypt',
      { field: 'crypt' },
      `${payload.length} bytes, expected ${BchSbCrypt.size} or more`,
    );
  }
  return BchSbCrypt.get(viewOf(payload), 0);
}

export function encodeCrypt(value: BchSbCrypt): Uint8Array {
  const target = new Uint8Array(BchSbCrypt.size);
  BchSbCrypt.put(viewOf(target), 0, value);
  return target;
}

export const cryptField: SbFieldKind<BchSbCrypt> = {
  name: 'crypt',
  decode: decodeCrypt,
  encode: encodeCrypt,
  validate(value) {
    const { type } = kdfParameters(value);
    return type === KDF_SCRYPT ? [] : [problem('invalid_sb_crypt', 'crypt', `bad kdf type ${type}`)];
  },
  text(out, value) {
    const { type, n, r, p } = kdfParameters(value);
    out.print(`KFD:               ${type}\n`); // sic
    out.print(`scrypt n:          ${n}\nscrypt r:          ${r}\nscrypt p:          ${p}\n`);
  },
  /** The key itself is left out: in the clear it is a secret, encrypted it is what a guesser needs. */
  json(value) {
    const { type, n, r, p } = kdfParameters(value);
    return {
      kdf: type === KDF_SCRYPT ? 'scrypt' : `unknown(${type})`,
      scrypt_n_bits: n,
      scrypt_r_bits: r,
      scrypt_p_bits: p,
      key_encrypted: value.key_magic !== KEY_MAGIC,
    };
  },
};
