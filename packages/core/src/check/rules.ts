// The rules: what must hold between the keys of a filesystem, by the name of a breach (ondisk/faults.ts). Each says which pass of fsck asks
// it, and which metadata versions have it: a filesystem outside of that range is not judged by the rule, and the result says so.

import { getBits } from '../ondisk/bits.ts';
import type { PassName } from '../ondisk/passes.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { type Row, type Table, table } from '../ondisk/table.ts';
import { type VersionName, versionOf } from '../ondisk/versions.ts';
import type { ValuedName } from '../report/facts.ts';

interface RuleRow extends Row {
  readonly name: ValuedName;
  /** The pass of fsck whose business it is. */
  readonly pass: PassName;
  readonly group: RuleGroup;
  /** The first metadata version that has it. */
  readonly since?: VersionName;
  /** The first one that has it otherwise than it is checked here. */
  readonly until?: VersionName;
  /** Likewise, where its incompatible features are in use. */
  readonly untilUsed?: VersionName;
  /** The first one that a filesystem may have been made with: no upgrade brings what is older into line. */
  readonly madeSince?: VersionName;
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

/** The first version whose counters, and what else follows from keys, are not known in full. */
const KNOWN = { until: 'btree_node_accounting' } as const;
const COUNTED = { since: 'disk_accounting_inum', ...KNOWN } as const;
/** Snapshots may only be marked as deleted, where that is in use. */
const SNAPSHOTS = { ...KNOWN, untilUsed: 'snapshot_deletion_v2' } as const;
const CHILDREN = { since: 'btree_subvolume_children', ...SNAPSHOTS } as const;

/** Rules of one group, one pass, one range of versions. Ids are only there to tell rows apart. */
function rules<const N extends ValuedName>(
  from: number,
  group: RuleGroup,
  pass: PassName,
  range: Pick<RuleRow, 'since' | 'until' | 'untilUsed' | 'madeSince'>,
  names: readonly N[],
) {
  return names.map((name, i) => ({ id: from + i, name, group, pass, ...range }));
}

const rows = [
  ...rules(0, 'shape', 'check_topology', {}, [
    'btree_node_topology_bad_min_key',
    'btree_node_topology_bad_max_key',
    'btree_node_overlap', // two nodes on the same sectors, or one that crosses the end of its bucket
    'btree_ptr_v2_written_0',
    'btree_node_seq_shared',
  ]),
  ...rules(50, 'shape', 'check_allocations', { since: 'mi_btree_bitmap' }, ['btree_bitmap_not_marked']),
  ...rules(100, 'alloc', 'check_allocations', {}, [
    'alloc_key_data_type_wrong',
    'alloc_key_dirty_sectors_wrong',
    'alloc_key_cached_sectors_wrong',
    'alloc_key_oldest_gen_wrong', // newer than a pointer, or than the bucket itself
    'ptr_to_invalid_device',
    'ptr_to_missing_alloc_key',
    'ptr_gen_newer_than_bucket_gen',
    'ptr_too_stale',
    'stale_dirty_ptr',
    'ptr_bucket_data_type_mismatch',
    'bucket_sector_count_overflow',
  ]),
  ...rules(120, 'alloc', 'trans_mark_dev_sbs', {}, ['bucket_metadata_type_mismatch']),
  ...rules(125, 'alloc', 'check_alloc_info', {}, [
    'alloc_key_to_missing_dev_bucket',
    'alloc_key_journal_seq_in_future',
    'freespace_key_wrong',
    'freespace_hole_missing',
    'need_discard_freespace_key_to_invalid_dev_bucket',
    'need_discard_freespace_key_bad',
    'bucket_gens_key_wrong',
    'bucket_gens_hole_wrong',
    'bucket_gens_to_invalid_dev',
    'bucket_gens_to_invalid_buckets',
    'bucket_gens_nonzero_for_invalid_buckets',
  ]),
  ...rules(139, 'alloc', 'check_alloc_to_lru_refs', {}, ['alloc_key_cached_but_read_time_zero']),
  ...rules(140, 'alloc', 'check_alloc_info', { until: 'need_discard_by_journal_seq' }, ['need_discard_key_wrong']),
  ...rules(150, 'alloc', 'check_allocations', { until: 'backpointer_bucket_gen' }, [
    'alloc_key_external_backpointers_nonzero',
  ]),
  ...rules(160, 'alloc', 'check_allocations', { since: 'bucket_stripe_sectors' }, ['alloc_key_stripe_sectors_wrong']),
  ...rules(170, 'alloc', 'check_allocations', { until: 'bucket_stripe_index' }, [
    'alloc_key_stripe_wrong',
    'alloc_key_stripe_redundancy_wrong',
  ]),
  ...rules(200, 'lru', 'check_alloc_to_lru_refs', KNOWN, ['alloc_key_to_missing_lru_entry']),
  ...rules(210, 'lru', 'check_lrus', KNOWN, ['lru_entry_to_invalid_bucket', 'lru_entry_bad']),
  ...rules(250, 'backpointers', 'check_extents_to_backpointers', KNOWN, ['ptr_to_missing_backpointer']),
  ...rules(260, 'backpointers', 'check_backpointers_to_extents', KNOWN, ['backpointer_to_missing_ptr']),
  ...rules(270, 'backpointers', 'check_btree_backpointers', KNOWN, [
    'backpointer_to_missing_device',
    'backpointer_to_missing_alloc',
  ]),
  ...rules(300, 'accounting', 'check_allocations', COUNTED, ['accounting_mismatch']),
  ...rules(302, 'accounting', 'accounting_read', COUNTED, ['accounting_to_invalid_device']),
  // The check that an upgrade runs rebuilds all counters but these: they go on from nothing, and below it.
  ...rules(305, 'accounting', 'check_allocations', { ...COUNTED, madeSince: 'disk_accounting_inum' }, [
    'accounting_inum_mismatch',
  ]),
  ...rules(310, 'accounting', 'check_reconcile_work', COUNTED, ['rebalance_work_missing', 'rebalance_work_bad']),
  ...rules(320, 'accounting', 'check_allocations', { until: 'no_sb_user_data_replicas' }, [
    'ptr_to_missing_replicas_entry',
  ]),
  ...rules(330, 'accounting', 'accounting_read', { ...COUNTED, until: 'no_sb_user_data_replicas' }, [
    'accounting_replicas_not_marked',
  ]),
  ...rules(350, 'stripes', 'check_allocations', { until: 'stripe_backpointers' }, [
    'ptr_to_missing_stripe',
    'ptr_to_incorrect_stripe',
    'stripe_sector_count_wrong',
    'stripe_bucket_shared',
  ]),
  ...rules(400, 'reflink', 'check_allocations', {}, ['reflink_v_refcount_wrong', 'reflink_p_to_missing_reflink_v']),
  ...rules(450, 'snapshots', 'check_inodes', SNAPSHOTS, ['bkey_in_missing_snapshot']),
  ...rules(455, 'snapshots', 'check_snapshots', SNAPSHOTS, [
    'snapshot_node_missing',
    'snapshot_parent_bad',
    'snapshot_child_bad',
    'snapshot_bad_depth',
    'snapshot_bad_skiplist',
    'snapshot_should_not_have_subvol',
    'snapshot_subvol_backref_wrong',
    'snapshot_to_bad_snapshot_tree',
    'subvol_missing',
  ]),
  ...rules(465, 'snapshots', 'check_snapshot_trees', SNAPSHOTS, [
    'snapshot_tree_to_missing_snapshot',
    'snapshot_tree_to_missing_subvol',
    'snapshot_tree_to_wrong_subvol',
    'snapshot_tree_to_snapshot_subvol',
  ]),
  ...rules(470, 'snapshots', 'check_subvols', SNAPSHOTS, [
    'subvol_to_missing_root',
    'subvol_root_wrong_bi_subvol',
    'subvol_not_master_and_not_snapshot',
    'subvol_root_fs_path_parent_nonzero',
  ]),
  ...rules(475, 'snapshots', 'check_subvolume_structure', SNAPSHOTS, ['subvol_unreachable']),
  ...rules(480, 'snapshots', 'check_subvol_children', CHILDREN, ['subvol_children_not_set', 'subvol_children_bad']),
  ...rules(485, 'snapshots', 'check_dirents', CHILDREN, ['subvol_fs_path_parent_wrong']),
  ...rules(500, 'files', 'check_inodes', {}, [
    'inode_snapshot_mismatch',
    'inode_points_to_missing_dirent',
    'inode_points_to_wrong_dirent',
    'inode_unlinked_but_has_dirent',
    'inode_bi_subvol_missing',
    'inode_bi_subvol_wrong',
    'inode_bi_parent_nonzero',
  ]),
  ...rules(510, 'files', 'check_extents', {}, [
    'inode_i_sectors_wrong',
    'key_in_missing_inode',
    'key_in_wrong_inode_type',
    'extent_past_end_of_inode',
    'extent_overlapping',
  ]),
  ...rules(520, 'files', 'check_dirents', {}, [
    'inode_dir_wrong_nlink',
    'inode_multiple_links_but_nlink_0',
    'inode_wrong_backpointer',
    'inode_bi_parent_wrong',
    'dirent_to_missing_inode',
    'dirent_to_missing_subvol',
    'dirent_to_missing_parent_subvol',
    'dirent_not_visible_in_parent_subvol',
    'dirent_d_type_wrong',
    'hash_table_key_wrong_offset',
    'hash_table_key_duplicate',
  ]),
  ...rules(535, 'files', 'check_unreachable_inodes', {}, ['inode_unreachable']),
  ...rules(536, 'files', 'check_directory_structure', {}, ['dir_loop']),
  ...rules(537, 'files', 'check_nlinks', {}, ['inode_wrong_nlink']),
  ...rules(538, 'files', 'resume_logged_ops', {}, ['logged_op_but_clean']),
  ...rules(550, 'files', 'check_inodes', { since: 'inode_has_child_snapshots' }, ['inode_has_child_snapshots_wrong']),
  ...rules(560, 'files', 'check_inodes', { since: 'deleted_inodes' }, ['unlinked_inode_not_on_deleted_list']),
  ...rules(565, 'files', 'delete_dead_inodes', { since: 'deleted_inodes' }, ['deleted_inode_not_unlinked']),
] as const satisfies readonly RuleRow[];

export type RuleName = (typeof rows)[number]['name'];
export type Rule = RuleRow & { readonly name: RuleName };

export const invariantRules: Table<Rule> = table<Rule>('invariant', rows);

/** Why a filesystem is not judged by a rule; undefined when it is. */
export function whySkipped(
  { since, until, untilUsed, madeSince }: Rule,
  { version, version_min, flags }: Pick<Superblock, 'version' | 'version_min' | 'flags'>,
): string | undefined {
  if (since !== undefined && version < versionOf(since)) return `before ${since}`;
  if (until !== undefined && version >= versionOf(until)) return `changed by ${until}`;
  if (untilUsed !== undefined && getBits(flags, sbBits.VERSION_INCOMPAT) >= versionOf(untilUsed))
    return `changed by ${untilUsed}, which is in use`;
  if (madeSince !== undefined && version_min < versionOf(madeSince)) return `made before ${madeSince}`;
  return undefined;
}
