// What a device that joins brings with it: all of its buckets free, and those of its superblocks and its journal taken.
// Source: bch2_dev_freespace_init in alloc_background.c, bch2_dev_usage_init in disk_accounting.c, __bch2_trans_mark_dev_sb in
// buckets.c, v1.13.0.

import type { Transaction } from '../btree/transaction.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { type BchSbLayout, SB_SECTOR } from '../ondisk/superblock.ts';
import { addFreespace, bucketPos } from './bucket-indexes.ts';
import { type BucketState, bucketStateOf, TYPE, untouchedBucket } from './bucket-state.ts';
import { allocKey } from './bucket-table.ts';
import type { TriggerContext } from './trigger-context.ts';

const ALLOC = btrees.idOf('alloc');
/** KEY_SIZE_MAX: so many buckets in one key. */
const RUN_MAX = 0xffff_ffff;

/** All buckets of a device become free ones. It has none in any btree yet. */
export function addDeviceBuckets(context: TriggerContext, tx: Transaction, dev: number): void {
  const device = context.devices[dev];
  if (device === undefined) throw new CorruptError('invalid_sb_members', { field: `members[${dev}]` }, 'no member');
  const { firstBucket, bucketEnd } = device;
  for (let start = firstBucket; start < bucketEnd; start += RUN_MAX) {
    addFreespace(tx, dev, start, Math.min(bucketEnd, start + RUN_MAX), 0);
  }
  context.counters.addDevice(dev, TYPE.free, bucketEnd - firstBucket, 0, 0);
  context.needs.addFreespaceReady(dev);
}

/**
 * The buckets that a device's superblocks and journal are in, by what its own layout says.
 * @throws CorruptError bucket_metadata_type_mismatch where something else is
 */
export function markDeviceMetadata(
  context: TriggerContext,
  tx: Transaction,
  dev: number,
  layout: BchSbLayout,
  journalBuckets: Iterable<number>,
): void {
  const device = context.devices[dev];
  if (device === undefined) throw new CorruptError('invalid_sb_members', { field: `members[${dev}]` }, 'no member');
  const { bucketSizeSectors } = device;
  for (const [bucket, sectors] of superblockSectors(layout, bucketSizeSectors)) {
    markMetadataBucket(context, tx, dev, bucket, 'sb', sectors);
  }
  for (const bucket of journalBuckets) markMetadataBucket(context, tx, dev, bucket, 'journal', bucketSizeSectors);
}

/** Sectors of superblock copies by bucket, with what is in front of the first one. */
export function superblockSectors(layout: BchSbLayout, bucketSizeSectors: number): ReadonlyMap<number, number> {
  const sectorsOf = new Map<number, number>();
  const add = (start: number, end: number) => {
    for (let at = start; at < end; ) {
      const bucket = Math.floor(at / bucketSizeSectors);
      const until = Math.min(end, (bucket + 1) * bucketSizeSectors);
      sectorsOf.set(bucket, (sectorsOf.get(bucket) ?? 0) + until - at);
      at = until;
    }
  };
  for (const offset of layout.sb_offset.slice(0, layout.nr_superblocks)) {
    const start = Number(offset);
    if (start === SB_SECTOR) add(0, SB_SECTOR);
    add(start, start + 2 ** layout.sb_max_size_bits);
  }
  return sectorsOf;
}

/** @param sectors 0 to give the bucket back. A backup superblock may lie after the last bucket: nothing to mark there. */
export function markMetadataBucket(
  context: TriggerContext,
  tx: Transaction,
  dev: number,
  bucket: number,
  type: 'sb' | 'journal',
  sectors: number,
): void {
  const device = context.devices[dev];
  if (device === undefined || bucket < device.firstBucket || bucket >= device.bucketEnd) return;
  const pos = bucketPos(dev, bucket);
  const key = tx.get(ALLOC, pos);
  const state: BucketState = key === undefined ? untouchedBucket() : bucketStateOf(key);
  const isTaken = state.dataType !== TYPE[type] && (state.dirtySectors !== 0 || state.cachedSectors !== 0);
  if (isTaken) {
    const where = { btree: 'alloc', pos: `${dev}:${bucket}:0` };
    throw new CorruptError('bucket_metadata_type_mismatch', where, `${type} where other data is`);
  }
  const touched = context.buckets.touch(tx, device, bucket);
  tx.update(ALLOC, allocKey(touched, { ...state, dataType: TYPE[type], dirtySectors: sectors }));
}
