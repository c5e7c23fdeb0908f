// A btree as a sequence of keys: from one position to another, forward or backward, at any level, with what the journal says laid over
// what the nodes hold. All snapshots are seen; filtering by snapshot is the snapshots room's. Nodes are read when they are
// reached and forgotten when they are left: memory is one node for each level.
//
// A node that cannot be read ends the walk with its error, unless the caller wants to hear of damage and go on without the node.

import {
  addAccounting,
  type BtreeRoot,
  type JournalOverlay,
  type OverlayKey,
  overlayIndex,
} from '../journal/overlay.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bpos, bposText, compareBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { BTREE_MAX_DEPTH, btrees } from '../ondisk/btrees.ts';
import { assert, CorruptError, DeviceError } from '../ondisk/errors.ts';
import { BchBtreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { Damage } from '../report/finding.ts';
import { type BtreeNode, DELETED } from './node.ts';
import type { NodeSupply } from './node-cache.ts';

export interface WalkOptions {
  /** The first position, included: the start of the btree. */
  readonly from?: Bpos;
  /** The last position, included: its end. */
  readonly to?: Bpos;
  /** From `to` down to `from`. */
  readonly backward?: boolean;
  /** 0 for keys, 1 and above for the pointers in interior nodes. */
  readonly level?: number;
  /** Called with each loss; the walk then goes on with what is left. Without it the first loss is thrown. */
  readonly onDamage?: (damage: Damage) => void;
  /** Called with each node that keys are taken from, before they are. */
  readonly onNode?: (node: BtreeNode) => void;
}

export interface NodeWalkOptions extends WalkOptions {
  /** Each interior node too, after the last node below it: the order in which the reference walks nodes. */
  readonly parents?: boolean;
}

export type KeyLookupOptions = Pick<WalkOptions, 'onDamage'>;

/** Views live as long as their filesystem: what each remembers is small, whatever size of nodes an image claims. */
const LAST_LEAF_BYTES = 4 * 2 ** 20;

const BTREE_PTR_V2 = keyTypes.idOf('btree_ptr_v2');

/** One btree of an open filesystem. */
export class BtreeView {
  readonly #reader: NodeSupply;
  readonly #overlay: JournalOverlay;
  /** Lookups come near each other: files of a directory, extents of a file. */
  #lastLeaf: Leaf | undefined;

  constructor(
    readonly id: number,
    /** Undefined for a btree that was never made, and one whose root was lost. */
    readonly root: BtreeRoot | undefined,
    reader: NodeSupply,
    overlay: JournalOverlay,
  ) {
    this.#reader = reader;
    this.#overlay = overlay;
  }

  get name(): string {
    return btrees.nameOf(this.id);
  }

  /** Levels: 1 for a single leaf, 0 for a btree without a root. */
  get depth(): number {
    return this.root?.key === undefined ? 0 : this.root.level + 1;
  }

  /**
   * The keys between two positions, deleted ones left out.
   * @throws CorruptError, DeviceError, IncompatibleError as NodeReader.read does, unless `onDamage` is given (which never hears of the
   * last kind)
   */
  *keys(options: WalkOptions = {}): Generator<Key> {
    const { from = POS_MIN, to = SPOS_MAX, backward = false, level = 0 } = options;
    for (const { node, min, max } of this.#visits(level, options)) {
      const first = later(from, min);
      const last = earlier(to, max);
      if (compareBpos(first, last) > 0) continue;
      if (node !== undefined) options.onNode?.(node);
      if (node === undefined || backward || this.#overlay.keysOf(this.id, level).length > 0) {
        yield* this.#keysOf(node, level, first, last, backward);
        continue;
      }
      // As most walks are: one generator less for each key.
      const end = endOf(node, last);
      for (let i = node.indexOf(first); i < end; i++) yield node.key(i);
    }
  }

  /** The journal has keys for its leaves. */
  get isOverlaid(): boolean {
    return this.#overlay.keysOf(this.id, 0).length > 0;
  }

  /** Its leaves, each with the numbers of the keys in it that it answers for; the journal's are not among them. @throws as `keys` does */
  *leafRanges(options: Pick<WalkOptions, 'onDamage'> = {}): Generator<LeafRange> {
    for (const { node, min, max } of this.#visits(0, options)) {
      if (node !== undefined) yield { node, first: node.indexOf(min), end: endOf(node, max) };
    }
  }

  /**
   * The nodes of one level that hold positions between `from` and `to`.
   * @throws as `keys` does
   */
  *nodes(options: NodeWalkOptions = {}): Generator<BtreeNode> {
    for (const { node } of this.#visits(options.level ?? 0, options)) {
      if (node !== undefined) yield node;
    }
  }

  /** The key at exactly this position. @throws as `keys` does */
  get(pos: Bpos, options: KeyLookupOptions = {}): Key | undefined {
    return this.first(pos, pos, options);
  }

  /**
   * The first key between two positions, both included: what the walk `keys` gives first. Most lookups end in one leaf that is sound and
   * whose way down is plain, often the leaf of the lookup before; the others are left to the walk, which knows what to report.
   * @throws as `keys` does
   */
  first(from: Bpos, to: Bpos, options: KeyLookupOptions = {}): Key | undefined {
    const over = this.#overlay.keysOf(this.id, 0);
    const leaf = this.root === undefined ? undefined : this.#leafOf(from, options);
    if (leaf !== undefined || this.root === undefined) {
      const found = firstKey(leaf?.node, over, from, leaf === undefined ? to : earlier(to, leaf.max));
      if (found !== undefined || leaf === undefined || compareBpos(to, leaf.max) <= 0) return found;
    }
    for (const key of this.keys({ ...options, from, to })) return key;
    return undefined;
  }

  /** The leaf that holds a position, when nothing on the way to it is damaged, missing or changed by the journal. */
  #leafOf(pos: Bpos, { onDamage }: KeyLookupOptions): Leaf | undefined {
    const salvage = onDamage !== undefined;
    const last = this.#lastLeaf;
    if (last !== undefined && last.salvage === salvage && isWithin(pos, last.min, last.max)) return last;
    const { root } = this;
    if (root?.key === undefined || root.level >= BTREE_MAX_DEPTH) return undefined;
    let ptr = root.key;
    let min = POS_MIN;
    let max = SPOS_MAX;
    for (let level = root.level; ; level--) {
      if (compareBpos(ptr.k.p, max) > 0) return undefined;
      max = ptr.k.p;
      min = later(minOf(ptr), min);
      if (!isWithin(pos, min, max)) return undefined;
      let node: BtreeNode;
      try {
        node = this.#reader.read(this.id, level, ptr, { salvage });
      } catch (thrown) {
        // The walk meets it again, and reports or throws it.
        if (thrown instanceof CorruptError || thrown instanceof DeviceError) return undefined;
        throw thrown;
      }
      min = later(node.facts.minKey, min);
      if (node.facts.damage.length > 0 || compareBpos(pos, min) < 0) return undefined;
      if (level === 0) {
        const leaf: Leaf = { node, min, max, salvage };
        if (node.memoryBytes <= LAST_LEAF_BYTES) this.#lastLeaf = leaf;
        return leaf;
      }
      if (this.#overlay.keysOf(this.id, level).length > 0) return undefined;
      const index = node.indexOf(pos);
      if (index === node.count) return undefined;
      ptr = node.key(index);
      // Nodes may overlap: the walk lets the first of them answer for what both hold.
      if (index > 0) min = later(bposSuccessor(node.position(index - 1)), min);
    }
  }

  /** Nodes of a level, in order, with the range of positions that each answers for. */
  *#visits(level: number, options: NodeWalkOptions): Generator<Visit> {
    const { from = POS_MIN, to = SPOS_MAX, backward = false } = options;
    const { root } = this;
    if (root === undefined) {
      // Nothing but what the journal has for it.
      if (level === 0) yield { node: undefined, min: POS_MIN, max: SPOS_MAX };
      return;
    }
    if (root.key === undefined || root.level >= BTREE_MAX_DEPTH) {
      const detail =
        root.key === undefined ? 'its root cannot be used' : `its root is at level ${root.level}, expected at most 3`;
      report(new CorruptError('btree_root_bkey_invalid', { btree: this.name }, detail), options);
      yield { node: undefined, min: POS_MIN, max: SPOS_MAX };
      return;
    }
    if (level > root.level || compareBpos(from, to) > 0) return;

    const stack: Interior[] = [];
    let next: Key | undefined = root.key;
    let depth = root.level;
    // Where the walk has come to: nodes that overlap their neighbour do not give the same positions again.
    let floor = POS_MIN;
    let ceiling = SPOS_MAX;
    let isAtEnd = false;
    for (;;) {
      while (next === undefined) {
        const above = stack.at(-1);
        if (above === undefined) {
          if (!isAtEnd) this.#reportGap(later(floor, from), earlier(ceiling, to), options);
          return;
        }
        const { done, value } = isAtEnd ? { done: true } : above.pointers.next();
        if (done || value === undefined) {
          stack.pop();
          if (options.parents) yield above;
        } else {
          next = value;
          depth = root.level - stack.length;
        }
      }
      const ptr: Key = next;
      next = undefined;
      let min = later(minOf(ptr), floor);
      const max = earlier(ptr.k.p, ceiling);
      if (compareBpos(min, max) > 0) continue;
      const isOutside = compareBpos(min, to) > 0 || compareBpos(max, from) < 0;
      const node = isOutside ? undefined : this.#read(depth, ptr, options);
      if (node !== undefined) min = later(node.facts.minKey, min);
      if (depth === level || node === undefined) {
        const [first, last] = [later(floor, from), earlier(ceiling, to)];
        if (backward) {
          if (compareBpos(max, last) < 0) this.#reportGap(later(bposSuccessor(max), first), last, options);
        } else if (compareBpos(min, first) > 0) this.#reportGap(first, earlier(bposPredecessor(min), last), options);
        if (!isOutside) yield { node: depth === level ? node : undefined, min, max };
        isAtEnd = backward ? compareBpos(min, from) <= 0 : compareBpos(max, to) >= 0;
        if (isAtEnd) continue;
        if (backward) ceiling = bposPredecessor(min);
        else floor = bposSuccessor(max);
      } else {
        // Pointers stand at their nodes' ends: the one that holds `to` is at or after it.
        stack.push({ node, min, max, pointers: this.#keysOf(node, depth, later(from, min), max, backward) });
      }
    }
  }

  /** For positions that no node holds: there was one, or the btree would not be whole. */
  #reportGap(start: Bpos, end: Bpos, options: WalkOptions): void {
    const detail = `no node holds the positions from ${bposText(start)} to ${bposText(end)}`;
    report(new CorruptError('btree_node_topology_gap_between_nodes', { btree: this.name }, detail), options);
  }

  #read(level: number, ptr: Key, options: WalkOptions): BtreeNode | undefined {
    let node: BtreeNode;
    try {
      const salvage = options.onDamage !== undefined;
      // A walk over all would only push out what is asked for again and again: the nodes above the leaves, and leaves that were looked into.
      const keep = level > 0 || isLookup(options) ? 'last' : 'walked';
      node = this.#reader.read(this.id, level, ptr, { salvage, keep });
    } catch (thrown) {
      if (!(thrown instanceof CorruptError || thrown instanceof DeviceError)) throw thrown;
      report(thrown, options);
      return undefined;
    }
    for (const damage of node.facts.damage) report(damage, options);
    return node;
  }

  /** A node's keys in a range with the journal's over them. */
  *#keysOf(node: BtreeNode | undefined, level: number, from: Bpos, to: Bpos, backward: boolean): Generator<Key> {
    const over = this.#overlay.keysOf(this.id, level);
    const overFrom = over.length === 0 ? 0 : overlayIndex(over, from);
    const overEnd = over.length === 0 ? 0 : endIndex(over, to);
    const first = node === undefined ? 0 : node.indexOf(from);
    const end = node === undefined ? 0 : endOf(node, to);
    if (overFrom >= overEnd) {
      if (node === undefined) return;
      if (backward) for (let i = end - 1; i >= first; i--) yield node.key(i);
      else for (let i = first; i < end; i++) yield node.key(i);
      return;
    }
    yield* mergedKeys({ node, first, end }, { over, first: overFrom, end: overEnd }, backward);
  }
}

