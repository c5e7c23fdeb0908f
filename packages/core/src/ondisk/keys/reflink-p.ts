// Key type reflink_p: file data that is shared: a piece of the reflink btree, which begins at sector `idx` there and is as long as
// the key. The reference that it holds may reach farther, by the pads, since indirect extents can be split later.
// Source: data/reflink_format.h and data/reflink.c, v1.36.1 and v1.39.2.

import { at, layout, u32, u64, viewOf } from '../layout.ts';
import type { KeyKind } from './kind.ts';

/** struct bch_reflink_p. */
export const BchReflinkP = layout('bch_reflink_p', 16, {
  idx_flags: at(0, u64), // 56 bits of idx, then the flags
  front_pad: at(8, u32), // sectors before idx that are referenced too
  back_pad: at(12, u32), // sectors after the end
});

const IDX_BITS = 56n;
/** REFLINK_P_IDX_MAX. */
export const REFLINK_IDX_MAX = (1n << IDX_BITS) - 1n;
const ERROR_BIT = 1n << 56n;
const MAY_UPDATE_OPTIONS_BIT = 1n << 57n;

export interface ReflinkP {
  /** Sector in the reflink btree. */
  readonly idx: bigint;
  /** Something that it points to was missing when it was last looked at. */
  readonly error: boolean;
  /** The file's options may be given on to the shared extent. */
  readonly may_update_options: boolean;
  /** Bits 58 to 63, in place. */
  readonly unknown_flags: bigint;
  readonly front_pad: number;
  readonly back_pad: number;
}

export const reflinkP: KeyKind<ReflinkP> = {
  name: 'reflink_p',
  minBytes: BchReflinkP.size,
  decode(value) {
    const { idx_flags, front_pad, back_pad } = BchReflinkP.get(viewOf(value), 0);
    return {
      idx: idx_flags & REFLINK_IDX_MAX,
      error: (idx_flags & ERROR_BIT) !== 0n,
      may_update_options: (idx_flags & MAY_UPDATE_OPTIONS_BIT) !== 0n,
      unknown_flags: (idx_flags >> 58n) << 58n,
      front_pad,
      back_pad,
    };
  },
  encode(value) {
    const target = new Uint8Array(BchReflinkP.size);
    const flags =
      (value.error ? ERROR_BIT : 0n) | (value.may_update_options ? MAY_UPDATE_OPTIONS_BIT : 0n) | value.unknown_flags;
    BchReflinkP.put(viewOf(target), 0, { ...value, idx_flags: value.idx | flags });
    return target;
  },
  validate({ idx, front_pad }) {
    if (idx >= BigInt(front_pad)) return [];
    return [{ error: 'reflink_p_front_pad_bad', detail: `idx ${idx} is less than front_pad ${front_pad}` }];
  },
  text(out, value, { style }) {
    out.print(`idx ${value.idx} front_pad ${value.front_pad} back_pad ${value.back_pad}`);
    if (value.error) out.print(' error');
    if (value.may_update_options && style === '1.39') out.print(' may_update_opts');
  },
  json: ({ unknown_flags: _flags, ...value }) => value,
};
