// reconstruct_snapshots: snapshots and subvolumes that keys name, and that are not there, are made again.
//
// Checks: each snapshot that keys of versioned btrees carry, that a subvolume lives in, or that a node names as its parent or child; each
// subvolume that a directory takes itself for the root of, or that a node says to be lived in by. Needs: the inodes.
// Raises: root_subvol_missing, subvol_missing, subvol_snapshot_shared, bkey_in_missing_snapshot, snapshot_node_missing. Memory: the inode index, and the ids.
// Repair: what a lost node was follows from what is left: the node that has it as a child is its parent, those that have it as their parent
// are its children, the subvolume that lives in it says so. Where a whole tree is lost, lost-trees.ts makes it of what else shows it. Where
// none of that is left, ids that occur at one inode together are of one tree, and a parent's id is above its children's. Nothing is deleted
// for being in a snapshot that was lost.
// Source: bch2_reconstruct_snapshots and check_snapshot_exists in snapshot.c (which knows trees of one node only), v1.13.0.

import { makeKey } from '../../btree/transaction.ts';
import { type InodeRows, IS_DIRECTORY } from '../../check/inode-rows.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { bposText } from '../../ondisk/bpos.ts';
import type { BtreeName } from '../../ondisk/btrees.ts';
import { FILE_TYPE_DIR } from '../../ondisk/inode-tables.ts';
import { ROOT_INODE } from '../../ondisk/inode-unpack.ts';
import type { Subvolume } from '../../ondisk/keys/subvolume.ts';
import { finding } from '../../report/finding.ts';
import { ROOT_SUBVOLUME } from '../../snapshots/snapshot-table.ts';
import { atSnapshot } from '../../snapshots/visible.ts';
import type { Pass, PassContext } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import { inodeIndex, keysOf } from './inode-index.ts';
import { GAP_MAX, lostFamilies, rebuildTree, VERSIONED } from './lost-trees.ts';
import {
  asChildren,
  HAS_SUBVOLUME,
  IS_DELETED,
  IS_SNAPSHOT,
  idPlace,
  newNode,
  newSubvolume,
  SnapshotKeys,
} from './snapshot-keys.ts';
import { bringBack, type Stray, straysIn } from './stray-keys.ts';

export const reconstructSnapshots: Pass = {
  name: 'reconstruct_snapshots',
  needs: ['check_topology'],
  run(context) {
    if (context.unreadable.has('snapshots') || context.unreadable.has('inodes')) return;
    const keys = new SnapshotKeys(context);
    if (!context.unreadable.has('subvolumes')) {
      // One that has what another one has may have a home of its own: then it is made anew.
      dropTwins(context, keys);
      reconstructSubvolumes(context, keys);
      bringHome(context, keys);
      dropTwins(context, keys);
      // What was given up may have a home of its own after all.
      reconstructSubvolumes(context, keys, isHomeFree);
    }
    reconstructNodes(context, keys, lostNodes(context, keys));
  },
};

/** A subvolume that names a snapshot which never was, or has children, while a leaf says that the subvolume lives in it. */
function bringHome(context: PassContext, keys: SnapshotKeys): void {
  const { rows } = inodeIndex(context);
  for (const [id, { snapshot }] of [...keys.subvolumes]) {
    const isInner = keys.children(snapshot).length > 0;
    const isThere = keys.nodes.has(snapshot) || rows.columns.snapshot.subarray(0, rows.count).includes(snapshot);
    if (isThere && !isInner) continue;
    const [home, ...others] = homesOf(keys, id).filter(one => keys.children(one).length === 0);
    if (home === undefined || others.length > 0) continue;
    const found = isInner
      ? finding('snapshot_should_not_have_subvol', idPlace('snapshots', snapshot), { subvolume: id })
      : finding('snapshot_node_missing', idPlace('subvolumes', id), { as: 'snapshot', snapshot });
    if (context.reporter.found(found, { after: `snapshot ${home}` }) === 'fix')
      keys.editSubvolume(id, { snapshot: home });
  }
}

/**
 * Of several subvolumes that name one snapshot, the snapshot knows its own, or else the root directory: the others are keys that were moved or
 * are there twice. A kernel that meets two of them ends with busy inodes.
 */
