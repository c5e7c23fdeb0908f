// Puts btrees that are built from their keys in the place of those that are there, several in one commit: what was lost or mostly wrong is
// made anew, whatever its nodes are worth. The keys come in order from a generator, so the memory does not grow with their number.
//
// The new nodes are themselves something that alloc, backpointers and counters have to say, and those may be among the btrees that are
// built. So the keys say what is true without the new nodes; they are written first, where nothing is, and the transaction on top says
// what the nodes mean: that the new ones are there, and the old ones not. The commit merges it into what was just built, as into any
// btree. Where many nodes lie far from each other, that would be most of the leaves of the backpointers at once; so the nodes are announced
// in the order in which they lie on the devices, in parts that are staged.
//
// Nothing leads to what was written until the commit: a crash, an error or a full disk before it leaves the old state.

import { allocDevices } from '../alloc/alloc-devices.ts';
import { BucketAllocator, type IsHeld } from '../alloc/allocator.ts';
import { entryBytesOf, type SpacePointer, spacePointers } from '../alloc/extent-pointers.ts';
import { releaseEmptied } from '../alloc/release-emptied.ts';
import type { NodePointer } from '../btree/build.ts';
import type { BtreeView } from '../btree/iterate.ts';
import type { NodeAllocator } from '../btree/node-store.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, SPOS_MAX } from '../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { assert, CorruptError, DeviceError } from '../ondisk/errors.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { BchBackpointer, backpointerBpos } from '../ondisk/keys/backpointer.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { editFor, nodePlacement, standOf, triggersOf } from './change.ts';
import { assertRootsLive } from './commit-assertions.ts';
import type { FilesystemTriggers } from './triggers.ts';
import type { CommitReport, CommitRequest, FilesystemWriter } from './writer.ts';

export interface BtreeReplacement {
  readonly btree: BtreeName;
  /**
   * All that the btree shall hold, in order. It is asked for when the btree's turn comes: the writer's filesystem then has the btrees before
   * it. Alloc keys keep the generations of buckets that are free; backpointers of nodes of the btrees that are replaced are left out if
   * they are among the keys.
   */
  readonly keys: () => Iterable<Key>;
  /**
   * Nodes that go, as far as the alloc keys and the counters of the state to be have them in what they say. When left out, those of the
   * btree as it is, which then has to be readable above its leaves.
   */
  readonly gone?: readonly NodePointer[];
  /** See BuildSettings; when left out, one that is far above that of the old root. */
  readonly generation?: number;
}

export interface ReplaceOptions {
  /**
   * Gives room that nothing on the devices takes, each once; for when the lists of free buckets and the alloc keys on disk are not to be
   * trusted.
   */
  readonly allocator?: NodeAllocator;
  /** See TriggerOptions. */
  readonly onDamage?: (damage: CorruptError) => void;
  /** How many leaves of the backpointers a part may change, which is what its memory depends on. */
  readonly leavesPerPart?: number;
  /** And how many nodes it announces. */
  readonly nodesPerPart?: number;
}

export interface ReplaceReport extends CommitReport {
  /** In how many parts the nodes that come and go were announced; the last one is the commit. */
  readonly parts: number;
}

/**
 * Replaces whole btrees as parts of what the next commit commits.
 * @throws as replaceBtrees does
 */
export function stageBtrees(
  writer: FilesystemWriter,
  replacements: readonly BtreeReplacement[],
  options: ReplaceOptions = {},
): void {
  new Replacing(writer, replacements, options).stageAll();
}

/**
 * Replaces whole btrees, and commits. What was staged before is a part of it.
 * @throws NoSpaceError, CorruptError, DeviceError, and what the keys throw, as FilesystemWriter.commit does; what was staged is to be
 * dropped then
 */
export function replaceBtrees(
  writer: FilesystemWriter,
  replacements: readonly BtreeReplacement[],
  options: ReplaceOptions = {},
): ReplaceReport {
  return new Replacing(writer, replacements, options).commitAll();
}

/** The btrees are built; their nodes are to be announced. */
class Replacing {
  readonly #writer: FilesystemWriter;
  readonly #options: ReplaceOptions;
  readonly #pending: PendingNodes;
  readonly #room: Room;

