// New nodes in the trees of snapshots, and subvolumes that live in them. A snapshot of a subvolume gives its node two children: one for
// the new subvolume, one that the old one goes on in; what both had is in the parent from then on, which does not change any more.
// Ids go downwards, so that a parent's is always above its children's.
// Source: bch2_subvolume_create in subvolume.c, create_snapids and bch2_snapshot_node_create in snapshot.c, v1.13.0.

import { makeKey, type Transaction } from '../btree/transaction.ts';
import { type Bpos, POS_MIN } from '../ondisk/bpos.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import { CorruptError, type Location, NoSpaceError } from '../ondisk/errors.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { type Snapshot, snapshot } from '../ondisk/keys/snapshot.ts';
import { type SnapshotTree, snapshotTree } from '../ondisk/keys/snapshot-tree.ts';
import { type Subvolume, subvolume } from '../ondisk/keys/subvolume.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { RandomSource } from '../util/random.ts';

const SNAPSHOT_SUBVOL = 1 << 1;
const SUBVOLUME_RO = 1;
export const SUBVOLUME_SNAP = 2;

const NO_BYTES = new Uint8Array(0);

export const idPos = (id: number): Bpos => Uint32Array.of(0, id, 0, 0, 0);

const TYPE = {
  snapshot: keyTypes.idOf('snapshot'),
  snapshot_tree: keyTypes.idOf('snapshot_tree'),
  subvolume: keyTypes.idOf('subvolume'),
} as const;

const snapshotPlace = (id: number): Location => ({ btree: 'snapshots', pos: `0:${id}:0` });

export function readSnapshot(tx: Transaction, id: number): Snapshot {
  const key = tx.get('snapshots', idPos(id));
  if (key === undefined || key.k.type !== TYPE.snapshot) {
    throw new CorruptError('snapshot_node_missing', snapshotPlace(id), 'it is referred to, but missing');
  }
  return snapshot.decode(key.value);
}
/** Whole, even where it was shorter: older versions had less of it. */
export function writeSnapshot(tx: Transaction, id: number, value: Snapshot): void {
  const sizeBytes = Math.max(value.sizeBytes, rulesOf(tx.sb).snapshotBytes);
  tx.update('snapshots', makeKey(TYPE.snapshot, idPos(id), snapshot.encode({ ...value, sizeBytes })));
}

export function readSubvolume(tx: Transaction, id: number): Subvolume {
  const key = tx.get('subvolumes', idPos(id));
  if (key === undefined || key.k.type !== TYPE.subvolume) {
    throw new CorruptError(
      'subvol_missing',
      { btree: 'subvolumes', pos: `0:${id}:0` },
      'it is referred to, but missing',
    );
  }
  return subvolume.decode(key.value);
}
/** Whole, as writeSnapshot. */
export function writeSubvolume(tx: Transaction, id: number, value: Subvolume): void {
  const sizeBytes = Math.max(value.sizeBytes, rulesOf(tx.sb).subvolumeBytes);
  tx.update('subvolumes', makeKey(TYPE.subvolume, idPos(id), subvolume.encode({ ...value, sizeBytes })));
}

export function readSnapshotTree(tx: Transaction, id: number): SnapshotTree | undefined {
  const key = tx.get('snapshot_trees', idPos(id));
  return key === undefined || key.k.type !== TYPE.snapshot_tree ? undefined : snapshotTree.decode(key.value);
}
export function writeSnapshotTree(tx: Transaction, id: number, value: SnapshotTree): void {
  tx.update('snapshot_trees', makeKey(TYPE.snapshot_tree, idPos(id), snapshotTree.encode(value)));
}

/** A 128-bit time. @param time as inodes have it */
function wideTime(time: bigint): Uint8Array {
  const bytes = new Uint8Array(16);
  viewOf(bytes).setBigUint64(0, BigInt.asUintN(64, time), true);
  return bytes;
}

export interface NewSubvolume {
  /** Its root directory. */
  readonly inode: bigint;
  /** The subvolume of the directory that it is in; 0 for the first. */
  readonly parent: number;
  /** The subvolume that it is a snapshot of; 0 for none. */
  readonly source: number;
  readonly isReadOnly: boolean;
  /** Now, as inodes have it. */
  readonly time: bigint;
}

