// Key type btree_ptr: the pointer to a btree node before btree_ptr_v2, nothing but extent entries.
// Source: data/extents_format.h and data/extents.c, v1.36.1.

import { decodeExtentEntries, type ExtentEntry, extentEntriesText, extentEntryJson } from '../extent-entries.ts';
import type { KeyKind, KeyProblem } from './kind.ts';

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
  validate: value => btreePtrEntryProblems(value, 'btree_ptr_val_too_big'),
  text: (out, value, context) => extentEntriesText(out, value.entries, context),
  json: value => ({ entries: value.entries.map(extentEntryJson) }),
};

/** What both types of btree pointers ask of their entries. */
export function btreePtrEntryProblems(value: BtreePtr, tooBig: string): KeyProblem[] {
  const problems: KeyProblem[] = [];
  if (value.entryBytes.length > 8 * ENTRY_U64S_MAX) {
    problems.push({
      error: tooBig,
      detail: `${value.entryBytes.length} bytes of entries, at most ${8 * ENTRY_U64S_MAX} expected`,
    });
  }
  const devices = value.entries.flatMap(entry => (entry.type === 'ptr' ? [entry.dev] : []));
  if (devices.length === 0) problems.push({ error: 'extent_ptrs_no_ptrs', detail: 'no pointer' });
  const twice = devices.find((dev, i) => devices.indexOf(dev) !== i);
  if (twice !== undefined)
    problems.push({ error: 'ptr_to_duplicate_device', detail: `several pointers to device ${twice}` });
  for (const entry of value.entries) {
    if (entry.type === 'unknown') {
      problems.push({
        error: 'extent_ptrs_invalid_entry',
        detail: `an entry of unknown type: ${entry.word.toString(16)}`,
      });
    } else if (entry.type !== 'ptr' && entry.type !== 'reconcile' && entry.type !== 'reconcile_bp') {
      problems.push({
        error: 'btree_ptr_has_non_ptr',
        detail: `an entry of type ${entry.type}, expected only pointers`,
      });
    } else if (entry.type === 'ptr' && entry.unwritten) {
      problems.push({ error: 'extent_ptrs_unwritten', detail: `an unwritten pointer to device ${entry.dev}` });
    }
  }
  return problems;
}
