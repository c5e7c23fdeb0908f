// Recovery passes. Row order is the order in which they run; `id` is what the superblock stores (bit of
// recovery_passes_required, index in the recovery_passes section) and never changes.
// Source: recovery_passes_types.h (v1.13.0), init/passes_format.h (v1.36.1, v1.39.2).

import { isKnownTo, nameAt, type Release, type ReleasedRow } from './releases.ts';
import { type Table, table } from './table.ts';

/**
 * `always`: on every mount. `fsck`: with the fsck option. `online`: can run on a filesystem in use. `alloc`: about
 * allocation information, left out where there is none. `silent`: nothing is printed when it runs. `nodefer`: never put off until
 * after mounting. A pass without `always` and `fsck` runs only when the superblock or a finding asks for it.
 */
export type PassWhen = 'always' | 'fsck' | 'online' | 'alloc' | 'silent' | 'nodefer';

interface PassRow<Need extends string = string> extends ReleasedRow {
  readonly when: readonly PassWhen[];
  /** The same at 1.13; empty for passes that it does not have. */
  readonly whenAt113: readonly PassWhen[];
  /** Passes whose results it depends on (stated since 1.36): it is rescheduled with them. */
  readonly needs: readonly Need[];
  readonly help: string;
}

const rows = [
  {
    id: 41,
    name: 'recovery_pass_empty',
    since: '1.36',
    when: ['silent'],
    whenAt113: [],
    needs: [],
    help: 'Does nothing; keeps the first place in the order free.',
  },
  {
    id: 37,
    name: 'scan_for_btree_nodes',
    since: '1.13',
    when: [],
    whenAt113: [],
    needs: [],
    help: 'Looks for btree nodes on all devices, for when a root or an interior node is lost.',
  },
  {
    id: 4,
    name: 'check_topology',
    since: '1.13',
    when: [],
    whenAt113: [],
    needs: ['scan_for_btree_nodes'],
    help: 'Children cover the range of each interior node exactly; lost roots are rebuilt from the scan.',
  },
  {
    id: 39,
    name: 'accounting_read',
    since: '1.13',
    when: ['always'],
    whenAt113: ['always'],
    needs: ['check_topology'],
    help: 'Loads the space accounting.',
  },
  {
    id: 0,
    name: 'alloc_read',
    since: '1.13',
    when: ['always'],
    whenAt113: ['always'],
    needs: [],
    help: 'Loads the generation of each bucket.',
  },
  {
    id: 1,
    name: 'stripes_read',
    since: '1.13',
    when: [],
    whenAt113: ['always'],
    needs: [],
    help: 'Loads the erasure-coding stripes; does nothing in newer releases.',
  },
  {
    id: 2,
    name: 'initialize_subvolumes',
    since: '1.13',
    when: [],
    whenAt113: [],
    needs: [],
    help: 'Makes the first snapshot tree, snapshot and subvolume of a filesystem that has none.',
  },
  {
    id: 3,
    name: 'snapshots_read',
    since: '1.13',
    when: ['always'],
    whenAt113: ['always'],
    needs: [],
    help: 'Loads the snapshot trees.',
  },
  {
    id: 5,
    name: 'check_allocations',
    since: '1.13',
    when: ['fsck', 'alloc'],
    whenAt113: ['fsck'],
    needs: ['check_topology'],
    help: 'Walks all pointers and compares what they use with the alloc btree, the stripes and the accounting.',
  },
  {
    id: 6,
    name: 'trans_mark_dev_sbs',
    since: '1.13',
    when: ['always', 'alloc', 'silent'],
    whenAt113: ['always', 'silent'],
    needs: [],
    help: 'Marks the buckets of superblocks and journals in the alloc btree.',
  },
  {
    id: 7,
    name: 'fs_journal_alloc',
    since: '1.13',
    when: ['always', 'alloc', 'silent'],
    whenAt113: ['always', 'silent'],
    needs: [],
    help: 'Gives a journal to devices that have none.',
  },
  {
    id: 8,
    name: 'set_may_go_rw',
    since: '1.13',
    when: ['always', 'silent'],
    whenAt113: ['always', 'silent'],
    needs: ['check_allocations'],
    help: 'From here on updates go to the journal.',
  },
  {
    id: 9,
    name: 'journal_replay',
    since: '1.13',
    when: ['always'],
    whenAt113: ['always'],
    needs: ['set_may_go_rw'],
    help: "Writes the journal's keys into the btrees.",
  },
  {
    id: 45,
    name: 'merge_btree_nodes',
    since: '1.36',
    when: ['online'],
    whenAt113: [],
    needs: [],
    help: 'Joins neighbouring nodes that are nearly empty.',
  },
  {
    id: 48,
    name: 'presplit_shard_boundaries',
    since: '1.39',
    when: ['always'],
    whenAt113: [],
    needs: ['journal_replay'],
    help: 'Splits leaves where the shards of inode numbers meet.',
  },
  {
    id: 10,
    name: 'check_alloc_info',
    since: '1.13',
    when: ['fsck', 'online', 'alloc'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_allocations'],
    help: 'alloc, freespace, need_discard and bucket_gens agree with each other.',
  },
  {
    id: 11,
    name: 'check_lrus',
    since: '1.13',
    when: ['fsck', 'online', 'alloc'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_allocations'],
    help: 'Each lru entry belongs to a bucket (or stripe) that should be there.',
  },
  {
    id: 12,
    name: 'check_btree_backpointers',
    since: '1.13',
    when: ['fsck', 'online', 'alloc'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_allocations'],
    help: 'Each backpointer lies in a bucket that exists.',
  },
  {
    id: 13,
    name: 'check_backpointers_to_extents',
    since: '1.13',
    when: ['online'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_allocations'],
    help: 'Each backpointer leads to a key that points back.',
  },
  {
    id: 14,
    name: 'check_extents_to_backpointers',
    since: '1.13',
    when: ['fsck', 'online', 'alloc'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_allocations'],
    help: 'Each pointer of an extent or a node has its backpointer.',
  },
  {
    id: 15,
    name: 'check_alloc_to_lru_refs',
    since: '1.13',
    when: ['fsck', 'online', 'alloc'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_allocations'],
    help: 'Each bucket that should be in an lru is there.',
  },
  {
    id: 16,
    name: 'fs_freespace_init',
    since: '1.13',
    when: ['always', 'silent'],
    whenAt113: ['always', 'silent'],
    needs: [],
    help: 'Fills the freespace btree of devices that have none yet.',
  },
  {
    id: 17,
    name: 'bucket_gens_init',
    since: '1.13',
    when: [],
    whenAt113: [],
    needs: [],
    help: 'Fills the bucket_gens btree from the alloc btree, once, when upgrading.',
  },
  {
    id: 38,
    name: 'reconstruct_snapshots',
    since: '1.13',
    when: [],
    whenAt113: [],
    needs: [],
    help: 'Makes up snapshot keys again from the snapshots that other btrees use.',
  },
  {
    id: 44,
    name: 'delete_dead_interior_snapshots',
    since: '1.36',
    when: [],
    whenAt113: [],
    needs: [],
    help: 'Takes interior snapshot nodes out that have one child left.',
  },
  {
    id: 18,
    name: 'check_snapshot_trees',
    since: '1.13',
    when: ['fsck', 'online'],
    whenAt113: ['fsck', 'online'],
    needs: ['reconstruct_snapshots'],
    help: 'Each snapshot tree has its root and its main subvolume.',
  },
  {
    id: 19,
    name: 'check_snapshots',
    since: '1.13',
    when: ['always', 'fsck', 'online', 'nodefer'],
    whenAt113: ['fsck', 'online'],
    needs: ['reconstruct_snapshots', 'check_snapshot_trees'],
    help: 'Snapshot nodes, their parents, children, depths and skip lists agree.',
  },
  {
    id: 20,
    name: 'check_subvols',
    since: '1.13',
    when: ['fsck', 'online'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_snapshots'],
    help: 'Each subvolume has its snapshot and its root inode.',
  },
  {
    id: 35,
    name: 'check_subvol_children',
    since: '1.13',
    when: ['fsck', 'online'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_subvols'],
    help: 'The subvolume_children btree lists each child once.',
  },
  {
    id: 21,
    name: 'delete_dead_snapshots',
    since: '1.13',
    when: ['fsck', 'online'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_snapshots'],
    help: 'Removes keys of deleted snapshots, then the snapshots.',
  },
  {
    id: 22,
    name: 'fs_upgrade_for_subvolumes',
    since: '1.13',
    when: [],
    whenAt113: [],
    needs: [],
    help: 'Gives root inodes of before there were subvolumes their subvolume number.',
  },
  {
    id: 24,
    name: 'check_inodes',
    since: '1.13',
    when: ['fsck'],
    whenAt113: ['fsck'],
    needs: ['check_snapshots', 'delete_dead_snapshots'],
    help: 'Each inode is well formed; unlinked ones are on the list of deleted inodes.',
  },
  {
    id: 25,
    name: 'check_extents',
    since: '1.13',
    when: ['fsck'],
    whenAt113: ['fsck'],
    needs: ['check_inodes', 'delete_dead_snapshots'],
    help: "Extents belong to a file, do not overlap and add up to the inode's sectors.",
  },
  {
    id: 26,
    name: 'check_indirect_extents',
    since: '1.13',
    when: ['fsck', 'online'],
    whenAt113: ['fsck'],
    needs: ['check_snapshots'],
    help: 'Shared extents are well formed; needless entries in them are dropped.',
  },
  {
    id: 27,
    name: 'check_dirents',
    since: '1.13',
    when: ['fsck'],
    whenAt113: ['fsck'],
    needs: ['check_inodes', 'delete_dead_snapshots'],
    help: 'Names are in directories, hashed right, and lead to inodes that point back.',
  },
  {
    id: 28,
    name: 'check_xattrs',
    since: '1.13',
    when: ['fsck'],
    whenAt113: ['fsck'],
    needs: ['check_inodes', 'delete_dead_snapshots'],
    help: 'Extended attributes belong to an inode and are hashed right.',
  },
  {
    id: 49,
    name: 'check_damage',
    since: '1.39',
    when: ['fsck'],
    whenAt113: [],
    needs: ['check_inodes'],
    help: 'Recorded damage belongs to inodes that exist.',
  },
  {
    id: 29,
    name: 'check_root',
    since: '1.13',
    when: ['fsck', 'online'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_inodes'],
    help: 'The root subvolume and root directory exist.',
  },
  {
    id: 40,
    name: 'check_unreachable_inodes',
    since: '1.13',
    when: ['fsck'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_inodes', 'check_dirents'],
    help: 'Inodes without a name are attached to lost+found.',
  },
  {
    id: 36,
    name: 'check_subvolume_structure',
    since: '1.13',
    when: ['fsck', 'online'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_subvols', 'check_inodes'],
    help: 'Each subvolume can be reached from the root, without loops.',
  },
  {
    id: 30,
    name: 'check_directory_structure',
    since: '1.13',
    when: ['fsck', 'online'],
    whenAt113: ['fsck', 'online'],
    needs: ['check_unreachable_inodes'],
    help: 'Each directory can be reached from its root, without loops.',
  },
  {
    id: 31,
    name: 'check_nlinks',
    since: '1.13',
    when: ['fsck'],
    whenAt113: ['fsck'],
    needs: ['check_inodes', 'check_dirents'],
    help: 'Link counts equal the number of names.',
  },
  {
    id: 43,
    name: 'check_reconcile_work',
    since: '1.36',
    when: ['fsck', 'online'],
    whenAt113: [],
    needs: ['check_snapshots'],
    help: 'The lists of background work match the options of the extents.',
  },
  {
    id: 23,
    name: 'resume_logged_ops',
    since: '1.13',
    when: ['always'],
    whenAt113: ['always'],
    needs: [],
    help: 'Finishes truncates and range moves that were interrupted.',
  },
  {
    id: 32,
    name: 'delete_dead_inodes',
    since: '1.13',
    when: ['always'],
    whenAt113: ['always'],
    needs: [],
    help: 'Deletes inodes that were unlinked but still open.',
  },
  {
    id: 47,
    name: 'kill_i_generation_keys',
    since: '1.36',
    when: ['online'],
    whenAt113: [],
    needs: [],
    help: 'Deletes inode_generation keys, which nothing uses any more.',
  },
  {
    id: 33,
    name: 'fix_reflink_p',
    since: '1.13',
    when: [],
    whenAt113: [],
    needs: [],
    help: 'Repairs reflink pointers of before 0.16, once, when upgrading.',
  },
  {
    id: 34,
    name: 'set_fs_needs_reconcile',
    since: '1.13',
    names: { '1.13': 'set_fs_needs_rebalance' },
    when: [],
    whenAt113: [],
    needs: [],
    help: 'Asks background work to scan the whole filesystem, once, when upgrading.',
  },
  {
    id: 46,
    name: 'btree_bitmap_gc',
    since: '1.36',
    when: ['online'],
    whenAt113: [],
    needs: [],
    help: 'Clears bits of regions that hold no btree nodes any more.',
  },
  {
    id: 42,
    name: 'lookup_root_inode',
    since: '1.36',
    when: ['always', 'silent'],
    whenAt113: [],
    needs: [],
    help: 'The root directory can be opened.',
  },
] as const satisfies readonly PassRow[];

export type PassName = (typeof rows)[number]['name'];
export type Pass = PassRow<PassName> & { readonly name: PassName };

/** In the order in which they run. */
export const passes: Table<Pass> = table<Pass>('recovery pass', rows);

/** Mask of stable ids, as in `recovery_passes_required`. */
export function passMask(names: readonly PassName[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(passes.idOf(name))), 0n);
}

/** Mask of stable ids of the passes that fsck runs in a release. */
export function fsckPassesOf(release: Release): bigint {
  const isRun = ({ when, whenAt113, since }: Pass) =>
    release === '1.13' ? whenAt113.includes('fsck') : isKnownTo(release, { since }) && when.includes('fsck');
  return passMask(passes.rows.filter(isRun).map(pass => pass.name));
}

/**
 * Names of the passes in a mask of stable ids, in the order in which a release runs them, and whatever it does not know
 * in order of the ids.
 */
export function passNames(mask: bigint, release: Release = '1.39'): string[] {
  const known = passes.rows.filter(pass => isKnownTo(release, pass));
  const named = known.filter(pass => (mask >> BigInt(pass.id)) & 1n).map(pass => nameAt(release, pass));
  for (const pass of known) mask &= ~(1n << BigInt(pass.id));
  for (let id = 0; mask >> BigInt(id) > 0n; id++) {
    if ((mask >> BigInt(id)) & 1n) named.push(`unknown(${id})`);
  }
  return named;
}
