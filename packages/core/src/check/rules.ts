// The rules: what must hold between the keys of a filesystem, by the reference's name for a breach (fsck-errors.ts) where it has one.
// Each says which metadata versions have it: a filesystem outside of that range is not judged by the rule, and the result says so.

import type { Row } from '../ondisk/table.ts';
import { type Table, table } from '../ondisk/table.ts';
import { type VersionName, versionOf } from '../ondisk/versions.ts';

interface RuleRow extends Row {
  readonly group: RuleGroup;
  /** The first metadata version that has it. */
  readonly since?: VersionName;
  /** The first one that has it otherwise than it is checked here. */
  readonly until?: VersionName;
}

export type RuleGroup =
  | 'shape'
  | 'alloc'
  | 'lru'
  | 'backpointers'
  | 'accounting'
  | 'stripes'
  | 'reflink'
  | 'snapshots'
  | 'files';

/** Rules of one group, one range of versions. Ids are only there to tell rows apart. */
function rules<const N extends string>(
  from: number,
  group: RuleGroup,
  range: Pick<RuleRow, 'since' | 'until'>,
  names: readonly N[],
) {
  return names.map((name, i) => ({ id: from + i, name, group, ...range }));
}

const rows = [
  ...rules(0, 'shape', {}, [
    'unreadable', // a node, a bset or a key that the reader could not use
    'btree_node_topology_bad_min_key',
    'btree_node_topology_bad_max_key',
    'btree_node_overlap', // two nodes on the same sectors, or one that crosses the end of its bucket
    'btree_ptr_v2_written_0',
  ]),
  ...rules(50, 'shape', { since: 'mi_btree_bitmap' }, ['btree_bitmap_not_marked']),
  ...rules(100, 'alloc', {}, [
    'alloc_key_to_missing_dev_bucket',
    'alloc_key_data_type_wrong',
    'alloc_key_dirty_sectors_wrong',
    'alloc_key_cached_sectors_wrong',
    'alloc_key_oldest_gen_wrong', // newer than a pointer, or than the bucket itself
    'alloc_key_journal_seq_in_future',
    'alloc_key_cached_but_read_time_zero',
    'bucket_metadata_type_mismatch',
    'ptr_to_invalid_device',
    'ptr_to_missing_alloc_key',
    'ptr_gen_newer_than_bucket_gen',
    'ptr_too_stale',
    'stale_dirty_ptr',
    'ptr_bucket_data_type_mismatch',
    'bucket_sector_count_overflow',
    'freespace_key_wrong',
    'need_discard_freespace_key_to_invalid_dev_bucket',
    'need_discard_freespace_key_bad',
    'bucket_gens_key_wrong',
    'bucket_gens_to_invalid_dev',
    'bucket_gens_to_invalid_buckets',
    'bucket_gens_nonzero_for_invalid_buckets',
  ]),
  ...rules(140, 'alloc', { until: 'need_discard_by_journal_seq' }, ['need_discard_key_wrong']),
  ...rules(150, 'alloc', { until: 'backpointer_bucket_gen' }, ['alloc_key_external_backpointers_nonzero']),
  ...rules(160, 'alloc', { since: 'bucket_stripe_sectors' }, ['alloc_key_stripe_sectors_wrong']),
  ...rules(170, 'alloc', { until: 'bucket_stripe_index' }, [
    'alloc_key_stripe_wrong',
    'alloc_key_stripe_redundancy_wrong',
  ]),
  ...rules(200, 'lru', { until: 'stripe_lru' }, [
    'alloc_key_to_missing_lru_entry',
    'lru_entry_to_invalid_bucket',
    'lru_entry_bad',
  ]),
  ...rules(250, 'backpointers', { until: 'cached_backpointers' }, [
    'ptr_to_missing_backpointer',
    'backpointer_to_missing_ptr',
    'backpointer_to_missing_device',
  ]),
  ...rules(300, 'accounting', { since: 'disk_accounting_inum', until: 'backpointer_bucket_gen' }, [
    'accounting_mismatch',
    'accounting_inum_mismatch',
    'rebalance_work_missing',
    'rebalance_work_bad',
  ]),
  ...rules(320, 'accounting', { until: 'no_sb_user_data_replicas' }, ['ptr_to_missing_replicas_entry']),
  ...rules(350, 'stripes', { until: 'stripe_backpointers' }, [
    'ptr_to_missing_stripe',
    'ptr_to_incorrect_stripe',
    'stripe_sector_count_wrong',
    'stripe_bucket_shared',
  ]),
  ...rules(400, 'reflink', {}, ['reflink_v_refcount_wrong', 'reflink_p_to_missing_reflink_v']),
  ...rules(450, 'snapshots', { until: 'snapshot_deletion_v2' }, [
    'bkey_in_missing_snapshot',
    'snapshot_node_missing',
    'snapshot_parent_bad',
    'snapshot_child_bad',
    'snapshot_bad_depth',
    'snapshot_bad_skiplist',
    'snapshot_should_not_have_subvol',
    'snapshot_subvol_backref_wrong',
    'snapshot_to_bad_snapshot_tree',
    'snapshot_tree_to_missing_snapshot',
    'snapshot_tree_to_missing_subvol',
    'snapshot_tree_to_wrong_subvol',
    'snapshot_tree_to_snapshot_subvol',
    'subvol_missing',
    'subvol_to_missing_root',
    'subvol_root_wrong_bi_subvol',
    'subvol_not_master_and_not_snapshot',
    'subvol_root_fs_path_parent_nonzero',
    'subvol_unreachable',
  ]),
  ...rules(480, 'snapshots', { since: 'btree_subvolume_children', until: 'snapshot_deletion_v2' }, [
    'subvol_children_not_set',
    'subvol_children_bad',
    'subvol_fs_path_parent_wrong',
  ]),
  ...rules(500, 'files', {}, [
    'inode_snapshot_mismatch',
    'inode_i_sectors_wrong',
    'inode_wrong_nlink',
    'inode_dir_wrong_nlink',
    'inode_multiple_links_but_nlink_0',
    'inode_wrong_backpointer',
    'inode_points_to_missing_dirent',
    'inode_unreachable',
    'inode_unlinked_but_has_dirent',
    'inode_bi_subvol_missing',
    'inode_bi_subvol_wrong',
    'inode_bi_parent_nonzero',
    'inode_bi_parent_wrong',
    'key_in_missing_inode',
    'key_in_wrong_inode_type',
    'extent_past_end_of_inode',
    'extent_overlapping',
    'dirent_to_missing_inode',
    'dirent_to_missing_subvol',
    'dirent_to_missing_parent_subvol',
    'dirent_not_visible_in_parent_subvol',
    'dirent_d_type_wrong',
    'dir_loop',
    'hash_table_key_wrong_offset',
    'hash_table_key_duplicate',
    'logged_op_but_clean',
  ]),
  ...rules(550, 'files', { since: 'inode_has_child_snapshots' }, ['inode_has_child_snapshots_wrong']),
  ...rules(560, 'files', { since: 'deleted_inodes' }, [
    'unlinked_inode_not_on_deleted_list',
    'deleted_inode_not_unlinked',
  ]),
] as const satisfies readonly RuleRow[];

export type RuleName = (typeof rows)[number]['name'];
export type Rule = RuleRow & { readonly name: RuleName };

export const invariantRules: Table<Rule> = table<Rule>('invariant', rows);

/** Why filesystems of this version are not judged by a rule; undefined when they are. */
export function whySkipped({ since, until }: Rule, version: number): string | undefined {
  if (since !== undefined && version < versionOf(since)) return `before ${since}`;
  if (until !== undefined && version >= versionOf(until)) return `changed by ${until}`;
  return undefined;
}
