// Finds the metadata of an open filesystem: on each member the superblock layout, every copy of the superblock and the journal's buckets,
// and every replica of every node of every btree, as the roots and the pointers say with the journal's laid over them, so that
// nodes are here that only the journal names. Interior nodes are read for it, leaves are not. Of each node 20 bytes are kept: a
// filesystem of a terabyte of nodes takes 80 MB.

import { btreePtrPlaces } from '../btree/node-read.ts';
import { type BlockDevice, readBytes } from '../device/block-device.ts';
import { readJournal } from '../journal/journal.ts';
import { JournalProblems } from '../journal/problem.ts';
import { journalRangesOf } from '../journal/scan.ts';
import { getBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError, DeviceError, type Location } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import {
  BchSb,
  hasSuperblockMagic,
  SB_LAYOUT_SECTOR,
  superblockBytes,
  superblockMaxBytes,
} from '../ondisk/superblock.ts';
import type { OpenMember } from '../superblock/member-set.ts';
import { readLayout } from '../superblock/read.ts';
import { roundUp, SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import type { DumpSource, MetadataRange } from './ranges.ts';

export interface MetadataOptions {
  /** Of the journal only the buckets that a replay could read: those with entries from the oldest dirty one on. */
  readonly dirtyJournalOnly?: boolean;
  /** Of each node only the replica on the member of the lowest index that is there. */
  readonly singleReplica?: boolean;
  /** Called with what is missing in the result: nodes below a node that cannot be read, pointers out of the device. */
  readonly onLoss?: (loss: CorruptError | DeviceError) => void;
}

export interface MetadataSize {
  readonly superblockBytes: number;
  readonly journalBytes: number;
  readonly nodes: number;
  readonly nodeBytes: number;
  readonly totalBytes: number;
}

/** What was found, by member. */
export class MetadataMap {
  readonly #nodeBytes: number;
  readonly #fixed: ReadonlyMap<number, readonly MetadataRange[]>;
  readonly #nodes: ReadonlyMap<number, NodeList>;

  constructor(
    nodeBytes: number,
    /** Superblocks and journal. */
    fixed: ReadonlyMap<number, readonly MetadataRange[]>,
    nodes: ReadonlyMap<number, NodeList>,
  ) {
    this.#nodeBytes = nodeBytes;
    this.#fixed = fixed;
    this.#nodes = nodes;
  }

  /** The ranges of one member, in the order of their places, each once. */
  *ranges(device: number): Generator<MetadataRange> {
    const fixed = this.#fixed.get(device) ?? [];
    let next = 0;
    for (const node of this.#nodes.get(device)?.ranges(device, this.#nodeBytes) ?? []) {
      for (let range = fixed[next]; range !== undefined && range.offsetBytes <= node.offsetBytes; range = fixed[next]) {
        yield range;
        next++;
      }
      yield node;
    }
    yield* fixed.slice(next);
  }

  size(device: number): MetadataSize {
    const sum = (wanted: (kind: MetadataRange['kind']) => boolean) =>
      (this.#fixed.get(device) ?? []).reduce(
        (bytes, { kind, lengthBytes }) => bytes + (wanted(kind) ? lengthBytes : 0),
        0,
      );
    const journalBytes = sum(kind => kind === 'journal');
    const superblockBytes = sum(kind => kind !== 'journal');
    const nodes = this.#nodes.get(device)?.count ?? 0;
    const nodeBytes = nodes * this.#nodeBytes;
    return { superblockBytes, journalBytes, nodes, nodeBytes, totalBytes: superblockBytes + journalBytes + nodeBytes };
  }
}

/**
 * Looks for the metadata of all members that are open. Yields the number of nodes found so far, now and then.
 * @throws IncompatibleError as reading nodes does; DeviceError when a superblock cannot be read any more
 */
export function* findMetadata(
  filesystem: DumpSource,
  options: MetadataOptions = {},
): Generator<number, MetadataMap, void> {
  const nodeBytes = sectorsToBytes(nodeSectorsOf(filesystem));
  const { members: opened } = filesystem.set;
  const dirty = options.dirtyJournalOnly ? dirtyBuckets(filesystem) : undefined;
  const fixed = new Map(
    opened.map(member => {
      const ranges = [...superblockRanges(member), ...journalBucketRanges(filesystem, member, dirty, options)];
      return [member.sb.dev_idx, ranges.toSorted((a, b) => a.offsetBytes - b.offsetBytes)];
    }),
  );
  const lists = new Map(opened.map(({ sb }) => [sb.dev_idx, new NodeList()]));
  const finder = new NodeFinder(filesystem, lists, options);
  yield* finder.findAll();
  for (const list of lists.values()) list.sort();
  return new MetadataMap(nodeBytes, fixed, lists);
}

const nodeSectorsOf = ({ sb }: DumpSource) => getBits(sb.flags, sbBits.BTREE_NODE_SIZE);

/** The layout and every copy: the places that any of the layouts names, and where the superblock was found. */
function superblockRanges({ device, sb, reading }: OpenMember): MetadataRange[] {
  const places = new Set([reading.sector]);
  const add = (layout: { readonly sb_offset: readonly bigint[]; readonly nr_superblocks: number }) => {
    for (const offset of layout.sb_offset.slice(0, layout.nr_superblocks)) places.add(Number(offset));
  };
  add(sb.layout);
  try {
    add(readLayout(device));
  } catch (thrown) {
    // Not a layout: it is dumped as it is all the same, and the superblock's own has the places.
    if (!(thrown instanceof CorruptError || thrown instanceof DeviceError)) throw thrown;
  }
  const head = { device: sb.dev_idx, node: undefined };
  const layoutAt = sectorsToBytes(SB_LAYOUT_SECTOR);
  const layout = { ...head, kind: 'layout', offsetBytes: layoutAt, lengthBytes: SECTOR_BYTES } as const;
  const ownBytes = claimedBytes(device, sectorsToBytes(reading.sector)) ?? BchSb.size;
  const mostBytes = superblockMaxBytes(sb);
  const copies = [...places]
    .filter(sector => Number.isSafeInteger(sector) && sectorsToBytes(sector) + BchSb.size <= device.sizeBytes)
    .map((sector): MetadataRange => {
      const offsetBytes = sectorsToBytes(sector);
      // One that is damaged may claim anything: it is as long as the sound one, or longer when it could be.
      const claimed = claimedBytes(device, offsetBytes) ?? 0;
      const wanted = roundUp(claimed <= mostBytes ? Math.max(ownBytes, claimed) : ownBytes, SECTOR_BYTES);
      return {
        ...head,
        kind: 'superblock',
        offsetBytes,
        lengthBytes: Math.min(wanted, device.sizeBytes - offsetBytes),
      };
    });
  return [layout, ...copies];
}

/** How long the superblock at a place says that it is; undefined when none begins there. */
function claimedBytes(device: BlockDevice, offset: number): number | undefined {
  try {
    const view = viewOf(readBytes(device, offset, BchSb.size));
    return hasSuperblockMagic(view, 0) ? superblockBytes(view, 0) : undefined;
  } catch (thrown) {
    if (!(thrown instanceof DeviceError)) throw thrown;
    return undefined; // It is reported when the range is read.
  }
}

/** All buckets of a member's journal, or those of `dirty`. */
function* journalBucketRanges(
  filesystem: DumpSource,
  { device, sb }: OpenMember,
  dirty: ReadonlySet<string> | undefined,
  { onLoss }: MetadataOptions,
): Generator<MetadataRange> {
  const bucketSectors = members(filesystem.sb)[sb.dev_idx]?.bucket_size ?? 0;
  const bucketBytes = sectorsToBytes(bucketSectors);
  if (bucketBytes === 0) return;
  const problems = new JournalProblems();
  const ranges = journalRangesOf({ device, sb, problems });
  for (const { error, where, detail } of problems.list) onLoss?.(new CorruptError(error, where, detail));
  const bucketsThere = Math.floor(device.sizeBytes / bucketBytes);
  let index = 0;
  for (const { start, nr } of ranges) {
    for (let i = 0; i < Math.min(nr, bucketsThere - start); i++) {
      if (dirty !== undefined && !dirty.has(`${sb.dev_idx}:${index + i}`)) continue;
      const offsetBytes = (start + i) * bucketBytes;
      yield { kind: 'journal', device: sb.dev_idx, offsetBytes, lengthBytes: bucketBytes, node: undefined };
    }
    index += nr;
  }
}

/** Journal buckets (`member:index`) with an entry that is not older than the oldest dirty one; undefined where that is not known. */
function dirtyBuckets({ set, key, replay }: DumpSource): ReadonlySet<string> | undefined {
  const { entries, replayRange } = replay.journal ?? readJournal(set, key);
  if (replayRange === undefined) return undefined;
  const wanted = entries.filter(({ seq }) => seq >= replayRange.first);
  return new Set(wanted.flatMap(({ ptrs }) => ptrs.map(({ dev, bucketIndex }) => `${dev}:${bucketIndex}`)));
}

/** So many nodes are found between two words of progress. */
const PROGRESS_NODES = 256;

class NodeFinder {
  readonly #filesystem: DumpSource;
  readonly #lists: ReadonlyMap<number, NodeList>;
  readonly #options: MetadataOptions;
  /** Each loss is met again at each level below it. */
  readonly #reported = new Set<string>();
  #found = 0;

  constructor(filesystem: DumpSource, lists: ReadonlyMap<number, NodeList>, options: MetadataOptions) {
    this.#filesystem = filesystem;
    this.#lists = lists;
    this.#options = options;
  }

  *findAll(): Generator<number, void, void> {
    for (const root of this.#filesystem.replay.roots.values()) {
      const btree = this.#filesystem.btree(root.btree);
      if (root.key !== undefined) this.#add(root.btree, root.level, root.key);
      const onDamage = (damage: CorruptError | DeviceError) => this.#lose(damage);
      // With level 1 a lost root of a single leaf is reported too.
      for (let level = Math.max(root.level, root.key === undefined ? 1 : 0); level > 0; level--) {
        for (const ptr of btree.keys({ level, onDamage })) {
          this.#add(root.btree, level - 1, ptr);
          if (this.#found % PROGRESS_NODES === 0) yield this.#found;
        }
      }
    }
  }

  #add(btree: number, level: number, ptr: Key): void {
    const where = { btree: btrees.nameOf(btree), level, pos: bposText(ptr.k.p) };
    try {
      const { replicas, seq, sectorsWritten } = btreePtrPlaces(btree, level, ptr);
      const there = replicas
        .filter(({ dev }) => this.#lists.has(dev))
        .sort((a, b) => a.dev - b.dev)
        .slice(0, this.#options.singleReplica ? 1 : undefined);
      for (const { dev, offset } of there) this.#addReplica(dev, offset, { btree, level, seq, sectorsWritten }, where);
      this.#found++;
    } catch (thrown) {
      if (!(thrown instanceof CorruptError)) throw thrown;
      this.#lose(thrown);
    }
  }

  #addReplica(dev: number, sector: number, node: FoundNode, where: Location): void {
    const device = this.#filesystem.device(dev);
    if (device === undefined) return;
    if (sectorsToBytes(sector + nodeSectorsOf(this.#filesystem)) > device.sizeBytes) {
      const detail = `a node past the end of the device, which has ${device.sizeBytes} bytes`;
      this.#lose(new CorruptError('ptr_after_last_bucket', { ...where, device: device.name, sector }, detail));
      return;
    }
    this.#lists.get(dev)?.add(sector, node);
  }

  #lose(loss: CorruptError | DeviceError): void {
    if (this.#reported.has(loss.message)) return;
    this.#reported.add(loss.message);
    this.#options.onLoss?.(loss);
  }
}

interface FoundNode {
  readonly btree: number;
  readonly level: number;
  readonly seq: bigint | undefined;
  readonly sectorsWritten: number;
}

/** Nodes of one member: their places and what their pointers say, in arrays of numbers that double as they fill. */
class NodeList {
  #sectors = new Float64Array(256);
  #seqs = new BigUint64Array(256);
  /** sectors_written in the low half, then the level and whether there is a seq, then the btree. */
  #facts = new Uint32Array(256);
  #order = new Uint32Array(0);
  #count = 0;

  /** Before sorting: as many as were added. */
  get count(): number {
    return this.#count;
  }

  add(sector: number, { btree, level, seq, sectorsWritten }: FoundNode): void {
    const at = this.#count++;
    if (at === this.#sectors.length) {
      const grown = 2 * at;
      this.#sectors = copyInto(new Float64Array(grown), this.#sectors);
      this.#seqs = copyInto(new BigUint64Array(grown), this.#seqs);
      this.#facts = copyInto(new Uint32Array(grown), this.#facts);
    }
    this.#sectors[at] = sector;
    this.#seqs[at] = seq ?? 0n;
    this.#facts[at] = (btree << 24) | ((seq === undefined ? 0 : 1) << 20) | (level << 16) | sectorsWritten;
  }

  /** By place; where several pointers name one place, the first that was found counts. */
  sort(): void {
    const order = Uint32Array.from({ length: this.#count }, (_, i) => i);
    order.sort((a, b) => this.#sectors[a]! - this.#sectors[b]! || a - b);
    let kept = 0;
    for (const index of order) {
      if (kept > 0 && this.#sectors[order[kept - 1]!] === this.#sectors[index]) continue;
      order[kept++] = index;
    }
    this.#order = order.subarray(0, kept);
    this.#count = kept;
  }

  *ranges(device: number, lengthBytes: number): Generator<MetadataRange> {
    for (const index of this.#order) {
      const facts = this.#facts[index]!;
      const hasSeq = ((facts >>> 20) & 1) === 1;
      yield {
        kind: 'btree_node',
        device,
        offsetBytes: sectorsToBytes(this.#sectors[index]!),
        lengthBytes,
        node: {
          btree: facts >>> 24,
          level: (facts >>> 16) & 0xf,
          seq: hasSeq ? this.#seqs[index]! : undefined,
          sectorsWritten: facts & 0xffff,
        },
      };
    }
  }
}

function copyInto<T extends Float64Array | BigUint64Array | Uint32Array>(target: T, source: T): T {
  if (target instanceof BigUint64Array && source instanceof BigUint64Array) target.set(source);
  else if (target instanceof Float64Array && source instanceof Float64Array) target.set(source);
  else if (target instanceof Uint32Array && source instanceof Uint32Array) target.set(source);
  return target;
}
