// THE table of recovery passes that repair keys in transactions: a row for each pass there is. Null says that nothing is to be done
// offline, or that it is done elsewhere: the comment says where.

import type { PassName } from '../../ondisk/passes.ts';
import type { Pass } from '../pass.ts';
import { checkDirectoryStructure } from './check-directory-structure.ts';
import { checkDirents } from './check-dirents.ts';
import { checkExtents } from './check-extents.ts';
import { checkInodes } from './check-inodes.ts';
import { checkNlinks } from './check-nlinks.ts';
import { checkRoot } from './check-root.ts';
import { checkSnapshotTrees } from './check-snapshot-trees.ts';
import { checkSnapshots } from './check-snapshots.ts';
import { checkSubvolChildren } from './check-subvol-children.ts';
import { checkSubvols } from './check-subvols.ts';
import { checkSubvolumeStructure } from './check-subvolume-structure.ts';
import { checkUnreachableInodes } from './check-unreachable-inodes.ts';
import { checkXattrs } from './check-xattrs.ts';
import { deleteDeadInodes } from './delete-dead-inodes.ts';
import { deleteDeadSnapshotsPass } from './delete-dead-snapshots.ts';
import { reconstructSnapshots } from './reconstruct-snapshots.ts';
import { resumeLoggedOps } from './resume-logged-ops.ts';

export const recoveryPasses: { readonly [N in PassName]: Pass | null } = {
  recovery_pass_empty: null,
  // Whole btrees, before any transaction: topology.ts and node-scan.ts.
  scan_for_btree_nodes: null,
  check_topology: null,
  // What a mount reads into memory: each pass here reads what it needs.
  accounting_read: null,
  alloc_read: null,
  stripes_read: null,
  snapshots_read: null,
  // Only filesystems that are older than what is written here need them.
  initialize_subvolumes: null,
  fs_upgrade_for_subvolumes: null,
  kill_i_generation_keys: null,
  fix_reflink_p: null,
  // Counted anew together, last of all: recount.ts.
  check_allocations: null,
  trans_mark_dev_sbs: null,
  check_alloc_info: null,
  check_lrus: null,
  check_btree_backpointers: null,
  check_backpointers_to_extents: null,
  check_extents_to_backpointers: null,
  check_alloc_to_lru_refs: null,
  fs_freespace_init: null,
  bucket_gens_init: null,
  // A commit replays the journal, and needs none of its own.
  fs_journal_alloc: null,
  set_may_go_rw: null,
  journal_replay: null,
  reconstruct_snapshots: reconstructSnapshots,
  check_snapshot_trees: checkSnapshotTrees,
  check_snapshots: checkSnapshots,
  check_subvols: checkSubvols,
  check_subvol_children: checkSubvolChildren,
  delete_dead_snapshots: deleteDeadSnapshotsPass,
  check_inodes: checkInodes,
  check_extents: checkExtents,
  check_indirect_extents: null,
  check_dirents: checkDirents,
  check_xattrs: checkXattrs,
  check_root: checkRoot,
  check_unreachable_inodes: checkUnreachableInodes,
  check_subvolume_structure: checkSubvolumeStructure,
  check_directory_structure: checkDirectoryStructure,
  check_nlinks: checkNlinks,
  resume_logged_ops: resumeLoggedOps,
  delete_dead_inodes: deleteDeadInodes,
  // Of later versions than what is written here.
  merge_btree_nodes: null,
  presplit_shard_boundaries: null,
  delete_dead_interior_snapshots: null,
  check_damage: null,
  check_reconcile_work: null,
  set_fs_needs_reconcile: null,
  btree_bitmap_gc: null,
  lookup_root_inode: null,
};
