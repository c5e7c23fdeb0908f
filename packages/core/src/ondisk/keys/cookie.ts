// Key type cookie: a number that is raised when options changed and data has to be looked at again (reconcile_scan).
// Source: struct bch_cookie in bcachefs_format.h and btree/bkey_methods.c, v1.36.1.

import { at, layout, type Struct, u64, viewOf } from '../layout.ts';
import type { KeyKind } from './kind.ts';

export const BchCookie = layout('bch_cookie', 8, { cookie: at(0, u64) });
type BchCookie = Struct<typeof BchCookie>;

export const cookie: KeyKind<BchCookie> = {
  name: 'cookie',
  minBytes: BchCookie.size,
  decode: value => BchCookie.get(viewOf(value), 0),
  encode(value) {
    const target = new Uint8Array(BchCookie.size);
    BchCookie.put(viewOf(target), 0, value);
    return target;
  },
  validate: () => [],
  text: (out, value) => void out.print(`${value.cookie}`),
  json: value => value,
};