function dropTwins(context: PassContext, keys: SnapshotKeys): void {
  const { rows, table } = inodeIndex(context);
  // Its node may be lost.
  const bySnapshot = new Map<number, [number, Subvolume][]>();
  for (const [id, value] of keys.subvolumes) {
    const living = bySnapshot.get(value.snapshot);
    if (living === undefined) bySnapshot.set(value.snapshot, [[id, value]]);
    else living.push([id, value]);
  }
  for (const [id, living] of bySnapshot) {
    const owner = keys.nodes.get(id)?.subvol;
    if (living.length < 2) continue;
    const named = living.find(([, { inode }]) => {
      const row = rows.seenFrom(inode, id, table);
      return row !== undefined && living.some(([other]) => other === rows.columns.subvolume[row]);
    });
    const row = named === undefined ? undefined : rows.seenFrom(named[1].inode, id, table);
    const byRoot = row === undefined ? undefined : rows.columns.subvolume[row];
    const isLiving = (subvol: number | undefined) => living.some(([other]) => other === subvol);
    // A node that was lost has been made anew for any of them: the root directory was there before.
    const known = isLiving(byRoot) ? byRoot : isLiving(owner) ? owner : undefined;
    // The one that a mount shows would only be made anew in the same place, and given up for the same reason.
    const isRootHere = isLiving(ROOT_SUBVOLUME) && known !== ROOT_SUBVOLUME && isRootHomeless(context, keys);
    const kept = isRootHere ? ROOT_SUBVOLUME : (known ?? living[0]![0]);
    let isSettled = true;
    for (const [other] of living) {
      if (other === kept) continue;
      const found = finding('subvol_snapshot_shared', idPlace('subvolumes', other), { snapshot: id, subvolume: kept });
      if (context.reporter.found(found, { after: 'it goes' }) === 'fix')
        keys.deleteSubvolume(other, `subvolume ${kept} lives in its snapshot`);
      else isSettled = false;
    }
    if (isRootHere && isSettled) keys.editNode(id, { subvol: ROOT_SUBVOLUME });
  }
}

/** Neither a leaf nor a directory says where the first subvolume lives. */
const isRootHomeless = (context: PassContext, keys: SnapshotKeys): boolean =>
  homesOf(keys, ROOT_SUBVOLUME).length === 0 && !rootsBySubvolume(context).has(ROOT_SUBVOLUME);

/** A directory that is the root of one. */
interface Root {
  readonly inum: bigint;
  /** Of its version. */
  readonly snapshot: number;
  readonly parent: number;
}

/** No other subvolume lives there. */
const isHomeFree = (keys: SnapshotKeys, home: number): boolean =>
  [...keys.subvolumes.values()].every(({ snapshot }) => snapshot !== home);

function reconstructSubvolumes(
  context: PassContext,
  keys: SnapshotKeys,
  isWanted: (keys: SnapshotKeys, home: number) => boolean = () => true,
): void {
  const roots = rootsBySubvolume(context);
  const missing = new Set([...roots.keys()].filter(id => !keys.subvolumes.has(id)));
  if (!keys.subvolumes.has(ROOT_SUBVOLUME)) missing.add(ROOT_SUBVOLUME);
  for (const id of [...missing].sort((a, b) => a - b)) {
    const homes = homesOf(keys, id);
    const root = (roots.get(id) ?? []).find(one => homes.length === 0 || homes.some(home => sees(keys, home, one)));
    const home = homes[0] ?? (root === undefined ? undefined : freeLeafBelow(keys, root.snapshot));
    if (id !== ROOT_SUBVOLUME && (root === undefined || home === undefined)) continue;
    if (home !== undefined && !isWanted(keys, home)) continue;
    const where = idPlace('subvolumes', id);
    const found =
      id === ROOT_SUBVOLUME
        ? finding('root_subvol_missing', where, { detail: 'no subvolume 1, expected the one that a mount shows' })
        : finding('subvol_missing', where, { subvolume: id });
    if (context.reporter.found(found, { after: 'it is made anew' }) !== 'fix') continue;
    const node = home ?? root?.snapshot ?? 0xffff_ffff;
    const master = keys.trees.get(keys.nodes.get(node)?.tree ?? 0)?.master_subvol;
    // Its key may only have been moved: then that knows when it was made, and from what.
    const moved = [...keys.subvolumes.values()].find(one => one.snapshot === node && one.inode === root?.inum);
    keys.writeSubvolume(
      id,
      newSubvolume({
        ...moved,
        snapshot: node,
        inode: id === ROOT_SUBVOLUME ? ROOT_INODE : (root?.inum ?? ROOT_INODE),
        fs_path_parent: id === ROOT_SUBVOLUME ? 0 : (root?.parent ?? ROOT_SUBVOLUME),
        flags: id !== ROOT_SUBVOLUME && master !== undefined && master !== id ? IS_SNAPSHOT : 0,
      }),
    );
  }
}

