// Key type reflink_v: an indirect extent: shared file data in the reflink btree, with the number of reflink_p keys that refer to it.
// Source: data/reflink_format.h and data/reflink.c, v1.36.1.

import { bposInode, bposOffset } from '../bpos.ts';
import { decodeExtentEntries, extentEntriesText, extentEntryJson } from '../extent-entries.ts';
import { at, layout, u64, viewOf } from '../layout.ts';
import type { Extent } from './extent.ts';
import { extentPtrsProblems } from './extent-ptrs.ts';
import type { KeyKind, KeyProblem } from './kind.ts';
import { REFLINK_IDX_MAX } from './reflink-p.ts';

/** struct bch_reflink_v without the entries that follow it. */
export const BchReflinkV = layout('bch_reflink_v', 8, { refcount: at(0, u64) });

export interface ReflinkV extends Extent {
  readonly refcount: bigint;
}

export const reflinkV: KeyKind<ReflinkV> = {
  name: 'reflink_v',
  minBytes: BchReflinkV.size,
  decode(value) {
    const entryBytes = value.subarray(BchReflinkV.size);
    return { ...BchReflinkV.get(viewOf(value), 0), entries: decodeExtentEntries(entryBytes), entryBytes };
  },
  encode(value) {
    const target = new Uint8Array(BchReflinkV.size + value.entryBytes.length);
    BchReflinkV.put(viewOf(target), 0, value);
    target.set(value.entryBytes, BchReflinkV.size);
    return target;
  },
  validate(value, k, context) {
    const problems: KeyProblem[] = [];
    if (bposInode(k.p) !== 0n || bposOffset(k.p) > REFLINK_IDX_MAX) {
      const detail = `position ${bposInode(k.p)}:${bposOffset(k.p)} is above 0:${REFLINK_IDX_MAX}`;
      problems.push({ error: 'reflink_v_pos_bad', detail });
    }
    return [...problems, ...extentPtrsProblems(value.entries, k, context)];
  },
  text(out, value, context) {
    out.print(`refcount: ${value.refcount} `);
    extentEntriesText(out, value.entries, context);
  },
  json: value => ({ refcount: value.refcount, entries: value.entries.map(extentEntryJson) }),
};
