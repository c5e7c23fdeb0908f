// A job over all keys with copies of data: the keys are looked at in their order, those with something to do are gathered, and what they ask for
// is done in the order in which the copies lie on their devices. A part of it is a commit, bounded in keys and in bytes, after which every
// file is whole: a crash loses that part's work, and the same job does what is left.

import { TYPE } from '../alloc/bucket-state.ts';
import { entryBytesOf } from '../alloc/extent-pointers.ts';
import { withoutReplicas } from '../alloc/superblock-needs.ts';
import { KEYS_OF_NODE, nodesToRewrite } from '../btree/commit.ts';
import { bposSuccessor } from '../btree/iterate.ts';
import type { FilesystemSource } from '../btree/source.ts';
import { type Batch, inBatches } from '../change/batches.ts';
import { beginChange, type Change, type CommitExtras } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import type { BucketNode, BucketReference } from '../data/move-extents.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import type { ReplicasEntry } from '../ondisk/replicas-entry.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { type NodePointer, nodePointers } from '../opened/node-pointers.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { sectorsIn } from './copies.ts';

/**
 * no member     no member that may have another copy is left
 * no good copy  none can be read, or none is what was written
 * no room       the members that may have one are full
 */
export type WhyLeft = 'no member' | 'no good copy' | 'no room';

/** A key that is not as it is to be; above level 0 the node below it is it. */
export interface LeftCopies extends BucketReference {
  readonly why: WhyLeft;
}

/** What there is to do for a key. */
export interface KeyWork {
  /** What is read and written, in sectors. */
  readonly sectors: number;
  /** Where the copy lies that is read first. */
  readonly dev: number;
  readonly offset: number;
}

/** A key with its work; a copy, not a view of a node. */
export interface FoundKey {
  readonly btree: number;
  readonly key: Key;
  readonly work: KeyWork;
}

/** One part of a job, in one change. */
export interface JobPart {
  /** @returns undefined where nothing is to be done, or why nothing can be */
  look(btree: number, key: Key): KeyWork | WhyLeft | undefined;
  /** @returns why something is left to do; undefined for nothing */
  apply(found: FoundKey): WhyLeft | undefined;
  /** Keys that were changed so far. */
  readonly changed: number;
  /** Everything that was written is on the devices. @returns what only this part knows of its commit */
  finish(): CommitExtras;
  /** Called when it is committed. */
  onCommitted(): void;
}

export interface JobOptions {
  /** How many keys a commit changes at the most, so that memory is bounded. */
  readonly keysPerCommit?: number | undefined;
  /** How much data a commit writes, more or less. */
  readonly bytesPerCommit?: number | undefined;
}

const KEYS_PER_COMMIT = 50_000;
const BYTES_PER_COMMIT = 256 * 2 ** 20;
/** So many keys that are left are listed. */
const LEFT_LISTED = 1000;
const DATA_BTREES = ['extents', 'reflink'] as const;
const JOURNAL = TYPE.journal;

/** Where a walk over the keys of files has come to. */
interface Place {
  /** Among DATA_BTREES. */
  readonly nr: number;
  /** The last key that was seen. */
  readonly pos: Bpos | undefined;
}

/** Keys with copies of data, from a place on. */
function* keysWithCopies(source: FilesystemSource, from: Place): Generator<{ btree: number; key: Key; at: Place }> {
  for (let nr = from.nr; nr < DATA_BTREES.length; nr++) {
    const name = DATA_BTREES[nr]!;
    const walk = nr === from.nr && from.pos !== undefined ? { from: bposSuccessor(from.pos) } : {};
    for (const key of source.btree(name).keys(walk)) {
      if (entryBytesOf(key).length > 0) yield { btree: btrees.idOf(name), key, at: { nr, pos: key.k.p } };
    }
  }
}

/** All keys with copies of data. */
export function* dataKeys(source: FilesystemSource): Generator<{ readonly btree: number; readonly key: Key }> {
  yield* keysWithCopies(source, { nr: 0, pos: undefined });
}

export class CopyJob {
  readonly #writer: FilesystemWriter;
  readonly #keysPerCommit: number;
  readonly #sectorsPerCommit: number;
  commits = 0;
  leftCount = 0;
  readonly leftBy: Record<WhyLeft, number> = { 'no member': 0, 'no good copy': 0, 'no room': 0 };
  readonly left: LeftCopies[] = [];

  constructor(
    writer: FilesystemWriter,
    { keysPerCommit = KEYS_PER_COMMIT, bytesPerCommit = BYTES_PER_COMMIT }: JobOptions,
  ) {
    this.#writer = writer;
    this.#keysPerCommit = keysPerCommit;
    this.#sectorsPerCommit = bytesPerCommit / SECTOR_BYTES;
  }

