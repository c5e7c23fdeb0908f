// The end of a device goes: its buckets leave all btrees and counters, when nothing is in them any more and nothing points there. What
// makes a mount leave them out is the member's number of buckets in the superblock, which is not set here.
// Source: bch2_dev_remove_alloc in alloc_background.c for a whole device, bch2_check_alloc_info for what may be left, v1.13.0. The
// reference cannot make a device smaller.

import type { FilesystemSource } from '../btree/source.ts';
import { deletedKey, type Transaction } from '../btree/transaction.ts';
import { type Bpos, bposOffsetNumber, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { BUCKET_GENS_PER_KEY } from '../ondisk/keys/bucket-gens.ts';
import type { BchSbLayout } from '../ondisk/superblock.ts';
import type { AllocDevice } from './alloc-devices.ts';
import { bucketPos, cutFreespace, freespacePos, freespaceRun } from './bucket-indexes.ts';
import { bucketStateOf, isEmptyType, TYPE, totalSectorsOf } from './bucket-state.ts';
import { markMetadataBucket, superblockSectors } from './new-device.ts';
import type { TriggerContext } from './trigger-context.ts';

const ALLOC = btrees.idOf('alloc');
const FREESPACE = btrees.idOf('freespace');
const BUCKET_GENS = btrees.idOf('bucket_gens');

/** Above all numbers of buckets. */
const BUCKET_MAX = 2 ** 48;

/**
 * Empty buckets from `end` on, and those of superblock copies that are elsewhere now, become what they were before their first use: free, of generation 0, without a key. So no pointer may lead
 * there, not even a stale one. The transaction has settled.
 * @param most so many at most; the rest is for another transaction
 * @returns how many there were
 * @throws CorruptError when one of them holds anything else
 */
export function forgetBuckets(tx: Transaction, dev: number, end: number, most: number): number {
  const known: Bpos[] = [];
  for (const key of tx.btree(ALLOC).keys({ from: bucketPos(dev, end), to: bucketPos(dev, BUCKET_MAX) })) {
    if (known.length >= most) break;
    const state = bucketStateOf(key);
    const isEmpty = isEmptyType(state.dataType) && totalSectorsOf(state) === 0 && state.stripe === 0;
    if (!isEmpty && state.dataType !== TYPE.sb) {
      const where = { btree: 'alloc', pos: bposText(key.k.p) };
      const detail = `a ${dataTypes.nameOf(state.dataType)} bucket that nothing points to: run fsck`;
      throw new CorruptError('alloc_key_data_type_wrong', where, detail);
    }
    known.push(key.k.p.slice());
  }
  for (const pos of known) tx.delete(ALLOC, pos);
  return known.length;
}

/**
 * The buckets of a device from `end` on leave freespace, bucket_gens and the counters; `forgetBuckets` has left none of their keys.
 * @param uncounted buckets of the device that the counters do not know of: a commit like this one was cut off before the superblock
 * @throws CorruptError when other buckets are not listed as free than those
 */
export function removeBuckets(
  context: TriggerContext,
  tx: Transaction,
  { index: dev, bucketEnd }: AllocDevice,
  end: number,
  uncounted: number,
): void {
  let listed = 0;
  const runs = { from: freespacePos(dev, end + 1, 0), to: freespacePos(dev, BUCKET_MAX, 0) };
  for (const key of tx.btree(FREESPACE).keys(runs)) {
    const run = freespaceRun(key);
    listed += run.end - Math.max(end, run.start);
  }
  if (listed + uncounted !== bucketEnd - end) {
    const where = { btree: 'freespace', pos: bposText(runs.from) };
    const detail = `${listed} of ${bucketEnd - end - uncounted} empty buckets are listed as free: run fsck`;
    throw new CorruptError('freespace_hole_missing', where, detail);
  }
  cutFreespace(tx, dev, end, bucketEnd, 0);
  context.counters.addDevice(dev, TYPE.free, -listed, 0, 0);
  const gens = { from: bucketPos(dev, Math.ceil(end / BUCKET_GENS_PER_KEY)), to: bucketPos(dev, BUCKET_MAX) };
  for (const { k } of [...tx.btree(BUCKET_GENS).keys(gens)]) tx.store(BUCKET_GENS, deletedKey(k.p));
}

/** Buckets that a device's superblock copies are to be in are marked. What is marked already stays, also for copies that are elsewhere now. */
export function markSuperblocks(
  context: TriggerContext,
  tx: Transaction,
  device: AllocDevice,
  layout: BchSbLayout,
): void {
  for (const [bucket, sectors] of superblockSectors(layout, device.bucketSizeSectors)) {
    const key = tx.get(ALLOC, bucketPos(device.index, bucket));
    const isMarked = key !== undefined && bucketStateOf(key).dataType === TYPE.sb;
    if (!isMarked) markMetadataBucket(context, tx, device.index, bucket, 'sb', sectors);
  }
}

/** Buckets below `end` in which no superblock copy is any more are given back. */
export function releaseSuperblocks(
  context: TriggerContext,
  tx: Transaction,
  device: AllocDevice,
  layout: BchSbLayout,
  end: number,
): void {
  for (const bucket of straySuperblocks(tx, device, layout, end))
    markMetadataBucket(context, tx, device.index, bucket, 'sb', 0);
}

/** Buckets below `end` that are marked for superblock copies which are elsewhere now. */
export function straySuperblocks(
  source: FilesystemSource,
  { index: dev, bucketSizeSectors }: AllocDevice,
  layout: BchSbLayout,
  end: number,
): readonly number[] {
  const kept = superblockSectors(layout, bucketSizeSectors);
  const left: number[] = [];
  for (const key of source.btree(ALLOC).keys({ from: bucketPos(dev, 0), to: bucketPos(dev, end) })) {
    const bucket = bposOffsetNumber(key.k.p);
    if (bucket < end && bucketStateOf(key).dataType === TYPE.sb && !kept.has(bucket)) left.push(bucket);
  }
  return left;
}
