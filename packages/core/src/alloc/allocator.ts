// Where new data and nodes go. Buckets come from what was free before the transaction: one that becomes empty in it holds what the
// filesystem still is until the commit, and is used by a later transaction at the earliest. A bucket that was emptied before and waits for
// its discard is as good as a free one, when those are used up.
//
// A new bucket is filled to its end before the next one is begun, for nodes and for data each, as the reference does with write points;
// what is left of it when the transaction ends stays empty. Devices take turns by how much is free on each, replicas go to different
// devices, those of the target first. Nothing here changes a key: the pointers do, when they are put into the transaction.
//
// Some room is kept back (reserve.ts): data never gets it, and nodes get the last of it only for changes that make room.
// Source: bch2_alloc_sectors_start_trans, bch2_dev_stripe_increment and bch2_dev_buckets_reserved in alloc_foreground.c and buckets.h,
// v1.13.0.

import type { NodeAllocator } from '../btree/node-store.ts';
import type { FilesystemSource } from '../btree/source.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposOffsetNumber } from '../ondisk/bpos.ts';
import { assert, CorruptError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { GC_GEN_MAX } from '../ondisk/keys/alloc-bucket.ts';
import { type AllocDevice, allowsData, hasFreespace, isInTarget } from './alloc-devices.ts';
import { bucketPos, freespacePos, freespaceRun } from './bucket-indexes.ts';
import { type BucketState, bucketStateOf, oldestAge, TYPE, untouchedBucket } from './bucket-state.ts';
import { type DeviceSpace, NoBucketsError } from './no-space.ts';
import { availableSectors, countersOf, dataReserveBuckets, nodeReserveBuckets } from './reserve.ts';
import type { TriggerContext } from './trigger-context.ts';

export interface NodePlacement {
  readonly replicas: number;
  /** The option's value: a target that is used as long as it has room. */
  readonly target: number;
}

export interface DataPlacement {
  readonly replicas: number;
  /** The option's value; 0 for none. */
  readonly target: number;
  readonly sectors: number;
  /** All of it has to be in one piece: what is compressed cannot be divided. Not more than the smallest bucket has. */
  readonly isWhole?: boolean;
}

/** One copy of data that exists already. */
export interface MovePlacement {
  readonly sectors: number;
  /** The option's value; 0 for none. Other devices are taken when those of the target are full. */
  readonly target: number;
  /** Devices that may not have it: those with other copies. */
  readonly without: ReadonlySet<number>;
}

/** Room for a part of the data, the same sectors on each device. */
export interface DataPiece {
  readonly sectors: number;
  readonly pointers: readonly ExtentPtr[];
}

/** A new bucket that is being filled. */
interface OpenBucket {
  readonly device: AllocDevice;
  readonly bucket: number;
  readonly gen: number;
  usedSectors: number;
}

export interface AllocatorOptions {
  /** For changes that make room, and those that only move things: nodes may take what is kept back for them. */
  readonly usesReserve?: boolean;
  /** By device: buckets from there on are not given, for one that is to become smaller. */
  readonly ends?: ReadonlyMap<number, number>;
  /** Buckets that are never given, although they are listed as free: something lies there that the filesystem does not know of yet. */
  readonly isExcluded?: IsHeld | undefined;
  /** Where parts of a change were staged before: whether a bucket holds something of the state on disk, and is not to be used. */
  readonly isHeld?: IsHeld | undefined;
  /** Of the part before: buckets that it has begun are filled on, and what data it took counts. */
  readonly after?: BucketAllocator | undefined;
}

export type IsHeld = (dev: number, bucket: number) => boolean;

export class BucketAllocator implements NodeAllocator {
  readonly #base: FilesystemSource;
  readonly #context: TriggerContext;
  readonly #nodes: NodePlacement;
  readonly #usesReserve: boolean;
  readonly #blockSectors: number;
  readonly #devices = new Map<number, DeviceFreeSpace>();
  readonly #openForNodes = new Map<number, OpenBucket>();
  readonly #openForData = new Map<number, OpenBucket>();
  /** Room for nodes that was given back. */
  readonly #released: (readonly ExtentPtr[])[] = [];
  /** Sectors that data may take, copies counted. What the transaction frees is not among them: it is needed until the commit. */
  #availableSectors: number | undefined;
  #takenSectors = 0;

  /**
   * @param base the filesystem before the transaction
   * @param context of the transaction
   */
  constructor(
    base: FilesystemSource,
    context: TriggerContext,
    nodes: NodePlacement,
    { usesReserve = false, ends, isExcluded, isHeld, after }: AllocatorOptions = {},
  ) {
    this.#base = base;
    this.#context = context;
    this.#nodes = nodes;
    this.#usesReserve = usesReserve;
    this.#blockSectors = base.sb.block_size;
    for (const device of context.devices) {
      if (device === undefined || !device.isWritable || base.device(device.index) === undefined) continue;
      // One that has just joined does not count where there are fewer devices than copies wanted: the commit that makes its buckets known is made.
      if (!hasFreespace(base.sb, device.index) && freeCounter(base, device.index) === undefined) continue;
      const end = ends?.get(device.index);
      this.#devices.set(device.index, new DeviceFreeSpace(base, context, device, { end, isExcluded, isHeld }));
    }
    if (after !== undefined) this.#goOnAfter(after);
  }

  #goOnAfter(before: BucketAllocator): void {
    this.#availableSectors = before.#availableSectors;
    this.#takenSectors = before.#takenSectors;
    for (const [dev, open] of before.#openForData) {
      const key = this.#base.btree('alloc').get(bucketPos(dev, open.bucket));
      // Emptied by the part itself, it has another generation.
      if (key !== undefined && bucketStateOf(key).gen === open.gen && bucketStateOf(key).dataType === TYPE.user)
        this.#openForData.set(dev, { ...open });
    }
  }

  /** @throws NoSpaceError */
  allocate(): readonly ExtentPtr[] {
    return this.allocateNode();
  }

  /** Room for one btree node on as many devices as metadata has replicas; it crosses no bucket. */
  allocateNode(): ExtentPtr[] {
    const again = this.#released.pop();
    if (again !== undefined) return [...again];
    const { replicas, target } = this.#nodes;
    const { nodeSectors } = this.#context;
    const places = this.#placesFor('btree', this.#openForNodes, nodeSectors, nodeSectors, replicas, target);
    return places.map(open => take(open, nodeSectors));
  }

  release(pointers: readonly ExtentPtr[]): void {
    this.#released.push(pointers);
  }

  /**
   * Room for data, in pieces where it does not fit into what is left of a bucket.
   * @param placement sectors on disk, whole blocks
   * @throws NoSpaceError when there is no room for all of it; room that was given for a part stays taken in this transaction only
   */
  allocateData({ replicas, target, sectors, isWhole = false }: DataPlacement): DataPiece[] {
    assert(sectors > 0 && sectors % this.#blockSectors === 0, `${sectors} sectors are whole blocks`);
    const pieces: DataPiece[] = [];
    this.#availableSectors ??= availableSectors(this.#base, this.#dataDevices());
    for (let left = sectors; left > 0; ) {
      const least = isWhole ? sectors : this.#blockSectors;
      const places = this.#placesFor('user', this.#openForData, least, left, replicas, target);
      const length = Math.min(left, ...places.map(({ device, usedSectors }) => device.bucketSizeSectors - usedSectors));
      this.#takenSectors += length * places.length;
      if (this.#takenSectors > this.#availableSectors) {
        const available = Math.max(0, this.#availableSectors);
        throw new NoBucketsError('user', left, replicas, replicas, this.space('user'), available);
      }
      pieces.push({ sectors: length, pointers: places.map(open => take(open, length)) });
      left -= length;
    }
    return pieces;
  }

  /**
   * Room for data that is moved as it is: on this device, and all of it in one bucket. It may be taken from what is kept back.
   * @param sectors whole blocks, not more than a bucket has
   * @throws NoSpaceError
   */
  allocateOn(dev: number, sectors: number): ExtentPtr {
    const free = this.#devices.get(dev);
    let open = this.#openForData.get(dev);
    if (open === undefined || open.device.bucketSizeSectors - open.usedSectors < sectors) {
      open = free?.next(0);
      if (open === undefined) throw new NoBucketsError('user', sectors, 1, 0, this.space('user'));
      this.#openForData.set(dev, open);
    }
    return take(open, sectors);
  }

  /**
   * Room for one copy of data that is moved to another device: all of it in one bucket. What is kept back for nodes stays.
   * @param sectors whole blocks
   * @returns undefined when no device may have it, however much is free
   * @throws NoSpaceError
   */
  allocateMoved({ sectors, target, without }: MovePlacement): ExtentPtr | undefined {
    const able = this.#candidates('user', target).filter(
      ({ device }) => !without.has(device.index) && device.bucketSizeSectors >= sectors,
    );
    for (const free of able) {
      const { device } = free;
      let open = this.#openForData.get(device.index);
      if (open === undefined || device.bucketSizeSectors - open.usedSectors < sectors) {
        open = free.next(nodeReserveBuckets(device, this.#context.nodeSectors));
        if (open === undefined) continue;
        this.#openForData.set(device.index, open);
      }
      return take(open, sectors);
    }
    if (able.length === 0) return undefined;
    throw new NoBucketsError('user', sectors, 1, 0, this.space('user'));
  }

  /**
   * Whether a change leaves what is kept back.
   * @param after the filesystem with the change
   * @throws NoSpaceError when it takes some of it; one that makes room may leave less than that
   */
  checkGrowth(after: FilesystemSource): void {
    if (this.#usesReserve) return;
    const devices = this.#dataDevices();
    const left = availableSectors(after, devices);
    if (left >= 0) return;
    const before = availableSectors(this.#base, devices);
    if (left >= before) return;
    throw new NoBucketsError('btree', before - left, 1, 1, this.space('btree'), Math.max(0, before));
  }

  /** What the devices still have to offer. */
  space(what: 'btree' | 'user'): readonly DeviceSpace[] {
    return [...this.#devices.values()]
      .filter(({ device }) => allowsData(device, what) && device.durability > 0)
      .map(free => ({
        dev: free.device.index,
        freeBuckets: free.count,
        reservedBuckets: this.#keptOn(free, what),
        bucketSizeSectors: free.device.bucketSizeSectors,
      }));
  }

  #keptOn({ device }: DeviceFreeSpace, what: 'btree' | 'user'): number {
    const { nodeSectors } = this.#context;
    if (what === 'user') return dataReserveBuckets(device, nodeSectors);
    return this.#usesReserve ? 0 : nodeReserveBuckets(device, nodeSectors);
  }

  #dataDevices(): readonly AllocDevice[] {
    return [...this.#devices.values()].map(({ device }) => device).filter(({ durability }) => durability > 0);
  }

  /** Open buckets on different devices with at least `least` sectors left in each. @param wanted sectors, for the error */
  #placesFor(
    what: 'btree' | 'user',
    opened: Map<number, OpenBucket>,
    least: number,
    wanted: number,
    replicas: number,
    target: number,
  ): OpenBucket[] {
    const places: OpenBucket[] = [];
    let durability = 0;
    for (const free of this.#candidates(what, target)) {
      if (durability >= replicas) break;
      const { device } = free;
      let open = opened.get(device.index);
      if (open === undefined || device.bucketSizeSectors - open.usedSectors < least) {
        if (device.bucketSizeSectors < least) continue;
        open = free.next(this.#keptOn(free, what));
        if (open === undefined) continue;
        opened.set(device.index, open);
      }
      places.push(open);
      durability += device.durability;
    }
    // Fewer devices than replicas: as many as there are, as the reference does. Full ones are another matter.
    const possible = this.#candidates(what, 0).reduce((sum, { device }) => sum + device.durability, 0);
    if (places.length === 0 || durability < Math.min(replicas, possible)) {
      throw new NoBucketsError(what, wanted, replicas, durability, this.space(what));
    }
    return places;
  }

  /** Devices of the target first; among them, those whose turn it is. */
  #candidates(what: 'btree' | 'user', target: number): DeviceFreeSpace[] {
    const able = [...this.#devices.values()].filter(({ device }) => allowsData(device, what) && device.durability > 0);
    if (able.length === 1) return able;
    const isLater = ({ device }: DeviceFreeSpace) => (target !== 0 && !isInTarget(device, target) ? 1 : 0);
    return able.sort((a, b) => isLater(a) - isLater(b) || a.turn - b.turn || a.device.index - b.device.index);
  }
}

const freeCounter = (base: FilesystemSource, dev: number): number | undefined =>
  countersOf(base, { type: 'dev_data_type', dev, data_type: TYPE.free })[0];

function take(open: OpenBucket, sectors: number): ExtentPtr {
  const { device, bucket, gen, usedSectors } = open;
  open.usedSectors += sectors;
  assert(open.usedSectors <= device.bucketSizeSectors, 'room is given inside of the bucket');
  const offset = bucket * device.bucketSizeSectors + usedSectors;
  return { type: 'ptr', cached: false, unwritten: false, offset, dev: device.index, gen };
}

/** Buckets of one device that were free before the transaction, each given once. */
class DeviceFreeSpace {
  readonly device: AllocDevice;
  /** Grows with each bucket, the slower the more are free. */
  turn = 0;
  /** How many are left, by the counters. */
  count: number;
  readonly #base: FilesystemSource;
  readonly #context: TriggerContext;
  /** Those that are given lie below it. */
  readonly #end: number;
  readonly #isExcluded: IsHeld | undefined;
  readonly #isHeld: IsHeld | undefined;
  #buckets: Generator<OpenBucket>;

  constructor(
    base: FilesystemSource,
    context: TriggerContext,
    device: AllocDevice,
    {
      end,
      isExcluded,
      isHeld,
    }: Pick<AllocatorOptions, 'isExcluded' | 'isHeld'> & { readonly end?: number | undefined },
  ) {
    this.device = device;
    this.#base = base;
    this.#context = context;
    this.#end = end ?? device.bucketEnd;
    this.#isExcluded = isExcluded;
    this.#isHeld = isHeld;
    this.#buckets = this.#walk();
    if (end !== undefined || isExcluded !== undefined) this.count = this.#countListed();
    else this.count = this.#countOf(TYPE.free) + (isHeld ? this.#countWaiting() : this.#countOf(TYPE.needDiscard));
  }

  /** @param kept so many are left alone */
  next(kept: number): OpenBucket | undefined {
    if (this.count <= kept) return undefined;
    const { done, value } = this.#buckets.next();
    if (done) {
      this.count = 0;
      return undefined;
    }
    this.turn += 1 / Math.max(1, this.count);
    this.count--;
    return value;
  }

  #countOf(data_type: number): number {
    const [buckets = 0] = countersOf(this.#base, { type: 'dev_data_type', dev: this.device.index, data_type });
    return Math.max(0, buckets);
  }

  /** Free buckets in order, those with generation bits last; then those that wait for their discard. */
  *#walk(): Generator<OpenBucket> {
    for (const { start, end } of this.#freeRuns()) {
      for (let bucket = start; bucket < end; bucket++) {
        if (this.#isExcluded?.(this.device.index, bucket)) continue;
        const open = this.#openable(bucket, TYPE.free);
        if (open !== undefined) yield open;
      }
    }
    for (const bucket of this.#needDiscard()) {
      const open = this.#openable(bucket, TYPE.needDiscard);
      if (open !== undefined) yield open;
    }
  }

  *#freeRuns(): Generator<{ readonly start: number; readonly end: number }> {
    const { index: dev } = this.device;
    const freespace = this.#base.btree('freespace');
    for (const key of freespace.keys({ from: freespacePos(dev, 0, 0), to: freespacePos(dev, 2 ** 53 - 1, 0xff) })) {
      const { start, end } = freespaceRun(key);
      this.#checkRun(key, start, end);
      if (start < this.#end) yield { start, end: Math.min(end, this.#end) };
    }
  }

  *#needDiscard(): Generator<number> {
    const { index: dev } = this.device;
    const needDiscard = this.#base.btree('need_discard');
    for (const { k } of needDiscard.keys({ from: bucketPos(dev, 0), to: bucketPos(dev, this.#end) })) {
      const bucket = bposOffsetNumber(k.p);
      if (bucket >= this.#end || this.#isExcluded?.(dev, bucket)) continue;
      if (!this.#isHeld?.(dev, bucket)) yield bucket;
    }
  }

  #countWaiting(): number {
    let count = 0;
    for (const _ of this.#needDiscard()) count++;
    return count;
  }

  #countListed(): number {
    let count = 0;
    const { index: dev } = this.device;
    for (const { start, end } of this.#freeRuns()) {
      count += end - start;
      if (this.#isExcluded === undefined) continue;
      for (let bucket = start; bucket < end; bucket++) if (this.#isExcluded(dev, bucket)) count--;
    }
    return count + this.#countWaiting();
  }

  #checkRun({ k }: Key, start: number, end: number): void {
    const { index, firstBucket, bucketEnd } = this.device;
    if (start >= firstBucket && end <= bucketEnd && start < end) return;
    const detail = `buckets ${start} to ${end} of device ${index}, which has ${firstBucket} to ${bucketEnd}`;
    throw new CorruptError(
      'need_discard_freespace_key_to_invalid_dev_bucket',
      { btree: 'freespace', pos: `${k.p}` },
      detail,
    );
  }

  /** A bucket that is what the list says; in use in this transaction, it is not given. */
  #openable(bucket: number, type: number): OpenBucket | undefined {
    const { device } = this;
    const key = this.#base.btree('alloc').get(bucketPos(device.index, bucket));
    const state: BucketState = key === undefined ? untouchedBucket() : bucketStateOf(key);
    const isEmpty = state.dirtySectors + state.cachedSectors + state.stripeSectors === 0 && state.stripe === 0;
    if (state.dataType !== type || !isEmpty) {
      const where = { btree: 'alloc', pos: `${device.index}:${bucket}:0` };
      this.#context.damaged(
        new CorruptError('need_discard_freespace_key_bad', where, 'is listed as free, which its key does not say'),
      );
      return undefined;
    }
    if (this.#context.buckets.isInUse(device.index, bucket)) return undefined;
    if (this.#isHeld?.(device.index, bucket)) return undefined;
    // Discarded, it would not be free.
    if (oldestAge(state) >= GC_GEN_MAX) return undefined;
    return { device, bucket, gen: state.gen, usedSectors: 0 };
  }
}
