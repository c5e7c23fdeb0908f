// What the btrees have to hold that follow from all others, in order, from what was counted anew: alloc, freespace, need_discard, lru,
// bucket_gens, backpointers, accounting and the list of data that waits to be moved. Each is made when it is asked for, so that it can go
// straight into new nodes.
//
// Memory: the position of each bucket in a list of lru; backpointers come in ranges of buckets that hold a bounded number, with a walk over all
// pointers for each range.
// Source: alloc_background.c, lru.c, backpointers.c, disk_accounting.c, v1.13.0.

import { type AllocDevice, allocDevices } from '../alloc/alloc-devices.ts';
import { bucketPos, FRAGMENTATION_LRU, freespacePos, lruBpos } from '../alloc/bucket-indexes.ts';
import {
  type BucketState, bucketStateOf, encodeBucketState, fragmentationLruTime, freespaceGenBits,
  isEmptyType, oldestAge, readLruTime, TYPE, untouchedBucket,
} from '../alloc/bucket-state.ts'; // biome-ignore format: one line of names
import {
  diskSectorsOf,
  entryBytesOf,
  rebalanceSectors,
  type SpacePointer,
  spacePointers,
} from '../alloc/extent-pointers.ts';
import { makeKey } from '../btree/transaction.ts';
import type { AllBuckets } from '../check/alloc.ts';
import {
  type BucketPage,
  type DeviceBuckets,
  expectedType,
  genDifference,
  HAS_KEY,
  NEEDS_DISCARD,
  NEEDS_INC_GEN,
  rowOf,
} from '../check/buckets.ts';
import type { Recount } from '../check/recount.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { GC_GEN_MAX } from '../ondisk/keys/alloc-bucket.ts';
import { backpointerBpos, backpointerSector, backpointerValue } from '../ondisk/keys/backpointer.ts';
import { BUCKET_GENS_PER_KEY } from '../ondisk/keys/bucket-gens.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';

const ALLOC_V4 = keyTypes.idOf('alloc_v4');
const SET = keyTypes.idOf('set');
const BUCKET_GENS = keyTypes.idOf('bucket_gens');
const BACKPOINTER = keyTypes.idOf('backpointer');
const ACCOUNTING = keyTypes.idOf('accounting');
const NO_VALUE = new Uint8Array(0);

/** The btrees that are made here, in an order in which each can be built. */
export const derivedBtrees = [
  'alloc',
  'freespace',
  'need_discard',
  'lru',
  'bucket_gens',
  'backpointers',
  'accounting',
  'reconcile_work',
] as const satisfies readonly BtreeName[];

export interface DerivedKeysOptions {
  /** The journal entry that commits them. */
  readonly journalSeq: number;
  readonly readClock: bigint;
  /** Called with buckets of which two pointers ask for one backpointer. */
  readonly onContested?: (dev: number, bucket: number) => void;
  /** Backpointers that are in memory at the same time. */
  readonly backpointersInMemory?: number;
}

const BACKPOINTERS_IN_MEMORY = 200_000;

/** What the alloc keys shall say, in the place of what they said. To be called once, before the keys are asked for. */
export function settleBuckets(buckets: AllBuckets): void {
  for (const own of buckets.values()) {
    for (const { page, row } of own.rows()) {
      // No pointer is newer than the bucket.
      if (genDifference(page.oldestGen[row]!, page.gen[row]!) > 0) page.oldestGen[row] = page.gen[row]!;
      const isEmpty =
        page.markDirty[row]! + page.markCached[row]! + page.markStriped[row]! === 0 && page.markStripe[row] === 0;
      if (isEmpty && !isEmptyType(page.dataType[row]!)) {
        // What was in it may be named by pointers that are lost: it gets another generation before it is used again.
        page.flags[row] = (page.flags[row]! | NEEDS_DISCARD) & ~NEEDS_INC_GEN;
        if (((page.gen[row]! - page.oldestGen[row]!) & 255) < GC_GEN_MAX - 1)
          page.gen[row] = (page.gen[row]! + 1) & 255;
      } else if (!isEmpty) page.flags[row] = page.flags[row]! | NEEDS_DISCARD | NEEDS_INC_GEN;
      page.dataType[row] = expectedType(page, row);
      page.dirty[row] = page.markDirty[row]!;
      page.cached[row] = page.markCached[row]!;
      page.striped[row] = page.markStriped[row]!;
      page.stripe[row] = page.markStripe[row]!;
      page.redundancy[row] = page.markRedundancy[row]!;
    }
  }
}

