// Snapshots in which no subvolume lives any more. A leaf without a subvolume loses its keys. A node with one child left is the same as that child:
// its keys move down, unless the child has its own at the same place, and the node goes. What the reference leaves to a worker of the
// next mount is done here at once, in the transaction that took the subvolume away, so that a kernel finds nothing left to do.
//
// The four btrees with snapshots are read through once; changes are made in runs, since a position is decided as a whole.
// Source: bch2_delete_dead_snapshots, delete_dead_snapshots_process_key, bch2_snapshot_set_equiv, bch2_fix_child_of_deleted_snapshot
// and bch2_snapshot_node_delete in snapshot.c, bch2_snapshot_tree_master_subvol, v1.13.0.

import { makeKey, type Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import type { Snapshot } from '../ondisk/keys/snapshot.ts';
import { subvolume } from '../ondisk/keys/subvolume.ts';
import type { RandomSource } from '../util/random.ts';
import {
  ancestorsOf,
  idPos,
  pickAncestor,
  readSnapshot,
  readSnapshotTree,
  readSubvolume,
  SUBVOLUME_SNAP,
  writeSnapshot,
  writeSnapshotTree,
  writeSubvolume,
} from './create-nodes.ts';
import { SnapshotTable } from './snapshot-table.ts';
import { atSnapshot } from './visible.ts';

const VERSIONED: readonly BtreeName[] = ['extents', 'inodes', 'dirents', 'xattrs'];
/** Positions whose changes wait until reading has gone on past them. */
const RUN = 256;

/** What is to become of the nodes of all trees. */
interface Fates {
  /** Their keys go, and they. */
  readonly dead: ReadonlySet<number>;
  /** Interior nodes with one live child: where their keys go. */
  readonly merged: ReadonlyMap<number, number>;
}

/**
 * Takes a subvolume away, whose name is gone already, with all that only it could see.
 * @throws CorruptError, DeviceError when a node that is needed cannot be read
 */
export function deleteSubvolumeKeys(tx: Transaction, random: RandomSource, id: number): void {
  const gone = readSubvolume(tx, id);
  for (const { k, value } of [...tx.btree('subvolumes').keys()]) {
    const other = subvolume.decode(value);
    if (k.p[1] === id || other.creation_parent !== id) continue;
    writeSubvolume(tx, k.p[1]!, { ...other, creation_parent: gone.creation_parent });
  }
  const { tree } = readSnapshot(tx, gone.snapshot);
  tx.delete('subvolumes', idPos(id));
  deleteDeadSnapshots(tx, random);
  replaceMaster(tx, tree, id);
}

/**
 * Takes snapshots away in which no subvolume lives, with all that only they could see.
 * @throws CorruptError, DeviceError when a node that is needed is not there or cannot be read
 */
export function deleteDeadSnapshots(tx: Transaction, random: RandomSource): void {
  const fates = fatesOf(tx);
  for (const btree of VERSIONED) rewriteKeys(tx, btree, fates);
  removeNodes(tx, random, fates);
}

function fatesOf(tx: Transaction): Fates {
  const table = SnapshotTable.read(tx);
  const dead = new Set<number>();
  const merged = new Map<number, number>();
  // Children stand before their parents.
  for (const { id, children } of table.nodes()) {
    const alive = children.filter(child => !dead.has(child));
    const isHome = table.subvolumes().some(entry => entry.snapshot === id);
    if (isHome) continue;
    if (alive.length === 0) dead.add(id);
    else if (alive.length === 1) merged.set(id, merged.get(alive[0]!) ?? alive[0]!);
  }
  return { dead, merged };
}

function rewriteKeys(tx: Transaction, btree: BtreeName, { dead, merged }: Fates): void {
  const affected = (id: number) => dead.has(id) || merged.has(id);
  let waiting: (() => void)[] = [];
  let place: Bpos | undefined;
  /** Nodes that have a key at this place, by the node that they become. */
  let taken = new Set<number>();
  for (const key of tx.btree(btree).keys()) {
    const { p } = key.k;
    if (place === undefined || compareBpos(atSnapshot(place, 0), atSnapshot(p, 0)) !== 0) {
      place = p;
      taken = new Set();
      if (waiting.length >= RUN) {
        for (const change of waiting) change();
        waiting = [];
      }
    }
    const id = p[0]!;
    const target = merged.get(id) ?? id;
    if (dead.has(id) || taken.has(target)) waiting.push(() => tx.delete(btree, p));
    else {
      taken.add(target);
      if (affected(id)) waiting.push(() => move(tx, btree, key, target));
    }
  }
  for (const change of waiting) change();
}

/** The old one first: both may be found by the same backpointer. */
function move(tx: Transaction, btree: BtreeName, key: Key, snapshot: number): void {
  const value = (tx.get(btree, key.k.p) ?? key).value.slice();
  tx.delete(btree, key.k.p);
  tx.update(btree, makeKey(key.k.type, atSnapshot(key.k.p, snapshot), value, key.k));
}

function removeNodes(tx: Transaction, random: RandomSource, { dead, merged }: Fates): void {
  const gone = new Set([...dead, ...merged.keys()]);
  // Upwards, so that what a node leaves behind is there when its parent goes.
  for (const id of [...gone].sort((a, b) => a - b)) removeNode(tx, id);
  const nodes = [...tx.btree('snapshots').keys()].map(({ k }) => k.p[1]!);
  // Depths from the roots on.
  for (const id of nodes.toReversed()) {
    const node = readSnapshot(tx, id);
    const depth = node.parent === 0 ? 0 : readSnapshot(tx, node.parent).depth + 1;
    const isBroken = node.skip.some(ancestor => gone.has(ancestor)) || (depth === 0 && node.skip.some(Boolean));
    if (depth === node.depth && !isBroken) continue;
    writeSnapshot(tx, id, { ...node, depth, skip: isBroken ? newSkip(tx, random, node, gone) : node.skip });
  }
}

function newSkip(tx: Transaction, random: RandomSource, node: Snapshot, gone: ReadonlySet<number>): readonly number[] {
  if (node.parent === 0) return [0, 0, 0];
  const path = ancestorsOf(tx, node.parent);
  return node.skip
    .map(ancestor => (ancestor === 0 || gone.has(ancestor) ? pickAncestor(random, path) : ancestor))
    .sort((a, b) => a - b);
}

/** Takes a node with at most one child out of its tree. */
function removeNode(tx: Transaction, id: number): void {
  const node = readSnapshot(tx, id);
  const [child = 0] = node.children;
  if (node.parent !== 0) {
    const parent = readSnapshot(tx, node.parent);
    const children = parent.children.map(one => (one === id ? child : one)).sort((a, b) => b - a);
    writeSnapshot(tx, node.parent, { ...parent, children });
  }
  if (child !== 0) writeSnapshot(tx, child, { ...readSnapshot(tx, child), parent: node.parent });
  if (node.parent === 0) {
    const tree = readSnapshotTree(tx, node.tree);
    if (child === 0) tx.delete('snapshot_trees', idPos(node.tree));
    else if (tree !== undefined) writeSnapshotTree(tx, node.tree, { ...tree, root_snapshot: child });
  }
  tx.delete('snapshots', idPos(id));
}

/** The subvolume that the others of a tree were made from is gone: one of them takes its place, as fsck would have it. */
function replaceMaster(tx: Transaction, treeId: number, id: number): void {
  const tree = readSnapshotTree(tx, treeId);
  if (tree === undefined || tree.master_subvol !== id) return;
  const others = [...tx.btree('subvolumes').keys()]
    .map(({ k, value }) => ({ id: k.p[1]!, value: subvolume.decode(value) }))
    .filter(({ value }) => readSnapshot(tx, value.snapshot).tree === treeId);
  const next = others.find(({ value }) => (value.flags & SUBVOLUME_SNAP) === 0) ?? others[0];
  if (next === undefined) return;
  writeSnapshotTree(tx, treeId, { ...tree, master_subvol: next.id });
  if (next.value.flags & SUBVOLUME_SNAP)
    writeSubvolume(tx, next.id, { ...next.value, flags: next.value.flags & ~SUBVOLUME_SNAP });
}