/** Keys of a leaf by their numbers, from the first, below the end. */
export interface LeafRange {
  readonly node: BtreeNode;
  readonly first: number;
  readonly end: number;
}

interface Visit {
  /** Undefined for a btree that has no nodes at all, and where one was lost: the journal may still have keys there. */
  readonly node: BtreeNode | undefined;
  readonly min: Bpos;
  readonly max: Bpos;
}

/** A leaf that answers for all positions between two. */
interface Leaf {
  readonly node: BtreeNode;
  readonly min: Bpos;
  readonly max: Bpos;
  /** As it was asked for: damaged nodes are given, or thrown. */
  readonly salvage: boolean;
}

/** The first of the keys of a node and a journal between two positions: see mergedKeys. */
function firstKey(node: BtreeNode | undefined, over: readonly OverlayKey[], from: Bpos, to: Bpos): Key | undefined {
  const first = node?.indexOf(from) ?? 0;
  if (over.length > 0) {
    const overFrom = overlayIndex(over, from);
    const overEnd = endIndex(over, to);
    if (overFrom < overEnd) {
      const end = node === undefined ? 0 : endOf(node, to);
      for (const key of mergedKeys({ node, first, end }, { over, first: overFrom, end: overEnd }, false)) return key;
      return undefined;
    }
  }
  if (node === undefined || first === node.count || node.compare(first, to) > 0) return undefined;
  return node.key(first);
}

