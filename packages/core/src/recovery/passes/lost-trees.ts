// Trees of snapshots of which no node is left, from what else shows them: ids that occur at one inode together are of one tree, and a
// parent's id is above its children's. Which node is below which, the subvolumes know. A snapshot of a subvolume gives the node that it lived
// in two children with the next lower ids: the snapshot gets the higher of them, and the subvolume goes on in the lower. So each subvolume has
// lived in nodes with lower and lower ids, the one it lives in now the last, and was itself made below the node that its parent lived in then.
//
// A root directory shows by its subvolume which one lived in the node of its version; that of a snapshot always has a version in its first node. What
// none is known to have lived in was lived in by the subvolume whose snapshot is its sibling, or else by the one that the tree began with.
// Nodes without keys leave no trace, and none is missed: they only join others, and new ones do that as well.
//
// Source: bch2_snapshot_node_create and bch2_subvolume_create, v1.13.0; check_snapshot and bch2_reconstruct_snapshots (which only makes trees
// of one node) in snapshot.c.

import { bposInode, bposOffset } from '../../ondisk/bpos.ts';
import type { BtreeName } from '../../ondisk/btrees.ts';
import type { PassContext } from '../pass.ts';
import { inodeIndex, keysOf } from './inode-index.ts';
import { asChildren, HAS_SUBVOLUME, IS_SNAPSHOT, newNode, type SnapshotKeys } from './snapshot-keys.ts';

/** Btrees whose keys are in snapshots. */
export const VERSIONED: readonly BtreeName[] = ['inodes', 'extents', 'dirents', 'xattrs'];

/** A kernel keeps an array from the highest id down to the lowest: with one far from the others it runs out of memory at the mount. */
export const GAP_MAX: number = 2 ** 20;

/** Ids of one tree, as far as anything shows them. */
export type Family = ReadonlySet<number>;

/**
 * The families of which no node is there, and that a subvolume lives in.
 * @param lost ids whose nodes are not there
 */
export function lostFamilies(context: PassContext, keys: SnapshotKeys, lost: ReadonlySet<number>): readonly Family[] {
  const { rows } = inodeIndex(context);
  const { inum, snapshot } = rows.columns;
  const families = new Families();
  for (const btree of VERSIONED) {
    let last: bigint | undefined;
    let first = 0;
    for (const { k } of keysOf(context, btree)) {
      const owner = btree === 'inodes' ? bposOffset(k.p) : bposInode(k.p);
      if (owner !== last) [last, first] = [owner, k.p[0]!];
      families.join(first, k.p[0]!);
    }
  }
  for (const value of keys.subvolumes.values()) {
    const [begin, end] = rows.of(value.inode);
    for (let row = begin; row < end; row++)
      if (inum[row] === value.inode) families.join(value.snapshot, snapshot[row]!);
    const parent = keys.subvolumes.get(value.creation_parent);
    if (parent !== undefined) families.join(value.snapshot, parent.snapshot);
  }
  const homes = new Set([...keys.subvolumes.values()].map(one => one.snapshot));
  return families.all().filter(family => {
    const ids = [...family].sort((a, b) => a - b);
    const isNear = ids.at(-1)! - ids[0]! <= GAP_MAX;
    return ids.length > 1 && isNear && ids.every(id => lost.has(id)) && ids.some(id => homes.has(id));
  });
}

/** Makes the nodes of a family, and its tree. */
export function rebuildTree(context: PassContext, keys: SnapshotKeys, family: Family): void {
  new TreePlan(context, keys, family).write();
}

class Families {
  readonly #families = new Map<number, Set<number>>();

