// Key type btree_ptr_v2: the pointer to a btree node: which node is expected there (seq, the range that it covers), how much of it
// has been written, and extent entries that say where it is. The key's position is the node's greatest position.
// Source: struct bch_btree_ptr_v2 in data/extents_format.h and data/extents.c, v1.36.1.

import { type Bpos, bpos, bposText, compareBpos } from '../bpos.ts';
import { decodeExtentEntries, extentEntriesText, extentEntryJson } from '../extent-entries.ts';
import { at, layout, type Struct, u16, u64, viewOf } from '../layout.ts';
import { type BtreePtr, btreePtrEntryProblems } from './btree-ptr.ts';
import type { KeyKind } from './kind.ts';

/** struct bch_btree_ptr_v2 without the entries that follow it. */
export const BchBtreePtrV2 = layout('bch_btree_ptr_v2', 40, {
  mem_ptr: at(0, u64), // the kernel's own; anything on disk
  seq: at(8, u64), // random; the same in every bset of the node
  sectors_written: at(16, u16),
  flags: at(18, u16), // see RANGE_UPDATED
  min_key: at(20, bpos),
});
export type BchBtreePtrV2 = Struct<typeof BchBtreePtrV2>;

/** Bit of `flags`: min_key is authoritative, the node itself may still have its old range. */
export const BTREE_PTR_RANGE_UPDATED = 1;

export interface BtreePtrV2 extends BchBtreePtrV2, BtreePtr {
  readonly min_key: Bpos;
}

export const btreePtrV2: KeyKind<BtreePtrV2> = {
  name: 'btree_ptr_v2',
  minBytes: BchBtreePtrV2.size,
  decode(value) {
    const entryBytes = value.subarray(BchBtreePtrV2.size);
    return { ...BchBtreePtrV2.get(viewOf(value), 0), entries: decodeExtentEntries(entryBytes), entryBytes };
  },
  encode(value) {
    const target = new Uint8Array(BchBtreePtrV2.size + value.entryBytes.length);
    BchBtreePtrV2.put(viewOf(target), 0, value);
    target.set(value.entryBytes, BchBtreePtrV2.size);
    return target;
  },
  validate(value, k, context) {
    const problems = btreePtrEntryProblems(value, 'btree_ptr_v2_val_too_big', k, context);
    if (compareBpos(value.min_key, k.p) >= 0) {
      problems.push({
        error: 'btree_ptr_v2_min_key_bad',
        detail: `min_key ${bposText(value.min_key)} is not before the key's position ${bposText(k.p)}`,
      });
    }
    return problems;
  },
  text(out, value, context) {
    const range = value.flags & BTREE_PTR_RANGE_UPDATED ? 'R ' : '';
    out.print(
      `\nseq ${value.seq.toString(16)} written ${value.sectors_written} min_key ${range}${bposText(value.min_key)} `,
    );
    extentEntriesText(out, value.entries, context);
  },
  json: value => ({
    seq: value.seq.toString(16),
    sectors_written: value.sectors_written,
    range_updated: (value.flags & BTREE_PTR_RANGE_UPDATED) !== 0,
    min_key: bposText(value.min_key),
    entries: value.entries.map(extentEntryJson),
  }),
};