/** @returns numbers of the subvolume and of the snapshot that it lives in */
export function createSubvolumeKeys(
  tx: Transaction,
  random: RandomSource,
  { inode, parent, source, isReadOnly, time }: NewSubvolume,
): { readonly id: number; readonly snapshot: number } {
  const id = nextId(tx, 'subvolumes');
  if (id > 0x7fff_ffff) throw new NoSpaceError('there are no more numbers for subvolumes', 'no_subvolume_numbers');
  let node: number;
  if (source === 0) node = createTree(tx, id, time);
  else {
    const old = readSubvolume(tx, source);
    const [forNew, forOld] = createChildren(tx, random, old.snapshot, [id, source], time);
    node = forNew;
    writeSubvolume(tx, source, { ...old, snapshot: forOld });
  }
  writeSubvolume(tx, id, {
    flags: (isReadOnly ? SUBVOLUME_RO : 0) | (source === 0 ? 0 : SUBVOLUME_SNAP),
    snapshot: node,
    inode,
    creation_parent: source,
    fs_path_parent: parent,
    otime: wideTime(time),
    state: 0,
    pad: 0,
    sizeBytes: 0, // written whole
    rest: NO_BYTES,
  });
  return { id, snapshot: node };
}

/** Whether anything in a subvolume may be changed from here on. */
export function setReadOnly(tx: Transaction, id: number, isReadOnly: boolean): void {
  const old = readSubvolume(tx, id);
  writeSubvolume(tx, id, { ...old, flags: isReadOnly ? old.flags | SUBVOLUME_RO : old.flags & ~SUBVOLUME_RO });
}

/** One above the highest. */
function nextId(tx: Transaction, btree: BtreeName): number {
  for (const { k } of tx.btree(btree).keys({ backward: true })) return k.p[1]! + 1;
  return 1;
}

/** One below the lowest. */
function nextSnapshot(tx: Transaction): number {
  for (const { k } of tx.btree('snapshots').keys({ from: POS_MIN })) {
    if (k.p[1]! <= 1) throw new NoSpaceError('there are no more numbers for snapshots', 'no_snapshot_numbers');
    return k.p[1]! - 1;
  }
  return 0xffff_ffff;
}

export const newSnapshotNode = (subvol: number, tree: number, time: bigint): Snapshot => ({
  flags: SNAPSHOT_SUBVOL,
  parent: 0,
  children: [0, 0],
  subvol,
  tree,
  depth: 0,
  skip: [0, 0, 0],
  btime: wideTime(time),
  state: 0,
  pad: 0,
  sizeBytes: 0, // written whole
  rest: NO_BYTES,
});

function createTree(tx: Transaction, master_subvol: number, time: bigint): number {
  const tree = nextId(tx, 'snapshot_trees');
  const root_snapshot = nextSnapshot(tx);
  writeSnapshotTree(tx, tree, { master_subvol, root_snapshot });
  writeSnapshot(tx, root_snapshot, newSnapshotNode(master_subvol, tree, time));
  return root_snapshot;
}

function createChildren(
  tx: Transaction,
  random: RandomSource,
  parent: number,
  subvolumes: readonly [number, number],
  time: bigint,
): readonly [number, number] {
  const old = readSnapshot(tx, parent);
  if (old.children.some(child => child !== 0)) {
    const detail = `a subvolume lives in it, but it has the children ${old.children.join(' and ')}: expected a leaf`;
    throw new CorruptError('snapshot_should_not_have_subvol', snapshotPlace(parent), detail);
  }
  const ancestors = ancestorsOf(tx, parent);
  const [first, second] = subvolumes.map(subvol => {
    const id = nextSnapshot(tx);
    const skip = [0, 1, 2].map(() => pickAncestor(random, ancestors)).sort((a, b) => a - b);
    const node = newSnapshotNode(subvol, old.tree, time);
    writeSnapshot(tx, id, { ...node, parent, depth: old.depth + 1, skip });
    return id;
  }) as [number, number]; // two subvolumes
  writeSnapshot(tx, parent, { ...old, children: [first, second], subvol: 0, flags: old.flags & ~SNAPSHOT_SUBVOL });
  return [first, second];
}

/** A snapshot and what is above it, upwards. */
export function ancestorsOf(tx: Transaction, id: number): readonly number[] {
  const path = [id];
  for (;;) {
    const above = readSnapshot(tx, path.at(-1)!).parent;
    if (above <= path.at(-1)!) return path;
    path.push(above);
  }
}

/** For skiplists: a parent or one above it, all but the root with the same chance. Mirrors bch2_snapshot_skiplist_get. */
export function pickAncestor(random: RandomSource, path: readonly number[]): number {
  if (path.length <= 2) return path[0]!;
  const choice = viewOf(random.bytes(4)).getUint32(0, true) % (path.length - 1);
  return path[choice]!;
}
