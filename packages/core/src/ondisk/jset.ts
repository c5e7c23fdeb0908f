// struct jset: a journal entry: a header and sub-entries (jset-entries.ts). It begins at any block of a journal bucket, is written whole
// to each of its replicas, and is encrypted from byte 44 on, which follows `u64s`: its length can always be seen.
// Source: struct jset in bcachefs_format.h, v1.13.0.

import { at, count64, layout, type Struct, u16, u32, u64, uuidBytes, viewOf } from './layout.ts';
import { BchCsum } from './superblock.ts';

export const Jset = layout('jset', 56, {
  csum: at(0, BchCsum), // over everything after it
  magic: at(16, u64), // of this filesystem: see jsetMagic
  seq: at(24, count64), // one more for each entry
  version: at(32, u32), // metadata version that the sub-entries are written in
  flags: at(36, u32), // see JSET
  u64s: at(40, u32), // length of the sub-entries
  read_clock: at(44, u16), // no longer used
  write_clock: at(46, u16), // no longer used
  last_seq: at(48, u64), // the oldest entry that is not yet all in the btree; anything when the entry is not a flush
});
export type Jset = Struct<typeof Jset>;

/** Offset of the first encrypted byte. */
export const JSET_ENCRYPTED_START: number = Jset.offset.read_clock;

/** Bits of `flags`. */
export const JSET = {
  csumType: (flags: number): number => flags & 15,
  isBigEndian: (flags: number): boolean => (flags & 16) !== 0,
  /** Written without a flush: it counts only once a later entry that was flushed is there. */
  isNoFlush: (flags: number): boolean => (flags & 32) !== 0,
} as const;

const JSET_MAGIC = 0x2452_35c1_a362_5032n;

/**
 * What marks a journal entry of one filesystem.
 * @param uuid the superblock's internal `uuid`
 */
export function jsetMagic(uuid: string): bigint {
  return viewOf(uuidBytes(uuid)).getBigUint64(0, true) ^ JSET_MAGIC;
}

/** Bytes of the whole entry, as its header claims. */
export function jsetBytes(jset: { readonly u64s: number }): number {
  return Jset.size + 8 * jset.u64s;
}
