// What becomes of a btree when its changes are written: which nodes are replaced, and by which. Leaves with changes are merged with
// them and divided anew; then their parents, which get other children, up to the root. Nodes are never changed in place, so every node on
// the way from a change to the root is a new one. Neighbours that change are taken together, and a leaf that would be left nearly
// empty takes in its neighbour. This is a plan: where the new nodes lie is not known yet, and planning again after
// more changes costs nothing but time.
//
// Source: the purpose of bch2_btree_split, bch2_btree_increase_depth and __bch2_foreground_maybe_merge in btree_update_interior.c,
// v1.13.0.

import type { Bkey, Key } from '../ondisk/bkey.ts';
import { type Bpos, bpos, bposText, compareBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { BTREE_MAX_DEPTH, btrees } from '../ondisk/btrees.ts';
import { assert, CorruptError, IncompatibleError } from '../ondisk/errors.ts';
import { BchBtreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { type BtreeView, bposPredecessor, bposSuccessor } from './iterate.ts';
import type { KeyMap } from './key-map.ts';
import type { BtreeNode } from './node.ts';
import { divide, itemsU64s, MERGE, type NodeRange, nodesNeeded, type Part, SPLIT } from './node-fill.ts';
import { ChangedBtree, makeKey } from './transaction.ts';

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
}

/** What nodes that are replaced hold, with the changes. */
interface MergedContents {
  readonly items: readonly Item[];
  /** For the nodes that come in their place. */
  readonly generation: number;
}

/** Neighbouring nodes that are replaced together. */
interface Run extends NodeRange {
  readonly nodes: readonly PlannedNode[];
}

/** A run before it is divided. */
interface RunContents extends NodeRange, MergedContents {}

/** A key of a node to be: a real one, or the pointer to a new node. */
type Item =
  | { readonly k: Bkey; readonly key: Key; readonly node: undefined }
  | { readonly k: Bkey; readonly key: undefined; readonly node: PlannedNode };

interface NodePlace extends NodeRange {
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
    runs = divideRuns([{ min: POS_MIN, max: SPOS_MAX, items, generation: 0 }], level, room);
    levels.push(nodesOf(runs));
  }
  return { btree: view.id, levels, replaced };
}

const nodesOf = (runs: readonly Run[]): readonly PlannedNode[] => runs.flatMap(run => run.nodes);

/** The leaves with changes, merged with them. */
function leafContents(view: BtreeView, changes: KeyMap, room: RebuildRoom, replaced: ReplacedNode[]): RunContents[] {
  const contentsOf = (min: Bpos, max: Bpos) => mergedContents(view, changes, min, max);
  if (view.root === undefined) {
    return [{ min: POS_MIN, max: SPOS_MAX, ...contentsOf(POS_MIN, SPOS_MAX) }];
  }
  const moved = (room.rewrite?.(0) ?? []).map(pos => placeOf(view, 0, pos));
  const dirty = sortedPlaces([...dirtyLeaves(view, changes), ...moved]);
  const groups = groupsOf(dirty).map(({ min, max }) => ({ min, max, ...contentsOf(min, max) }));
  const neighbours = groups.flatMap(group => neighbourToMerge(view, group, room, contentsOf));
  const places = sortedPlaces([...dirty, ...neighbours]);
  for (const { ptr } of places) replaced.push({ level: 0, ptr });
  const byEnd = new Map(groups.map(group => [bposText(group.max), group]));
  return groupsOf(places).map(({ min, max }) => {
    // What took in no neighbour is what it was.
    const known = byEnd.get(bposText(max));
    const isSame = known !== undefined && compareBpos(known.min, min) === 0;
    return { min, max, ...(isSame ? known : contentsOf(min, max)) };
  });
}

function dirtyLeaves(view: BtreeView, changes: KeyMap): NodePlace[] {
  const leaves: NodePlace[] = [];
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
  { min, max, items }: Pick<RunContents, 'min' | 'max' | 'items'>,
  { capacityU64s }: RebuildRoom,
  contentsOf: (min: Bpos, max: Bpos) => MergedContents,
): NodePlace[] {
  if (itemsU64s(items, min, max) > MERGE * capacityU64s) return [];
  const after = successor(max);
  const before = compareBpos(min, POS_MIN) === 0 ? undefined : bposPredecessor(min);
  for (const pos of [after, before]) {
    if (pos === undefined) continue;
    const leaf = placeOf(view, 0, pos);
    // An empty node goes, whatever its neighbour holds.
    if (items.length === 0) return [leaf];
    const ends: [Bpos, Bpos] = pos === after ? [min, leaf.max] : [leaf.min, max];
    if (itemsU64s(contentsOf(...ends).items, ...ends) <= SPLIT * capacityU64s) return [leaf];
  }
  return [];
}

