// Writes the changes of a transaction as new btree nodes. Nothing that is in use is overwritten: new nodes go where nothing is, and until
// the caller makes their roots known (by a journal entry and a superblock), the filesystem is what it was.
//
// New nodes take room, which changes what the alloc, backpointers and other btrees say, which makes more nodes new. So the plan is made
// again until nothing changes any more: a node that has its room keeps it, the nodes that are replaced only become more, and
// the btrees that say where room is are few, so a few rounds do. Only then is anything written.

import type { JournalOverlay } from '../journal/overlay.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, compareBpos } from '../ondisk/bpos.ts';
import { BTREE_ID_MAX, BTREE_MAX_DEPTH } from '../ondisk/btrees.ts';
import { assert } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import type { BtreeView } from './iterate.ts';
import { KeyMap } from './key-map.ts';
import { type NodeAllocator, type NodeStoreSettings, pointerToNode, storeNode } from './node-store.ts';
import { NodeScratch, nodeCapacityU64s } from './node-write.ts';
import { PlannedLeaves } from './planned-leaves.ts';
import { type BtreeRebuild, type PlannedNode, planRebuild } from './rebuild.ts';
import type { Transaction } from './transaction.ts';

/** The last positions of nodes that are written anew although nothing in them changes, by btree and level. */
export type NodesToRewrite = ReadonlyMap<number, readonly (readonly Bpos[] | undefined)[]>;

/** About so many keys are in a node that is written anew: what it counts for in a batch of keys. */
export const KEYS_OF_NODE = 1000;

/** @param nodes by level, 0 for leaves, and the position that their pointers have */
export function nodesToRewrite(
  nodes: Iterable<{ readonly btree: number; readonly level: number; readonly pos: Bpos }>,
): NodesToRewrite {
  const rewrite = new Map<number, Bpos[][]>();
  for (const { btree, level, pos } of nodes) {
    const levels = rewrite.get(btree) ?? Array.from({ length: BTREE_MAX_DEPTH }, (): Bpos[] => []);
    rewrite.set(btree, levels);
    levels[level]!.push(pos);
  }
  return rewrite;
}

/** The filesystem as it is on disk. */
export interface CommitBase {
  btree(id: number): BtreeView;
  readonly overlay: JournalOverlay;
}

export interface CommitSettings extends NodeStoreSettings {
  readonly replicas: number;
  readonly rewrite?: NodesToRewrite | undefined;
}

export interface WrittenRoot {
  readonly level: number;
  readonly key: Key;
}

export interface WrittenNodes {
  /** The new roots, by btree. The others are what they were. */
  readonly roots: ReadonlyMap<number, WrittenRoot>;
  readonly nodeCount: number;
  readonly sizeBytes: number;
}

/** Rounds until the plan stands. It takes three or four; a plan that does not settle is a fault of the triggers. */
const ROUNDS_MAX = 100;

/** The room of one node of the plan. */
interface Slot {
  readonly pointers: readonly ExtentPtr[];
  /** The pointer that the triggers were run for. */
  known: Key | undefined;
}

/** What a commit will write: new nodes, each with its room. */
export class CommitPlan {
  readonly #rebuilds = new Map<number, BtreeRebuild>();
  /** By btree and level. */
  readonly #slots = new Map<number, Slot[][]>();
  /** Nodes that go, and that the triggers were run for, by their last positions. */
  readonly #replaced = new Map<number, Map<string, Bpos>[]>();
  /** What the leaves of a btree will hold, as far as the plan was made. */
  readonly #leaves = new Map<number, PlannedLeaves>();
  /** What the plan of a btree was made from. */
  readonly #planned = new Map<number, number>();
  readonly #tx: Transaction;
  readonly #base: CommitBase;
  readonly #allocator: NodeAllocator;
  readonly #settings: CommitSettings;
  readonly #scratch = new NodeScratch();

