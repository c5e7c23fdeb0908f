// The snapshot table: the nodes of all snapshot trees, the trees, and the subvolumes that live in leaves. A key of a versioned btree
// is seen in the snapshot that it carries and in all descendants of that one, so the one hot question here is whether a snapshot is an
// ancestor of another. A parent's id is above its children's; edges that break this rule are not followed, so that every walk
// upwards ends, whatever the image says. What has become of a node (will_delete, no_keys, deleted) does not change what is
// seen through it: only its place in the tree counts.
// Sources: snapshot.c and subvolume.c, v1.13.0; snapshots/snapshot.c and snapshots/format.h, v1.39.2.

import type { FilesystemSource } from '../btree/source.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposText } from '../ondisk/bpos.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { inodeTimeNs } from '../ondisk/inode-unpack.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { KeyKind } from '../ondisk/keys/kind.ts';
import { isSnapshotIdPos, type SnapshotState, snapshot, snapshotState } from '../ondisk/keys/snapshot.ts';
import { snapshotTree } from '../ondisk/keys/snapshot-tree.ts';
import { type SubvolumeState, subvolume, subvolumeState } from '../ondisk/keys/subvolume.ts';
import { viewOf } from '../ondisk/layout.ts';
import { type DamageOptions, type OnDamage, reportDamage } from './damage.ts';

/** BCACHEFS_ROOT_SUBVOL: what a mount shows. */
export const ROOT_SUBVOLUME = 1;

/** One node of a tree of snapshots. */
export interface SnapshotNode {
  readonly id: number;
  /** 0 for a root. */
  readonly parent: number;
  /** None or two; one where the other was deleted. */
  readonly children: readonly number[];
  /** The subvolume that lives in it, of a leaf; 0 for none. */
  readonly subvolume: number;
  readonly tree: number;
  /** Undefined when the key holds an unknown state. */
  readonly state: SnapshotState | undefined;
}

/** A lasting name for one tree of snapshots. */
export interface SnapshotTreeEntry {
  readonly id: number;
  /** 0 when it is gone. */
  readonly masterSubvolume: number;
  readonly rootSnapshot: number;
}

export interface SubvolumeEntry {
  readonly id: number;
  /** The snapshot that its files are read in. */
  readonly snapshot: number;
  /** The inode of its root directory. */
  readonly rootInode: bigint;
  readonly isReadOnly: boolean;
  /** It was made from another subvolume. */
  readonly isSnapshot: boolean;
  /** Undefined when the key holds an unknown state. */
  readonly state: SubvolumeState | undefined;
  /** Of a snapshot: the subvolume that it was made from; 0 for none. */
  readonly creationParent: number;
  /** The subvolume of the directory that it is in; 0 for none, and before 1.6. */
  readonly fsPathParent: number;
  /** Nanoseconds since 1970; undefined where it is not recorded. */
  readonly createdNs: bigint | undefined;
}

/** A snapshot and its ancestors: what its keys can be seen from. */
export interface Ancestry {
  readonly snapshot: number;
  /** Whether keys of snapshot `id` are seen. */
  has(id: number): boolean;
}

const RO = 1;
const SNAP = 2;

/** How many snapshots' ancestries are kept. */
const ANCESTRIES_MAX = 64;

export class SnapshotTable {
  readonly #nodes: ReadonlyMap<number, SnapshotNode>;
  readonly #trees: ReadonlyMap<number, SnapshotTreeEntry>;
  readonly #subvolumes: ReadonlyMap<number, SubvolumeEntry>;
  readonly #ancestries = new Map<number, ReadonlySet<number>>();
  #last: AncestorSet | undefined;

  constructor(
    nodes: Iterable<SnapshotNode>,
    subvolumes: Iterable<SubvolumeEntry> = [],
    trees: Iterable<SnapshotTreeEntry> = [],
  ) {
    this.#nodes = new Map([...nodes].map(node => [node.id, node]));
    this.#subvolumes = new Map([...subvolumes].map(entry => [entry.id, entry]));
    this.#trees = new Map([...trees].map(tree => [tree.id, tree]));
  }

  /**
   * Reads the three btrees. The first thing to do before reading files; a few keys for each snapshot.
   * @throws CorruptError, DeviceError for what is lost or contradicts itself, unless `onDamage` is given
   */
  static read(source: FilesystemSource, { onDamage }: DamageOptions = {}): SnapshotTable {
    const nodes = [...entriesOf(source, 'snapshots', snapshot, onDamage)].map(
      ({ id, value }): SnapshotNode => ({
        id,
        parent: value.parent,
        children: value.children.filter(child => child !== 0),
        subvolume: value.subvol,
        tree: value.tree,
        state: snapshotState(value),
      }),
    );
    const trees = [...entriesOf(source, 'snapshot_trees', snapshotTree, onDamage)].map(
      ({ id, value }): SnapshotTreeEntry => ({
        id,
        masterSubvolume: value.master_subvol,
        rootSnapshot: value.root_snapshot,
      }),
    );
    const subvolumes = [...entriesOf(source, 'subvolumes', subvolume, onDamage)].map(
      ({ id, value }): SubvolumeEntry => {
        const otime = viewOf(value.otime).getBigUint64(0, true);
        return {
          id,
          snapshot: value.snapshot,
          rootInode: value.inode,
          isReadOnly: (value.flags & RO) !== 0,
          isSnapshot: (value.flags & SNAP) !== 0,
          state: subvolumeState(value),
          creationParent: value.creation_parent,
          fsPathParent: value.fs_path_parent,
          createdNs: otime === 0n ? undefined : inodeTimeNs(otime, source.sb),
        };
      },
    );
    const table = new SnapshotTable(nodes, subvolumes, trees);
    table.#check(onDamage);
    return table;
  }