/** The interior nodes above nodes that are replaced, with their new children. */
function interiorContents(
  view: BtreeView,
  level: number,
  below: readonly Run[],
  room: RebuildRoom,
  replaced: ReplacedNode[],
): RunContents[] {
  const dirty = [...below.map(run => run.min), ...below.map(run => run.max), ...(room.rewrite?.(level) ?? [])];
  const places = new Map<string, NodePlace>();
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
  return groupsOf(sorted).map(({ min, max }) => {
    const within = below.filter(run => compareBpos(run.max, min) >= 0 && compareBpos(run.min, max) <= 0);
    const items: Item[] = [];
    let next = 0;
    const generation = new NextGeneration();
    for (const key of view.keys({ level, from: min, to: max, onNode: generation.after })) {
      while (next < within.length && compareBpos(within[next]!.max, key.k.p) < 0) next++;
      const run = within[next];
      if (run === undefined || compareBpos(key.k.p, run.min) < 0) items.push({ k: key.k, key, node: undefined });
      else if (compareBpos(key.k.p, run.max) === 0) {
        for (const node of run.nodes) items.push(itemOfNode(node, room.replicas));
      }
    }
    return { min, max, items, generation: generation.next };
  });
}

/** Cuts each run into nodes. */
function divideRuns(contents: readonly RunContents[], level: number, room: RebuildRoom): Run[] {
  const counts = contents.map(({ items, min, max }) => nodesNeeded(itemsU64s(items, min, max), room.capacityU64s));
  let missing = (room.atLeast?.[level] ?? 0) - counts.reduce((sum, count) => sum + count, 0);
  return contents.map(({ items, min, max, generation }, index) => {
    const more = Math.max(0, Math.min(missing, items.length - counts[index]!));
    missing -= more;
    const count = counts[index]! + more;
    return { min, max, nodes: divide(items, count, min, max).map(part => plannedNode(part, level, generation)) };
  });
}

function plannedNode({ items, min, max }: Part<Item>, level: number, generation: number): PlannedNode {
  const keys: Key[] = [];
  const children: (Key | PlannedNode)[] = [];
  for (const item of items) {
    if (level > 0) children.push(item.node ?? item.key);
    else {
      assert(item.node === undefined, 'a leaf holds keys');
      keys.push(item.key);
    }
  }
  return { level, minKey: min, maxKey: max, keys, children, generation };
}

/** The keys of a range as they will be. */
function mergedContents(view: BtreeView, changes: KeyMap, from: Bpos, to: Bpos): MergedContents {
  const items: Item[] = [];
  const generation = new NextGeneration();
  const walk = { from, to, onNode: generation.after };
  for (const key of new ChangedBtree(view, changes).keys(walk)) items.push({ k: key.k, key, node: undefined });
  return { items, generation: generation.next };
}

/** Of what comes in the place of nodes. */
class NextGeneration {
  next = 0;
  readonly after = (node: BtreeNode): void => {
    this.next = Math.max(this.next, Math.min(node.generation + 1, GENERATION_MAX));
  };
}

/** It has 32 bits. */
const GENERATION_MAX = 0xffff_ffff;

/** A pointer to a new node, as large as it will be; where it points is not known yet. */
function itemOfNode(node: PlannedNode, replicas: number): Item {
  return {
    k: makeKey(BTREE_PTR_V2, node.maxKey, new Uint8Array(BchBtreePtrV2.size + 8 * replicas)).k,
    key: undefined,
    node,
  };
}

/** The node of a level that holds a position. */
function placeOf(view: BtreeView, level: number, pos: Bpos): NodePlace {
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

const sortedPlaces = (places: readonly NodePlace[]): NodePlace[] => {
  const sorted = places.toSorted((a, b) => compareBpos(a.max, b.max));
  return sorted.filter((place, i) => i === 0 || compareBpos(place.max, sorted[i - 1]!.max) !== 0);
};

/** Neighbours taken together. */
function groupsOf(places: readonly NodePlace[]): NodeRange[] {
  const groups: { min: Bpos; max: Bpos }[] = [];
  for (const { min, max } of places) {
    const last = groups.at(-1);
    const next = last === undefined ? undefined : successor(last.max);
    if (last !== undefined && next !== undefined && compareBpos(next, min) === 0) last.max = max;
    else groups.push({ min, max });
  }
  return groups;
}

/** Undefined behind the last position. */
const successor = (pos: Bpos): Bpos | undefined => (compareBpos(pos, SPOS_MAX) === 0 ? undefined : bposSuccessor(pos));
