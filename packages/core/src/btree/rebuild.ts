// What becomes of a btree when its changes are written: which nodes are replaced, and by which. Leaves with changes are merged with
// them and divided anew; then their parents, which get other children, up to the root. Nodes are never changed in place, so every node on
// the way from a change to the root is a new one. Neighbours that change are taken together, and a leaf that would be left nearly
// empty takes in its neighbour. This is a plan: where the new nodes lie is not known yet, and planning again after
// more changes costs nothing but time.
//
// Source: the purpose of bch2_btree_split, bch2_btree_increase_depth and __bch2_foreground_maybe_merge in btree_update_interior.c,
// v1.13.0.

import type { Bkey, Key } from '../ondisk/bkey.ts';
import type { BkeyFormat, KeyPacker } from '../ondisk/bkey-format.ts';
import { type Bpos, bpos, bposText, compareBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { BTREE_MAX_DEPTH, btrees } from '../ondisk/btrees.ts';
import { assert, CorruptError, IncompatibleError } from '../ondisk/errors.ts';
import { BchBtreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { u16, viewOf } from '../ondisk/layout.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { type BtreeView, bposPredecessor, bposSuccessor } from './iterate.ts';
import type { KeyMap } from './key-map.ts';
import { divide, itemsU64s, MERGE, type NodeRange, nodesNeeded, type Part, packerFor, SPLIT } from './node-fill.ts';
import { NextGeneration, PlannedLeaves, rangeOf } from './planned-leaves.ts';
import { makeKey } from './transaction.ts';

/** A node that is to be written. */
export interface PlannedNode {
  readonly level: number;
  /** Both ends belong to the node. */
  readonly minKey: Bpos;
  readonly maxKey: Bpos;
  /** What a leaf holds, in order; empty above the leaves. */
  readonly keys: readonly Key[];
  /** What an interior node points to, in order: nodes that stay, by their pointers, and new ones. */
  readonly children: readonly (Key | PlannedNode)[];
  /** What formatFor gives for its keys, where that is known. */
  readonly format?: BkeyFormat;
  /** BTREE_NODE_SEQ: one more than that of the nodes that it replaces, so that a scan for nodes knows which of them is the newest. */
  readonly generation: number;
}

export interface ReplacedNode {
  readonly level: number;
  /** The pointer to it. */
  readonly ptr: Key;
}

export interface BtreeRebuild {
  readonly btree: number;
  /** New nodes by level, from the leaves up, each in order; the last level is the root alone. */
  readonly levels: readonly (readonly PlannedNode[])[];
  readonly replaced: readonly ReplacedNode[];
}

export interface RebuildRoom {
  /** See nodeCapacityU64s. */
  readonly capacityU64s: number;
  /** How many replicas a pointer to a new node has. */
  readonly replicas: number;
  /** Positions of a level whose nodes are replaced although none of `changes` is in them: the journal has changed a pointer, or they move. */
  readonly rewrite?: (level: number) => readonly Bpos[];
  /** Not fewer nodes of a level than this, where there are keys enough: a plan that is made again does not shrink. */
  readonly atLeast?: readonly number[];
  /** What is known of the leaves, from earlier plans of the same changes. */
  readonly leaves?: PlannedLeaves;
}

/** Neighbouring nodes that are replaced together. */
interface Run extends NodeRange {
  readonly nodes: readonly PlannedNode[];
}

/** A key of a node to be: a real one, or the pointer to a new node. */
type Item = Key | { readonly k: Bkey; readonly node: PlannedNode };

/** A run before it is divided. */
class RunContents implements NodeRange {
  #packer: KeyPacker | undefined;
  #u64s: number | undefined;
  #nodes: readonly PlannedNode[] | undefined;

  constructor(
    readonly min: Bpos,
    readonly max: Bpos,
    /** What the nodes that are replaced hold, with the changes. */
    readonly items: readonly Item[],
    /** For the nodes that come in their place. */
    readonly generation: number,
  ) {}

  /** See itemsU64s. */
  get u64s(): number {
    this.#u64s ??= itemsU64s(this.items, this.min, this.max, this.#packerForAll());
    return this.#u64s;
  }

  /** Looks at every key, which is done once for all that is asked of it. */
  #packerForAll(): KeyPacker {
    this.#packer ??= packerFor(this.items, this.min, this.max);
    return this.#packer;
  }

  /** So many nodes with all of it. */
  divided(count: number, level: number): readonly PlannedNode[] {
    if (this.#nodes?.length !== count) {
      const packer = this.#packerForAll();
      const format = count === 1 && level === 0 ? { format: packer.format } : {};
      this.#nodes = divide(this.items, count, this.min, this.max, packer).map(part => ({
        ...plannedNode(part, level, this.generation),
        ...format,
      }));
    }
    return this.#nodes!;
  }
}

interface PointedNode extends NodeRange {
  readonly ptr: Key;
}

