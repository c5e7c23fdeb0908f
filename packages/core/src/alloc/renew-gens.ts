// Generations have eight bits: whether a pointer is stale could not be decided any more once it is more than 127 generations older than its
// bucket. So a bucket notes the oldest generation that a pointer to it may have, and is not used again when that is too old. Here the
// pointers are looked at, and the notes brought up to date. Only copies in a cache may be stale; old ones are dropped.
// Source: bch2_gc_gens in btree_gc.c, alloc_data_type in alloc_background.h, v1.13.0.

import type { Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposOffsetNumber } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import type { AllocDevice } from './alloc-devices.ts';
import { bucketPos, freespacePos } from './bucket-indexes.ts';
import { bucketStateOf, oldestAge } from './bucket-state.ts';
import { allocKey } from './bucket-table.ts';
import { entryBytesOf, type SpacePointer, spacePointers, withPointers } from './extent-pointers.ts';
import type { TriggerContext } from './trigger-context.ts';

const ALLOC = btrees.idOf('alloc');
const FREESPACE = btrees.idOf('freespace');
const NEED_DISCARD = btrees.idOf('need_discard');
const POINTED_FROM = ['extents', 'reflink'] as const;

/** All this is done once a bucket that is to be used next has a note of this age; at 96 it could not be used. */
const AGE_MAX = 64;
/** Then the others with a note of this age are renewed too. */
const AGE_MIN = 16;
/** Older pointers are dropped, as the reference does. */
const STALE_MAX = 16;
/** This many of the buckets that wait for their discard are looked at. */
const LOOKED_AT = 4096;

interface RenewedBucket {
  readonly gen: number;
  oldestGen: number;
}

/** By device, then bucket. */
type RenewedBuckets = readonly (Map<number, RenewedBucket> | undefined)[];

/**
 * Brings the oldest generations up to date when those of buckets that may be used next are old: that reads all extents. To be called before
 * anything else in a transaction.
 * @returns how many buckets have a later one now
 */
export function renewGens(context: TriggerContext, tx: Transaction): number {
  const isUsable = ({ index }: AllocDevice) => tx.device(index) !== undefined;
  if (!context.devices.some(device => device !== undefined && isUsable(device) && isOld(tx, device))) return 0;
  const buckets = context.devices.map(device => (device === undefined ? undefined : oldBuckets(tx, device)));
  const stale: { readonly btree: number; readonly key: Key }[] = [];
  for (const name of POINTED_FROM) {
    const btree = btrees.idOf(name);
    for (const key of tx.btree(btree).keys()) if (noteOldest(context, buckets, key)) stale.push({ btree, key });
  }
  let count = 0;
  for (const [dev, renewed] of buckets.entries()) {
    const device = context.devices[dev];
    if (device === undefined || renewed === undefined) continue;
    for (const [bucket, { oldestGen }] of renewed) {
      const key = tx.get(ALLOC, bucketPos(dev, bucket));
      if (key === undefined || bucketStateOf(key).oldestGen === oldestGen) continue;
      const state = { ...bucketStateOf(key), oldestGen };
      tx.update(ALLOC, allocKey(context.buckets.touch(tx, device, bucket), state));
      count++;
    }
  }
  for (const { btree, key } of stale) {
    const isLeft = (pointer: PlacedPointer) => !isStale(bucketOf(context, buckets, pointer), pointer);
    tx.update(
      btree,
      withPointers(key, pointer => (isLeft(pointer) ? pointer : undefined)),
    );
  }
  if (stale.length > 0) tx.settle();
  return count;
}

/** Whether a free bucket, or one of the first that become free, has an old note. */
function isOld(tx: Transaction, { index: dev, bucketEnd }: AllocDevice): boolean {
  const range = { from: freespacePos(dev, 0, AGE_MAX >> 4), to: freespacePos(dev, 2 ** 53 - 1, 0xff) };
  for (const _ of tx.btree(FREESPACE).keys(range)) return true;
  let looked = 0;
  for (const { k } of tx.btree(NEED_DISCARD).keys({ from: bucketPos(dev, 0), to: bucketPos(dev, bucketEnd) })) {
    const key = tx.get(ALLOC, k.p);
    if (key !== undefined && oldestAge(bucketStateOf(key)) >= AGE_MAX) return true;
    if (++looked === LOOKED_AT) break;
  }
  return false;
}

/** Blocks of stripes are left out: other pointers than those of extents lead to them. */
function oldBuckets(tx: Transaction, { index: dev, bucketEnd }: AllocDevice): Map<number, RenewedBucket> {
  const found = new Map<number, RenewedBucket>();
  for (const key of tx.btree(ALLOC).keys({ from: bucketPos(dev, 0), to: bucketPos(dev, bucketEnd) })) {
    const state = bucketStateOf(key);
    if (state.stripe !== 0 || oldestAge(state) < AGE_MIN) continue;
    found.set(bposOffsetNumber(key.k.p), { gen: state.gen, oldestGen: state.gen });
  }
  return found;
}

type PlacedPointer = Pick<SpacePointer, 'dev' | 'offset' | 'gen' | 'cached'>;

function bucketOf(context: TriggerContext, buckets: RenewedBuckets, { dev, offset }: PlacedPointer) {
  const device = context.devices[dev];
  return device === undefined ? undefined : buckets[dev]?.get(Math.floor(offset / device.bucketSizeSectors));
}

const isStale = (bucket: RenewedBucket | undefined, { gen, cached }: PlacedPointer): boolean =>
  bucket !== undefined && cached && ageOf(bucket.gen, gen) > STALE_MAX && ageOf(bucket.gen, gen) < 128;

const ageOf = (gen: number, older: number): number => (gen - older) & 255;

/** Notes the generations of a key's pointers. @returns whether some of them are to be dropped, and others are left */
function noteOldest(context: TriggerContext, buckets: RenewedBuckets, key: Key): boolean {
  const { pointers } = spacePointers(entryBytesOf(key), key.k.size);
  const staleCount = pointers.filter(pointer => isStale(bucketOf(context, buckets, pointer), pointer)).length;
  const isDropped = staleCount > 0 && staleCount < pointers.length;
  for (const pointer of pointers) {
    const bucket = bucketOf(context, buckets, pointer);
    if (bucket === undefined || (isDropped && isStale(bucket, pointer))) continue;
    const age = ageOf(bucket.gen, pointer.gen);
    if (age < 128 && age > ageOf(bucket.gen, bucket.oldestGen)) bucket.oldestGen = pointer.gen;
  }
  return isDropped;
}