/** Keys of a node by their numbers, from the first, below the end. */
interface NodeRun {
  readonly node: BtreeNode | undefined;
  readonly first: number;
  readonly end: number;
}

/** Keys of a journal, likewise. */
interface OverlayRun {
  readonly over: readonly OverlayKey[];
  readonly first: number;
  readonly end: number;
}

/** Two runs as one; at equal positions the journal's key counts. */
function* mergedKeys(
  { node, first, end }: NodeRun,
  { over, first: overFrom, end: overEnd }: OverlayRun,
  backward: boolean,
): Generator<Key> {
  const step = backward ? -1 : 1;
  let i = backward ? end - 1 : first;
  let j = backward ? overEnd - 1 : overFrom;
  const hasNode = () => (backward ? i >= first : i < end);
  const hasOver = () => (backward ? j >= overFrom : j < overEnd);
  while (hasNode() || hasOver()) {
    const found = hasNode() ? node?.key(i) : undefined;
    const newer = hasOver() ? over[j] : undefined;
    let order = 0;
    if (found === undefined) order = 1;
    else if (newer === undefined) order = -1;
    else order = step * compareBpos(found.k.p, newer.key.k.p);
    if (order < 0) {
      assert(found !== undefined, 'there is a key to give');
      yield found;
      i += step;
      continue;
    }
    assert(newer !== undefined, 'there is a key of the journal to give');
    const key = newer.deltas === undefined ? newer.key : addAccounting(order === 0 ? found : undefined, newer.deltas);
    if (key.k.type !== DELETED) yield key;
    j += step;
    if (order === 0) i += step;
  }
}

