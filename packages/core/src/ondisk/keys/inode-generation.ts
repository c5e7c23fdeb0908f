// Key type inode_generation: an inode was here; the next one with its number has to have a greater generation. Source: fs/inode_format.h and fs/inode.c, v1.36.1.

import { bposInode } from '../bpos.ts';
import { at, layout, type Struct, u32, viewOf } from '../layout.ts';
import type { KeyKind } from './kind.ts';

export const BchInodeGeneration = layout('bch_inode_generation', 8, {
  bi_generation: at(0, u32),
  pad: at(4, u32),
});
type BchInodeGeneration = Struct<typeof BchInodeGeneration>;

export const inodeGeneration: KeyKind<BchInodeGeneration> = {
  name: 'inode_generation',
  minBytes: BchInodeGeneration.size,
  decode: value => BchInodeGeneration.get(viewOf(value), 0),
  encode(value) {
    const target = new Uint8Array(BchInodeGeneration.size);
    BchInodeGeneration.put(viewOf(target), 0, value);
    return target;
  },
  validate(_value, k) {
    if (bposInode(k.p) === 0n) return [];
    return [{ error: 'inode_pos_inode_nonzero', detail: `position has inode ${bposInode(k.p)}, expected 0` }];
  },
  text: (out, value) => void out.print(`generation: ${value.bi_generation}`),
  json: ({ bi_generation }) => ({ bi_generation }),
};
