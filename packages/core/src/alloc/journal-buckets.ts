// Which buckets of a new device become its journal: a 128th of all, in the first places that no superblock is in. Every device gets
// them, those that may not hold a journal too: a kernel that finds a device without would give it some at the next mount.
// Source: bch2_dev_journal_alloc in journal.c, bch2_bucket_alloc_new_fs in alloc_foreground.c, v1.13.0.

import { assert } from '../ondisk/errors.ts';
import { type BchSbLayout, SB_SECTOR } from '../ondisk/superblock.ts';

/** BCH_JOURNAL_BUCKETS_MIN */
export const JOURNAL_BUCKETS_MIN = 8;
const JOURNAL_BUCKETS_MAX = 2 ** 13;
/** 8 GiB */
const JOURNAL_SECTORS_MAX = 2 ** 24;

export interface JournalDevice {
  readonly layout: BchSbLayout;
  readonly bucketSizeSectors: number;
  readonly bucketCount: number;
  /** What else lies in the way. */
  readonly isExcluded?: (bucket: number) => boolean;
}

/** How many buckets the journal of a new device of so many buckets has. */
export function journalBucketCount(bucketCount: number, bucketSizeSectors: number): number {
  const most = journalBucketsMost(bucketSizeSectors);
  return Math.min(Math.max(Math.floor(bucketCount / 128), JOURNAL_BUCKETS_MIN), most);
}

/** How many a new device has at the most. */
export const journalBucketsMost = (bucketSizeSectors: number): number =>
  Math.min(JOURNAL_BUCKETS_MAX, Math.floor(JOURNAL_SECTORS_MAX / bucketSizeSectors));

/** @returns bucket numbers in the order in which the journal will use them */
export function newJournalBuckets(device: JournalDevice): readonly number[] {
  const { layout, bucketSizeSectors, bucketCount, isExcluded = () => false } = device;
  const count = journalBucketCount(usableBuckets(device), bucketSizeSectors);
  const taken = superblockRanges(layout);
  const buckets: number[] = [];
  for (let bucket = 0; bucket < bucketCount && buckets.length < count; bucket++) {
    const start = bucket * bucketSizeSectors;
    const end = start + bucketSizeSectors;
    if (isExcluded(bucket)) continue;
    if (!taken.some(range => range.start < end && start < range.end)) buckets.push(bucket);
  }
  assert(buckets.length === count, 'a device has many more buckets than its superblocks and its journal take');
  return buckets;
}

/** Where little of a device is left, its journal goes by that. */
function usableBuckets({ bucketCount, isExcluded }: JournalDevice): number {
  if (isExcluded === undefined) return bucketCount;
  let usable = 0;
  for (let bucket = 0; bucket < bucketCount; bucket++) if (!isExcluded(bucket)) usable++;
  return usable;
}

/** In sectors, the space in front of the first superblock included. */
function superblockRanges(layout: BchSbLayout): readonly { readonly start: number; readonly end: number }[] {
  const sectors = 2 ** layout.sb_max_size_bits;
  const copies = layout.sb_offset.slice(0, layout.nr_superblocks).map(Number);
  return [{ start: 0, end: SB_SECTOR }, ...copies.map(start => ({ start, end: start + sectors }))];
}
