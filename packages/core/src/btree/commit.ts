// Writes the changes of a transaction as new btree nodes. Nothing that is in use is overwritten: new nodes go where nothing is, and until
// the caller makes their roots known (by a journal entry and a superblock), the filesystem is what it was.
//
// New nodes take room, which changes what the alloc, backpointers and other btrees say, which makes more nodes new. So the plan is made
// again until nothing changes any more: a node that has its room keeps it, the nodes that are replaced only become more, and
// the btrees that say where room is are few, so a few rounds do. Only then is anything written.

import type { BlockDevice } from '../device/block-device.ts';
import type { JournalOverlay } from '../journal/overlay.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, compareBpos } from '../ondisk/bpos.ts';
import { BTREE_ID_MAX, BTREE_MAX_DEPTH } from '../ondisk/btrees.ts';
import { assert } from '../ondisk/errors.ts';
import { type ExtentPtr, encodeExtentPtr } from '../ondisk/extent-entries.ts';
import { BchBtreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import type { BtreeView } from './iterate.ts';
import { KeyMap } from './key-map.ts';
import { encodeNode, NodeScratch, type NodeTarget, nodeCapacityU64s } from './node-write.ts';
import { type BtreeRebuild, type PlannedNode, planRebuild } from './rebuild.ts';
import { clearStaleBsets } from './stale-bsets.ts';
import { makeKey, type Transaction } from './transaction.ts';

/** Where the room for nodes comes from: the socket that the alloc room plugs in. */
export interface NodeAllocator {
  /**
   * Room for one node, on as many devices as it shall have replicas. What it means for alloc and the rest is the triggers'.
   * @throws NoSpaceError when there is none
   */
  allocate(): readonly ExtentPtr[];
  /** Room that was allocated since the last commit is not needed after all. */
  release(pointers: readonly ExtentPtr[]): void;
}

/** The last positions of nodes that are written anew although nothing in them changes, by btree and level. */
export type NodesToRewrite = ReadonlyMap<number, readonly (readonly Bpos[] | undefined)[]>;

/** The filesystem as it is on disk. */
export interface CommitBase {
  btree(id: number): BtreeView;
  readonly overlay: JournalOverlay;
  device(index: number): BlockDevice | undefined;
}

export interface CommitSettings extends NodeTarget {
  readonly replicas: number;
  /** A random u64, for the seq of a node. */
  readonly randomU64: () => bigint;
  /** The numbers may be those of nodes that were in the same places before: what is behind a node's end is looked at. */
  readonly mayRepeatSeqs: boolean;
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

const BTREE_PTR_V2 = keyTypes.idOf('btree_ptr_v2');

/** Rounds until the plan stands. It takes three or four; a plan that does not settle is a fault of the triggers. */
const ROUNDS_MAX = 100;

/** The room of one node of the plan. */
interface Slot {
  readonly pointers: readonly ExtentPtr[];
  /** The pointer that the triggers were told of. */
  told: Key | undefined;
}

/** What a commit will write: new nodes, each with its room. */
export class CommitPlan {
  readonly #rebuilds = new Map<number, BtreeRebuild>();
  /** By btree and level. */
  readonly #slots = new Map<number, Slot[][]>();
  /** Nodes that go, and that the triggers were told of, by their last positions. */
  readonly #replaced = new Map<number, Map<string, Bpos>[]>();
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
    const changes = this.#tx.changesOf(btree) ?? new KeyMap();
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
    const rebuild = planRebuild(this.#base.btree(btree), changes, {
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
        slot = { pointers: this.#allocator.allocate(), told: undefined };
        ofLevel.push(slot);
      }
      if (slot.told !== undefined && compareBpos(slot.told.k.p, node.maxKey) === 0) continue;
      const after = pointerTo(node, slot.pointers, 0n, 0);
      this.#tx.runTriggers({ btree, level: level + 1, before: slot.told, after });
      slot.told = after;
    }
    for (const { pointers, told } of ofLevel.splice(nodes.length)) {
      this.#tx.runTriggers({ btree, level: level + 1, before: told, after: undefined });
      this.#allocator.release(pointers);
    }
  }

  /** The roots that will be written, as long as they will be: what they hold is not known yet. */
  roots(): ReadonlyMap<number, WrittenRoot> {
    const roots = new Map<number, WrittenRoot>();
    for (const [btree, { levels }] of this.#rebuilds) {
      const level = levels.length - 1;
      const key = this.#slots.get(btree)?.[level]?.[0]?.told;
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
    const { level, minKey, maxKey, generation } = node;
    const seq = this.#settings.randomU64();
    const keys = level === 0 ? node.keys : node.children.map(child => childPointer(child, below));
    const contents = { btree, level, minKey, maxKey, keys, seq, generation, journalSeq: 0 };
    const encoded = encodeNode(contents, { ...this.#settings, scratch: this.#scratch });
    for (const { dev, offset } of pointers) {
      const device = this.#base.device(dev);
      assert(device !== undefined, 'room is allocated on devices that are there');
      device.write(sectorsToBytes(offset), encoded.bytes);
      if (!this.#settings.mayRepeatSeqs) continue;
      clearStaleBsets(device, sectorsToBytes(offset), {
        writtenBytes: encoded.bytes.length,
        nodeBytes: sectorsToBytes(this.#settings.nodeSectors),
        blockBytes: sectorsToBytes(this.#settings.blockSectors),
        seq,
      });
    }
    const key = pointerTo(node, pointers, seq, encoded.sectorsWritten);
    return { key, writtenBytes: pointers.length * encoded.bytes.length };
  }
}

function childPointer(child: Key | PlannedNode, below: ReadonlyMap<PlannedNode, Key>): Key {
  if (!('level' in child)) return child;
  const key = below.get(child);
  assert(key !== undefined, 'children are written before their parents');
  return key;
}

function pointerTo(node: PlannedNode, pointers: readonly ExtentPtr[], seq: bigint, sectorsWritten: number): Key {
  const value = new Uint8Array(BchBtreePtrV2.size + 8 * pointers.length);
  const view = viewOf(value);
  const { minKey: min_key } = node;
  BchBtreePtrV2.put(view, 0, { mem_ptr: 0n, seq, sectors_written: sectorsWritten, flags: 0, min_key });
  for (const [i, pointer] of pointers.entries()) {
    view.setBigUint64(BchBtreePtrV2.size + 8 * i, encodeExtentPtr(pointer), true);
  }
  return makeKey(BTREE_PTR_V2, node.maxKey, value);
}