/** Leaves that say that a subvolume lives in them. */
const homesOf = (keys: SnapshotKeys, subvolume: number): readonly number[] =>
  [...keys.nodes].filter(([, { subvol, flags }]) => subvol === subvolume && !(flags & IS_DELETED)).map(([id]) => id);

const sees = (keys: SnapshotKeys, snapshot: number, root: Root): boolean => keys.isAncestor(snapshot, root.snapshot);

/** A leaf that no subvolume lives in, which sees a version. */
function freeLeafBelow(keys: SnapshotKeys, snapshot: number): number | undefined {
  if (!keys.nodes.has(snapshot)) return snapshot;
  const taken = new Set([...keys.subvolumes.values()].map(one => one.snapshot));
  for (const id of [...keys.nodes.keys()].sort((a, b) => b - a)) {
    if (keys.children(id).length === 0 && !taken.has(id) && keys.isAncestor(id, snapshot)) return id;
  }
  return undefined;
}

function rootsBySubvolume(context: PassContext): Map<number, Root[]> {
  const { rows } = inodeIndex(context);
  const { inum, snapshot, subvolume, parentSubvolume } = rows.columns;
  const roots = new Map<number, Root[]>();
  for (let row = 0; row < rows.count; row++) {
    const id = subvolume[row]!;
    if (id === 0 || !rows.has(row, IS_DIRECTORY)) continue;
    const root = { inum: inum[row]!, snapshot: snapshot[row]!, parent: parentSubvolume[row]! };
    roots.set(id, [...(roots.get(id) ?? []), root]);
  }
  return roots;
}

/** What is known of a node that is missing. */
interface Lost {
  readonly id: number;
  /** A key that is in it; undefined where only other nodes and subvolumes name it. */
  readonly where: { readonly btree: BtreeName; readonly pos: string } | undefined;
  readonly as: 'parent' | 'snapshot';
  readonly from: number;
}

/** Snapshots that a walk met, and that are not there. @param met a key of each */
export function reconstructMet(context: PassContext, btree: BtreeName, met: readonly Key[]): void {
  if (met.length === 0) return;
  const lost = met.map(
    ({ k }): Lost => ({ id: k.p[0]!, where: { btree, pos: bposText(k.p) }, as: 'snapshot', from: 0 }),
  );
  reconstructNodes(context, new SnapshotKeys(context), lost);
}

function reconstructNodes(context: PassContext, keys: SnapshotKeys, lost: readonly Lost[]): void {
  const agreed = new Set<number>();
  const strays = straysIn(context, keys, new Set(lost.map(({ id }) => id)));
  // The highest first: parents before their children.
  for (const one of lost.toSorted((a, b) => b.id - a.id)) {
    const few = strays.get(one.id);
    if (!isToBeMade(context, one, few)) continue;
    if (few === undefined) agreed.add(one.id);
    else bringBack(context, few);
  }
  if (agreed.size > 1) for (const family of lostFamilies(context, keys, agreed)) rebuildTree(context, keys, family);
  const shared = new SharedInodes(inodeIndex(context).rows);
  for (const id of agreed) {
    if (keys.nodes.has(id)) continue;
    let lowest = 0xffff_ffff;
    for (const other of keys.nodes.keys()) lowest = Math.min(lowest, other);
    makeNode(context, keys, shared, id);
    if (id < lowest - GAP_MAX && rename(context, keys, id, lowest - 1)) shared.rename(id, lowest - 1);
  }
}

/**
 * Which snapshots have versions of the same inodes. It is taken once for all nodes that are made, since each of them changes inodes: reading all
 * of those anew for each takes minutes where a hostile image has a thousand. What is made is not in it, and none of that is shared.
 */
class SharedInodes {
  readonly #rows: InodeRows;
  /** By snapshot: the first rows of the inodes that have a version there. */
  readonly #inodes = new Map<number, number[]>();
  /** By snapshot: the first directory there that takes itself for the root of a subvolume. */
  readonly #roots = new Map<number, bigint>();
  readonly #renamed = new Map<number, number>();

