// The end of a file: its links go down, and with the last one goes everything that its subvolume sees of it. No process has it open.
// Source: bch2_inode_nlink_dec and bch2_inode_rm in inode.c, v1.13.0.

import { makeKey } from '../btree/transaction.ts';
import { type Bpos, inSnapshot } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { inodeFlags } from '../ondisk/inode-tables.ts';
import { isDirectory } from '../ondisk/inode-unpack.ts';
import { inodeGeneration } from '../ondisk/keys/inode-generation.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { visibleKeys } from '../snapshots/visible.ts';
import { deleteInSnapshot } from '../snapshots/whiteouts.ts';
import type { EditState } from './edit-state.ts';
import { readInode } from './inode.ts';
import { type CachedInode, inodePos } from './inode-cache.ts';

const INODES = btrees.idOf('inodes');
const INODE_GENERATION = keyTypes.idOf('inode_generation');
const UNLINKED = 1 << inodeFlags.idOf('unlinked');
const HAS_CHILD_SNAPSHOT = 1 << inodeFlags.idOf('has_child_snapshot');

/** One name less: with the last one, the file goes. @returns whether it did */
export function dropLink(state: EditState, file: CachedInode): boolean {
  file.isDirty = true;
  const isLast = file.inode.bi_nlink === 0 || isDirectory(file.inode);
  if (isLast) deleteInode(state, file);
  else file.inode.bi_nlink--;
  return isLast;
}

/** Everything of an inode that its subvolume sees. Mirrors bch2_inode_rm. */
function deleteInode(state: EditState, file: CachedInode): void {
  const { words, snapshot, inode, inum } = file;
  state.cache.forget(file);
  deleteKeys(state, words, snapshot);
  deleteInodeKey(state, inodePos(file), inode.bi_generation);
  // Versions in snapshots above that were deleted before and only waited for this one.
  for (let id = snapshot; ; ) {
    const parent = state.table.node(id)?.parent ?? 0;
    if (parent <= id) return;
    const found = readInode(state.tx, state.table, parent, inum);
    if (found === undefined) return;
    const { bi_flags, bi_generation } = found.inode;
    if ((bi_flags & (UNLINKED | HAS_CHILD_SNAPSHOT)) !== UNLINKED) return;
    deleteKeys(state, words, found.keySnapshot);
    deleteInodeKey(state, inodePos({ words, snapshot: found.keySnapshot }), bi_generation);
    id = found.keySnapshot;
  }
}

function deleteKeys({ tx, table }: EditState, { lo, hi }: CachedInode['words'], snapshot: number): void {
  const from = Uint32Array.of(0, 0, 0, lo, hi);
  const to = Uint32Array.of(0xffff_ffff, 0xffff_ffff, 0xffff_ffff, lo, hi);
  for (const btree of ['extents', 'xattrs', 'dirents'] as const) {
    const view = tx.btree(btree);
    // Most files have keys in one of the three, and a lookup costs a fifth of a walk's beginning.
    if (view.first(from, to) === undefined) continue;
    const positions = [...visibleKeys(view, table, snapshot, { from, to })].map(({ k }) => k.p);
    for (const p of positions) deleteInSnapshot(tx, btree, table, inSnapshot(p, snapshot));
  }
}

function deleteInodeKey({ tx }: EditState, pos: Bpos, generation: number): void {
  const value = inodeGeneration.encode({ bi_generation: (generation + 1) >>> 0, pad: 0 });
  tx.update(INODES, makeKey(INODE_GENERATION, pos, value));
}
