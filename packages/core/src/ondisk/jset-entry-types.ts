// Types of the sub-entries of a journal entry (struct jset_entry.type), used in the superblock's clean section too.
// Source: BCH_JSET_ENTRY_TYPES in bcachefs_format.h, v1.13.0 to v1.39.2.

import type { ReleasedRow } from './releases.ts';
import { type Row, type Table, table } from './table.ts';

interface JsetEntryTypeRow extends ReleasedRow {
  /** The payload is keys. */
  readonly holdsKeys: boolean;
}

const rows = [
  { id: 0, name: 'btree_keys', since: '1.13', holdsKeys: true },
  { id: 1, name: 'btree_root', since: '1.13', holdsKeys: true },
  { id: 2, name: 'prio_ptrs', since: '1.13', holdsKeys: false },
  { id: 3, name: 'blacklist', since: '1.13', holdsKeys: false },
  { id: 4, name: 'blacklist_v2', since: '1.13', holdsKeys: false },
  { id: 5, name: 'usage', since: '1.13', holdsKeys: false },
  { id: 6, name: 'data_usage', since: '1.13', holdsKeys: false },
  { id: 7, name: 'clock', since: '1.13', holdsKeys: false },
  { id: 8, name: 'dev_usage', since: '1.13', holdsKeys: false },
  { id: 9, name: 'log', since: '1.13', holdsKeys: false },
  { id: 10, name: 'overwrite', since: '1.13', holdsKeys: true },
  { id: 11, name: 'write_buffer_keys', since: '1.13', holdsKeys: true },
  { id: 12, name: 'datetime', since: '1.13', holdsKeys: false },
  { id: 13, name: 'log_bkey', since: '1.36', holdsKeys: true },
  { id: 14, name: 'rewind_limit', since: '1.39', holdsKeys: false },
  { id: 15, name: 'rewind', since: '1.39', holdsKeys: false },
] as const satisfies readonly JsetEntryTypeRow[];

export type JsetEntryTypeName = (typeof rows)[number]['name'];
export type JsetEntryType = JsetEntryTypeRow & { readonly name: JsetEntryTypeName };

export const jsetEntryTypes: Table<JsetEntryType> = table<JsetEntryType>('journal entry type', rows);

/** Subtypes of a `usage` sub-entry, in jset_entry.btree_id: BCH_FS_USAGE_TYPES. */
export const fsUsageTypes: Table<Row> = table<Row>('usage type', [
  { id: 0, name: 'reserved' },
  { id: 1, name: 'inodes' },
  { id: 2, name: 'key_version' },
]);