/** An interior node on the way down, and the pointers in it that are still to be followed. */
interface Interior extends Visit {
  readonly pointers: Iterator<Key>;
}

/** @throws the damage when there is no listener */
function report(damage: Damage, { onDamage }: WalkOptions): void {
  if (onDamage === undefined) throw damage;
  onDamage(damage);
}

/** Whether a walk stays within one inode. */
export function isLookup({ from, to }: WalkOptions): boolean {
  return from !== undefined && to !== undefined && from[3] === to[3] && from[4] === to[4];
}

/** Where a pointer says that its node starts; btree_ptr does not say it. */
function minOf(ptr: Key): Bpos {
  const isKnown = ptr.k.type === BTREE_PTR_V2 && ptr.value.length >= BchBtreePtrV2.size;
  return isKnown ? bpos.get(viewOf(ptr.value), BchBtreePtrV2.offset.min_key) : POS_MIN;
}

const isWithin = (pos: Bpos, min: Bpos, max: Bpos): boolean => compareBpos(pos, min) >= 0 && compareBpos(pos, max) <= 0;
const later = (a: Bpos, b: Bpos): Bpos => (compareBpos(a, b) > 0 ? a : b);
const earlier = (a: Bpos, b: Bpos): Bpos => (compareBpos(a, b) < 0 ? a : b);

/** The number of keys of the node that are not after `pos`, from the start. */
function endOf(node: BtreeNode, pos: Bpos): number {
  const index = node.indexOf(pos);
  return index < node.count && compareBpos(node.position(index), pos) === 0 ? index + 1 : index;
}

function endIndex(over: readonly OverlayKey[], pos: Bpos): number {
  const index = overlayIndex(over, pos);
  const key = over[index];
  return key !== undefined && compareBpos(key.key.k.p, pos) === 0 ? index + 1 : index;
}

/** The position right after this one. Mirrors bpos_successor. */
export function bposSuccessor(pos: Bpos): Bpos {
  const next = pos.slice();
  for (let i = 0; i < next.length; i++) {
    next[i]!++;
    if (next[i] !== 0) return next;
  }
  throw new CorruptError('btree_node_bad_max_key', { pos: bposText(pos) }, 'no position follows this one');
}

/** The position right before this one. Mirrors bpos_predecessor. */
export function bposPredecessor(pos: Bpos): Bpos {
  const previous = pos.slice();
  for (let i = 0; i < previous.length; i++) {
    previous[i]!--;
    if (previous[i] !== 0xffff_ffff) return previous;
  }
  throw new CorruptError('btree_node_bad_min_key', { pos: bposText(pos) }, 'nothing comes before this position');
}