/** @param recount of the state without the nodes of the derived btrees, and with its buckets settled */
export class DerivedKeys {
  readonly #recount: Recount;
  readonly #options: DerivedKeysOptions;
  readonly #devices: readonly (AllocDevice | undefined)[];

  constructor(recount: Recount, options: DerivedKeysOptions) {
    this.#recount = recount;
    this.#options = options;
    this.#devices = allocDevices(recount.context.sb);
  }

  keysOf(btree: (typeof derivedBtrees)[number]): Iterable<Key> {
    switch (btree) {
      case 'alloc':
        return this.#alloc();
      case 'freespace':
        return this.#freespace();
      case 'need_discard':
        return this.#needDiscard();
      case 'lru':
        return this.#lru();
      case 'bucket_gens':
        return this.#bucketGens();
      case 'backpointers':
        return this.#backpointers();
      case 'accounting':
        return this.#accounting();
      case 'reconcile_work':
        return this.#waiting();
    }
  }

  *#alloc(): Generator<Key> {
    const { source } = this.#recount.context;
    const { lastSeq } = source.replay;
    for (const { device, bucket, state, hasKey } of this.#buckets()) {
      const known = hasKey
        ? source.btree('alloc').get(bucketPos(device.index, bucket), { onDamage: () => {} })
        : undefined;
      if (!hasKey && state.gen === 0 && state.dataType === TYPE.free) continue;
      const old = known === undefined ? untouchedBucket() : bucketStateOf(known);
      const journalSeq = old.journalSeq > BigInt(lastSeq) ? BigInt(lastSeq) : old.journalSeq;
      const value = encodeBucketState({ ...state, writeTime: old.writeTime, journalSeq });
      yield makeKey(ALLOC_V4, bucketPos(device.index, bucket), value);
    }
  }

  *#needDiscard(): Generator<Key> {
    for (const { device, bucket, state } of this.#buckets())
      if (state.dataType === TYPE.needDiscard) yield makeKey(SET, bucketPos(device.index, bucket), NO_VALUE);
  }

  /** Runs of free buckets, those with generation bits after the others of their device. */
  *#freespace(): Generator<Key> {
    for (const own of this.#own()) {
      for (let genBits = 0; genBits < 16; genBits++) yield* freeRuns(own, genBits);
    }
  }

  *#lru(): Generator<Key> {
    const positions: Bpos[] = [];
    for (const { device, bucket, state } of this.#buckets()) {
      const read = readLruTime(state);
      if (read !== 0n) positions.push(lruBpos(device.index, read, device.index, bucket));
      const fragmented = fragmentationLruTime(state, device);
      if (fragmented !== 0n) positions.push(lruBpos(FRAGMENTATION_LRU, fragmented, device.index, bucket));
    }
    for (const pos of positions.sort(compareBpos)) yield makeKey(SET, pos, NO_VALUE);
  }

  *#bucketGens(): Generator<Key> {
    let gens = new Uint8Array(BUCKET_GENS_PER_KEY);
    let at: { readonly dev: number; readonly nr: number } | undefined;
    for (const { device, bucket, state } of this.#buckets()) {
      const nr = Math.floor(bucket / BUCKET_GENS_PER_KEY);
      if (at !== undefined && (at.dev !== device.index || at.nr !== nr)) {
        yield makeKey(BUCKET_GENS, bucketPos(at.dev, at.nr), gens);
        gens = new Uint8Array(BUCKET_GENS_PER_KEY);
      }
      at = { dev: device.index, nr };
      gens[bucket % BUCKET_GENS_PER_KEY] = state.gen;
    }
    if (at !== undefined) yield makeKey(BUCKET_GENS, bucketPos(at.dev, at.nr), gens);
  }

  *#accounting(): Generator<Key> {
    const { counters, buckets } = this.#recount;
    for (const [dev, own] of buckets) counters.addBuckets(dev, own);
    const { journalSeq } = this.#options;
    const version = {
      bversion_lo: BigInt.asUintN(64, BigInt(journalSeq) << 32n),
      bversion_hi: Math.floor(journalSeq / 2 ** 32),
    };
    for (const { pos, values } of counters.positions(true)) {
      const value = new Uint8Array(8 * values.length);
      const view = viewOf(value);
      for (const [i, count] of values.entries()) view.setBigInt64(8 * i, BigInt(count), true);
      yield makeKey(ACCOUNTING, pos, value, version);
    }
  }

  /** At the position of each extent that waits; and the requests to look at a file, as they are. */
  *#waiting(): Generator<Key> {
    const { source } = this.#recount.context;
    const requests = source.btree('reconcile_work').keys({ onDamage: () => {} });
    const nextRequest = (): Key | undefined => {
      for (const key of { [Symbol.iterator]: () => ({ next: () => requests.next() }) })
        if (key.k.type !== SET) return key;
      return undefined;
    };
    let request: Key | undefined = nextRequest();
    for (const btree of ['reflink', 'extents'] as const) {
      for (const key of source.btree(btree).keys({ onDamage: () => {} })) {
        const bytes = entryBytesOf(key);
        if (bytes.length === 0 || rebalanceSectors(spacePointers(bytes, key.k.size), this.#devices) === 0) continue;
        while (request !== undefined && compareBpos(request.k.p, key.k.p) < 0) {
          yield request;
          request = nextRequest();
        }
        if (request !== undefined && compareBpos(request.k.p, key.k.p) === 0) request = nextRequest();
        yield makeKey(SET, key.k.p.slice(), NO_VALUE);
      }
    }
    for (; request !== undefined; request = nextRequest()) yield request;
  }

  *#backpointers(): Generator<Key> {
    const most = this.#options.backpointersInMemory ?? BACKPOINTERS_IN_MEMORY;
    for (const own of this.#own()) {
      let start: number | undefined;
      let count = 0;
      for (const { bucket, page, row } of own.rows()) {
        const more = page.backpointers[row]!;
        if (start !== undefined && count + more > most) {
          yield* this.#backpointersOf(own, start, bucket);
          start = undefined;
          count = 0;
        }
        if (more === 0) continue;
        start ??= bucket;
        count += more;
      }
      if (start !== undefined) yield* this.#backpointersOf(own, start, own.device.bucketCount);
    }
  }

  /** Those of the buckets from `start` up to `end`. */
  *#backpointersOf(own: DeviceBuckets, start: number, end: number): Generator<Key> {
    const { index: dev, bucketSizeSectors } = own.device;
    const { context } = this.#recount;
    const rules = rulesOf(context.sb);
    const keys: Key[] = [];
    const add = (btree: number, level: number, key: Key, pointer: SpacePointer) => {
      const bucket = Math.floor(pointer.offset / bucketSizeSectors);
      if (pointer.dev !== dev || (pointer.cached && !rules.hasCachedBackpointers)) return;
      if (bucket < start || bucket >= end || !own.has(bucket)) return;
      if (own.page(bucket).gen[rowOf(bucket)] !== pointer.gen) return;
      const type = level > 0 ? TYPE.btree : pointer.stripe === undefined ? TYPE.user : TYPE.stripe;
      const value = backpointerValue(
        {
          btree,
          level,
          pos: key.k.p,
          dataType: type,
          lengthSectors: diskSectorsOf(pointer, level > 0 ? context.nodeSectors : key.k.size),
          sectorInBucket: pointer.offset % bucketSizeSectors,
          gen: pointer.gen,
          suboffset: pointer.crcOffset,
        },
        rules,
      );
      keys.push(makeKey(BACKPOINTER, backpointerBpos(dev, pointer.offset, pointer.crcOffset, rules), value));
    };
    this.#recount.eachPointing((btree, level, key) => {
      for (const pointer of spacePointers(entryBytesOf(key), key.k.size).pointers) add(btree, level, key, pointer);
    });
    keys.sort((a, b) => compareBpos(a.k.p, b.k.p));
    let last: Bpos | undefined;
    for (const key of keys) {
      // Two claims on one place have room for one of them.
      if (last === undefined || compareBpos(last, key.k.p) !== 0) yield key;
      else this.#options.onContested?.(dev, Math.floor(backpointerSector(key.k.p, rules) / bucketSizeSectors));
      last = key.k.p;
    }
  }

  #own(): readonly DeviceBuckets[] {
    return [...this.#recount.buckets]
      .filter(([dev]) => this.#devices[dev] !== undefined)
      .sort(([a], [b]) => a - b)
      .map(([, own]) => own);
  }

  *#buckets() {
    for (const own of this.#own()) {
      const device = this.#devices[own.device.index]!;
      for (const { bucket, page, row } of own.rows()) {
        const hasKey = (page.flags[row]! & HAS_KEY) !== 0;
        yield { device, bucket, hasKey, state: this.#stateOf(page, row) };
      }
    }
  }

  #stateOf(page: BucketPage, row: number): BucketState {
    const dataType = page.dataType[row]!;
    const readTime = BigInt(page.readTime[row]!);
    return {
      gen: page.gen[row]!,
      oldestGen: page.oldestGen[row]!,
      dataType,
      needDiscard: (page.flags[row]! & NEEDS_DISCARD) !== 0,
      needIncGen: (page.flags[row]! & NEEDS_INC_GEN) !== 0,
      dirtySectors: page.dirty[row]!,
      cachedSectors: page.cached[row]!,
      stripeSectors: page.striped[row]!,
      stripe: page.stripe[row]!,
      stripeRedundancy: page.redundancy[row]!,
      readTime: dataType === TYPE.cached && readTime === 0n ? this.#options.readClock : readTime,
      writeTime: 0n,
      journalSeq: 0n,
    };
  }
}

