// Two pictures of every bucket, side by side: what its alloc key says, and what the keys that point into it add up to. Rows are kept in
// pages of typed arrays, made when one of their buckets is first touched: about 80 bytes for each bucket that has an alloc key or is
// pointed to, nothing for the empty end of a large device.
// Source: alloc_background.h, buckets.c and btree_gc.c, v1.13.0.

import { type DataTypeName, dataTypes } from '../ondisk/data-types.ts';
import type { CheckedDevice } from './context.ts';

const PAGE_BITS = 10;
export const PAGE_BUCKETS: number = 1 << PAGE_BITS;

/** Bits of `flags`. */
export const HAS_KEY = 1;
export const NEEDS_DISCARD = 2;
export const NEEDS_INC_GEN = 4;
export const IN_NEED_DISCARD = 8;
/** It is in the freespace btree, at a position with generation bits. */
export const IN_FREESPACE = 16;
export const IN_READ_LRU = 32;
export const IN_FRAGMENTATION_LRU = 64;

export class BucketPage {
  // What the alloc key says.
  readonly flags = new Uint8Array(PAGE_BUCKETS);
  readonly gen = new Uint8Array(PAGE_BUCKETS);
  readonly oldestGen = new Uint8Array(PAGE_BUCKETS);
  readonly dataType = new Uint8Array(PAGE_BUCKETS);
  readonly dirty = new Uint32Array(PAGE_BUCKETS);
  readonly cached = new Uint32Array(PAGE_BUCKETS);
  readonly striped = new Uint32Array(PAGE_BUCKETS);
  readonly stripe = new Uint32Array(PAGE_BUCKETS);
  readonly redundancy = new Uint8Array(PAGE_BUCKETS);
  readonly readTime = new Float64Array(PAGE_BUCKETS);
  // What keys add up to.
  /** The type that pointers, superblocks or the journal give it; 0 for none. */
  readonly markType = new Uint8Array(PAGE_BUCKETS);
  readonly markDirty = new Float64Array(PAGE_BUCKETS);
  readonly markCached = new Float64Array(PAGE_BUCKETS);
  readonly markStriped = new Float64Array(PAGE_BUCKETS);
  /** How much of these sums is rounding: each piece of a compressed extent that was cut counts whole sectors. */
  readonly markRounding = new Float64Array(PAGE_BUCKETS);
  readonly markStripe = new Uint32Array(PAGE_BUCKETS);
  readonly markRedundancy = new Uint8Array(PAGE_BUCKETS);
  /** Sums of hashes of the backpointers that its pointers ask for, less those that there are. */
  readonly backpointersLo = new Uint32Array(PAGE_BUCKETS);
  readonly backpointersHi = new Uint32Array(PAGE_BUCKETS);
  readonly backpointers = new Int32Array(PAGE_BUCKETS);
}

/** The buckets of one device. */
export class DeviceBuckets {
  readonly #pages = new Map<number, BucketPage>();
  #lastNr = -1;
  #last: BucketPage | undefined;
  /** Numbers of pages in order, while none is added. */
  #sorted: readonly number[] | undefined;

  constructor(readonly device: CheckedDevice) {}

  has(bucket: number): boolean {
    return bucket >= this.device.firstBucket && bucket < this.device.bucketCount;
  }

  /** The page of a bucket, if something is known of it; rows are at `rowOf(bucket)`. */
  peek(bucket: number): BucketPage | undefined {
    const nr = Math.floor(bucket / PAGE_BUCKETS);
    return nr === this.#lastNr ? this.#last : this.#pages.get(nr);
  }

