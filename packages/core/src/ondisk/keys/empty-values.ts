// Key types without a value. deleted: nothing is here, in this node and all before it; never stays in a sorted node. whiteout and
// extent_whiteout: hides what older snapshots have here. hash_whiteout: a name was here, so a search for a name that hashes to a
// place before must go on after it. set: the position is the message; in freespace also the size.
// Source: btree/bkey_methods.c, v1.36.1.

import { toHex } from '../../util/hex.ts';
import type { KeyTypeName } from './key-types.ts';
import type { KeyKind } from './kind.ts';

/** Nothing, or bytes that no release has written. */
type NoValue = Uint8Array;

function empty(name: KeyTypeName, isEmptyOnly: boolean): KeyKind<NoValue> {
  return {
    name,
    minBytes: 0,
    decode: value => value,
    encode: value => value,
    validate(value) {
      if (!isEmptyOnly || value.length === 0) return [];
      return [{ error: 'bkey_val_size_nonzero', detail: `a value of ${value.length} bytes, expected none` }];
    },
    text: () => {},
    json: value => (value.length === 0 ? {} : { raw: toHex(value) }),
  };
}

export const deleted = empty('deleted', false);
export const whiteout = empty('whiteout', false);
export const extentWhiteout = empty('extent_whiteout', false);
export const hashWhiteout = empty('hash_whiteout', true);
export const set = empty('set', true);
