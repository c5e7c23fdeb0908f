// Inodes on their way to disk: packInodeV3 of ondisk with the work left out that takes its time, since an image of a hundred thousand
// files packs as many inodes at least once. 1 µs each against 17 (Node 20); inode-pack.test.ts compares the two.
// Source: bch2_inode_pack in inode.c, v1.13.0.

import { inodeFields } from '../ondisk/inode-tables.ts';
import { BchInodeV3, INODE_V3_FIELDS_START, type Inode } from '../ondisk/inode-unpack.ts';
import { viewOf } from '../ondisk/layout.ts';

/** An inode that is being changed. */
export type EditableInode = { -readonly [name in keyof Inode]: Inode[name] };

const FLAGS_MASK = (1 << 20) - 1;
const STR_HASH_SHIFT = 20;
const NR_FIELDS_SHIFT = 24;

/** Header, then up to ten bytes for each field. */
const buffer = new Uint8Array(512);
const view = viewOf(buffer);

/** The value of a key of type inode_v3. */
export function packInode(inode: Inode): Uint8Array {
  const { offset } = BchInodeV3;
  let at = BchInodeV3.size;
  let used = at;
  let nrFields = 0;
  for (const { id, name, bits } of inodeFields.rows) {
    const value = inode[name];
    // Most are 0.
    if (!value) {
      buffer[at++] = 0;
      if (bits > 64) buffer[at++] = 0;
      continue;
    }
    if (typeof value === 'number') at = putVarint(at, value >>> 0, 0);
    else at = putVarint(at, Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn));
    if (bits > 64) buffer[at++] = 0;
    nrFields = id + 1;
    used = at;
  }
  view.setBigUint64(offset.bi_journal_seq, inode.bi_journal_seq, true);
  view.setBigUint64(offset.bi_hash_seed, inode.bi_hash_seed, true);
  const flags = (inode.bi_flags & FLAGS_MASK) | (inode.str_hash << STR_HASH_SHIFT) | (nrFields << NR_FIELDS_SHIFT);
  // fields_start has bits 31 to 35, the mode 36 to 51.
  view.setUint32(offset.bi_flags, (flags | ((INODE_V3_FIELDS_START & 1) << 31)) >>> 0, true);
  view.setUint32(offset.bi_flags + 4, (INODE_V3_FIELDS_START >>> 1) | (inode.bi_mode << 4), true);
  view.setBigUint64(offset.bi_sectors, inode.bi_sectors, true);
  view.setBigUint64(offset.bi_size, inode.bi_size, true);
  view.setBigUint64(offset.bi_version, inode.bi_version, true);
  const value = new Uint8Array(Math.ceil(used / 8) * 8);
  value.set(buffer.subarray(0, used));
  return value;
}

/** @returns where the next one goes */
function putVarint(at: number, lo: number, hi: number): number {
  const bits = hi === 0 ? 32 - Math.clz32(lo) : 64 - Math.clz32(hi);
  const length = bits === 0 ? 1 : Math.ceil(bits / 7);
  if (length >= 9) {
    buffer[at] = 255;
    view.setUint32(at + 1, lo, true);
    view.setUint32(at + 5, hi, true);
    return at + 9;
  }
  // Shifted by the length, with as many ones less one below.
  const low = ((lo << length) | ((1 << (length - 1)) - 1)) >>> 0;
  const high = ((hi << length) | (lo >>> (32 - length))) >>> 0;
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
  return at + length;
}
