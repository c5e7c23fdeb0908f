// What a kernel's rebalance does in the background, brought to an end: data goes to the target where it is to rest, and is compressed as it is to
// be there. What that is, the file says, else the filesystem; shared data remembers it in its own entry. Nothing waits afterwards but what is
// listed: the rebalance_work btree and its counter say exactly that, and entries that ask for what is done are gone.
//
// What only lies elsewhere is moved as it is encoded, from a copy that was compared with its checksum; there are as many copies afterwards as
// before, at most as many as wanted, and a copy outside of the target goes only when that many are left. What is to be compressed otherwise is
// read, and written anew. A kernel keeps the copies that it moves away from as cached ones; here they go. Blocks of stripes are left.
//
// Whether something waits depends on the members: a target none of whose members takes data asks for nothing (bch2_target_accepts_data). So
// the counter and the btree are wrong as soon as a kernel changes the state of a target's last writable member; they are counted anew at the end.
// What our own commands do is settled by them (waiting-data.ts).
// Source: rebalance.c, bch2_bkey_ptrs_need_rebalance and bch2_bkey_set_needs_rebalance in extents.c, data_update.c, v1.13.0.

import { isInTarget } from '../alloc/alloc-devices.ts';
import {
  entryBytesOf,
  type RebalanceWish,
  rebalanceSectors,
  spacePointers,
  withPointers,
  withWish,
} from '../alloc/extent-pointers.ts';
import { countersOf } from '../alloc/reserve.ts';
import { deletedKey, makeKey } from '../btree/transaction.ts';
import { beginChange, type Change, type CommitExtras } from '../change/change.ts';
import { compressionFeatures, superblockWith } from '../change/file-edit.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { extentStart } from '../data/extent-cut.ts';
import { DataReader } from '../data/extent-read.ts';
import { ExtentWriter } from '../data/extent-write.ts';
import { replicasOf } from '../data/replicas.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { compressionTypeOf, compressionTypes } from '../ondisk/compression-types.ts';
import { CorruptError, DeviceError, NoSpaceError } from '../ondisk/errors.ts';
import { decodeExtentEntries, type ExtentPtr } from '../ondisk/extent-entries.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { BchReflinkV } from '../ondisk/keys/reflink-v.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { hideInDescendants } from '../snapshots/whiteouts.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { allSteps } from '../util/steps.ts';
import {
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
import { CopyRules, CopyWrites } from './rereplicate.ts';

/** How much of one kind there is to do. */
export interface RebalanceWork {
  readonly count: number;
  /** At the most: what is compressed takes less. */
  readonly bytes: number;
}

export interface RebalancePlan {
  /** Goes to the background target as it is. */
  readonly move: RebalanceWork;
  /** Is written anew, compressed otherwise, in the target. */
  readonly compress: RebalanceWork;
  /** Asks for something that is done, or that no file wants any more: only its entry goes. */
  readonly settled: number;
  /** What the counter and the rebalance_work btree have to be corrected by, besides what is moved. */
  readonly isCountWrong: boolean;
  readonly erasureCodedBytes: number;
}

export interface RebalanceReport {
  readonly movedBytes: number;
  /** What was written of what is compressed otherwise, all copies. */
  readonly compressedBytes: number;
  readonly settled: number;
  readonly commits: number;
  readonly left: readonly LeftCopies[];
  readonly leftCount: number;
  /** Still waits, by the counter. */
  readonly waitingBytes: number;
}

export interface RebalanceProgress {
  readonly doneBytes: number;
}

const EXTENTS = btrees.idOf('extents');
const REFLINK = btrees.idOf('reflink');
/** Its name before it was called so. */
const REBALANCE_WORK = btrees.idOf('reconcile_work');
const SET = keyTypes.idOf('set');
const COOKIE = keyTypes.idOf('cookie');
const REFLINK_V = keyTypes.idOf('reflink_v');
const INCOMPRESSIBLE = compressionTypes.idOf('incompressible');
const NO_VALUE = new Uint8Array(0);

/** What is to be done with a key. */
interface Rebalanced {
  readonly what: 'move' | 'compress' | 'settle' | 'erasure coded';
  readonly wish: RebalanceWish;
  readonly sectors: number;
  readonly dev: number;
  readonly offset: number;
}

/** @returns undefined for what is as it is to be */
function rebalancedOf(rules: CopyRules, options: DataOptions, btree: number, key: Key): Rebalanced | undefined {
  const found = spacePointers(entryBytesOf(key), key.k.size);
  const dirty = found.pointers.filter(({ cached }) => !cached);
  const [first] = dirty;
  if (first === undefined) return undefined;
  const { backgroundTarget, backgroundCompression } = options.of(btree, key);
  const own = { target: backgroundTarget, compression: backgroundCompression };
  const wish = btree === REFLINK ? (found.wish ?? own) : own;
  const waiting = rebalanceSectors({ pointers: found.pointers, wish }, rules.devices);
  const at = { wish, dev: first.dev, offset: first.offset };
  if (waiting === 0) {
    // Shared data has no file whose options would say it: it keeps what it was moved or compressed for.
    if (found.wish === undefined || btree === REFLINK) return undefined;
    return { what: 'settle', sectors: 0, ...at };
  }
  if (dirty.some(({ stripe }) => stripe !== undefined)) return { what: 'erasure coded', sectors: key.k.size, ...at };
  const isToCompress =
    wish.compression !== 0 &&
    !found.pointers.some(({ compressionType, unwritten }) => compressionType === INCOMPRESSIBLE || unwritten) &&
    dirty.some(({ compressionType }) => compressionType !== compressionTypeOf(wish.compression));
  if (isToCompress) return { what: 'compress', sectors: key.k.size * dirty.length, ...at };
  const outside = dirty.filter(({ dev }) => !isInside(rules, dev, wish.target));
  return { what: 'move', sectors: outside.reduce((sum, { compressedSize }) => sum + compressedSize, 0), ...at };
}

function isInside({ devices }: CopyRules, dev: number, target: number): boolean {
  const device = devices[dev];
  return device !== undefined && isInTarget(device, target);
}

/**
 * What there is to do. Reads all keys of files, and those that wait.
 * @throws CorruptError, DeviceError for a node that cannot be read
 */
export function planRebalance(filesystem: Filesystem): RebalancePlan {
  const rules = new CopyRules(filesystem);
  const options = new DataOptions(filesystem);
  const sums = { move: { count: 0, bytes: 0 }, compress: { count: 0, bytes: 0 } };
  let [settled, coded] = [0, 0];
  for (const { btree, key } of dataKeys(filesystem)) {
    const found = rebalancedOf(rules, options, btree, key);
    if (found === undefined) continue;
    if (found.what === 'settle') settled++;
    else if (found.what === 'erasure coded') coded += found.sectors;
    else {
      sums[found.what].count++;
      sums[found.what].bytes += sectorsToBytes(found.sectors);
    }
  }
  const { corrections, counted, sum } = waitingKeys(filesystem, 1, false);
  return {
    ...sums,
    settled,
    isCountWrong: corrections.length > 0 || counted !== sum,
    erasureCodedBytes: sectorsToBytes(coded),
  };
}

/** All steps at once. @throws as rebalanceSteps does */
export function rebalance(...request: Parameters<typeof rebalanceSteps>): RebalanceReport {
  return allSteps(rebalanceSteps(...request));
}

/**
 * Brings data to rest, a commit a step. `loadCompression` and `loadCompressors` have to have been awaited.
 * @throws CorruptError, DeviceError, NoSpaceError: the filesystem is whole then, and a part is done
 */
export function* rebalanceSteps(
  writer: FilesystemWriter,
  options: JobOptions = {},
): Generator<RebalanceProgress, RebalanceReport, void> {
  const job = new CopyJob(writer, options);
  const sums: Sums = { movedSectors: 0, compressedSectors: 0, settled: 0, doneSectors: 0 };
  const progress = () => ({ doneBytes: sectorsToBytes(sums.doneSectors) });
  for (const _ of job.data(change => new RebalancePart(change, writer, sums))) yield progress();
  let commits = job.commits;
  for (const _ of recountWaiting(writer, { keysPerCommit: options.keysPerCommit, keepsScans: false })) {
    commits++;
    yield progress();
  }
  const [waiting = 0] = countersOf(writer.filesystem, { type: 'rebalance_work' });
  return {
    movedBytes: sectorsToBytes(sums.movedSectors),
    compressedBytes: sectorsToBytes(sums.compressedSectors),
    settled: sums.settled,
    commits,
    left: job.left,
    leftCount: job.leftCount,
    waitingBytes: sectorsToBytes(waiting),
  };
}

/** One key of the rebalance_work btree that is to come or go. */
interface Correction {
  readonly pos: Bpos;
  readonly isWanted: boolean;
}

const CORRECTIONS_PER_COMMIT = 50_000;

/**
 * Keys that wait, beside those that the btree has. Reads all keys of files.
 * @param most so many corrections are listed
 * @param keepsScans requests to look at all files again, which a kernel leaves there when options change, are right
 */
function waitingKeys(filesystem: Filesystem, most: number, keepsScans: boolean) {
  const { devices } = new CopyRules(filesystem);
  const corrections: Correction[] = [];
  const note = (pos: Bpos, isWanted: boolean): void => {
    if (corrections.length < most) corrections.push({ pos: pos.slice(), isWanted });
  };
  const listed = listedWork(filesystem, keepsScans);
  let next = listed.next().value;
  let sum = 0;
  // In the order of positions: those of reflink have inode 0.
  for (const name of ['reflink', 'extents'] as const) {
    for (const key of filesystem.btree(name).keys()) {
      const { p } = key.k;
      while (next !== undefined && compareBpos(next.k.p, p) < 0) {
        note(next.k.p, false);
        next = listed.next().value;
      }
      const sectors = rebalanceSectors(spacePointers(entryBytesOf(key), key.k.size), devices);
      const isListed = next !== undefined && compareBpos(next.k.p, p) === 0;
      if (isListed && sectors > 0) next = listed.next().value;
      else if (sectors > 0) note(p, true);
      sum += sectors;
    }
  }
  for (; next !== undefined; next = listed.next().value) note(next.k.p, false);
  const [counted = 0] = countersOf(filesystem, { type: 'rebalance_work' });
  return { corrections, counted, sum };
}

function* listedWork(filesystem: Filesystem, keepsScans: boolean): Generator<Key, undefined> {
  for (const key of filesystem.btree(REBALANCE_WORK).keys()) if (!keepsScans || key.k.type !== COOKIE) yield key;
  return undefined;
}

/**
 * The rebalance_work btree and its counter are made what the keys of files say, by the members as they are now. A commit a step, mostly one.
 * @param keepsScans as long as not all files were looked at
 */
export function* recountWaiting(
  writer: FilesystemWriter,
  {
    keysPerCommit = CORRECTIONS_PER_COMMIT,
    keepsScans = true,
  }: { keysPerCommit?: number | undefined; keepsScans?: boolean } = {},
): Generator<void, void, void> {
  for (;;) {
    const { corrections, counted, sum } = waitingKeys(writer.filesystem, keysPerCommit, keepsScans);
    if (corrections.length === 0 && counted === sum) return;
    const { tx, triggers, commit } = beginChange(writer, { usesReserve: true, releasesEmptied: true });
    if (counted !== sum) triggers.counters.addRebalanceWork(sum - counted);
    for (const { pos, isWanted } of corrections)
      tx.store(REBALANCE_WORK, isWanted ? makeKey(SET, pos, NO_VALUE) : deletedKey(pos));
    commit();
    yield;
  }
}

interface Sums {
  movedSectors: number;
  compressedSectors: number;
  settled: number;
  /** Of the plan. */
  doneSectors: number;
}

class RebalancePart implements JobPart {
  readonly #change: Change;
  readonly #writer: FilesystemWriter;
  readonly #rules: CopyRules;
  readonly #options: DataOptions;
  readonly #writes: CopyWrites;
  readonly #reader: DataReader;
  readonly #extents: ExtentWriter;
  readonly #sums: Sums;
  readonly #own = { settled: 0, done: 0 };
  #table: SnapshotTable | undefined;
  changed = 0;

  constructor(change: Change, writer: FilesystemWriter, sums: Sums) {
    this.#change = change;
    this.#writer = writer;
    this.#rules = new CopyRules(writer.filesystem);
    this.#options = new DataOptions(writer.filesystem);
    this.#writes = new CopyWrites(change);
    this.#reader = new DataReader(change.tx);
    const { devices } = change.triggers;
    this.#extents = new ExtentWriter(change.tx, change.allocator, { versions: writer.keyVersions, devices });
    this.#sums = sums;
  }

  look(btree: number, key: Key): KeyWork | undefined {
    const found = rebalancedOf(this.#rules, this.#options, btree, key);
    return found === undefined || found.what === 'erasure coded' ? undefined : found;
  }

  apply({ btree, key }: FoundKey): WhyLeft | undefined {
    const found = rebalancedOf(this.#rules, this.#options, btree, key);
    if (found === undefined) return undefined;
    const { what, wish, sectors } = found;
    if (what === 'settle') {
      this.changed++;
      this.#own.settled++;
      this.#change.tx.update(btree, withWish(key, undefined));
      return undefined;
    }
    const why = what === 'compress' ? this.#compress(btree, key, wish) : this.#move(btree, key, wish);
    this.#own.done += sectors;
    return why;
  }

  finish(): CommitExtras {
    this.#writes.flush();
    this.#extents.flush();
    const { clocks } = this.#writer.filesystem.replay;
    const written = this.#writes.sectors + this.#extents.sectorsWritten;
    return {
      superblock: superblockWith(this.#change.triggers.needs, compressionFeatures(this.#extents)),
      clocks: {
        keyVersion: this.#writer.keyVersions.newest,
        read: clocks.read,
        write: clocks.write + BigInt(written),
      },
    };
  }

  onCommitted(): void {
    this.#sums.movedSectors += this.#writes.sectors;
    this.#sums.compressedSectors += this.#extents.sectorsWritten;
    this.#sums.settled += this.#own.settled;
    this.#sums.doneSectors += this.#own.done;
  }

  /** Copies outside of the target go there as they are. */
  #move(btree: number, key: Key, wish: RebalanceWish): WhyLeft | undefined {
    const rules = this.#rules;
    const copies = replicasOf(decodeExtentEntries(entryBytesOf(key)), key.k);
    const dirty = copies.filter(({ ptr }) => !ptr.cached);
    const { source, bad } = this.#writes.goodCopy(key, copies, rules.durability);
    if (source === undefined) return 'no good copy';
    const counted = (ptrs: readonly ExtentPtr[]) => rules.have(ptrs.filter(ptr => !bad.includes(ptr)));
    let have = counted(dirty.map(({ ptr }) => ptr));
    const { replicas } = this.#options.of(btree, key);
    const wanted = Math.max(1, Math.min(have, replicas));
    let inside = counted(dirty.flatMap(({ ptr }) => (isInside(rules, ptr.dev, wish.target) ? [ptr] : [])));
    const without = new Set(dirty.map(({ ptr }) => ptr.dev));
    for (const device of rules.devices)
      if (device !== undefined && !isInTarget(device, wish.target)) without.add(device.index);
    const added: ExtentPtr[] = [];
    let why: WhyLeft | undefined;
    while (inside < wanted) {
      const to = this.#writes.copy(key, source, { target: wish.target, without });
      if (typeof to === 'string') {
        why = to;
        break;
      }
      added.push(to);
      without.add(to.dev);
      inside += rules.durability[to.dev] ?? 0;
      have += rules.durability[to.dev] ?? 0;
    }
    const going: ExtentPtr[] = [];
    for (const { ptr } of dirty) {
      if (isInside(rules, ptr.dev, wish.target)) continue;
      const own = bad.includes(ptr) ? 0 : (rules.durability[ptr.dev] ?? 0);
      if (have - own < wanted || (added.length === 0 && !this.#isGoodInside(key, copies, wish))) continue;
      have -= own;
      going.push(ptr);
    }
    if (added.length === 0 && going.length === 0) return why ?? 'no member';
    const isGoing = (ptr: ExtentPtr) =>
      ptr.cached
        ? added.some(({ dev }) => dev === ptr.dev)
        : going.some(({ dev, offset }) => dev === ptr.dev && offset === ptr.offset);
    const isSource = ({ dev, offset }: ExtentPtr) => dev === source.ptr.dev && offset === source.ptr.offset;
    const moved = withPointers(key, ptr => [...(isGoing(ptr) ? [] : [ptr]), ...(isSource(ptr) ? added : [])]);
    this.changed++;
    this.#change.tx.update(btree, this.#withRest(btree, moved, wish));
    return why;
  }

  #isGoodInside(key: Key, copies: ReturnType<typeof replicasOf>, { target }: RebalanceWish): boolean {
    const inside = copies.filter(({ ptr }) => !ptr.cached && isInside(this.#rules, ptr.dev, target));
    return this.#writes.goodCopy(key, inside, this.#rules.durability).source !== undefined;
  }

  /** Read, and written anew as it is to be compressed. */
  #compress(btree: number, key: Key, wish: RebalanceWish): WhyLeft | undefined {
    const { tx } = this.#change;
    const bytes = new Uint8Array(key.k.size * SECTOR_BYTES);
    try {
      this.#reader.read(key, 0, bytes, { btree: btrees.nameOf(btree) });
    } catch (thrown) {
      if (thrown instanceof CorruptError || thrown instanceof DeviceError) return 'no good copy';
      throw thrown;
    }
    const { pointers, wish: remembered } = spacePointers(entryBytesOf(key), key.k.size);
    const options = this.#options.of(btree, key);
    const replicas = Math.max(1, Math.min(this.#rules.have(pointers), options.replicas));
    const io = {
      ...options,
      compression: wish.compression,
      backgroundCompression: wish.compression,
      backgroundTarget: wish.target,
      foregroundTarget: wish.target || options.foregroundTarget,
      replicas,
    };
    let pieces: Key[];
    try {
      pieces = [...this.#extents.write(key.k.p, extentStart(key), bytes, io)];
    } catch (thrown) {
      if (thrown instanceof NoSpaceError) return 'no room';
      throw thrown;
    }
    this.changed++;
    let isAtRest = true;
    for (const piece of pieces) {
      const own = btree === REFLINK ? sharedPiece(key, piece) : piece;
      const rested = this.#withRest(btree, remembered === undefined ? own : withWish(own, remembered), wish);
      if (btree === EXTENTS && compareBpos(piece.k.p, key.k.p) !== 0) {
        this.#table ??= SnapshotTable.read(tx);
        hideInDescendants(tx, 'extents', this.#table, key.k.p, piece.k.p);
      }
      tx.update(btree, rested);
      const { pointers: now } = spacePointers(entryBytesOf(rested), rested.k.size);
      if (rebalanceSectors({ pointers: now, wish }, this.#rules.devices) > 0) isAtRest = false;
    }
    return isAtRest ? undefined : 'no room';
  }

  /** With an entry for what is left to do, and else none; shared data keeps its own. */
  #withRest(btree: number, key: Key, wish: RebalanceWish): Key {
    const { pointers, wish: known } = spacePointers(entryBytesOf(key), key.k.size);
    if (rebalanceSectors({ pointers, wish }, this.#rules.devices) > 0) return withWish(key, wish);
    return known === undefined || btree === REFLINK ? key : withWish(key, undefined);
  }
}

/** A piece of shared data: as many refer to it as to the whole. */
function sharedPiece(key: Key, piece: Key): Key {
  const value = new Uint8Array(BchReflinkV.size + piece.value.length);
  value.set(key.value.subarray(0, BchReflinkV.size));
  value.set(piece.value, BchReflinkV.size);
  return makeKey(REFLINK_V, piece.k.p, value, piece.k);
}