function* freeRuns(own: DeviceBuckets, genBits: number): Generator<Key> {
  const { index: dev, firstBucket, bucketCount } = own.device;
  const isFree = (bucket: number): boolean => {
    const page = own.peek(bucket);
    if (page === undefined) return genBits === 0;
    const row = rowOf(bucket);
    const age = { gen: page.gen[row]!, oldestGen: page.oldestGen[row]! };
    return page.dataType[row] === TYPE.free && freespaceGenBits({ ...untouchedBucket(), ...age }) === genBits;
  };
  let start: number | undefined;
  for (let bucket = firstBucket; bucket <= bucketCount; ) {
    const isIn = bucket < bucketCount && isFree(bucket);
    if (isIn) start ??= bucket;
    else if (start !== undefined) {
      yield makeKey(SET, freespacePos(dev, bucket, genBits), NO_VALUE, { size: bucket - start });
      start = undefined;
    }
    // The rest of a device of which nothing is known is one run, or none.
    const next = own.peek(bucket) === undefined ? Math.min(bucketCount, own.nextTouched(bucket)) : bucket + 1;
    bucket = Math.max(bucket + 1, next);
  }
}

/** Whether a bucket may be given for something new: nothing is in it, and its pointers cannot be mistaken for others. */
export function isGivable(page: BucketPage | undefined, row: number): boolean {
  if (page === undefined) return true;
  const marks = page.markDirty[row]! + page.markCached[row]! + page.markStriped[row]! + page.markStripe[row]!;
  const noted = page.dirty[row]! + page.cached[row]! + page.striped[row]! + page.stripe[row]!;
  const age = { ...untouchedBucket(), gen: page.gen[row]!, oldestGen: page.oldestGen[row]! };
  return (
    marks + noted === 0 && page.markType[row] === 0 && isEmptyType(page.dataType[row]!) && oldestAge(age) < GC_GEN_MAX
  );
}

export const derivedIds: ReadonlySet<number> = new Set(derivedBtrees.map(name => btrees.idOf(name)));
