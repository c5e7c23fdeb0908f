// Key type btree_ptr: the pointer to a btree node before btree_ptr_v2, nothing but extent entries.
// Source: data/extents_format.h and data/extents.c, v1.36.1.

import type { Bkey } from '../bkey.ts';
import { decodeExtentEntries, type ExtentEntry, extentEntriesText, extentEntryJson } from '../extent-entries.ts';
import type { FaultName } from '../faults.ts';
import { extentPtrsProblems } from './extent-ptrs.ts';
import type { KeyKind, KeyProblem, KeyValidateContext } from './kind.ts';

/** BKEY_BTREE_PTR_VAL_U64s_MAX without the fields of btree_ptr_v2, in u64s: four replicas and two reconcile entries. */
const ENTRY_U64S_MAX = 6;

export interface BtreePtr {
  readonly entries: readonly ExtentEntry[];
  /** The entries as they are on disk. */
  readonly entryBytes: Uint8Array;
}

export const btreePtr: KeyKind<BtreePtr> = {
  name: 'btree_ptr',
  minBytes: 0,
  decode: value => ({ entries: decodeExtentEntries(value), entryBytes: value }),
  encode: value => value.entryBytes,
  validate: (value, k, context) => btreePtrEntryProblems(value, 'btree_ptr_val_too_big', k, context),
  text: (out, value, context) => extentEntriesText(out, value.entries, context),
  json: value => ({ entries: value.entries.map(extentEntryJson) }),
};

/** What both types of btree pointers ask of their entries. */
export function btreePtrEntryProblems(
  value: BtreePtr,
  tooBig: FaultName,
  k: Bkey,
  context: KeyValidateContext | undefined,
): KeyProblem[] {
  const problems = extentPtrsProblems(value.entries, k, context);
  if (value.entryBytes.length <= 8 * ENTRY_U64S_MAX) return problems;
  const detail = `${value.entryBytes.length} bytes of entries, at most ${8 * ENTRY_U64S_MAX} expected`;
  return [{ error: tooBig, detail }, ...problems];
}