  node(id: number): SnapshotNode | undefined {
    return this.#nodes.get(id);
  }

  /** All nodes, in the order of their ids: children before their parents. */
  nodes(): readonly SnapshotNode[] {
    return [...this.#nodes.values()].toSorted((a, b) => a.id - b.id);
  }

  trees(): readonly SnapshotTreeEntry[] {
    return [...this.#trees.values()];
  }

  subvolume(id: number): SubvolumeEntry | undefined {
    return this.#subvolumes.get(id);
  }

  subvolumes(): readonly SubvolumeEntry[] {
    return [...this.#subvolumes.values()];
  }

  /**
   * Whether `ancestor` is `id` itself or above it. A snapshot whose node is missing has itself and nothing else; a parent whose node is
   * missing still is one. Mirrors bch2_snapshot_is_ancestor.
   */
  isAncestor(id: number, ancestor: number): boolean {
    if (id === ancestor) return true;
    // Ids grow upwards: most questions end here.
    if (id > ancestor) return false;
    if (this.#last?.snapshot !== id) this.#last = this.ancestry(id);
    return this.#last.has(ancestor);
  }

  /** The same question for one snapshot, many times: 7 ns each (Node 20). */
  ancestry(id: number): AncestorSet {
    let above = this.#ancestries.get(id);
    if (above === undefined) {
      above = new Set(this.pathToRoot(id));
      if (this.#ancestries.size >= ANCESTRIES_MAX) this.#ancestries.clear();
      this.#ancestries.set(id, above);
    }
    return new AncestorSet(id, above);
  }

  /** A snapshot and its ancestors, upwards: at most as many as there are nodes, and one. */
  *pathToRoot(id: number): Generator<number> {
    let current = id;
    for (;;) {
      yield current;
      const parent = this.#nodes.get(current)?.parent ?? 0;
      if (parent <= current) return;
      current = parent;
    }
  }

  /** Edges that lead nowhere or round in a circle. */
  #check(onDamage: OnDamage | undefined): void {
    for (const { id, parent } of this.#nodes.values()) {
      if (parent === 0) continue;
      const where = { btree: 'snapshots', pos: `0:${id}:0` };
      if (parent <= id) {
        const detail = `parent ${parent}, expected above ${id}: not followed`;
        reportDamage(new CorruptError('snapshot_parent_bad', where, detail), onDamage);
      } else if (!this.#nodes.has(parent)) {
        const detail = `parent ${parent} is missing: what its ancestors held is not seen`;
        reportDamage(new CorruptError('snapshot_node_missing', where, detail), onDamage);
      }
    }
    for (const { id, snapshot } of this.#subvolumes.values()) {
      if (this.#nodes.has(snapshot)) continue;
      const where = { btree: 'subvolumes', pos: `0:${id}:0` };
      const detail = `snapshot ${snapshot} is missing: only keys of just this snapshot are seen`;
      reportDamage(new CorruptError('snapshot_node_missing', where, detail), onDamage);
    }
  }
}

/** What `ancestry` gives; of one shape, so that the call in the hot loop is a direct one. */
class AncestorSet implements Ancestry {
  readonly #above: ReadonlySet<number>;

  constructor(
    readonly snapshot: number,
    above: ReadonlySet<number>,
  ) {
    this.#above = above;
  }

  has(id: number): boolean {
    return id === this.snapshot || (id > this.snapshot && this.#above.has(id));
  }
}

/** Keys of one type at positions 0:id. */
function* entriesOf<V>(
  source: FilesystemSource,
  btree: BtreeName,
  kind: KeyKind<V>,
  onDamage: OnDamage | undefined,
): Generator<{ readonly id: number; readonly value: V }> {
  const type = keyTypes.idOf(kind.name);
  for (const key of source.btree(btree).keys(onDamage === undefined ? {} : { onDamage })) {
    if (key.k.type !== type) continue;
    const problem = problemOf(key, kind);
    if (problem === undefined) {
      yield { id: key.k.p[1]!, value: kind.decode(key.value) };
      continue;
    }
    const where = { btree, pos: bposText(key.k.p) };
    reportDamage(new CorruptError(problem.error, where, problem.detail), onDamage);
  }
}

/** Sound keys only come from a reader that validates them; one may be reading without. */
function problemOf<V>(key: Key, kind: KeyKind<V>): { readonly error: FaultName; readonly detail: string } | undefined {
  if (key.value.length < kind.minBytes) {
    const detail = `a value of ${key.value.length} bytes, expected ${kind.minBytes} or more`;
    return { error: 'bkey_val_size_too_small', detail };
  }
  if (isSnapshotIdPos(key.k.p)) return undefined;
  return { error: 'snapshot_pos_bad', detail: 'a position outside 0:1 to 0:4294967295' };
}
