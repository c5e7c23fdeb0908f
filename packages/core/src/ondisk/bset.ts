// struct bset: one sorted run of keys inside a btree node. A node starts with one; each write adds another after the last, so a
// node is a log of bsets. Source: bcachefs_format.h, v1.36.1.

import { at, count64, layout, type Struct, u16, u32, u64 } from './layout.ts';

export const Bset = layout('bset', 24, {
  seq: at(0, u64), // random; the same in every bset of one node
  journal_seq: at(8, count64), // the newest journal entry that these keys are in; without that entry they do not count
  flags: at(16, u32), // see below
  version: at(20, u16), // metadata version
  u64s: at(22, u16), // length of the keys that follow
});
export type Bset = Struct<typeof Bset>;

/** BSET_CSUM_TYPE: the checksum type, a number. */
export const bsetCsumType = (bset: Bset): number => bset.flags & 0xf;
/** BSET_BIG_ENDIAN: written by a big-endian machine. */
export const isBsetBigEndian = (bset: Bset): boolean => (bset.flags & 0x10) !== 0;
/** BSET_SEPARATE_WHITEOUTS: an old layout that is not read any more. */
export const hasSeparateWhiteouts = (bset: Bset): boolean => (bset.flags & 0x20) !== 0;
/** BSET_OFFSET: where in the node it was written, in sectors; 0 in the first one and in old ones. */
export const bsetOffsetSectors = (bset: Bset): number => bset.flags >>> 16;