  join(a: number, b: number): void {
    const families = [this.#of(a), this.#of(b)] as const;
    // The smaller one moves: each id does so a few times at the most.
    const [one, other] = families[0].size < families[1].size ? [families[1], families[0]] : families;
    if (one === other) return;
    for (const id of other) {
      one.add(id);
      this.#families.set(id, one);
    }
  }

  all(): readonly Family[] {
    return [...new Set(this.#families.values())];
  }

  #of(id: number): Set<number> {
    const known = this.#families.get(id) ?? new Set([id]);
    this.#families.set(id, known);
    return known;
  }
}

class TreePlan {
  readonly #context: PassContext;
  readonly #keys: SnapshotKeys;
  readonly #family: Family;
  /** From the highest to the lowest. */
  readonly #ids: readonly number[];
  /** The snapshot that each subvolume lives in. */
  readonly #homes: Map<number, number>;
  /** Who lives, or has lived, in which node. */
  readonly #owners = new Map<number, number>();
  readonly #parents = new Map<number, number>();
  readonly #taken: Set<number>;
  /** The subvolume that the tree began with. */
  #first = 0;

  constructor(context: PassContext, keys: SnapshotKeys, family: Family) {
    this.#context = context;
    this.#keys = keys;
    this.#family = family;
    this.#ids = [...family].sort((a, b) => b - a);
    const living = [...keys.subvolumes].filter(([, { snapshot }]) => family.has(snapshot));
    this.#homes = new Map(living.map(([id, { snapshot }]) => [id, snapshot]));
    const { rows } = inodeIndex(context);
    this.#taken = new Set([...family, ...keys.nodes.keys(), ...rows.columns.snapshot.subarray(0, rows.count)]);
    for (const { snapshot } of keys.subvolumes.values()) this.#taken.add(snapshot);
    this.#findOwners();
    this.#attach();
    this.#moveOut();
    this.#pair();
  }

  write(): void {
    const subvolumes = new Map([...this.#homes].map(([subvol, id]) => [id, subvol]));
    const below = this.#childrenByParent();
    const written = new Map<number, { readonly depth: number; readonly tree: number }>();
    for (const id of new Set([...this.#ids, ...this.#parents.keys()].sort((a, b) => b - a))) {
      const parent = this.#parents.get(id) ?? 0;
      const above = written.get(parent);
      const [depth, tree] = above === undefined ? [0, this.#makeTree(id)] : [above.depth + 1, above.tree];
      written.set(id, { depth, tree });
      const subvol = subvolumes.get(id) ?? 0;
      const flags = subvol === 0 ? 0 : HAS_SUBVOLUME;
      const children = asChildren(below.get(id) ?? []);
      const skip = [parent, parent, parent];
      this.#keys.writeNode(id, newNode({ parent, children, subvol, flags, tree, depth, skip }));
    }
  }

  #findOwners(): void {
    for (const [subvol, id] of this.#homes) this.#owners.set(id, subvol);
    const { rows } = inodeIndex(this.#context);
    const { snapshot, subvolume } = rows.columns;
    for (let row = 0; row < rows.count; row++) this.#own(snapshot[row]!, subvolume[row]!);
    this.#first = this.#founder(this.#homes.keys());
    for (const id of this.#ids) {
      const sibling = this.#owners.get(id + 1);
      // The first node of a snapshot: in the other child the subvolume went on that it was made of.
      if (sibling !== undefined && this.#lineage(sibling)[0] === id + 1)
        this.#own(id, this.#keys.subvolumes.get(sibling)?.creation_parent ?? 0);
      this.#own(id, this.#first);
      for (const subvol of this.#homes.keys()) {
        if (this.#owners.has(id)) break;
        this.#own(id, subvol);
      }
    }
  }

  /** Nothing happens where that cannot be. */
  #own(id: number, subvol: number): void {
    const home = this.#homes.get(subvol);
    if (home !== undefined && home < id && this.#family.has(id) && !this.#owners.has(id)) this.#owners.set(id, subvol);
  }

  /** The nodes that a subvolume has lived in, the one it lives in last. */
  #lineage(subvol: number): readonly number[] {
    return this.#ids.filter(id => this.#owners.get(id) === subvol);
  }

  /** Of some subvolumes the one that the others were made from. */
  #founder(among: Iterable<number>): number {
    const oldest = [...among].sort((a, b) => a - b);
    const original = oldest.find(id => ((this.#keys.subvolumes.get(id)?.flags ?? 0) & IS_SNAPSHOT) === 0);
    return original ?? oldest[0] ?? 0;
  }

  #attach(): void {
    const root = this.#ids[0]!;
    for (const subvol of this.#homes.keys()) {
      const lineage = this.#lineage(subvol);
      for (const [nr, id] of lineage.entries()) {
        const parent = lineage[nr - 1] ?? this.#birthplace(subvol, id);
        if (id !== root) this.#parents.set(id, parent ?? root);
      }
    }
    // Nodes that no subvolume lives in now, or ever lived in.
    for (const id of this.#ids) if (!this.#owners.has(id) && id !== root) this.#parents.set(id, root);
  }

  /** The node that became the parent of a snapshot's first. */
  #birthplace(subvol: number, first: number): number | undefined {
    const from = this.#keys.subvolumes.get(subvol)?.creation_parent ?? 0;
    const isAbove = (id: number) => id > first;
    return this.#lineage(from).findLast(isAbove) ?? this.#lineage(this.#first).findLast(isAbove);
  }

  /** A subvolume does not live in a node that has children. */
  #moveOut(): void {
    const inner = new Set(this.#parents.values());
    for (const [subvol, id] of [...this.#homes]) {
      const leaf = inner.has(id) ? this.#freeId(0, id) : undefined;
      if (leaf === undefined) continue;
      this.#homes.set(subvol, leaf);
      this.#parents.set(leaf, id);
      this.#keys.editSubvolume(subvol, { snapshot: leaf });
    }
  }

  /** No node has more than two children: others stand between. */
  #pair(): void {
    for (const [parent, children] of this.#childrenByParent()) {
      let over = parent;
      let rest = [...children].sort((a, b) => b - a);
      while (rest.length > 2) {
        const [eldest = 0, ...younger] = rest;
        const next = younger[0] ?? 0;
        const between = this.#freeId(next, eldest) ?? this.#freeId(next, over);
        if (between === undefined) {
          // No id is left for another: the others become trees of their own.
          for (const one of younger.slice(1)) this.#parents.delete(one);
          break;
        }
        this.#parents.set(eldest, over);
        this.#parents.set(between, over);
        for (const one of younger) this.#parents.set(one, between);
        over = between;
        rest = younger;
      }
    }
  }

  /** The highest free id between two, which is taken from now on. */
  #freeId(above: number, below: number): number | undefined {
    for (let id = below - 1; id > above; id--) {
      if (this.#taken.has(id)) continue;
      this.#taken.add(id);
      return id;
    }
    return undefined;
  }

  #childrenByParent(): Map<number, number[]> {
    const children = new Map<number, number[]>();
    for (const [id, parent] of this.#parents) children.set(parent, [...(children.get(parent) ?? []), id]);
    return children;
  }

  /** The tree of a root: one that is there still, or a new one. */
  #makeTree(root: number): number {
    const { trees, nodes } = this.#keys;
    const within = [...this.#homes].filter(([, id]) => this.#rootOf(id) === root).map(([subvol]) => subvol);
    const named = [...trees].find(([, { root_snapshot }]) => root_snapshot === root);
    const orphaned = [...trees].find(
      ([, { master_subvol, root_snapshot }]) => within.includes(master_subvol) && !nodes.has(root_snapshot),
    );
    const [tree, known] = named ?? orphaned ?? [this.#keys.newTreeId(), undefined];
    const master =
      known !== undefined && within.includes(known.master_subvol) ? known.master_subvol : this.#founder(within);
    this.#keys.writeTree(tree, { ...known, master_subvol: master, root_snapshot: root });
    return tree;
  }

  #rootOf(id: number): number {
    let at = id;
    for (let above = this.#parents.get(at); above !== undefined; above = this.#parents.get(at)) at = above;
    return at;
  }
}