  /** Data. @param begin a part of the job in a change */
  *data(begin: (change: Change) => JobPart): Generator<void> {
    let from: Place = { nr: 0, pos: undefined };
    yield* this.#inBatches((change, keysMax) => {
      const part = begin(change);
      const left: LeftCopies[] = [];
      let next: Place | undefined = from;
      while (part.changed === 0 && next !== undefined) {
        const gathered = this.#gather(part, next, keysMax, left);
        next = gathered.next;
        for (const found of gathered.keys) {
          const why = part.apply(found);
          if (why !== undefined) left.push({ btree: found.btree, level: 0, pos: found.key.k.p, why });
        }
      }
      if (part.changed === 0) {
        this.#noteLeft(left);
        return undefined;
      }
      const isMore = next !== undefined;
      return {
        isMore,
        extras: part.finish(),
        onCommitted: () => {
          if (next !== undefined) from = next;
          this.#noteLeft(left);
          part.onCommitted();
        },
      };
    });
  }

  /** Nodes are written anew, each once, with as many copies as metadata is to have. @param why says which, or why that would not help */
  *nodes(why: (node: NodePointer) => 'rewrite' | WhyLeft | undefined): Generator<number> {
    const done = new Set<string>();
    const batches = this.#inBatches((_, keysMax) => {
      const nodes: BucketNode[] = [];
      const names: string[] = [];
      const most = Math.max(1, Math.floor(keysMax / KEYS_OF_NODE));
      let isMore = false;
      for (const node of allNodes(this.#writer.filesystem)) {
        if (why(node) !== 'rewrite') continue;
        // One that is not better for it is not written again and again.
        if (done.has(nodeName(node))) continue;
        if (nodes.length === most) {
          isMore = true;
          break;
        }
        nodes.push({ btree: node.btree, level: node.level, pos: node.ptr.k.p.slice() });
        names.push(nodeName(node));
      }
      if (nodes.length === 0) return undefined;
      return {
        isMore,
        extras: { rewrite: nodesToRewrite(nodes) },
        onCommitted: () => {
          for (const name of names) done.add(name);
        },
      };
    });
    for (const _ of batches) yield done.size;
  }

  /** Nodes that are not as they are to be are noted. */
  noteNodes(why: (node: NodePointer) => 'rewrite' | WhyLeft | undefined): void {
    const left: LeftCopies[] = [];
    for (const node of allNodes(this.#writer.filesystem)) {
      const reason = why(node);
      if (reason === undefined) continue;
      const pos = node.ptr.k.p.slice();
      left.push({ btree: node.btree, level: node.level + 1, pos, why: reason === 'rewrite' ? 'no room' : reason });
    }
    this.#noteLeft(left);
  }

  /** Sets of devices that hold nothing any more leave the superblock; the journal's newest entry is on members that are there. */
  dropEmptySets(): void {
    if (this.commits === 0) return;
    const { filesystem } = this.#writer;
    const isGone = (entry: ReplicasEntry) =>
      entry.data_type === JOURNAL
        ? entry.devs.some(dev => filesystem.device(dev) === undefined)
        : sectorsIn(filesystem, entry) === 0;
    if (withoutReplicas(filesystem.sb, isGone) !== filesystem.sb)
      this.#writer.editSuperblocks(sb => withoutReplicas(sb, isGone));
  }

  /** Keys with something to do, in the order of their copies on the devices. */
  #gather(
    part: JobPart,
    from: Place,
    keysMax: number,
    left: LeftCopies[],
  ): { readonly keys: readonly FoundKey[]; readonly next: Place | undefined } {
    const keys: FoundKey[] = [];
    let sectors = 0;
    for (const { btree, key, at } of keysWithCopies(this.#writer.filesystem, from)) {
      const work = part.look(btree, key);
      if (work === undefined) continue;
      const pos = key.k.p.slice();
      if (typeof work === 'string') {
        left.push({ btree, level: 0, pos, why: work });
        continue;
      }
      keys.push({ btree, key: { k: { ...key.k, p: pos }, value: key.value.slice() }, work });
      sectors += work.sectors;
      if (keys.length >= keysMax || sectors >= this.#sectorsPerCommit) return inOrder(keys, { nr: at.nr, pos });
    }
    return inOrder(keys, undefined);
  }

  #noteLeft(left: readonly LeftCopies[]): void {
    this.leftCount += left.length;
    for (const { why } of left) this.leftBy[why]++;
    this.left.push(...left.slice(0, Math.max(0, LEFT_LISTED - this.left.length)));
  }

  *#inBatches(fill: (change: Change, keysMax: number) => Batch | undefined): Generator<void> {
    const begin = () => beginChange(this.#writer, { usesReserve: true, releasesEmptied: true });
    for (const _ of inBatches(begin, fill, this.#keysPerCommit)) {
      this.commits++;
      yield;
    }
  }
}

const inOrder = (keys: FoundKey[], next: Place | undefined) => ({
  keys: keys.sort((a, b) => a.work.dev - b.work.dev || a.work.offset - b.work.offset),
  next,
});

const nodeName = ({ btree, level, ptr }: NodePointer): string => `${btree}:${level}:${ptr.k.p.join()}`;

/** @throws CorruptError, DeviceError for an interior node that cannot be read: fsck comes first */
export function* allNodes(filesystem: Filesystem): Generator<NodePointer> {
  yield* nodePointers(filesystem, damage => {
    throw damage;
  });
}
