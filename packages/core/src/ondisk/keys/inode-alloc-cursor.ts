// Key type inode_alloc_cursor: where the search for a free inode number goes on. The position is 1:CURSOR, cursor 0 for numbers that
// fit 31 bits, the others one for each shard of the rest.
// Source: fs/inode_format.h and fs/inode.c, v1.36.1 and v1.39.2.

import { bposInode, bposOffset } from '../bpos.ts';
import { BLOCKDEV_INODE_MAX } from '../inode-unpack.ts';
import { at, layout, type Struct, u8, u16, u32, u64, viewOf } from '../layout.ts';
import type { KeyKind } from './kind.ts';

export const BchInodeAllocCursor = layout('bch_inode_alloc_cursor', 16, {
  bits: at(0, u8), // shard_inode_numbers_bits when it was written
  pad: at(1, u8),
  pad2: at(2, u16),
  gen: at(4, u32),
  idx: at(8, u64), // the next number to try
});
type BchInodeAllocCursor = Struct<typeof BchInodeAllocCursor>;

/** LOGGED_OPS_INUM_inode_cursors: these keys live in the logged_ops btree, beside the operations, which have inode 0. */
const INODE_CURSORS = 1n;
/** INT_MAX: the last number of the first cursor. */
const INUM_31BIT_MAX = 0x7fff_ffffn;

export const inodeAllocCursor: KeyKind<BchInodeAllocCursor> = {
  name: 'inode_alloc_cursor',
  minBytes: BchInodeAllocCursor.size,
  decode: value => BchInodeAllocCursor.get(viewOf(value), 0),
  encode(value) {
    const target = new Uint8Array(BchInodeAllocCursor.size);
    BchInodeAllocCursor.put(viewOf(target), 0, value);
    return target;
  },
  validate(_value, k) {
    if (bposInode(k.p) === INODE_CURSORS) return [];
    const detail = `position has inode ${bposInode(k.p)}, expected ${INODE_CURSORS}`;
    return [{ error: 'inode_alloc_cursor_inode_bad', detail }];
  },
  text(out, { idx, gen }, { style, shardInodeNumbersBits = 0 }, k) {
    if (style === '1.39') {
      const { min, max } = inodeRange(bposOffset(k.p), shardInodeNumbersBits);
      out.print(`min ${min} max ${max} consumed ${BigInt.asUintN(64, idx - min)} `);
    }
    out.print(`idx ${idx} generation ${gen}`);
  },
  json: ({ bits, gen, idx }) => ({ bits, generation: gen, idx }),
};

/** The numbers that a cursor hands out. Mirrors cursor_idx_min_max of 1.39. */
function inodeRange(cursor: bigint, shardBits: number): { readonly min: bigint; readonly max: bigint } {
  if (cursor === 0n) return { min: BLOCKDEV_INODE_MAX, max: INUM_31BIT_MAX };
  const shift = BigInt(63 - (shardBits & 31));
  const start = BigInt.asUintN(64, (cursor - 1n) << shift);
  return {
    min: start > INUM_31BIT_MAX ? start : INUM_31BIT_MAX + 1n,
    max: start | ((1n << shift) - 1n),
  };
}
