// Copies beyond what files and the filesystem want are dropped: after fewer are wanted than before, or when a member that was given up has
// turned up again. Only copies that count are counted, by their members' durability, so that none goes for one on a member that is missing;
// and before one goes, one that stays is read and compared with its checksum. Copies outside of the target go first. Nodes are written anew.
// Blocks of stripes are left as they are.
// Source: drop_extra_replicas_pred in move.c, v1.13.0.

import { isInTarget } from '../alloc/alloc-devices.ts';
import { entryBytesOf, type SpacePointer, spacePointers, withPointers } from '../alloc/extent-pointers.ts';
import type { Change, CommitExtras } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { CopyJudge } from '../data/copy-judge.ts';
import { replicasOf } from '../data/replicas.ts';
import { getBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import { btrees } from '../ondisk/btrees.ts';
import { decodeExtentEntries } from '../ondisk/extent-entries.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { NodePointer } from '../opened/node-pointers.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { allSteps } from '../util/steps.ts';
import {
  allNodes,
  CopyJob,
  dataKeys,
  type FoundKey,
  type JobOptions,
  type JobPart,
  type KeyWork,
  type LeftCopies,
  type WhyLeft,
} from './copy-job.ts';
import { DataOptions } from './data-options.ts';
import { CopyRules } from './rereplicate.ts';

/** How much of one kind there is too much of. */
export interface ExtraCopies {
  /** Keys, or nodes. */
  readonly count: number;
  /** Of copies that stay: data is compared with its checksum, nodes are written anew. */
  readonly readBytes: number;
  readonly droppedBytes: number;
}

export interface DropExtraPlan {
  readonly extents: ExtraCopies;
  /** Shared data. */
  readonly indirect: ExtraCopies;
  readonly nodes: ExtraCopies;
  /** Of nodes. */
  readonly writtenBytes: number;
}

export interface DropExtraReport {
  /** Of data. */
  readonly droppedBytes: number;
  readonly nodes: number;
  readonly commits: number;
  /** Keys of which no copy is what was written: all stay. */
  readonly left: readonly LeftCopies[];
  readonly leftCount: number;
}

export interface DropExtraProgress {
  readonly droppedBytes: number;
}

const REFLINK = btrees.idOf('reflink');

/** Copies of a key that may go, and those that stay. */
interface Extra {
  readonly going: readonly SpacePointer[];
  readonly staying: readonly SpacePointer[];
}

/** @param isLast whether a copy is to stay if another one can go */
function extraOf(
  rules: CopyRules,
  options: DataOptions,
  btree: number,
  key: Key,
  isLast?: (pointer: SpacePointer) => boolean,
): Extra | undefined {
  const dirty = spacePointers(entryBytesOf(key), key.k.size).pointers.filter(({ cached }) => !cached);
  if (dirty.some(({ stripe }) => stripe !== undefined)) return undefined;
  let have = rules.have(dirty);
  const counted = (dev: number) => rules.durability[dev] ?? 0;
  // Most have what they want: options are looked up only for those that may have more.
  if (dirty.length < 2 && have < 2) return undefined;
  const { replicas, target } = options.of(btree, key);
  if (have <= replicas) return undefined;
  const rank = (pointer: SpacePointer): number => {
    if (isLast?.(pointer)) return 2;
    const device = rules.devices[pointer.dev];
    return target !== 0 && device !== undefined && isInTarget(device, target) ? 1 : 0;
  };
  const going: SpacePointer[] = [];
  for (const pointer of [...dirty].sort((a, b) => rank(a) - rank(b))) {
    const own = counted(pointer.dev);
    if (own === 0 || have - own < replicas) continue;
    going.push(pointer);
    have -= own;
  }
  if (going.length === 0) return undefined;
  return { going, staying: dirty.filter(pointer => !going.includes(pointer) && counted(pointer.dev) > 0) };
}

function isExtraNode(rules: CopyRules, { ptr }: NodePointer): boolean {
  const { pointers } = spacePointers(entryBytesOf(ptr), 0);
  const have = rules.have(pointers);
  return pointers.some(({ dev }) => {
    const own = rules.durability[dev] ?? 0;
    return own > 0 && have - own >= rules.nodesWanted;
  });
}

/**
 * What there is too much of. Reads all keys of files, and the interior nodes.
 * @throws CorruptError, DeviceError for a node that cannot be read
 */
export function planDropExtra(filesystem: Filesystem): DropExtraPlan {
  const rules = new CopyRules(filesystem);
  const options = new DataOptions(filesystem);
  const sums = { extents: [0, 0, 0], indirect: [0, 0, 0], nodes: [0, 0, 0] };
  const add = (to: number[], read: number, dropped: number): void => {
    to[0]!++;
    to[1]! += sectorsToBytes(read);
    to[2]! += sectorsToBytes(dropped);
  };
  for (const { btree, key } of dataKeys(filesystem)) {
    const extra = extraOf(rules, options, btree, key);
    if (extra === undefined) continue;
    const dropped = extra.going.reduce((sum, { compressedSize }) => sum + compressedSize, 0);
    add(sums[btree === REFLINK ? 'indirect' : 'extents'], extra.staying[0]?.compressedSize ?? 0, dropped);
  }
  const nodeSectors = getBits(filesystem.sb.flags, sbBits.BTREE_NODE_SIZE);
  for (const node of allNodes(filesystem)) {
    if (!isExtraNode(rules, node)) continue;
    const copies = spacePointers(entryBytesOf(node.ptr), 0).pointers.length;
    add(sums.nodes, nodeSectors, nodeSectors * Math.max(1, copies - rules.nodesWanted));
  }
  const workOf = ([count = 0, readBytes = 0, droppedBytes = 0]: readonly number[]) => ({
    count,
    readBytes,
    droppedBytes,
  });
  const nodes = workOf(sums.nodes);
  return {
    extents: workOf(sums.extents),
    indirect: workOf(sums.indirect),
    nodes,
    writtenBytes: nodes.readBytes * rules.nodesWanted,
  };
}

/** All steps at once. @throws as dropExtraSteps does */
export function dropExtraReplicas(...request: Parameters<typeof dropExtraSteps>): DropExtraReport {
  return allSteps(dropExtraSteps(...request));
}

/**
 * Drops copies that are not wanted, a commit a step.
 * @throws CorruptError, DeviceError, NoSpaceError: the filesystem is whole then, and a part is done
 */
export function* dropExtraSteps(
  writer: FilesystemWriter,
  options: JobOptions = {},
): Generator<DropExtraProgress, DropExtraReport, void> {
  const job = new CopyJob(writer, options);
  const sums = { droppedSectors: 0 };
  const progress = () => ({ droppedBytes: sectorsToBytes(sums.droppedSectors) });
  for (const _ of job.data(change => new DropExtraPart(change, writer.filesystem, sums))) yield progress();
  let nodes = 0;
  const rules = new CopyRules(writer.filesystem);
  const ofNode = (node: NodePointer) => (isExtraNode(rules, node) ? ('rewrite' as const) : undefined);
  for (const count of job.nodes(ofNode)) {
    nodes = count;
    yield progress();
  }
  job.dropEmptySets();
  const { commits, left, leftCount } = job;
  return { ...progress(), nodes, commits, left, leftCount };
}

class DropExtraPart implements JobPart {
  readonly #change: Change;
  readonly #rules: CopyRules;
  readonly #options: DataOptions;
  readonly #judge: CopyJudge;
  readonly #sums: { droppedSectors: number };
  #droppedSectors = 0;
  changed = 0;

  constructor(change: Change, filesystem: Filesystem, sums: { droppedSectors: number }) {
    this.#change = change;
    this.#rules = new CopyRules(filesystem);
    this.#options = new DataOptions(filesystem);
    this.#judge = new CopyJudge(change.tx);
    this.#sums = sums;
  }

  look(btree: number, key: Key): KeyWork | undefined {
    const extra = extraOf(this.#rules, this.#options, btree, key);
    const [first] = extra?.staying ?? [];
    return first && { sectors: first.compressedSize, dev: first.dev, offset: first.offset };
  }

  apply({ btree, key }: FoundKey): WhyLeft | undefined {
    const copies = replicasOf(decodeExtentEntries(entryBytesOf(key)), key.k).filter(({ ptr }) => !ptr.cached);
    const isGood = (pointer: Pick<SpacePointer, 'dev' | 'offset'>) =>
      copies.some(
        copy => copy.ptr.dev === pointer.dev && copy.ptr.offset === pointer.offset && this.#judge.isGood(key.k, copy),
      );
    let extra = extraOf(this.#rules, this.#options, btree, key);
    // None of those that would stay is what was written: one that is has to stay instead.
    if (extra !== undefined && !extra.staying.some(isGood))
      extra = extraOf(this.#rules, this.#options, btree, key, isGood);
    if (extra === undefined || !extra.staying.some(isGood)) return 'no good copy';
    const { going } = extra;
    this.changed++;
    this.#droppedSectors += going.reduce((sum, { compressedSize }) => sum + compressedSize, 0);
    this.#change.tx.update(
      btree,
      withPointers(key, ptr =>
        !ptr.cached && going.some(({ dev, offset }) => dev === ptr.dev && offset === ptr.offset) ? undefined : ptr,
      ),
    );
    return undefined;
  }

  finish(): CommitExtras {
    return {};
  }

  onCommitted(): void {
    this.#sums.droppedSectors += this.#droppedSectors;
  }
}