  constructor(writer: FilesystemWriter, replacements: readonly BtreeReplacement[], options: ReplaceOptions) {
    this.#writer = writer;
    this.#options = options;
    const before = writer.filesystem;
    const replaced = new Set(replacements.map(({ btree }) => btrees.idOf(btree)));
    const changes: NodeChange[] = [];
    for (const { btree, gone } of replacements) {
      const id = btrees.idOf(btree);
      for (const one of gone ?? nodePointers(before.btree(id))) changes.push(changeOf(id, one, false));
    }
    this.#room = new Room(writer, options);
    const allocator = this.#room.allocator(this.#room.triggers());
    for (const { btree, keys, generation } of replacements) {
      const id = btrees.idOf(btree);
      const given = id === BACKPOINTERS ? withoutNodesOf(replaced, keys()) : keys();
      const { nodes } = writer.build(id, given, allocator, generation ?? generationAfter(before.btree(id)));
      for (const one of nodes) changes.push(changeOf(id, one, true));
      this.#room.take(nodes);
    }
    changes.sort((a, b) => a.dev - b.dev || a.sector - b.sector);
    this.#pending = new PendingNodes(changes);
  }

  /** What a part's plan replaces need not be announced any more, so that fewer may be left than there were. */
  commitAll(): ReplaceReport {
    for (let parts = 1; ; parts++) {
      const request = this.#next(parts === 1);
      if (this.#pending.isEmpty) return { ...this.#writer.commit(request), parts };
      this.#writer.stage(request);
      if (!this.#pending.isEmpty) continue;
      const last = this.#room.request([], this.#pending, false);
      return { ...this.#writer.commit(last), parts: parts + 1 };
    }
  }

  stageAll(): void {
    for (let isFirst = true; isFirst || !this.#pending.isEmpty; isFirst = false)
      this.#writer.stage(this.#next(isFirst));
  }

  #next(isFirst: boolean): CommitRequest {
    const part = this.#pending.take(this.#writer.filesystem, this.#options);
    return this.#room.request(part, this.#pending, isFirst);
  }
}

/**
 * All nodes of a btree, by the pointers to them.
 * @throws CorruptError, DeviceError when a node above the leaves cannot be read, and there is no listener
 */
export function* nodePointers(
  view: BtreeView,
  onDamage?: (damage: CorruptError | DeviceError) => void,
): Generator<NodePointer> {
  const { root } = view;
  if (root?.key === undefined) return;
  yield { level: root.level, ptr: root.key };
  for (let level = root.level; level > 0; level--) {
    const walk = { level, ...(onDamage === undefined ? {} : { onDamage }) };
    for (const ptr of view.keys(walk)) yield { level: level - 1, ptr };
  }
}

/** A node that comes or goes. */
interface NodeChange extends NodePointer {
  readonly btree: number;
  readonly isNew: boolean;
  /** Where its first replica is: no other node of the change is there. */
  readonly dev: number;
  readonly sector: number;
}

function changeOf(btree: number, { level, ptr }: NodePointer, isNew: boolean): NodeChange {
  const [first] = placesOf(ptr);
  assert(first !== undefined, 'a pointer to a node points somewhere');
  return { btree, level, ptr, isNew, dev: first.dev, sector: first.offset };
}

const placesOf = (ptr: Key): readonly SpacePointer[] => spacePointers(entryBytesOf(ptr), 0).pointers;

const BACKPOINTERS = btrees.idOf('backpointers');

/** Backpointers to nodes that go would have to be taken out again, one leaf after the other. */
function* withoutNodesOf(replaced: ReadonlySet<number>, keys: Iterable<Key>): Generator<Key> {
  for (const key of keys) {
    const { value } = key;
    const isOfNode = value[BchBackpointer.offset.level] !== 0;
    if (!isOfNode || !replaced.has(value[BchBackpointer.offset.btree_id] ?? 0)) yield key;
  }
}

/** A kernel counts up by one when it writes a node anew, so that no node of the old btree comes near. */
const GENERATIONS_FURTHER = 2 ** 20;
const GENERATION_MAX = 2 ** 32 - 1;

function generationAfter(view: BtreeView): number {
  let newest = 0;
  try {
    for (const node of view.nodes({ level: view.root?.level ?? 0 })) newest = Math.max(newest, node.generation);
  } catch (thrown) {
    // A root that cannot be read has nothing to say; who knows better gives the number.
    if (!(thrown instanceof CorruptError || thrown instanceof DeviceError)) throw thrown;
  }
  return Math.min(newest + GENERATIONS_FURTHER, GENERATION_MAX);
}

/** Where the nodes of the change go, and how each part of it is put together. */
class Room {
  readonly #writer: FilesystemWriter;
  readonly #options: ReplaceOptions;
  /** Buckets of nodes that alloc keys may not know of yet. */
  readonly #taken = new Set<string>();

  constructor(writer: FilesystemWriter, options: ReplaceOptions) {
    this.#writer = writer;
    this.#options = options;
  }

  triggers(): FilesystemTriggers {
    return triggersOf(standOf(this.#writer.filesystem), this.#writer.nextSeq, this.#options);
  }

  allocator(triggers: FilesystemTriggers): NodeAllocator {
    const { filesystem } = this.#writer;
    const options = { usesReserve: true, isHeld: this.#isHeld };
    return this.#options.allocator ?? new BucketAllocator(filesystem, triggers, nodePlacement(filesystem.sb), options);
  }

  take(nodes: readonly NodePointer[]): void {
    const { sb } = this.#writer.filesystem;
    const devices = allocDevices(sb);
    for (const { dev, offset } of nodes.flatMap(({ ptr }) => placesOf(ptr)))
      this.#taken.add(`${dev}:${Math.floor(offset / devices[dev]!.bucketSizeSectors)}`);
  }

  /** A transaction that says what some nodes mean. */
  request(changes: readonly NodeChange[], pending: PendingNodes, isFirst: boolean): CommitRequest {
    const triggers = this.triggers();
    const tx = this.#writer.begin({
      run: (to, change) => {
        const { level, before, after } = change;
        if (level > 0 && before !== undefined && pending.forget(before)) {
          assert(after === undefined, 'a node is replaced by others');
          return after;
        }
        return triggers.run(to, change);
      },
      settle: to => triggers.settle(to),
    });
    // Else each part would leave the nodes that it replaced behind.
    if (!isFirst && this.#options.allocator === undefined) releaseEmptied(triggers, tx, { isHeld: this.#isHeld });
    const allocator = this.allocator(triggers);
    for (const { btree, level, ptr, isNew } of changes) {
      const [before, after] = isNew ? [undefined, ptr] : [ptr, undefined];
      tx.runTriggers({ btree, level: level + 1, before, after });
    }
    const { sb } = this.#writer.filesystem;
    return {
      tx,
      allocator,
      superblock: editFor(triggers.needs),
      checkRoots: roots => assertRootsLive(tx, sb, roots.values()),
    };
  }

  readonly #isHeld: IsHeld = (dev, bucket) => this.#taken.has(`${dev}:${bucket}`) || this.#writer.isHeld(dev, bucket);
}

/** Each with its keys in memory, some hundred bytes for each. */
const LEAVES_PER_PART = 16;
const NODES_PER_PART = 1000;

/** Nodes of which the triggers do not know yet that they come or go. */
class PendingNodes {
  readonly #changes: NodeChange[];
  /** New ones by their place. */
  readonly #coming = new Map<string, NodeChange>();
  #at = 0;

  /** @param changes in the order in which they lie on the devices */
  constructor(changes: NodeChange[]) {
    this.#changes = changes;
    for (const change of changes) if (change.isNew) this.#coming.set(placeText(change), change);
  }

  get isEmpty(): boolean {
    this.#skip();
    return this.#at === this.#changes.length;
  }

  /** Those that come next, as many as are to be announced in one part: all that are left in most cases. */
  take(
    filesystem: Filesystem,
    { leavesPerPart = LEAVES_PER_PART, nodesPerPart = NODES_PER_PART }: ReplaceOptions,
  ): readonly NodeChange[] {
    const view = filesystem.btree(BACKPOINTERS);
    const rules = rulesOf(filesystem.sb);
    const part: NodeChange[] = [];
    const leaves = new Set<string>();
    while (!this.isEmpty && part.length < nodesPerPart) {
      const change = this.#changes[this.#at]!;
      for (const { dev, offset } of placesOf(change.ptr))
        leaves.add(bposText(leafEnd(view, backpointerBpos(dev, offset, 0, rules))));
      if (part.length > 0 && leaves.size > leavesPerPart) break;
      part.push(change);
      this.#coming.delete(placeText(change));
      this.#at++;
    }
    return part;
  }

  /** A node goes: whether it was one that had not been announced. Then it never is. */
  forget(ptr: Key): boolean {
    const [place] = placesOf(ptr);
    return place !== undefined && this.#coming.delete(placeText({ dev: place.dev, sector: place.offset }));
  }

  /** New nodes that a part has replaced. */
  #skip(): void {
    for (; this.#at < this.#changes.length; this.#at++) {
      const change = this.#changes[this.#at]!;
      if (!change.isNew || this.#coming.has(placeText(change))) return;
    }
  }
}

const placeText = ({ dev, sector }: { readonly dev: number; readonly sector: number }): string => `${dev}:${sector}`;

/** The last position of the leaf that a position is in. */
function leafEnd(view: BtreeView, pos: Bpos): Bpos {
  for (const { k } of view.keys({ level: 1, from: pos })) return k.p;
  return SPOS_MAX;
}
