// What a filesystem holds at first: one tree of one snapshot, the first subvolume in it, its root directory, and lost+found.
// Source: bch2_initialize_subvolumes in subvolume.c, bch2_fs_initialize in recovery.c, v1.13.0.

import type { Transaction } from '../btree/transaction.ts';
import { ROOT_INODE } from '../ondisk/inode-unpack.ts';
import { newSnapshotNode, writeSnapshot, writeSnapshotTree, writeSubvolume } from '../snapshots/create-nodes.ts';
import { ROOT_SUBVOLUME } from '../snapshots/snapshot-table.ts';
import { EditState, type TreeEditorOptions } from './edit-state.ts';
import { create } from './names.ts';
import { newInode } from './new-inodes.ts';

const ROOT_SNAPSHOT = 0xffff_ffff;
const ROOT_TREE = 1;
const S_IFDIR = 0o040000;

/** Puts all of it into the transaction. */
export function initializeFiles(tx: Transaction, options: TreeEditorOptions): void {
  writeSnapshotTree(tx, ROOT_TREE, { master_subvol: ROOT_SUBVOLUME, root_snapshot: ROOT_SNAPSHOT });
  writeSnapshot(tx, ROOT_SNAPSHOT, newSnapshotNode(ROOT_SUBVOLUME, ROOT_TREE, 0n));
  writeSubvolume(tx, ROOT_SUBVOLUME, {
    flags: 0,
    snapshot: ROOT_SNAPSHOT,
    inode: ROOT_INODE,
    creation_parent: 0,
    fs_path_parent: 0,
    otime: new Uint8Array(16),
    state: 0,
    pad: 0,
    sizeBytes: 0, // written whole
    rest: new Uint8Array(0),
  });
  const state = new EditState(tx, options);
  // The first number that is given is ROOT_INODE.
  const first = { subvolume: ROOT_SUBVOLUME, snapshot: ROOT_SNAPSHOT };
  const root = newInode(state, undefined, first, { mode: S_IFDIR | 0o755 });
  root.inode.bi_subvol = ROOT_SUBVOLUME;
  create(state, state.root(), new TextEncoder().encode('lost+found'), { mode: S_IFDIR | 0o700 });
  state.cache.flush();
}
