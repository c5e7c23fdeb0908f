// Everything that can be found wrong with a filesystem, the reference's fsck errors and our own faults alike: what a CorruptError and
// a finding are named by. A name that is in neither table does not compile.

import { assert } from './assert.ts';
import { type FsckError, type FsckErrorName, fsckErrors } from './fsck-errors.ts';
import { type OwnFaultName, ownFaults, type Severity } from './own-faults.ts';

export type FaultName = FsckErrorName | OwnFaultName;

export interface FaultRow {
  readonly name: FaultName;
  /** Stable: the reference's below 10000, ours from there on. */
  readonly id: number;
  readonly severity: Severity;
  /** It can be computed from the rest, so its repair cannot lose anything and may be made unasked. */
  readonly safe: boolean;
}

/** Errors of the reference about what everything else hangs on. */
export const FATAL_FSCK_ERRORS: readonly FsckErrorName[] = [
  'dirty_but_no_journal_entries',
  'dirty_but_no_journal_entries_post_drop_nonflushes',
  'sb_clean_missing',
  'journal_entries_missing',
  'btree_node_unreadable',
  'btree_root_bkey_invalid',
  'btree_root_read_error',
  'btree_root_bad_min_key',
  'btree_root_bad_max_key',
  'btree_root_unreadable_and_scan_found_nothing',
  'btree_node_topology_empty_interior_node',
  'root_subvol_missing',
  'root_dir_missing',
  'root_inode_not_dir',
];

/** How errors of the reference begin that are about what can be computed from the rest. */
export const WARNING_FSCK_PREFIXES: readonly string[] = [
  'alloc_key_',
  'need_discard_',
  'freespace_',
  'bucket_gens_',
  'lru_entry_',
  'backpointer_',
  'ptr_to_missing_backpointer',
  'ptr_to_missing_alloc_key',
  'ptr_to_missing_replicas_entry',
  'accounting_',
  'fs_usage_',
  'dev_usage_',
  'btree_bitmap_not_marked',
  'reflink_v_refcount_wrong',
  'stripe_sector_count_wrong',
  'subvol_children_',
  'snapshot_bad_depth',
  'snapshot_bad_skiplist',
  'inode_i_sectors_wrong',
  'inode_has_child_snapshots_wrong',
  'inode_wrong_nlink',
  'inode_dir_wrong_nlink',
  'journal_entry_replicas_not_marked',
  'unlinked_inode_not_on_deleted_list',
  'deleted_inode_',
];

const fatal: ReadonlySet<string> = new Set(FATAL_FSCK_ERRORS);

export function faultOf(name: FaultName): FaultRow {
  const row = ownFaults.byName(name) ?? fsckErrors.byName(name);
  assert(row !== undefined, `no fault is called ${name}`);
  const severity = 'severity' in row ? row.severity : severityOf(row);
  return { name: row.name, id: row.id, severity, safe: severity === 'warning' };
}

function severityOf({ name }: FsckError): Severity {
  if (fatal.has(name)) return 'fatal';
  return WARNING_FSCK_PREFIXES.some(prefix => name.startsWith(prefix)) ? 'warning' : 'error';
}