const BTREE_PTR_V2 = keyTypes.idOf('btree_ptr_v2');

/**
 * Plans one btree.
 * @param changes of level 0; deletions as keys of type `deleted`
 * @throws CorruptError, DeviceError when a node that is needed cannot be read
 * @throws IncompatibleError for nodes that old versions point to without saying where they start
 */
export function planRebuild(view: BtreeView, changes: KeyMap, room: RebuildRoom): BtreeRebuild {
  const replaced: ReplacedNode[] = [];
  const levels: (readonly PlannedNode[])[] = [];
  let runs = divideRuns(leafContents(view, changes, room, replaced), 0, room);
  levels.push(nodesOf(runs));
  const rootLevel = view.root?.level ?? 0;
  for (let level = 1; level <= rootLevel; level++) {
    runs = divideRuns(interiorContents(view, level, runs, room, replaced), level, room);
    levels.push(nodesOf(runs));
  }
  while (levels.at(-1)!.length > 1) {
    const level = levels.length;
    assert(level < BTREE_MAX_DEPTH, `the btree ${btrees.nameOf(view.id)} needs no more levels than there are`);
    const items = levels[level - 1]!.map(node => itemOfNode(node, room.replicas));
    runs = divideRuns([new RunContents(POS_MIN, SPOS_MAX, items, 0)], level, room);
    levels.push(nodesOf(runs));
  }
  return { btree: view.id, levels, replaced };
}

const nodesOf = (runs: readonly Run[]): readonly PlannedNode[] => runs.flatMap(run => run.nodes);

/** The leaves with changes, merged with them. */
function leafContents(view: BtreeView, changes: KeyMap, room: RebuildRoom, replaced: ReplacedNode[]): RunContents[] {
  const leaves = room.leaves ?? new PlannedLeaves(view, changes);
  const contentsOf = (places: readonly NodeRange[]): RunContents =>
    leaves.run(places, (min, max, keys, generation) => new RunContents(min, max, keys, generation));
  leaves.begin();
  if (view.root === undefined) return [contentsOf([{ min: POS_MIN, max: SPOS_MAX }])];
  const moved = (room.rewrite?.(0) ?? []).map(pos => placeOf(view, 0, pos));
  const dirty = sortedPlaces([...dirtyLeaves(view, changes), ...moved]);
  const neighbours = groupsOf(dirty).flatMap(group => neighbourToMerge(view, group, room, contentsOf));
  const places = sortedPlaces([...dirty, ...neighbours]);
  for (const { ptr } of places) replaced.push({ level: 0, ptr });
  return groupsOf(places).map(contentsOf);
}

function dirtyLeaves(view: BtreeView, changes: KeyMap): PointedNode[] {
  const leaves: PointedNode[] = [];
  let change = changes.seek(POS_MIN);
  while (change !== undefined) {
    const leaf = placeOf(view, 0, change.k.p);
    leaves.push(leaf);
    const next = successor(leaf.max);
    change = next === undefined ? undefined : changes.seek(next);
  }
  return leaves;
}

/** The leaf that a group takes in when little is left of it; none where both do not fit into one node. */
function neighbourToMerge(
  view: BtreeView,
  group: readonly PointedNode[],
  { capacityU64s }: RebuildRoom,
  contentsOf: (places: readonly PointedNode[]) => RunContents,
): PointedNode[] {
  const { min, max, items, u64s } = contentsOf(group);
  if (u64s > MERGE * capacityU64s) return [];
  const after = successor(max);
  const before = compareBpos(min, POS_MIN) === 0 ? undefined : bposPredecessor(min);
  for (const pos of [after, before]) {
    if (pos === undefined) continue;
    const leaf = placeOf(view, 0, pos);
    // An empty node goes, whatever its neighbour holds.
    if (items.length === 0) return [leaf];
    // Most are far too large, which need not be read to know it.
    if (u64s + leastU64s(leaf.ptr) > SPLIT * capacityU64s) continue;
    const both = contentsOf(pos === after ? [...group, leaf] : [leaf, ...group]);
    if (both.u64s <= SPLIT * capacityU64s) return [leaf];
  }
  return [];
}

/**
 * What a leaf takes at the least, by what has been written of it. One that was appended to may hold less by now; it is compared by what it
 * holds when it is next written itself.
 */
const leastU64s = ({ value }: Key): number =>
  sectorsToBytes(u16.get(viewOf(value), BchBtreePtrV2.offset.sectors_written)) / 8 - NODE_OVERHEAD_U64S;

/** The header, and what the last block is filled up with: of blocks of 4 KiB, which is more than enough for smaller ones. */
const NODE_OVERHEAD_U64S = 1024;