  /**
   * Plans until the plan stands. The transaction then holds the changes of alloc and the rest that the new nodes bring.
   * @throws NoSpaceError when there is no room for the new nodes; CorruptError, DeviceError when a node cannot be read
   */
  constructor(tx: Transaction, base: CommitBase, allocator: NodeAllocator, settings: CommitSettings) {
    this.#tx = tx;
    this.#base = base;
    this.#allocator = allocator;
    this.#settings = settings;
    tx.keepPositions();
    for (let id = 0; id < BTREE_ID_MAX; id++) {
      if (this.#hasDirtyPointers(id) || settings.rewrite?.has(id)) this.#plan(id);
    }
    for (let round = 0; ; round++) {
      assert(round < ROUNDS_MAX, 'a commit settles');
      tx.settle();
      const stale = tx.changedBtrees().filter(id => this.#planned.get(id) !== tx.changesOf(id)?.changes);
      if (stale.length === 0) break;
      for (const id of stale) this.#plan(id);
    }
  }

  /** How many nodes will be written. */
  get nodeCount(): number {
    let count = 0;
    for (const { levels } of this.#rebuilds.values()) for (const nodes of levels) count += nodes.length;
    return count;
  }

  #plan(btree: number): void {
    const known = this.#tx.changesOf(btree);
    const changes = known ?? new KeyMap();
    this.#planned.set(btree, changes.changes);
    const slots = this.#slots.get(btree) ?? [];
    this.#slots.set(btree, slots);
    const { overlay } = this.#base;
    const dirtyPointers = (level: number) =>
      level === 0 ? [] : overlay.keysOf(btree, level).map(({ key }) => key.k.p);
    const rewrite = this.#settings.rewrite?.get(btree);
    const replaced =
      this.#replaced.get(btree) ?? Array.from({ length: BTREE_MAX_DEPTH }, () => new Map<string, Bpos>());
    this.#replaced.set(btree, replaced);
    const view = this.#base.btree(btree);
    const leaves = this.#leaves.get(btree) ?? new PlannedLeaves(view, changes);
    // Changes that come later are in another map than none.
    if (known !== undefined) this.#leaves.set(btree, leaves);
    const rebuild = planRebuild(view, changes, {
      leaves,
      capacityU64s: nodeCapacityU64s(this.#settings.nodeSectors),
      replicas: this.#settings.replicas,
      // A node that goes once goes for good, also where it was only to be merged with one that has become fuller since.
      rewrite: level => [...dirtyPointers(level), ...(rewrite?.[level] ?? []), ...(replaced[level]?.values() ?? [])],
      atLeast: slots.map(({ length }) => length),
    });
    this.#rebuilds.set(btree, rebuild);
    for (const { level, ptr } of rebuild.replaced) {
      const name = bposText(ptr.k.p);
      if (replaced[level]?.has(name)) continue;
      replaced[level]?.set(name, ptr.k.p);
      this.#tx.runTriggers({ btree, level: level + 1, before: ptr, after: undefined });
    }
    for (const [level, nodes] of rebuild.levels.entries()) this.#place(btree, level, nodes, slots);
  }

  /** Pointers to nodes that only the journal has. */
  #hasDirtyPointers(btree: number): boolean {
    for (let level = 1; level < BTREE_MAX_DEPTH; level++) {
      if (this.#base.overlay.keysOf(btree, level).length > 0) return true;
    }
    return false;
  }

  #place(btree: number, level: number, nodes: readonly PlannedNode[], slots: Slot[][]): void {
    const ofLevel = slots[level] ?? [];
    slots[level] = ofLevel;
    for (const [index, node] of nodes.entries()) {
      let slot = ofLevel[index];
      if (slot === undefined) {
        slot = { pointers: this.#allocator.allocate(), known: undefined };
        ofLevel.push(slot);
      }
      if (slot.known !== undefined && compareBpos(slot.known.k.p, node.maxKey) === 0) continue;
      const after = pointerToNode(node, slot.pointers, 0n, 0);
      this.#tx.runTriggers({ btree, level: level + 1, before: slot.known, after });
      slot.known = after;
    }
    for (const { pointers, known } of ofLevel.splice(nodes.length)) {
      this.#tx.runTriggers({ btree, level: level + 1, before: known, after: undefined });
      this.#allocator.release(pointers);
    }
  }

  /** The roots that will be written, as long as they will be: what they hold is not known yet. */
  roots(): ReadonlyMap<number, WrittenRoot> {
    const roots = new Map<number, WrittenRoot>();
    for (const [btree, { levels }] of this.#rebuilds) {
      const level = levels.length - 1;
      const key = this.#slots.get(btree)?.[level]?.[0]?.known;
      assert(key !== undefined, 'a planned btree has a root with its room');
      roots.set(btree, { level, key });
    }
    return roots;
  }

  /**
   * Writes the nodes, the leaves first, to all their replicas. The caller flushes the devices.
   * @throws DeviceError
   */
  write(): WrittenNodes {
    const roots = new Map<number, WrittenRoot>();
    let nodeCount = 0;
    let sizeBytes = 0;
    for (const [btree, { levels }] of this.#rebuilds) {
      const slots = this.#slots.get(btree);
      assert(slots !== undefined, 'a planned btree has its room');
      let below = new Map<PlannedNode, Key>();
      for (const [level, nodes] of levels.entries()) {
        const written = new Map<PlannedNode, Key>();
        for (const [index, node] of nodes.entries()) {
          const slot = slots[level]?.[index];
          assert(slot !== undefined, 'a planned node has its room');
          const { key, writtenBytes } = this.#writeNode(btree, node, below, slot.pointers);
          written.set(node, key);
          nodeCount++;
          sizeBytes += writtenBytes;
        }
        below = written;
      }
      const [root, ...others] = below.values();
      assert(root !== undefined && others.length === 0, 'a btree has one root');
      roots.set(btree, { level: levels.length - 1, key: root });
    }
    return { roots, nodeCount, sizeBytes };
  }

  #writeNode(btree: number, node: PlannedNode, below: ReadonlyMap<PlannedNode, Key>, pointers: readonly ExtentPtr[]) {
    const { level, minKey, maxKey, generation, format } = node;
    const keys = level === 0 ? node.keys : node.children.map(child => childPointer(child, below));
    const contents = { btree, level, minKey, maxKey, keys, generation, ...(format === undefined ? {} : { format }) };
    return storeNode(contents, pointers, { ...this.#settings, scratch: this.#scratch });
  }
}

function childPointer(child: Key | PlannedNode, below: ReadonlyMap<PlannedNode, Key>): Key {
  if (!('level' in child)) return child;
  const key = below.get(child);
  assert(key !== undefined, 'children are written before their parents');
  return key;
}
