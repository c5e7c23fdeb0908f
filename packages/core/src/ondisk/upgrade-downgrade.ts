// What must be checked when a filesystem crosses a metadata version, as v1.13.0 has it, and for later filesystems as v1.25.3 (1.28). Upgrading past a version
// schedules its passes and silences its errors; a filesystem also carries the table for the way back (the downgrade
// section), so that an older kernel that mounts it knows what to check. The kernel writes that section itself at the
// first read-write mount.
// Source: UPGRADE_TABLE, DOWNGRADE_TABLE, bch2_sb_set_upgrade, bch2_sb_downgrade_update in sb-downgrade.c, v1.13.0
// and v1.25.3.

import { type FsckErrorName, fsckErrors } from './fsck-errors.ts';
import { fsckPassesOf, passMask } from './passes.ts';
import { type VersionName, versionMajor, versionOf } from './versions.ts';

export interface VersionChange {
  readonly version: number;
  /** Mask of stable pass ids. */
  readonly passes: bigint;
  /** Ids of the errors that are then fixed without counting or asking, in the reference's order. */
  readonly errors: readonly number[];
}

const everyFsckPass = fsckPassesOf('1.13');

function entry(version: VersionName, mask: bigint, errors: readonly FsckErrorName[]): VersionChange {
  return { version: versionOf(version), passes: mask, errors: errors.map(name => fsckErrors.idOf(name)) };
}

/** Applies when going from below `version` to it or beyond. */
export const upgradeTable: readonly VersionChange[] = [
  entry('backpointers', everyFsckPass, []),
  entry('inode_v3', everyFsckPass, []),
  entry('unwritten_extents', everyFsckPass, []),
  entry('bucket_gens', passMask(['bucket_gens_init']) | everyFsckPass, []),
  entry('lru_v2', everyFsckPass, []),
  entry('fragmentation_lru', everyFsckPass, []),
  entry('no_bps_in_alloc_keys', everyFsckPass, []),
  entry('snapshot_trees', everyFsckPass, []),
  entry('snapshot_skiplists', passMask(['check_snapshots']), ['snapshot_bad_depth', 'snapshot_bad_skiplist']),
  entry('deleted_inodes', passMask(['check_inodes']), ['unlinked_inode_not_on_deleted_list']),
  entry('rebalance_work', passMask(['set_fs_needs_reconcile']), []),
  entry('subvolume_fs_parent', passMask(['check_dirents']), ['subvol_fs_path_parent_wrong']),
  entry('btree_subvolume_children', passMask(['check_subvols']), ['subvol_children_not_set']),
  entry('mi_btree_bitmap', passMask(['check_allocations']), ['btree_bitmap_not_marked']),
  entry('disk_accounting_v2', passMask(['check_allocations']), [
    'bkey_version_in_future',
    'dev_usage_buckets_wrong',
    'dev_usage_sectors_wrong',
    'dev_usage_fragmented_wrong',
    'accounting_mismatch',
  ]),
  entry('disk_accounting_v3', passMask(['check_allocations']), [
    'bkey_version_in_future',
    'dev_usage_buckets_wrong',
    'dev_usage_sectors_wrong',
    'dev_usage_fragmented_wrong',
    'accounting_mismatch',
    'accounting_key_replicas_nr_devs_0',
    'accounting_key_replicas_nr_required_bad',
    'accounting_key_replicas_devs_unsorted',
    'accounting_key_junk_at_end',
  ]),
  entry('disk_accounting_inum', passMask(['check_allocations']), ['accounting_mismatch']),
  entry('rebalance_work_acct_fix', passMask(['check_allocations']), ['accounting_mismatch']),
  entry('inode_has_child_snapshots', passMask(['check_inodes']), ['inode_has_child_snapshots_wrong']),
  entry('backpointer_bucket_gen', passMask(['check_extents_to_backpointers']), [
    'backpointer_to_missing_ptr',
    'ptr_to_missing_backpointer',
  ]),
  entry('disk_accounting_big_endian', passMask(['check_allocations']), [
    'accounting_mismatch',
    'accounting_key_replicas_nr_devs_0',
    'accounting_key_junk_at_end',
  ]),
  entry('cached_backpointers', passMask(['check_extents_to_backpointers']), ['ptr_to_missing_backpointer']),
  entry('stripe_backpointers', passMask(['check_extents_to_backpointers']), ['ptr_to_missing_backpointer']),
  entry('inode_has_case_insensitive', passMask(['check_inodes']), [
    'inode_has_case_insensitive_not_set',
    'inode_parent_has_case_insensitive_not_set',
  ]),
];

