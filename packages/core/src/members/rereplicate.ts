// Data and btree nodes get the copies that they lack: after a member has died, was taken out by force, or when more copies are wanted than
// before. What counts are copies on members that are there and have not failed, by the members' durability; what is wanted are the file's
// own options, else the filesystem's.
//
// A new copy is made of one that was read and compared with its checksum, as it is encoded, on a member that has no copy yet: one of the
// target, else any. When all copies are there, pointers to copies that do not count go, and those to copies that were found to be bad;
// otherwise they stay. What has no good copy is not touched. Nodes are written anew. Blocks of stripes are left as they are: parity
// stands in for copies there.
//
// Linux 6.12 takes copies on missing members for good ones unless these have failed, and keeps pointers to members that have failed as
// cached ones.
// Source: rereplicate_pred in move.c, bch2_data_update_init and __bch2_data_update_index_update in data_update.c, v1.13.0.

import { type AllocDevice, allocDevices, allowsData } from '../alloc/alloc-devices.ts';
import { entryBytesOf, type SpacePointer, spacePointers, withPointers } from '../alloc/extent-pointers.ts';
import type { Change, CommitExtras } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { BucketGens } from '../data/bucket-gens.ts';
import { CopyJudge, encodedName } from '../data/copy-judge.ts';
import { GatheredWrite } from '../data/extent-write.ts';
import { type Replica, replicasOf } from '../data/replicas.ts';
import { getBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import { btrees } from '../ondisk/btrees.ts';
import { assert, NoSpaceError } from '../ondisk/errors.ts';
import { decodeExtentEntries, type ExtentPtr } from '../ondisk/extent-entries.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { memberStates } from '../ondisk/member-states.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { NodePointer } from '../opened/node-pointers.ts';
import { roundUp, SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { allSteps } from '../util/steps.ts';
import { availableBytes, CopyDemands, countedDurability, fsOption } from './copies.ts';
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

/** How much of one kind lacks copies. */
export interface CopyWork {
  /** Keys, or nodes. */
  readonly count: number;
  readonly readBytes: number;
  /** All new copies. */
  readonly writtenBytes: number;
}

/** What it takes. */
export interface RereplicatePlan {
  readonly extents: CopyWork;
  /** Shared data. */
  readonly indirect: CopyWork;
  readonly nodes: CopyWork;
  /** What the members have for it, besides what the filesystem keeps back. */
  readonly availableBytes: number;
  /** Keys and nodes that stay without some copy since no member is left for it, and those of which no member at hand has one. */
  readonly stuck: { readonly noMember: number; readonly noCopy: number };
  /** Of extents with erasure coding, which are left as they are. */
  readonly erasureCodedBytes: number;
}

export interface RereplicateReport {
  readonly writtenBytes: number;
  /** Of copies that do not count and are not pointed to any more. */
  readonly droppedBytes: number;
  readonly commits: number;
  readonly left: readonly LeftCopies[];
  readonly leftCount: number;
  readonly leftBy: Readonly<Record<WhyLeft, number>>;
}

export interface RereplicateProgress {
  readonly writtenBytes: number;
  readonly plannedBytes: number;
}

/** `failed` in 6.12. */
const FAILED = memberStates.idOf('evacuating');
const REFLINK = btrees.idOf('reflink');

/** What counts, and where new copies may go. */
export class CopyRules {
  /** By member. */
  readonly durability: readonly number[];
  /** Indexes of those that may have new ones. */
  readonly able: { readonly user: readonly number[]; readonly btree: readonly number[] };
  readonly devices: readonly (AllocDevice | undefined)[];
  readonly nodesWanted: number;
  readonly #nodesPossible: number;

  constructor(filesystem: Filesystem) {
    const { sb } = filesystem;
    this.devices = allocDevices(sb);
    this.durability = countedDurability(filesystem);
    const open = this.devices.filter(
      device => device?.isWritable === true && device.durability > 0 && filesystem.device(device.index) !== undefined,
    );
    const ableTo = (what: 'user' | 'btree') =>
      open.flatMap(device => (device !== undefined && allowsData(device, what) ? [device.index] : []));
    this.able = { user: ableTo('user'), btree: ableTo('btree') };
    this.nodesWanted = fsOption(sb, 'metadata_replicas');
    this.#nodesPossible = this.able.btree.reduce((sum, dev) => sum + this.durability[dev]!, 0);
  }

  have(pointers: readonly Pick<SpacePointer, 'dev' | 'cached'>[]): number {
    return pointers.reduce((sum, { dev, cached }) => sum + (cached ? 0 : (this.durability[dev] ?? 0)), 0);
  }

  /** What is to become of a node. */
  ofNode({ ptr }: NodePointer): 'rewrite' | WhyLeft | undefined {
    const have = this.have(spacePointers(entryBytesOf(ptr), 0).pointers);
    if (have >= this.nodesWanted) return undefined;
    return have < Math.min(this.nodesWanted, this.#nodesPossible) ? 'rewrite' : 'no member';
  }

  /** Members that may have another copy of data. */
  placesFor(dirty: readonly SpacePointer[], sectors: number): readonly number[] {
    return this.able.user.filter(
      dev => this.devices[dev]!.bucketSizeSectors >= sectors && !dirty.some(pointer => pointer.dev === dev),
    );
  }
}

/** What a key lacks. */
interface Lack {
  readonly dirty: readonly SpacePointer[];
  /** The copy that is read, by what is known without reading; undefined when no member at hand has one. */
  readonly source: SpacePointer | undefined;
  readonly places: readonly number[];
  /** New copies, at the most. */
  readonly copies: number;
}

function lackOf(
  rules: CopyRules,
  options: DataOptions,
  filesystem: Filesystem,
  btree: number,
  key: Key,
): Lack | 'erasure coded' | undefined {
  const { pointers } = spacePointers(entryBytesOf(key), key.k.size);
  const dirty = pointers.filter(({ cached }) => !cached);
  if (dirty.length === 0) return undefined;
  const have = rules.have(dirty);
  const { replicas } = options.of(btree, key);
  if (have >= replicas) return undefined;
  if (dirty.some(({ stripe }) => stripe !== undefined)) return 'erasure coded';
  const isThere = ({ dev }: SpacePointer) => filesystem.device(dev) !== undefined;
  const source =
    dirty.find(({ dev }) => (rules.durability[dev] ?? 0) > 0) ?? dirty.find(isThere) ?? pointers.find(isThere);
  const places = rules.placesFor(dirty, (source ?? dirty[0]!).compressedSize);
  return { dirty, source, places, copies: Math.min(replicas - have, places.length) };
}

/**
 * What it takes, and whether there is room. Reads all keys of files, and the interior nodes.
 * @throws NoSpaceError with the numbers; CorruptError, DeviceError for a node that cannot be read
 */
export function planRereplicate(filesystem: Filesystem): RereplicatePlan {
  const rules = new CopyRules(filesystem);
  const options = new DataOptions(filesystem);
  const works = { extents: new Sum(), indirect: new Sum(), nodes: new Sum() };
  const demands = new CopyDemands();
  const shared = new RecentNames();
  let [noMember, noCopy, codedSectors] = [0, 0, 0];
  for (const { btree, key } of dataKeys(filesystem)) {
    const lack = lackOf(rules, options, filesystem, btree, key);
    if (lack === undefined) continue;
    if (lack === 'erasure coded') {
      codedSectors += key.k.size;
      continue;
    }
    const { source, places, copies } = lack;
    if (source === undefined) noCopy++;
    else if (copies === 0) noMember++;
    else {
      const name = `${source.dev}:${source.offset}`;
      const sectors = source.unwritten || shared.has(name) ? 0 : source.compressedSize;
      works[btree === REFLINK ? 'indirect' : 'extents'].add(sectors, copies);
      demands.add(places, copies * (source.unwritten ? source.compressedSize : sectors));
    }
  }
  const nodeSectors = getBits(filesystem.sb.flags, sbBits.BTREE_NODE_SIZE);
  const nodeCopies = Math.min(fsOption(filesystem.sb, 'metadata_replicas'), rules.able.btree.length);
  for (const node of allNodes(filesystem)) {
    const fate = rules.ofNode(node);
    if (fate === 'rewrite') works.nodes.add(nodeSectors, nodeCopies);
    else if (fate !== undefined) noMember++;
  }
  const open = rules.devices.filter(
    device =>
      device !== undefined && (rules.able.user.includes(device.index) || rules.able.btree.includes(device.index)),
  );
  const plan = {
    extents: works.extents.work,
    indirect: works.indirect.work,
    nodes: works.nodes.work,
    availableBytes: availableBytes(
      filesystem,
      open.filter(device => device !== undefined),
    ),
    stuck: { noMember, noCopy },
    erasureCodedBytes: sectorsToBytes(codedSectors),
  };
  const needed = writtenBytesOf(plan);
  if (needed > plan.availableBytes) {
    throw new NoSpaceError(
      `${needed} bytes of new copies are to be written, and the members have room for ${plan.availableBytes} besides what the filesystem ` +
        `keeps back: ${needed - plan.availableBytes} bytes too few; nothing was changed`,
    );
  }
  demands.refuseTooLarge(filesystem, '');
  return plan;
}

export const writtenBytesOf = ({ extents, indirect, nodes }: RereplicatePlan): number =>
  extents.writtenBytes + indirect.writtenBytes + nodes.writtenBytes;

class Sum {
  #count = 0;
  #sectors = 0;
  #copies = 0;

  add(sectors: number, copies: number): void {
    this.#count++;
    this.#sectors += sectors;
    this.#copies += sectors * copies;
  }

  get work(): CopyWork {
    return { count: this.#count, readBytes: sectorsToBytes(this.#sectors), writtenBytes: sectorsToBytes(this.#copies) };
  }
}

/** Places that were met not long ago: keys that share encoded sectors are near each other. */
class RecentNames {
  readonly #names = new Set<string>();

  /** Whether it was met; it is from now on. */
  has(name: string): boolean {
    if (this.#names.has(name)) return true;
    if (this.#names.size >= RECENT_MAX) this.#names.clear();
    this.#names.add(name);
    return false;
  }
}
const RECENT_MAX = 65_536;

/** All steps at once. @throws as rereplicateSteps does */
export function rereplicate(...request: Parameters<typeof rereplicateSteps>): RereplicateReport {
  return allSteps(rereplicateSteps(...request));
}

/**
 * Makes the copies that are missing, a commit a step. Members that are missing are those that the writer was opened without.
 * @throws NoSpaceError as planRereplicate does: not a byte was changed; CorruptError, DeviceError, NoSpaceError later: the filesystem is whole
 * then, and a part has its copies
 */
export function* rereplicateSteps(
  writer: FilesystemWriter,
  options: JobOptions = {},
): Generator<RereplicateProgress, RereplicateReport, void> {
  const plan = planRereplicate(writer.filesystem);
  const plannedBytes = writtenBytesOf(plan);
  const job = new CopyJob(writer, options);
  const sums: Sums = { writtenSectors: 0, droppedSectors: 0 };
  // Metadata first: with it there are two, the rest can be found whatever happens.
  const nodeBytes = plan.nodes.count === 0 ? 0 : plan.nodes.writtenBytes / plan.nodes.count;
  const rules = new CopyRules(writer.filesystem);
  const ofNode = (node: NodePointer) => rules.ofNode(node);
  for (const count of job.nodes(ofNode))
    yield { writtenBytes: Math.min(plan.nodes.count, count) * nodeBytes, plannedBytes };
  job.noteNodes(ofNode);
  const ofNodes = plan.nodes.writtenBytes;
  for (const _ of job.data(change => new RereplicatePart(change, writer.filesystem, sums)))
    yield { writtenBytes: ofNodes + sectorsToBytes(sums.writtenSectors), plannedBytes };
  job.dropEmptySets();
  return {
    writtenBytes: ofNodes + sectorsToBytes(sums.writtenSectors),
    droppedBytes: sectorsToBytes(sums.droppedSectors),
    commits: job.commits,
    left: job.left,
    leftCount: job.leftCount,
    leftBy: job.leftBy,
  };
}

interface Sums {
  writtenSectors: number;
  droppedSectors: number;
}

class RereplicatePart implements JobPart {
  readonly #change: Change;
  readonly #filesystem: Filesystem;
  readonly #rules: CopyRules;
  readonly #options: DataOptions;
  readonly #writes: CopyWrites;
  readonly #sums: Sums;
  #droppedSectors = 0;
  changed = 0;

  constructor(change: Change, filesystem: Filesystem, sums: Sums) {
    this.#change = change;
    this.#filesystem = filesystem;
    this.#rules = new CopyRules(filesystem);
    this.#options = new DataOptions(filesystem);
    this.#writes = new CopyWrites(change);
    this.#sums = sums;
  }

  look(btree: number, key: Key): KeyWork | WhyLeft | undefined {
    const lack = lackOf(this.#rules, this.#options, this.#filesystem, btree, key);
    if (lack === undefined || lack === 'erasure coded') return undefined;
    const { source, copies } = lack;
    if (source === undefined) return 'no good copy';
    if (copies === 0) return 'no member';
    return { sectors: source.unwritten ? 0 : copies * source.compressedSize, dev: source.dev, offset: source.offset };
  }

  apply({ btree, key }: FoundKey): WhyLeft | undefined {
    const { replicas, target } = this.#options.of(btree, key);
    const copies = replicasOf(decodeExtentEntries(entryBytesOf(key)), key.k);
    const dirty = copies.filter(({ ptr }) => !ptr.cached);
    const { source, bad } = this.#writes.goodCopy(key, copies, this.#rules.durability);
    if (source === undefined) return 'no good copy';
    let have = this.#rules.have(dirty.flatMap(({ ptr }) => (bad.includes(ptr) ? [] : [ptr])));
    const without = new Set(dirty.map(({ ptr }) => ptr.dev));
    const added: ExtentPtr[] = [];
    let why: WhyLeft | undefined;
    while (have < replicas) {
      const to = this.#writes.copy(key, source, { target, without });
      if (typeof to === 'string') {
        why = to;
        break;
      }
      added.push(to);
      without.add(to.dev);
      have += this.#rules.durability[to.dev] ?? 0;
    }
    if (added.length === 0) return why;
    this.changed++;
    const isDropped = (ptr: ExtentPtr) => {
      if (ptr.cached) return added.some(({ dev }) => dev === ptr.dev);
      return why === undefined && (isAmong(ptr, bad) || (this.#rules.durability[ptr.dev] ?? 0) === 0);
    };
    for (const { ptr, encoding } of dirty) if (isDropped(ptr)) this.#droppedSectors += encoding.compressedSectors;
    this.#change.tx.update(
      btree,
      withPointers(key, ptr => [...(isDropped(ptr) ? [] : [ptr]), ...(isSamePlace(ptr, source.ptr) ? added : [])]),
    );
    return why;
  }

  finish(): CommitExtras {
    this.#writes.flush();
    const { clocks } = this.#filesystem.replay;
    return { clocks: { ...clocks, write: clocks.write + BigInt(this.#writes.sectors) } };
  }

  onCommitted(): void {
    this.#sums.writtenSectors += this.#writes.sectors;
    this.#sums.droppedSectors += this.#droppedSectors;
  }
}

const isSamePlace = (a: ExtentPtr, b: ExtentPtr): boolean => a.dev === b.dev && a.offset === b.offset;
const isAmong = (ptr: ExtentPtr, all: readonly ExtentPtr[]): boolean => all.some(one => isSamePlace(one, ptr));

export interface GoodCopy {
  /** Undefined when there is none. */
  readonly source: Replica | undefined;
  /** Copies that were to be taken, and are not what was written. */
  readonly bad: readonly ExtentPtr[];
}

/** New copies of what is encoded already, made in one change. */
export class CopyWrites {
  /** Sectors that were written. */
  sectors = 0;
  readonly #change: Change;
  readonly #judge: CopyJudge;
  readonly #gens: BucketGens;
  readonly #failed: ReadonlySet<number>;
  readonly #gathered = new Map<number, GatheredWrite>();
  /** New copies, by what they were made from: keys that share encoded sectors go on doing so. */
  readonly #copied = new Map<string, ExtentPtr[]>();
  /** What was read last. */
  #last: { readonly name: string; readonly bytes: Uint8Array } | undefined;

  constructor(change: Change) {
    this.#change = change;
    this.#judge = new CopyJudge(change.tx);
    this.#gens = new BucketGens(change.tx);
    this.#failed = new Set(
      members(change.tx.sb).flatMap(({ flags }, dev) => (getBits([flags], memberBits.STATE) === FAILED ? [dev] : [])),
    );
  }

  /** A copy that was read and is what was written: one that counts, else another one. */
  goodCopy({ k }: Key, copies: readonly Replica[], durability: readonly number[]): GoodCopy {
    const bad: ExtentPtr[] = [];
    const later = ({ ptr }: Replica) => (ptr.cached ? 2 : (durability[ptr.dev] ?? 0) > 0 ? 0 : 1);
    for (const source of [...copies].sort((a, b) => later(a) - later(b))) {
      const { ptr, encoding } = source;
      if (ptr.unwritten) return { source, bad };
      if (this.#change.tx.device(ptr.dev) === undefined) continue;
      // Of a member that has failed nothing is believed that cannot be proved.
      if (this.#failed.has(ptr.dev) && encoding.csumType === 0) continue;
      if (ptr.cached && this.#gens.ageOf(ptr) !== 'current') continue;
      const name = encodedName(ptr, encoding);
      if (this.#last?.name === name) return { source, bad };
      const bytes = this.#judge.read(k, source);
      if (bytes !== undefined) {
        this.#last = { name, bytes };
        return { source, bad };
      }
      if (!ptr.cached) bad.push(ptr);
    }
    return { source: undefined, bad };
  }

  /** Another copy of what `goodCopy` has given last. */
  copy(
    { k }: Key,
    { ptr, encoding }: Replica,
    { target, without }: { readonly target: number; readonly without: ReadonlySet<number> },
  ): ExtentPtr | 'no member' | 'no room' {
    const name = encodedName(ptr, encoding);
    const isShared = encoding.csumType !== 0 && !ptr.unwritten;
    const known = isShared ? this.#copied.get(name)?.find(({ dev }) => !without.has(dev)) : undefined;
    if (known !== undefined) return known;
    const { tx, allocator } = this.#change;
    const sectors = roundUp(encoding.compressedSectors, tx.sb.block_size);
    let to: ExtentPtr | undefined;
    try {
      to = allocator.allocateMoved({ sectors, target, without });
    } catch (thrown) {
      if (!(thrown instanceof NoSpaceError)) throw thrown;
      return 'no room';
    }
    if (to === undefined) return 'no member';
    if (ptr.unwritten) return { ...to, unwritten: true };
    assert(this.#last?.name === name, `what is copied was read: ${k.size} sectors`);
    this.#write(to, this.#last.bytes, sectors);
    if (isShared) this.#copied.set(name, [...(this.#copied.get(name) ?? []), to]);
    return to;
  }

  flush(): void {
    for (const gathered of this.#gathered.values()) gathered.flush();
  }

  #write({ dev, offset }: ExtentPtr, bytes: Uint8Array, sectors: number): void {
    let gathered = this.#gathered.get(dev);
    if (gathered === undefined) {
      const device = this.#change.tx.device(dev);
      assert(device !== undefined, 'room is given on devices that are there');
      gathered = new GatheredWrite(device);
      this.#gathered.set(dev, gathered);
    }
    let padded = bytes;
    if (bytes.length !== sectors * SECTOR_BYTES) {
      padded = new Uint8Array(sectors * SECTOR_BYTES);
      padded.set(bytes);
    }
    gathered.put(offset * SECTOR_BYTES, padded);
    this.sectors += sectors;
  }
}
