// Key type lru: until 0.26 an entry of the lru btree, its value the bucket. Since then the bucket is in the position and the type
// of the key is `set`.
// Sources: struct bch_lru in alloc/lru_format.h and alloc/lru.c, v1.36.1 and v1.39.2.

import { type Bpos, bposInode, bposOffset } from '../bpos.ts';
import { at, layout, type Struct, u64, viewOf } from '../layout.ts';
import type { KeyKind } from './kind.ts';

export const BchLru = layout('bch_lru', 8, {
  idx: at(0, u64), // bucket number
});
export type Lru = Struct<typeof BchLru>;

const TIME_BITS = 48n;

/** What a position in the lru btree says. */
export interface LruPos {
  /** Which list: a device's read list, or one of those for fragmented buckets and stripes. */
  readonly id: number;
  /** When it was last read, or how full it is; never 0. */
  readonly time: number;
  /** Device and bucket, in the upper and the lower half; a stripe's number in the list of stripes. */
  readonly bucket: bigint;
}

/** Mirrors lru_pos_id and lru_pos_time. */
export function lruPos(pos: Bpos): LruPos {
  const inode = bposInode(pos);
  return {
    id: Number(inode >> TIME_BITS),
    time: Number(inode & ((1n << TIME_BITS) - 1n)),
    bucket: bposOffset(pos),
  };
}

export const lru: KeyKind<Lru> = {
  name: 'lru',
  minBytes: BchLru.size,
  decode: value => BchLru.get(viewOf(value), 0),
  encode(value) {
    const target = new Uint8Array(BchLru.size);
    BchLru.put(viewOf(target), 0, value);
    return target;
  },
  validate: (_value, k) =>
    lruPos(k.p).time === 0 ? [{ error: 'lru_entry_at_time_0', detail: 'an entry at time 0, expected 1 or more' }] : [],
  text: (out, value) => out.print(`idx ${value.idx}`),
  json: value => ({ idx: value.idx }),
};