  constructor(rows: InodeRows) {
    this.#rows = rows;
    const { inum, snapshot, subvolume } = rows.columns;
    let first = 0;
    for (let row = 0; row < rows.count; row++) {
      if (inum[row] !== inum[first]) first = row;
      const id = snapshot[row]!;
      const known = this.#inodes.get(id);
      if (known === undefined) this.#inodes.set(id, [first]);
      else if (known.at(-1) !== first) known.push(first);
      if (subvolume[row] !== 0 && rows.has(row, IS_DIRECTORY) && !this.#roots.has(id)) this.#roots.set(id, inum[row]!);
    }
  }

  /** Snapshots that have versions of the same inodes as this one. */
  companions(id: number): ReadonlySet<number> {
    const { inum, snapshot } = this.#rows.columns;
    const found = new Set<number>();
    for (const first of this.#inodes.get(id) ?? []) {
      for (let row = first; row < this.#rows.count && inum[row] === inum[first]; row++) {
        const other = snapshot[row]!;
        found.add(this.#renamed.get(other) ?? other);
      }
    }
    found.delete(id);
    return found;
  }

  /** A directory that has its version in a snapshot and takes itself for the root of a subvolume. */
  rootIn(id: number): bigint | undefined {
    return this.#roots.get(id);
  }

  rename(from: number, to: number): void {
    this.#renamed.set(from, to);
    this.#inodes.set(to, this.#inodes.get(from) ?? []);
  }
}

function isToBeMade(
  { reporter }: PassContext,
  { id, where, as, from }: Lost,
  strays: readonly Stray[] | undefined,
): boolean {
  const found =
    where === undefined
      ? finding('snapshot_node_missing', idPlace(as === 'parent' ? 'snapshots' : 'subvolumes', from), {
          as,
          snapshot: id,
        })
      : finding('bkey_in_missing_snapshot', where, { snapshot: id });
  const [stray] = strays ?? [];
  let after = 'the node is made anew';
  if (stray !== undefined) after = stray.to === undefined ? 'it goes' : `it is of snapshot ${stray.to}`;
  return reporter.found(found, { after }) === 'fix';
}

/** Keys that are read before any is changed. */
const RUN = 1024;

/** Another id for a node without relatives, and all that is in it. */
function rename(context: PassContext, keys: SnapshotKeys, from: number, to: number): boolean {
  const node = keys.nodes.get(from);
  if (node === undefined || node.parent !== 0 || keys.children(from).length > 0) return false;
  for (const btree of VERSIONED) {
    let waiting: Key[] = [];
    const moveAll = () => {
      for (const key of waiting) {
        context.change.tx.delete(btree, key.k.p);
        context.change.tx.update(btree, makeKey(key.k.type, atSnapshot(key.k.p, to), key.value, key.k));
      }
      waiting = [];
    };
    for (const { k, value } of keysOf(context, btree)) {
      if (k.p[0] === from) waiting.push({ k: { ...k, p: k.p.slice() }, value: value.slice() });
      if (waiting.length === RUN) moveAll();
    }
    moveAll();
  }
  keys.writeNode(to, node);
  keys.deleteNode(from);
  const tree = keys.trees.get(node.tree);
  if (tree?.root_snapshot === from) keys.writeTree(node.tree, { ...tree, root_snapshot: to });
  for (const [id, { snapshot }] of [...keys.subvolumes])
    if (snapshot === from) keys.editSubvolume(id, { snapshot: to });
  return true;
}

function lostNodes(context: PassContext, keys: SnapshotKeys): readonly Lost[] {
  const lost = new Map<number, Lost>();
  const add = (one: Lost) => {
    if (one.id !== 0 && !keys.nodes.has(one.id) && !lost.has(one.id)) lost.set(one.id, one);
  };
  for (const [from, { snapshot: id }] of keys.subvolumes) add({ id, where: undefined, as: 'snapshot', from });
  for (const [from, { parent }] of keys.nodes) {
    if (parent > from) add({ id: parent, where: undefined, as: 'parent', from });
  }
  const isInodeLost = [...inodeIndex(context).snapshots].some(id => !keys.nodes.has(id));
  // Inodes are written with whatever else is: the passes over other btrees say what they meet for the first time (owners.ts).
  if (lost.size > 0 || isInodeLost || context.lostData.has('inodes')) {
    for (const btree of VERSIONED) {
      for (const { k } of keysOf(context, btree)) {
        const id = k.p[0]!;
        if (!keys.nodes.has(id)) add({ id, where: { btree, pos: bposText(k.p) }, as: 'snapshot', from: 0 });
      }
    }
  }
  return [...lost.values()];
}

function makeNode(context: PassContext, keys: SnapshotKeys, shared: SharedInodes, id: number): void {
  const above = [...keys.nodes].find(([other, { children }]) => other > id && children.includes(id))?.[0];
  const below = [...keys.nodes].filter(([other, { parent }]) => other < id && parent === id).map(([other]) => other);
  let home = [...keys.subvolumes].find(([, value]) => value.snapshot === id)?.[0] ?? 0;
  const tops = below.length > 0 ? below : home === 0 ? topsBelow(keys, shared, id) : [];
  const parent = above ?? (tops.length > 0 ? 0 : (placeInTree(keys, shared, id) ?? 0));
  // Nothing says what it was: without a subvolume in it all that is in it would go.
  if (home === 0 && tops.length === 0) home = makeHomeAt(context, keys, id, shared.rootIn(id));
  const relative = keys.nodes.get(parent === 0 ? (tops[0] ?? 0) : parent);
  const known = [...keys.trees].find(([, { root_snapshot }]) => root_snapshot === id)?.[0];
  const tree = relative?.tree ?? known ?? keys.newTreeId();
  const subvol = tops.length > 0 ? 0 : home;
  const flags = subvol === 0 ? 0 : HAS_SUBVOLUME;
  const depth = parent === 0 ? 0 : (keys.nodes.get(parent)?.depth ?? 0) + 1;
  const skip = [parent, parent, parent];
  keys.writeNode(id, newNode({ parent, children: asChildren(tops), subvol, flags, tree, depth, skip }));
  if (!keys.trees.has(tree))
    keys.writeTree(tree, { master_subvol: subvol, root_snapshot: parent === 0 ? id : keys.rootOf(id) });
  const over = keys.nodes.get(parent);
  if (over !== undefined && !over.children.includes(id))
    keys.editNode(parent, { children: asChildren([...keys.children(parent), id]) });
  for (const child of tops) keys.editNode(child, { parent: id });
}

/** A subvolume that shows what is in a snapshot, by the names that it then gets in lost+found. */
export function makeHome(context: PassContext, keys: SnapshotKeys, snapshot: number): number {
  return makeHomeAt(context, keys, snapshot, new SharedInodes(inodeIndex(context).rows).rootIn(snapshot));
}

/** @param known the directory there that is its root; one is made where there is none */
function makeHomeAt(context: PassContext, keys: SnapshotKeys, snapshot: number, known: bigint | undefined): number {
  const files = new FileRepairs(context);
  let last = ROOT_SUBVOLUME;
  for (const other of keys.subvolumes.keys()) last = Math.max(last, other);
  const id = last + 1;
  const inode = known ?? files.newInum();
  keys.writeSubvolume(id, newSubvolume({ snapshot, inode, fs_path_parent: ROOT_SUBVOLUME }));
  const root = { bi_subvol: id, bi_parent_subvol: ROOT_SUBVOLUME };
  if (known === undefined) files.createInode(inode, snapshot, { ...root, bi_mode: (FILE_TYPE_DIR << 12) | 0o700 });
  else files.editInode(inode, snapshot, edited => Object.assign(edited, root, { bi_dir: 0n, bi_dir_offset: 0n }));
  return id;
}

/** Roots of trees that share inodes with a lost node of a higher id: it was above them. */
function topsBelow(keys: SnapshotKeys, shared: SharedInodes, id: number): readonly number[] {
  const tops = new Set<number>();
  for (const other of shared.companions(id)) {
    if (other > id || !keys.nodes.has(other)) continue;
    const top = keys.rootOf(other);
    if (top < id) tops.add(top);
  }
  return tops.size > 2 ? [] : [...tops];
}

/** A node of the tree that a lost one shares inodes with, above it and with room for another child. */
function placeInTree(keys: SnapshotKeys, shared: SharedInodes, id: number): number | undefined {
  const trees = new Set<number>();
  for (const other of shared.companions(id)) {
    const tree = keys.nodes.get(other)?.tree;
    if (tree !== undefined) trees.add(tree);
  }
  const places = [...keys.nodes].filter(
    ([other, { tree, subvol, children }]) => other > id && trees.has(tree) && subvol === 0 && children.includes(0),
  );
  return places.length === 0 ? undefined : places.reduce((least, [other]) => Math.min(least, other), 0xffff_ffff);
}