/** The interior nodes above nodes that are replaced, with their new children. */
function interiorContents(
  view: BtreeView,
  level: number,
  below: readonly Run[],
  room: RebuildRoom,
  replaced: ReplacedNode[],
): RunContents[] {
  const dirty = [...below.map(run => run.min), ...below.map(run => run.max), ...(room.rewrite?.(level) ?? [])];
  const places = new Map<string, PointedNode>();
  for (const pos of dirty) {
    const place = placeOf(view, level, pos);
    places.set(bposText(place.max), place);
  }
  // A run may reach over several nodes: those between its ends are on the way from one to the other.
  for (const { min, max } of below) {
    for (let pos = successor(placeOf(view, level, min).max); pos !== undefined && compareBpos(pos, max) <= 0; ) {
      const place = placeOf(view, level, pos);
      places.set(bposText(place.max), place);
      pos = successor(place.max);
    }
  }
  const sorted = sortedPlaces([...places.values()]);
  for (const { ptr } of sorted) replaced.push({ level, ptr });
  return groupsOf(sorted).map(group => {
    const { min, max } = rangeOf(group);
    const within = below.filter(run => compareBpos(run.max, min) >= 0 && compareBpos(run.min, max) <= 0);
    const items: Item[] = [];
    let next = 0;
    const generation = new NextGeneration();
    for (const key of view.keys({ level, from: min, to: max, onNode: generation.after })) {
      while (next < within.length && compareBpos(within[next]!.max, key.k.p) < 0) next++;
      const run = within[next];
      if (run === undefined || compareBpos(key.k.p, run.min) < 0) items.push(key);
      else if (compareBpos(key.k.p, run.max) === 0) {
        for (const node of run.nodes) items.push(itemOfNode(node, room.replicas));
      }
    }
    return new RunContents(min, max, items, generation.next);
  });
}

/** Cuts each run into nodes. */
function divideRuns(contents: readonly RunContents[], level: number, room: RebuildRoom): Run[] {
  const counts = contents.map(({ u64s }) => nodesNeeded(u64s, room.capacityU64s));
  let missing = (room.atLeast?.[level] ?? 0) - counts.reduce((sum, count) => sum + count, 0);
  return contents.map((run, index) => {
    const more = Math.max(0, Math.min(missing, run.items.length - counts[index]!));
    missing -= more;
    return { min: run.min, max: run.max, nodes: run.divided(counts[index]! + more, level) };
  });
}

function plannedNode({ items, min, max }: Part<Item>, level: number, generation: number): PlannedNode {
  const keys: Key[] = [];
  const children: (Key | PlannedNode)[] = [];
  for (const item of items) {
    if (level > 0) children.push('node' in item ? item.node : item);
    else {
      assert(!('node' in item), 'a leaf holds keys');
      keys.push(item);
    }
  }
  return { level, minKey: min, maxKey: max, keys, children, generation };
}

/** A pointer to a new node, as large as it will be; where it points is not known yet. */
function itemOfNode(node: PlannedNode, replicas: number): Item {
  return {
    k: makeKey(BTREE_PTR_V2, node.maxKey, new Uint8Array(BchBtreePtrV2.size + 8 * replicas)).k,
    node,
  };
}

/** The node of a level that holds a position. */
function placeOf(view: BtreeView, level: number, pos: Bpos): PointedNode {
  const { root } = view;
  assert(root?.key !== undefined && level <= root.level, `the btree ${view.name} has a level ${level}`);
  if (level === root.level) return { ptr: root.key, min: POS_MIN, max: SPOS_MAX };
  for (const ptr of view.keys({ level: level + 1, from: pos }))
    return { ptr, min: minKeyOf(ptr, view.name), max: ptr.k.p };
  throw new CorruptError(
    'btree_node_topology_gap_between_nodes',
    { btree: view.name, level },
    `no node holds the position ${bposText(pos)}`,
  );
}

function minKeyOf(ptr: Key, btree: string): Bpos {
  if (ptr.k.type !== BTREE_PTR_V2) {
    throw new IncompatibleError(
      'btree_ptr',
      { btree },
      'a pointer of an old kind, which does not say where its node starts',
    );
  }
  return bpos.get(viewOf(ptr.value), BchBtreePtrV2.offset.min_key);
}

const sortedPlaces = (places: readonly PointedNode[]): PointedNode[] => {
  const sorted = places.toSorted((a, b) => compareBpos(a.max, b.max));
  return sorted.filter((place, i) => i === 0 || compareBpos(place.max, sorted[i - 1]!.max) !== 0);
};

/** Neighbours taken together. */
function groupsOf(places: readonly PointedNode[]): PointedNode[][] {
  const groups: PointedNode[][] = [];
  for (const place of places) {
    const group = groups.at(-1);
    const next = group === undefined ? undefined : successor(group.at(-1)!.max);
    if (group !== undefined && next !== undefined && compareBpos(next, place.min) === 0) group.push(place);
    else groups.push([place]);
  }
  return groups;
}

/** Undefined after the last position. */
const successor = (pos: Bpos): Bpos | undefined => (compareBpos(pos, SPOS_MAX) === 0 ? undefined : bposSuccessor(pos));
