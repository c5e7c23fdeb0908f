// struct bkey: the header of a key that is not packed, 40 bytes, followed by its value. Keys in journal entries and in the
// superblock are always of this form; packed keys in btree nodes are bkey-format.ts's.
// Source: struct bkey in bcachefs_format.h and bch2_bkey_to_text in btree/bkey_methods.c, v1.36.1.

import { bpos, bposText } from './bpos.ts';
import { CorruptError } from './errors.ts';
import { keyTypes } from './keys/key-types.ts';
import { at, layout, type Struct, u8, u32, u64, viewOf } from './layout.ts';

export const Bkey = layout('bkey', 40, {
  u64s: at(0, u8), // length of header and value together
  format: at(1, u8), // 7 bits, and needs_whiteout
  type: at(2, u8), // see keys/key-types.ts
  pad: at(3, u8),
  bversion_lo: at(4, u64), // raised when the contents change, for nonces and send/receive
  bversion_hi: at(12, u32),
  size: at(16, u32), // sectors; the key covers [p.offset - size, p.offset)
  p: at(20, bpos),
});
export type Bkey = Struct<typeof Bkey>;

/** BKEY_U64s: the length of the header. */
export const BKEY_U64S = 5;

/** The format number of keys that are not packed. */
export const KEY_FORMAT_CURRENT = 1;

/** A key and the bytes of its value. */
export interface Key {
  readonly k: Bkey;
  readonly value: Uint8Array;
}

/**
 * The keys that fill these bytes.
 * @throws CorruptError journal_entry_bkey_u64s_0 or journal_entry_bkey_past_end; the keys before the bad one are lost with it
 */
export function decodeKeys(source: Uint8Array): readonly Key[] {
  const view = viewOf(source);
  const keys: Key[] = [];
  for (let start = 0; start < source.length; ) {
    const u64s = view.getUint8(start);
    if (u64s < BKEY_U64S) {
      throw new CorruptError(
        'journal_entry_bkey_u64s_0',
        {},
        `key ${keys.length} has u64s ${u64s}, expected ${BKEY_U64S} or more`,
      );
    }
    const end = start + 8 * u64s;
    if (end > source.length) {
      throw new CorruptError(
        'journal_entry_bkey_past_end',
        {},
        `key ${keys.length} is ${8 * u64s} bytes long, only ${source.length - start} are left`,
      );
    }
    keys.push({
      k: bkeyAt(view, start),
      value: source.subarray(start + Bkey.size, end),
    });
    start = end;
  }
  return keys;
}

/** As Bkey.get. Member by member: journals are full of them, and the layout's own way takes four times as long. */
export function bkeyAt(view: DataView, start: number): Bkey {
  const lo = view.getUint32(start + 4, true);
  const hi = view.getUint32(start + 8, true);
  return {
    u64s: view.getUint8(start),
    format: view.getUint8(start + 1),
    type: view.getUint8(start + 2),
    pad: view.getUint8(start + 3),
    bversion_lo: lo === 0 && hi === 0 ? 0n : (BigInt(hi) << 32n) | BigInt(lo),
    bversion_hi: view.getUint32(start + 12, true),
    size: view.getUint32(start + 16, true),
    p: bpos.get(view, start + 20),
  };
}

/** `u64s 11 type btree_ptr_v2 SPOS_MAX len 0 ver 0` */
export function bkeyText(k: Bkey): string {
  const type = keyTypes.byId(k.type)?.name ?? k.type;
  return `u64s ${k.u64s} type ${type} ${bposText(k.p)} len ${k.size} ver ${k.bversion_lo}`;
}
