// Makes a btree from its keys, whatever was there before: they come in order, each node is written as soon as it is full, and its pointer
// goes into the node above. So the memory is one open node for each level, and a pointer for each node that was made, whatever the number
// of keys. The nodes go where nothing is, and nothing leads to them until the caller makes the root known.
//
// What the new nodes mean for alloc, backpointers and counters is not said here: the caller gets the pointers, and runs the triggers in
// the transaction that is laid over the new btree. The btree that is made may be one of those that it changes.

import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, compareBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { BTREE_MAX_DEPTH, btrees } from '../ondisk/btrees.ts';
import { assert } from '../ondisk/errors.ts';
import type { WrittenRoot } from './commit.ts';
import { bposSuccessor } from './iterate.ts';
import { DELETED } from './node.ts';
import { divide, FILL, itemsU64s, MERGE, nodesNeeded, packedU64s, packerFor } from './node-fill.ts';
import { type NodeAllocator, type NodeStoreSettings, storeNode } from './node-store.ts';
import { NodeScratch, nodeCapacityU64s } from './node-write.ts';

/** A pointer to a node. */
export interface NodePointer {
  /** Of the node. */
  readonly level: number;
  readonly ptr: Key;
}

export interface BuildSettings extends NodeStoreSettings {
  /** BTREE_NODE_SEQ of the new nodes: more than that of any node that was in their place, so that a scan for nodes prefers them. */
  readonly generation: number;
}

export interface BuiltBtree {
  readonly btree: number;
  readonly root: WrittenRoot;
  /** All nodes, the root included. */
  readonly nodes: readonly NodePointer[];
  readonly keyCount: number;
  /** All replicas together. */
  readonly sizeBytes: number;
}

/**
 * Makes a btree. The caller flushes the devices.
 * @param keys in order, one a position, none deleted; each is kept until its node is full
 * @throws NoSpaceError, DeviceError, and what `keys` throws: the room that was taken is given back then
 */
export function buildBtree(
  btree: number,
  keys: Iterable<Key>,
  allocator: NodeAllocator,
  settings: BuildSettings,
): BuiltBtree {
  const build = new Build(btree, allocator, settings);
  try {
    for (const key of keys) build.add(key);
    return build.finish();
  } catch (thrown) {
    build.giveUp();
    throw thrown;
  }
}

/** Of the room of a node. Where this much was gathered, a node is made, and what is left is not less than one that should take in its neighbour. */
const ENOUGH = FILL + MERGE;
/** Near it, looking again and again would cost more than the difference is worth. */
const NEARLY_ENOUGH = ENOUGH - 1 / 32;

/** A node that is being filled. */
interface OpenNode {
  min: Bpos;
  keys: Key[];
  /** What the keys take at the most, as far as that is known: see #add. */
  atMostU64s: number;
  /** Nodes of the level that were made before it. */
  madeCount: number;
}

class Build {
  readonly #btree: number;
  readonly #allocator: NodeAllocator;
  readonly #settings: BuildSettings;
  readonly #capacityU64s: number;
  readonly #scratch = new NodeScratch();
  readonly #levels: OpenNode[] = [];
  readonly #taken: ReturnType<NodeAllocator['allocate']>[] = [];
  readonly #made: NodePointer[] = [];
  #keyCount = 0;
  #sizeBytes = 0;

  constructor(btree: number, allocator: NodeAllocator, settings: BuildSettings) {
    this.#btree = btree;
    this.#allocator = allocator;
    this.#settings = settings;
    this.#capacityU64s = nodeCapacityU64s(settings.nodeSectors);
  }

  add(key: Key): void {
    assert(key.k.type !== DELETED, 'a btree is made of keys that are there');
    this.#keyCount++;
    this.#add(0, key);
  }

  finish(): BuiltBtree {
    for (let level = 0; ; level++) {
      const open = this.#open(level);
      const { keys, min, madeCount } = open;
      const count = nodesNeeded(itemsU64s(keys, min, SPOS_MAX), this.#capacityU64s);
      const pointers = divide(keys, count, min, SPOS_MAX).map(part =>
        this.#make(level, part.items, part.min, part.max),
      );
      const [only] = pointers;
      if (madeCount === 0 && count === 1 && only !== undefined) {
        return {
          btree: this.#btree,
          root: { level, key: only },
          nodes: this.#made,
          keyCount: this.#keyCount,
          sizeBytes: this.#sizeBytes,
        };
      }
      for (const pointer of pointers) this.#add(level + 1, pointer);
    }
  }

  giveUp(): void {
    for (const pointers of this.#taken) this.#allocator.release(pointers);
  }

  #open(level: number): OpenNode {
    assert(level < BTREE_MAX_DEPTH, `the btree ${btrees.nameOf(this.#btree)} needs no more levels than there are`);
    let open = this.#levels[level];
    if (open === undefined) {
      open = { min: POS_MIN, keys: [], atMostU64s: 0, madeCount: 0 };
      this.#levels[level] = open;
    }
    return open;
  }

  /**
   * More than fits into one node is gathered, so that what is left over for the last one is not next to nothing. How much that is cannot be
   * added up: a key may make the format of all others longer. It is reckoned anew when it may have become too much.
   */
  #add(level: number, key: Key): void {
    const open = this.#open(level);
    const last = open.keys.at(-1)?.k.p;
    const isInOrder = last === undefined ? compareBpos(key.k.p, open.min) >= 0 : compareBpos(key.k.p, last) > 0;
    // Not a text for each key.
    if (!isInOrder) assert(false, `the keys come in order, which ${bposText(key.k.p)} does not`);
    open.keys.push(key);
    open.atMostU64s += key.k.u64s;
    while (open.atMostU64s > ENOUGH * this.#capacityU64s) {
      open.atMostU64s = itemsU64s(open.keys, open.min, key.k.p);
      if (open.atMostU64s < NEARLY_ENOUGH * this.#capacityU64s) return;
      this.#cut(level, open);
    }
  }

  /** Makes a node of the first keys. */
  #cut(level: number, open: OpenNode): void {
    const { keys, min } = open;
    const packer = packerFor(keys, min, keys.at(-1)!.k.p);
    let u64s = 0;
    let count = 0;
    while (count < keys.length - 1) {
      u64s += packedU64s(keys[count]!.k, packer);
      if (u64s > FILL * this.#capacityU64s) break;
      count++;
    }
    const items = keys.splice(0, Math.max(1, count));
    const { p: max } = items.at(-1)!.k;
    const pointer = this.#make(level, items, min, max);
    open.min = bposSuccessor(max);
    open.madeCount++;
    this.#add(level + 1, pointer);
  }

  #make(level: number, keys: readonly Key[], minKey: Bpos, maxKey: Bpos): Key {
    const pointers = this.#allocator.allocate();
    this.#taken.push(pointers);
    const contents = { btree: this.#btree, level, minKey, maxKey, keys, generation: this.#settings.generation };
    const { key, writtenBytes } = storeNode(contents, pointers, { ...this.#settings, scratch: this.#scratch });
    this.#made.push({ level, ptr: key });
    this.#sizeBytes += writtenBytes;
    return key;
  }
}
