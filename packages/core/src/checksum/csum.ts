// struct bch_csum: the 16 bytes that carry any checksum, as they stand at the start of a superblock, jset or btree node.
// Shorter checksums fill the low bytes, the rest is zero, and all 16 are compared. Source: bcachefs_format.h, v1.13.0.

import { checksumTypes } from '../ondisk/checksum-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { BchCsum } from '../ondisk/superblock.ts';

export const CSUM_BYTES = BchCsum.size;
export type Csum = BchCsum;

export const NO_CSUM: Csum = { lo: 0n, hi: 0n };

/** Mirrors bch2_crc_cmp, the other way round. */
export function csumEquals(a: Csum, b: Csum): boolean {
  return a.lo === b.lo && a.hi === b.hi;
}

/** The 16 bytes as stored. */
export function csumBytes(csum: Csum): Uint8Array {
  const stored = new Uint8Array(CSUM_BYTES);
  BchCsum.put(viewOf(stored), 0, csum);
  return stored;
}

/** The significant bytes in hex, in the order they are stored: nothing for type 0, all 16 for an unknown type. */
export function csumText(type: number, csum: Csum): string {
  const length = checksumTypes.byId(type)?.sizeBytes ?? CSUM_BYTES;
  return Array.from(csumBytes(csum).subarray(0, length), byte => byte.toString(16).padStart(2, '0')).join('');
}
