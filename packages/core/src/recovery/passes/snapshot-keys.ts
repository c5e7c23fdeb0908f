// The nodes of snapshot trees, the trees and the subvolumes as they are now, whole, for the passes over them: a few hundred bytes each, and
// there are never many. Changed ones are written at once.

import { makeKey } from '../../btree/transaction.ts';
import { makeBpos } from '../../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../../ondisk/btrees.ts';
import type { Location } from '../../ondisk/errors.ts';
import { rulesOf } from '../../ondisk/format-rules.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import type { KeyKind } from '../../ondisk/keys/kind.ts';
import { isSnapshotIdPos, type Snapshot, snapshot } from '../../ondisk/keys/snapshot.ts';
import { type SnapshotTree, snapshotTree } from '../../ondisk/keys/snapshot-tree.ts';
import { type Subvolume, subvolume } from '../../ondisk/keys/subvolume.ts';
import type { PassContext } from '../pass.ts';
import { keysOf } from './inode-index.ts';

/** Bits of the flags of snapshots. */
export const WILL_DELETE = 1;
export const HAS_SUBVOLUME = 2;
export const IS_DELETED = 4;
export const HAS_NO_KEYS = 8;
/** Bits of the flags of subvolumes. */
export const IS_SNAPSHOT = 2;
export const IS_UNLINKED_SUBVOLUME = 4;

const NO_BYTES = new Uint8Array(0);
const WIDE_ZERO = new Uint8Array(16);

export class SnapshotKeys {
  readonly #context: PassContext;
  readonly nodes: Map<number, Snapshot>;
  readonly trees: Map<number, SnapshotTree>;
  readonly subvolumes: Map<number, Subvolume>;

  constructor(context: PassContext) {
    this.#context = context;
    this.nodes = entries(context, 'snapshots', snapshot);
    this.trees = entries(context, 'snapshot_trees', snapshotTree);
    this.subvolumes = entries(context, 'subvolumes', subvolume);
  }

  writeNode(id: number, value: Snapshot): void {
    const { tx } = this.#context.change;
    const whole = { ...value, sizeBytes: Math.max(value.sizeBytes, rulesOf(tx.sb).snapshotBytes) };
    this.nodes.set(id, whole);
    tx.update('snapshots', makeKey(keyTypes.idOf('snapshot'), idPos(id), snapshot.encode(whole)));
  }

  /** Changes some of a node that is there. Its skiplist goes by its parent: nothing below that may be in it. */
  editNode(id: number, fields: Partial<Snapshot>): void {
    const node = this.nodes.get(id);
    if (node === undefined) return;
    const { parent } = fields;
    const skip = parent === undefined ? {} : { skip: [parent, parent, parent] };
    this.writeNode(id, { ...node, ...skip, ...fields });
  }

  deleteNode(id: number): void {
    this.nodes.delete(id);
    this.#context.change.tx.delete('snapshots', idPos(id));
  }

  writeTree(id: number, value: SnapshotTree): void {
    this.trees.set(id, value);
    const key = makeKey(keyTypes.idOf('snapshot_tree'), idPos(id), snapshotTree.encode(value));
    this.#context.change.tx.update('snapshot_trees', key);
  }

  deleteTree(id: number): void {
    this.trees.delete(id);
    this.#context.change.tx.delete('snapshot_trees', idPos(id));
  }

  writeSubvolume(id: number, value: Subvolume): void {
    const { tx } = this.#context.change;
    const whole = { ...value, sizeBytes: Math.max(value.sizeBytes, rulesOf(tx.sb).subvolumeBytes) };
    this.subvolumes.set(id, whole);
    tx.update('subvolumes', makeKey(keyTypes.idOf('subvolume'), idPos(id), subvolume.encode(whole)));
  }

  editSubvolume(id: number, fields: Partial<Subvolume>): void {
    const value = this.subvolumes.get(id);
    if (value !== undefined) this.writeSubvolume(id, { ...value, ...fields });
  }

  deleteSubvolume(id: number, reason: string): void {
    const { tx } = this.#context.change;
    const key = tx.get('subvolumes', idPos(id));
    if (key !== undefined) this.#context.drop(btrees.idOf('subvolumes'), key, reason);
    this.subvolumes.delete(id);
    tx.delete('subvolumes', idPos(id));
  }

  newTreeId(): number {
    let last = 0;
    for (const id of this.trees.keys()) last = Math.max(last, id);
    return last + 1;
  }

  /** The top of the tree that a node is in, as far as its parents are there. */
  rootOf(id: number): number {
    for (let at = id; ; ) {
      const parent = this.nodes.get(at)?.parent ?? 0;
      if (parent <= at || !this.nodes.has(parent)) return at;
      at = parent;
    }
  }

  isAncestor(id: number, ancestor: number): boolean {
    for (let at = id; ; ) {
      if (at === ancestor) return true;
      const parent = this.nodes.get(at)?.parent ?? 0;
      if (parent <= at) return false;
      at = parent;
    }
  }

  children(id: number): readonly number[] {
    return (this.nodes.get(id)?.children ?? []).filter(child => child !== 0);
  }
}

export const newNode = (fields: Partial<Snapshot>): Snapshot => ({
  flags: 0,
  parent: 0,
  children: [0, 0],
  subvol: 0,
  tree: 0,
  depth: 0,
  skip: [0, 0, 0],
  btime: WIDE_ZERO,
  state: 0,
  pad: 0,
  sizeBytes: 0, // written whole
  rest: NO_BYTES,
  ...fields,
});

export const newSubvolume = (fields: Pick<Subvolume, 'snapshot' | 'inode'> & Partial<Subvolume>): Subvolume => ({
  flags: 0,
  creation_parent: 0,
  fs_path_parent: 0,
  otime: WIDE_ZERO,
  state: 0,
  pad: 0,
  sizeBytes: 0, // written whole
  rest: NO_BYTES,
  ...fields,
});

/** As the format has them: the greater one first. */
export function asChildren(ids: readonly number[]): readonly number[] {
  const sorted = [...new Set(ids)].filter(id => id !== 0).sort((a, b) => b - a);
  return [sorted[0] ?? 0, sorted[1] ?? 0];
}

const idPos = (id: number) => makeBpos(0n, BigInt(id), 0);
export const idPlace = (btree: BtreeName, id: number): Location => ({ btree, pos: `0:${id}:0` });

function entries<V>(
  context: PassContext,
  btree: 'snapshots' | 'snapshot_trees' | 'subvolumes',
  kind: KeyKind<V>,
): Map<number, V> {
  const type = keyTypes.idOf(kind.name);
  const found = new Map<number, V>();
  for (const { k, value } of keysOf(context, btree)) {
    if (k.type !== type || value.length < kind.minBytes || !isSnapshotIdPos(k.p)) continue;
    // The node that it is in may be forgotten.
    found.set(k.p[1]!, kind.decode(value.slice()));
  }
  return found;
}
