// Shorter extents: a key of an extents btree cut at its front or its back. What is encoded, with a checksum or compressed, stays whole on
// disk: only where the key begins in it changes.
// Source: bch2_cut_front_s and bch2_cut_back_s in extents.c, v1.13.0.

import { makeKey } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposOffset, bposOffsetNumber, makeBpos } from '../ondisk/bpos.ts';
import { assert } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { BchReflinkP } from '../ondisk/keys/reflink-p.ts';
import { BchReflinkV } from '../ondisk/keys/reflink-v.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sectorsToBytes } from '../util/sizes.ts';

const TYPE = {
  extent: keyTypes.idOf('extent'),
  reflinkV: keyTypes.idOf('reflink_v'),
  reflinkP: keyTypes.idOf('reflink_p'),
  inlineData: keyTypes.idOf('inline_data'),
  indirectInlineData: keyTypes.idOf('indirect_inline_data'),
} as const;

/** Length in u64s by entry type, and where its offset of sectors begins; rows that do not move have none. */
const ENTRIES = [
  { u64s: 1, offsetBit: 4n },
  { u64s: 1, offsetBit: 16n },
  { u64s: 2, offsetBit: 21n },
  { u64s: 3, offsetBit: 30n },
  { u64s: 1, offsetBit: undefined },
  { u64s: 1, offsetBit: undefined },
] as const;

/** Where an extent ends, in sectors of its file. */
export const extentEnd = ({ k }: Key): number => bposOffsetNumber(k.p);
export const extentStart = (key: Key): number => extentEnd(key) - key.k.size;

/** A position with another offset, in sectors below 2^53. */
export function atOffset(pos: Bpos, offset: number): Bpos {
  const copy = pos.slice();
  copy[1] = offset >>> 0;
  copy[2] = Math.floor(offset / 2 ** 32);
  return copy;
}

/** The key without its first sectors; it keeps its position, which is its end. @param sectors less than it has */
export function cutFront(key: Key, sectors: number): Key {
  const { k } = key;
  assert(sectors >= 0 && sectors < k.size, `${sectors} of ${k.size} sectors are cut off`);
  if (sectors === 0) return key;
  const size = k.size - sectors;
  switch (k.type) {
    case TYPE.extent:
      return makeKey(k.type, k.p, movedEntries(key.value, 0, sectors), { ...k, size });
    case TYPE.reflinkV:
      return makeKey(k.type, k.p, movedEntries(key.value, BchReflinkV.size, sectors), { ...k, size });
    case TYPE.reflinkP: {
      const value = key.value.slice();
      const view = viewOf(value);
      const { idx_flags } = BchReflinkP.offset;
      view.setBigUint64(idx_flags, view.getBigUint64(idx_flags, true) + BigInt(sectors), true);
      return makeKey(k.type, k.p, value, { ...k, size });
    }
    case TYPE.inlineData:
    case TYPE.indirectInlineData: {
      const start = inlineStart(k.type);
      const cut = Math.min(sectorsToBytes(sectors), key.value.length - start);
      const value = new Uint8Array(key.value.length - cut);
      value.set(key.value.subarray(0, start));
      value.set(key.value.subarray(start + cut), start);
      return makeKey(k.type, k.p, value, { ...k, size });
    }
    default:
      return makeKey(k.type, k.p, key.value, { ...k, size });
  }
}

/** The key without its last sectors. @param sectors that are left, one or more */
export function cutBack(key: Key, sectors: number): Key {
  const { k } = key;
  assert(sectors > 0 && sectors <= k.size, `${sectors} of ${k.size} sectors are left`);
  if (sectors === k.size) return key;
  const p = makeBpos(inodeOf(k.p), bposOffset(k.p) - BigInt(k.size - sectors), k.p[0]!);
  const isInline = k.type === TYPE.inlineData || k.type === TYPE.indirectInlineData;
  const value = isInline ? key.value.subarray(0, inlineStart(k.type) + sectorsToBytes(sectors)) : key.value;
  return makeKey(k.type, p, value, { ...k, size: sectors });
}

const inodeOf = (pos: Bpos): bigint => (BigInt(pos[4]!) << 32n) | BigInt(pos[3]!);
const inlineStart = (type: number): number => (type === TYPE.indirectInlineData ? 8 : 0);

/** Checksum entries say where in what they cover the key begins; pointers without one are moved themselves. */
function movedEntries(source: Uint8Array, start: number, sectors: number): Uint8Array {
  const value = source.slice();
  const view = viewOf(value);
  let isEncoded = false;
  for (let at = start; at + 8 <= value.length; ) {
    const lo = view.getUint32(at, true);
    const type = lo === 0 ? ENTRIES.length : 31 - Math.clz32(lo & -lo);
    const row = ENTRIES[type];
    if (row === undefined) break;
    const isPointer = type === 0;
    if (row.offsetBit !== undefined && !(isPointer && isEncoded)) {
      view.setBigUint64(at, view.getBigUint64(at, true) + (BigInt(sectors) << row.offsetBit), true);
    }
    if (!isPointer && row.offsetBit !== undefined) isEncoded = true;
    at += 8 * row.u64s;
  }
  return value;
}
