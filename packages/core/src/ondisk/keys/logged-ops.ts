// Key types logged_op_truncate, logged_op_finsert and logged_op_stripe_update: work that takes many transactions and has been begun;
// after a crash the next mount finishes it.
// Source: fs/logged_ops_format.h, data/io_misc.c, v1.36.1; data/ec/create.c, v1.39.2.

import { toHex } from '../../util/hex.ts';
import { at, bytes, layout, type Struct, u8, u32, u64, viewOf } from '../layout.ts';
import type { KeyKind } from './kind.ts';

export const BchLoggedOpTruncate = layout('bch_logged_op_truncate', 24, {
  subvol: at(0, u32),
  pad: at(4, u32),
  inum: at(8, u64),
  new_i_size: at(16, u64), // bytes
});
type BchLoggedOpTruncate = Struct<typeof BchLoggedOpTruncate>;

export const loggedOpTruncate: KeyKind<BchLoggedOpTruncate> = {
  name: 'logged_op_truncate',
  minBytes: BchLoggedOpTruncate.size,
  decode: value => BchLoggedOpTruncate.get(viewOf(value), 0),
  encode(value) {
    const target = new Uint8Array(BchLoggedOpTruncate.size);
    BchLoggedOpTruncate.put(viewOf(target), 0, value);
    return target;
  },
  validate: () => [],
  text: (out, value) => void out.print(`subvol=${value.subvol} inum=${value.inum} new_i_size=${value.new_i_size}`),
  json: ({ subvol, inum, new_i_size }) => ({ subvol, inum, new_i_size }),
};

/** Moves the extents after a point of a file, for inserting or collapsing a range. */
export const BchLoggedOpFinsert = layout('bch_logged_op_finsert', 40, {
  state: at(0, u8), // 0 start, 1 shift_extents, 2 finish
  pad: at(1, bytes(3)),
  subvol: at(4, u32),
  inum: at(8, u64),
  dst_offset: at(16, u64), // sectors; signed in the reference's text
  src_offset: at(24, u64), // sectors
  pos: at(32, u64), // sectors: how far it has come
});
type BchLoggedOpFinsert = Struct<typeof BchLoggedOpFinsert>;

/** The reference lets values pass that end before src_offset; what is not there is zero. */
const FINSERT_MIN_BYTES = 24;

export const loggedOpFinsert: KeyKind<BchLoggedOpFinsert> = {
  name: 'logged_op_finsert',
  minBytes: FINSERT_MIN_BYTES,
  decode(value) {
    const whole = new Uint8Array(BchLoggedOpFinsert.size);
    whole.set(value.subarray(0, whole.length));
    return BchLoggedOpFinsert.get(viewOf(whole), 0);
  },
  encode(value) {
    const target = new Uint8Array(BchLoggedOpFinsert.size);
    BchLoggedOpFinsert.put(viewOf(target), 0, value);
    return target;
  },
  validate: () => [],
  text: (out, value) =>
    void out.print(
      `subvol=${value.subvol} inum=${value.inum} dst_offset=${BigInt.asIntN(64, value.dst_offset)} src_offset=${value.src_offset}`,
    ),
  json: ({ pad: _pad, ...value }) => value,
};

/** Moves the blocks of a stripe that is partly empty to another one. */
export const BchLoggedOpStripeUpdate = layout('bch_logged_op_stripe_update', 40, {
  old_idx: at(0, u64),
  new_idx: at(8, u64),
  old_blocks_nr: at(16, u8),
  old_block_map: at(17, bytes(16)),
  pad: at(33, bytes(7)),
});
type BchLoggedOpStripeUpdate = Struct<typeof BchLoggedOpStripeUpdate>;

export const loggedOpStripeUpdate: KeyKind<BchLoggedOpStripeUpdate> = {
  name: 'logged_op_stripe_update',
  minBytes: BchLoggedOpStripeUpdate.size,
  decode: value => BchLoggedOpStripeUpdate.get(viewOf(value), 0),
  encode(value) {
    const target = new Uint8Array(BchLoggedOpStripeUpdate.size);
    BchLoggedOpStripeUpdate.put(viewOf(target), 0, value);
    return target;
  },
  validate: () => [],
  text: (out, { old_idx, new_idx, old_blocks_nr }) =>
    void out.print(`old_idx=${old_idx} new_idx=${new_idx} old_blocks_nr=${old_blocks_nr}`),
  json: ({ pad: _pad, old_block_map, ...value }) => ({ ...value, old_block_map: toHex(old_block_map) }),
};
