// Checksums of every type, as bcachefs stores them. All functions work at once and synchronously; `loadChecksums` makes the
// same functions several times faster and is worth it where much more than superblocks is read.
// Source: checksum.c and csum_vstruct in checksum.h, v1.13.0.

import { type MacKey, macOf, macStream } from '../crypto/poly1305.ts';
import { type ChecksumTypeName, checksumTypes } from '../ondisk/checksum-types.ts';
import { assert, IncompatibleError } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import { BchCsum } from '../ondisk/superblock.ts';
import { crc32c, crc32cOverZeros, expectMuchCrc32c } from './crc32c.ts';
import { type Crc64, crc64, crc64FromBigInt, crc64OverZeros, crc64ToBigInt } from './crc64.ts';
import { CSUM_BYTES, type Csum, csumEquals, NO_CSUM } from './csum.ts';
import { loadXxh64, xxh64, xxh64Stream } from './xxh64.ts';

// The `_nonzero` types start from all ones and end inverted; the plain ones do neither, which is what lets them be merged.
const ALL_ONES_32 = 0xffff_ffff;
const ALL_ONES_64 = 0xffff_ffff_ffff_ffffn;

/**
 * Whether checksums of this type can be computed: it is known, and the key is there if it is a MAC. To be asked about every
 * type number that was read from disk. Mirrors bch2_checksum_type_valid.
 */
export function canChecksum(type: number, mac?: MacKey): boolean {
  const row = checksumTypes.byId(type);
  return row !== undefined && (!row.isEncryption || mac !== undefined);
}

/**
 * The checksum of `bytes`. Mirrors bch2_checksum.
 * @param mac for the types that are MACs, which cover data in its encrypted form
 * @throws IncompatibleError when `canChecksum` is false
 */
export function checksum(type: number, bytes: Uint8Array, mac?: MacKey): Csum {
  switch (algorithm(type)) {
    case 'none':
      return NO_CSUM;
    case 'crc32c_nonzero':
      return low32((crc32c(ALL_ONES_32, bytes) ^ ALL_ONES_32) >>> 0);
    case 'crc32c':
      return low32(crc32c(0, bytes));
    case 'xxhash':
      return low64(xxh64(bytes));
    case 'chacha20_poly1305_80':
    case 'chacha20_poly1305_128':
      return truncatedMac(type, macOf(present(mac), bytes));
    case 'crc64_nonzero':
    case 'crc64': {
      const stream = checksumStream(type);
      stream.update(bytes);
      return stream.finish();
    }
  }
}

/** A checksum over input that comes in pieces. */
export interface ChecksumStream {
  update(bytes: Uint8Array): void;
  /** The checksum of everything so far; the stream ends with it. */
  finish(): Csum;
}

/** As `checksum`, in pieces of any length. */
export function checksumStream(type: number, mac?: MacKey): ChecksumStream {
  const name = algorithm(type);
  switch (name) {
    case 'none':
      return { update() {}, finish: () => NO_CSUM };
    case 'crc32c_nonzero':
    case 'crc32c': {
      const ends = name === 'crc32c_nonzero' ? ALL_ONES_32 : 0;
      let crc = ends;
      return {
        update(bytes) {
          crc = crc32c(crc, bytes);
        },
        finish: () => low32((crc ^ ends) >>> 0),
      };
    }
    case 'crc64_nonzero':
    case 'crc64': {
      const ends = name === 'crc64_nonzero' ? ALL_ONES_64 : 0n;
      const crc: Crc64 = crc64FromBigInt(ends);
      return {
        update: bytes => crc64(crc, bytes),
        finish: () => low64(crc64ToBigInt(crc) ^ ends),
      };
    }
    case 'xxhash': {
      const hash = xxh64Stream();
      return {
        update: bytes => hash.update(bytes),
        finish: () => low64(hash.digest()),
      };
    }
    case 'chacha20_poly1305_80':
    case 'chacha20_poly1305_128': {
      const stream = macStream(present(mac));
      return {
        update: bytes => stream.update(bytes),
        finish: () => truncatedMac(type, stream.digest()),
      };
    }
  }
}

/** Whether the checksum of two neighbours can be computed from theirs. Mirrors bch2_checksum_mergeable. */
export function isMergeable(type: number): boolean {
  const name = checksumTypes.byId(type)?.name;
  return name === 'none' || name === 'crc32c' || name === 'crc64';
}

/**
 * The checksum of two pieces, one after the other, from the checksums of the pieces. Mirrors bch2_checksum_merge.
 * @param type one for which `isMergeable` is true
 * @param b of the second piece, which is `bBytes` long
 */
export function mergeChecksums(type: number, a: Csum, b: Csum, bBytes: number): Csum {
  assert(isMergeable(type), `checksums of type ${type} cannot be merged`);
  switch (algorithm(type)) {
    case 'crc32c':
      return low32((crc32cOverZeros(Number(a.lo), bBytes) ^ Number(b.lo)) >>> 0);
    case 'crc64': {
      const crc = crc64FromBigInt(a.lo);
      crc64OverZeros(crc, bBytes);
      return low64(crc64ToBigInt(crc) ^ b.lo);
    }
    default:
      return NO_CSUM;
  }
}

/**
 * The checksum that a vstruct (superblock, btree node or btree node entry, jset) should carry. Mirrors csum_vstruct.
 * @param vstruct the whole struct with its variable part and nothing after it; its first 16 bytes are the checksum
 */
function checksumVstruct(type: number, vstruct: Uint8Array, mac?: MacKey): Csum {
  return checksum(type, vstruct.subarray(CSUM_BYTES), mac);
}

/** What a vstruct carries, what it should carry, and whether these are the same. */
export interface VstructChecksum {
  readonly good: boolean;
  readonly stored: Csum;
  readonly computed: Csum;
}

/** @param vstruct at least 16 bytes; see `checksumVstruct` */
export function verifyVstruct(type: number, vstruct: Uint8Array, mac?: MacKey): VstructChecksum {
  const stored = BchCsum.get(viewOf(vstruct), 0);
  const computed = checksumVstruct(type, vstruct, mac);
  return { good: csumEquals(stored, computed), stored, computed };
}

/** Computes the checksum of a vstruct and stores it in its first 16 bytes. */
export function sealVstruct(type: number, vstruct: Uint8Array, mac?: MacKey): void {
  BchCsum.put(viewOf(vstruct), 0, checksumVstruct(type, vstruct, mac));
}

/**
 * Puts the fast implementations in place, where this machine has them, or sees to it that they come once they are worth it. Results do
 * not change.
 */
export async function loadChecksums(): Promise<void> {
  expectMuchCrc32c();
  await loadXxh64();
}

const low32 = (value: number): Csum => ({ lo: BigInt(value), hi: 0n });
const low64 = (value: bigint): Csum => ({ lo: value, hi: 0n });

function algorithm(type: number): ChecksumTypeName {
  const row = checksumTypes.byId(type);
  if (row === undefined) {
    throw new IncompatibleError('unknown_csum_type', {}, `checksum type ${type}, this version knows 0 to 7`);
  }
  return row.name;
}

function present(mac: MacKey | undefined): MacKey {
  if (mac === undefined)
    throw new IncompatibleError('no_encryption_key', {}, 'a MAC cannot be checked without the key');
  return mac;
}

/** The 80-bit type keeps the first ten bytes of the MAC. */
function truncatedMac(type: number, mac: Uint8Array): Csum {
  const kept = new Uint8Array(CSUM_BYTES);
  kept.set(mac.subarray(0, checksumTypes.byId(type)?.sizeBytes));
  return BchCsum.get(viewOf(kept), 0);
}