/** Applies when going from `version` or beyond to below it. */
const downgradeTable: readonly VersionChange[] = [
  entry('bucket_stripe_sectors', 0n, []),
  entry('disk_accounting_v2', passMask(['check_allocations']), [
    'dev_usage_buckets_wrong',
    'dev_usage_sectors_wrong',
    'dev_usage_fragmented_wrong',
    'fs_usage_hidden_wrong',
    'fs_usage_btree_wrong',
    'fs_usage_data_wrong',
    'fs_usage_cached_wrong',
    'fs_usage_reserved_wrong',
    'fs_usage_nr_inodes_wrong',
    'fs_usage_persistent_reserved_wrong',
    'fs_usage_replicas_wrong',
    'bkey_version_in_future',
  ]),
  entry('disk_accounting_v3', passMask(['check_allocations']), [
    'dev_usage_buckets_wrong',
    'dev_usage_sectors_wrong',
    'dev_usage_fragmented_wrong',
    'fs_usage_hidden_wrong',
    'fs_usage_btree_wrong',
    'fs_usage_data_wrong',
    'fs_usage_cached_wrong',
    'fs_usage_reserved_wrong',
    'fs_usage_nr_inodes_wrong',
    'fs_usage_persistent_reserved_wrong',
    'fs_usage_replicas_wrong',
    'accounting_replicas_not_marked',
    'bkey_version_in_future',
  ]),
  entry('rebalance_work_acct_fix', passMask(['check_allocations']), ['accounting_mismatch']),
];

/** What filesystems of later versions have instead, or besides: see `downgradeTable`. */
const laterDowngradeTable: readonly VersionChange[] = [
  ...downgradeTable.filter(({ version }) => version !== versionOf('rebalance_work_acct_fix')),
  entry('rebalance_work_acct_fix', passMask(['check_allocations']), [
    'accounting_mismatch',
    'accounting_key_replicas_nr_devs_0',
    'accounting_key_junk_at_end',
  ]),
  entry('backpointer_bucket_gen', passMask(['check_extents_to_backpointers']), [
    'backpointer_bucket_offset_wrong',
    'backpointer_to_missing_ptr',
    'ptr_to_missing_backpointer',
  ]),
  entry('disk_accounting_big_endian', passMask(['check_allocations']), [
    'accounting_mismatch',
    'accounting_key_replicas_nr_devs_0',
    'accounting_key_junk_at_end',
  ]),
];

/** Passes to schedule and errors to silence when upgrading; mirrors bch2_sb_set_upgrade. */
export function upgradeNeeds(from: number, to: number): Omit<VersionChange, 'version'> {
  return together(upgradeTable.filter(({ version }) => version > from && version <= to));
}

/** What is to be checked when a filesystem of version `from` goes back to `to`; mirrors bch2_sb_set_downgrade. */
export function downgradeNeeds(from: number, to: number): Omit<VersionChange, 'version'> {
  return together(downgradeEntries(from).filter(({ version }) => version > to && version <= from));
}

function together(crossed: readonly VersionChange[]): Omit<VersionChange, 'version'> {
  return {
    passes: crossed.reduce((mask, change) => mask | change.passes, 0n),
    errors: [...new Set(crossed.flatMap(change => change.errors))].sort((a, b) => a - b),
  };
}

/**
 * The entries of the downgrade section of a filesystem of this version: those of the same major version that ask for
 * something. With stripes in use, bucket_stripe_sectors asks too: check_allocations, and alloc_key_dirty_sectors_wrong
 * is silenced.
 */
export function downgradeEntries(version: number, hasStripes = false): VersionChange[] {
  const table = version < versionOf('backpointer_bucket_gen') ? downgradeTable : laterDowngradeTable;
  return table
    .filter(change => versionMajor(change.version) === versionMajor(version))
    .map(change => (hasStripes && change.version === versionOf('bucket_stripe_sectors') ? withStripes(change) : change))
    .filter(change => change.passes !== 0n || change.errors.length > 0);
}

function withStripes(change: VersionChange): VersionChange {
  return {
    version: change.version,
    passes: change.passes | passMask(['check_allocations']),
    errors: [...change.errors, fsckErrors.idOf('alloc_key_dirty_sectors_wrong')],
  };
}
