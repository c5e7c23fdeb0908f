// Key types inline_data and indirect_inline_data: file data that is so short that it is kept in the key, filled up with zeroes to a
// multiple of 8; the file's size says where it ends. The indirect one is shared, in the reflink btree.
// Source: data/reflink_format.h, data/extents.h, data/reflink.c and btree/bkey_methods.c, v1.36.1.

import { toHex } from '../../util/hex.ts';
import { at, layout, u64, viewOf } from '../layout.ts';
import type { KeyKind } from './kind.ts';

/** How many bytes of data are shown. */
const SHOWN_BYTES = 32;

export interface InlineData {
  readonly data: Uint8Array;
}

const dataText = ({ data }: InlineData): string => `datalen ${data.length}: ${toHex(data.subarray(0, SHOWN_BYTES))}`;

export const inlineData: KeyKind<InlineData> = {
  name: 'inline_data',
  minBytes: 0,
  decode: value => ({ data: value }),
  encode: value => value.data,
  validate: () => [],
  text: (out, value) => void out.print(dataText(value)),
  json: value => ({ data: toHex(value.data) }),
};

/** struct bch_indirect_inline_data without its data. */
export const BchIndirectInlineData = layout('bch_indirect_inline_data', 8, { refcount: at(0, u64) });

export interface IndirectInlineData extends InlineData {
  readonly refcount: bigint;
}

export const indirectInlineData: KeyKind<IndirectInlineData> = {
  name: 'indirect_inline_data',
  minBytes: BchIndirectInlineData.size,
  decode: value => ({
    ...BchIndirectInlineData.get(viewOf(value), 0),
    data: value.subarray(BchIndirectInlineData.size),
  }),
  encode(value) {
    const target = new Uint8Array(BchIndirectInlineData.size + value.data.length);
    BchIndirectInlineData.put(viewOf(target), 0, value);
    target.set(value.data, BchIndirectInlineData.size);
    return target;
  },
  validate: () => [],
  text: (out, value) => void out.print(`refcount ${value.refcount} ${dataText(value)}`),
  json: value => ({ refcount: value.refcount, data: toHex(value.data) }),
};