  /** The page of a bucket of the device, made if need be. */
  page(bucket: number): BucketPage {
    const nr = Math.floor(bucket / PAGE_BUCKETS);
    if (nr === this.#lastNr && this.#last !== undefined) return this.#last;
    let page = this.#pages.get(nr);
    if (page === undefined) {
      page = new BucketPage();
      this.#pages.set(nr, page);
      this.#sorted = undefined;
    }
    this.#lastNr = nr;
    this.#last = page;
    return page;
  }

  /** The first bucket at this one or after it whose page was made; infinity if there is none. */
  nextTouched(bucket: number): number {
    if (this.#sorted === undefined) this.#sorted = [...this.#pages.keys()].sort((a, b) => a - b);
    const nr = Math.floor(bucket / PAGE_BUCKETS);
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sorted[middle]! < nr) low = middle + 1;
      else high = middle;
    }
    const found = this.#sorted[low];
    return found === undefined ? Number.POSITIVE_INFINITY : Math.max(bucket, found * PAGE_BUCKETS);
  }

  /** Buckets of pages that were made, in order. */
  *rows(): Generator<{ readonly bucket: number; readonly page: BucketPage; readonly row: number }> {
    for (const nr of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const page = this.#pages.get(nr);
      if (page === undefined) continue;
      for (let row = 0; row < PAGE_BUCKETS; row++) {
        const bucket = nr * PAGE_BUCKETS + row;
        if (this.has(bucket)) yield { bucket, page, row };
      }
    }
  }

  /** How many buckets lie outside of the pages that were made: all of them empty, without a key. */
  get untouchedCount(): number {
    const { firstBucket, bucketCount } = this.device;
    let touched = 0;
    for (const nr of this.#pages.keys()) {
      const from = Math.max(firstBucket, nr * PAGE_BUCKETS);
      const to = Math.min(bucketCount, (nr + 1) * PAGE_BUCKETS);
      touched += Math.max(0, to - from);
    }
    return bucketCount - firstBucket - touched;
  }
}

export const rowOf = (bucket: number): number => bucket % PAGE_BUCKETS;

const id = (name: DataTypeName): number => dataTypes.idOf(name);
export const TYPE = {
  free: id('free'),
  sb: id('sb'),
  journal: id('journal'),
  btree: id('btree'),
  user: id('user'),
  cached: id('cached'),
  parity: id('parity'),
  stripe: id('stripe'),
  needGcGens: id('need_gc_gens'),
  needDiscard: id('need_discard'),
  unstriped: id('unstriped'),
} as const;

/** BUCKET_GC_GEN_MAX: once the oldest pointers may be this many generations old, they have to be looked for. */
export const GC_GEN_MAX = 96;

/** The difference of two generations, which wrap around. Mirrors gen_cmp. */
export const genDifference = (a: number, b: number): number => ((a - b) << 24) >> 24;

/** Cached copies, blocks of stripes and other user data may share a bucket. Mirrors bucket_data_type. */
export const familyOf = (type: number): number => (type === TYPE.cached || type === TYPE.stripe ? TYPE.user : type);

/** The type that a bucket should have. Mirrors alloc_data_type. */
export function expectedType(page: BucketPage, row: number): number {
  const mark = page.markType[row]!;
  if (page.markStripe[row] !== 0) return mark === TYPE.parity ? TYPE.parity : TYPE.stripe;
  if (page.markDirty[row]! + page.markStriped[row]! !== 0) return mark;
  if (page.markCached[row] !== 0) return TYPE.cached;
  if (page.flags[row]! & NEEDS_DISCARD) return TYPE.needDiscard;
  return ((page.gen[row]! - page.oldestGen[row]!) & 255) >= GC_GEN_MAX ? TYPE.needGcGens : TYPE.free;
}

/** Sectors that count for the bucket's type. Mirrors bch2_bucket_sectors. */
export function sectorsOf(page: BucketPage, row: number): number {
  return page.dataType[row] === TYPE.cached ? page.cached[row]! : page.dirty[row]! + page.striped[row]!;
}

/** What such a bucket holds of nothing. Mirrors bch2_bucket_sectors_fragmented. */
export function fragmentedOf(page: BucketPage, row: number, bucketSizeSectors: number): number {
  const sectors = sectorsOf(page, row);
  return sectors === 0 ? 0 : Math.max(0, bucketSizeSectors - sectors);
}
