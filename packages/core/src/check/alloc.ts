// Alloc keys against what points into the buckets, and against what is derived from them: need_discard, freespace, bucket_gens, lru.
//
// Checks: each bucket's type, generations and sector counts are what superblocks, journals, btree nodes, extents and stripes add up to;
// the four derived btrees hold exactly what the alloc keys ask for. Needs: all pointers marked (marks.ts). Bounds: see buckets.ts.
// Source: bch2_alloc_write_key in btree_gc.c, bch2_check_alloc_key and bch2_trigger_alloc in alloc_background.c, buckets.c, lru.c, v1.13.0.

import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposInode, bposOffset, bposOffsetNumber } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { alloc, allocV2, allocV3 } from '../ondisk/keys/alloc.ts';
import { type Alloc, NEED_DISCARD, NEED_INC_GEN } from '../ondisk/keys/alloc-bucket.ts';
import { allocV4 } from '../ondisk/keys/alloc-v4.ts';
import { BUCKET_GENS_PER_KEY } from '../ondisk/keys/bucket-gens.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { lruPos } from '../ondisk/keys/lru.ts';
import { decodeJournal, decodeJournalV2 } from '../ondisk/sb-fields/journal.ts';
import { SB_SECTOR, type Superblock, sectionPayload } from '../ondisk/superblock.ts';
import {
  type BucketPage,
  type DeviceBuckets,
  expectedType,
  fragmentedOf,
  genDifference,
  HAS_KEY,
  IN_FRAGMENTATION_LRU,
  IN_FREESPACE,
  IN_NEED_DISCARD,
  IN_READ_LRU,
  NEEDS_DISCARD,
  NEEDS_INC_GEN,
  PAGE_BUCKETS,
  rowOf,
  TYPE,
} from './buckets.ts';
import { bucketPlace, type CheckedDevice, type InvariantContext, keyPlace } from './context.ts';

const ALLOC = btrees.idOf('alloc');
const ALLOC_V4 = keyTypes.idOf('alloc_v4');
const SET = keyTypes.idOf('set');
const BUCKET_GENS = keyTypes.idOf('bucket_gens');

export type AllBuckets = ReadonlyMap<number, DeviceBuckets>;

/** A bucket of a position device:bucket, if there is one. */
function bucketAt(
  buckets: AllBuckets,
  pos: Bpos,
): { readonly device: DeviceBuckets; readonly bucket: number } | undefined {
  if (pos[4] !== 0 || pos[0] !== 0) return undefined;
  const device = buckets.get(pos[3]!);
  const bucket = bposOffsetNumber(pos);
  return device?.has(bucket) ? { device, bucket } : undefined;
}

/** Reads all alloc keys into the buckets: the first thing, since generations decide which pointers are stale. */
export function readAllocKeys(context: InvariantContext, buckets: AllBuckets): void {
  const { report } = context;
  for (const key of context.keys('alloc')) {
    const where = keyPlace(ALLOC, key.k.p);
    const value = allocOf(key);
    if (value === undefined) continue;
    const at = bucketAt(buckets, key.k.p);
    if (at === undefined) {
      report.add('alloc_key_to_missing_dev_bucket', where, {});
      continue;
    }
    const page = at.device.page(at.bucket);
    const row = rowOf(at.bucket);
    page.flags[row] =
      HAS_KEY | (value.flags & NEED_DISCARD ? NEEDS_DISCARD : 0) | (value.flags & NEED_INC_GEN ? NEEDS_INC_GEN : 0);
    page.gen[row] = value.gen;
    page.oldestGen[row] = value.oldest_gen;
    page.dataType[row] = value.data_type;
    page.dirty[row] = value.dirty_sectors;
    page.cached[row] = value.cached_sectors;
    page.striped[row] = value.stripe_sectors;
    page.stripe[row] = value.stripe_refcount;
    page.readTime[row] = Number(value.read_time);
    checkAlone(context, key, value, page, row);
  }
}

/** What can be judged from the key alone. */
function checkAlone(context: InvariantContext, key: Key, value: Alloc, page: BucketPage, row: number): void {
  const { report, source } = context;
  const where = keyPlace(ALLOC, key.k.p);
  if (key.k.type === ALLOC_V4) {
    const { stripe_redundancy_obsolete, nr_external_backpointers } = allocV4.decode(key.value);
    page.redundancy[row] = stripe_redundancy_obsolete;
    report.compare('alloc_key_external_backpointers_nonzero', where, nr_external_backpointers, 0);
  }
  const { lastSeq } = source.replay;
  if (value.journal_seq_nonempty > BigInt(lastSeq)) {
    report.add('alloc_key_journal_seq_in_future', where, { found: value.journal_seq_nonempty, most: lastSeq });
  }
  if (genDifference(value.gen, value.oldest_gen) < 0) {
    const facts = { found: value.oldest_gen, most: value.gen, pointer: undefined };
    report.add('alloc_key_oldest_gen_wrong', where, facts);
  }
  if (value.data_type === TYPE.cached && value.read_time === 0n) {
    report.add('alloc_key_cached_but_read_time_zero', where, {});
  }
}

interface AllocKind {
  readonly minBytes: number;
  decode(value: Uint8Array): Alloc;
}

const allocKinds: ReadonlyMap<number, AllocKind> = new Map<number, AllocKind>([
  [keyTypes.idOf('alloc'), alloc],
  [keyTypes.idOf('alloc_v2'), allocV2],
  [keyTypes.idOf('alloc_v3'), allocV3],
  [ALLOC_V4, allocV4],
]);

function allocOf(key: Key): Alloc | undefined {
  const kind = allocKinds.get(key.k.type);
  return kind === undefined || key.value.length < kind.minBytes ? undefined : kind.decode(key.value);
}

/** Sectors that superblocks and journals take. Mirrors bch2_trans_mark_dev_sb. */
export function markSuperblocks(context: InvariantContext, buckets: AllBuckets): void {
  for (const device of context.devices.values()) {
    const own = buckets.get(device.index);
    if (own === undefined) continue;
    if (device.sb === undefined) markMissing(own);
    else markPresent(context, own, device, device.sb);
  }
}

function markPresent(context: InvariantContext, own: DeviceBuckets, device: CheckedDevice, sb: Superblock): void {
  const { bucketSizeSectors } = device;
  const mark = (bucket: number, type: number, sectors: number) => {
    // A backup may lie after the last bucket.
    if (!own.has(bucket)) return;
    const page = own.page(bucket);
    const row = rowOf(bucket);
    if (page.markType[row] !== 0 && page.markType[row] !== type) {
      const facts = { found: type, expected: page.markType[row]! };
      context.report.add('bucket_metadata_type_mismatch', bucketPlace(device.index, bucket), facts);
    }
    page.markType[row] = type;
    page.markDirty[row] = page.markDirty[row]! + sectors;
  };
  const markSectors = (start: number, end: number) => {
    for (let at = start; at < end; ) {
      const bucket = Math.floor(at / bucketSizeSectors);
      const until = Math.min(end, (bucket + 1) * bucketSizeSectors);
      mark(bucket, TYPE.sb, until - at);
      at = until;
    }
  };
  const { nr_superblocks, sb_offset, sb_max_size_bits } = sb.layout;
  for (const offset of sb_offset.slice(0, nr_superblocks)) {
    const start = Number(offset);
    if (start === SB_SECTOR) markSectors(0, SB_SECTOR);
    markSectors(start, start + 2 ** Math.min(sb_max_size_bits, 20));
  }
  for (const bucket of journalBucketsOf(device, sb)) mark(bucket, TYPE.journal, bucketSizeSectors);
}

/** The buckets of a member's journal, each bounded by the device. */
export function* journalBucketsOf(device: CheckedDevice, sb: Superblock): Generator<number> {
  const v2 = sectionPayload(sb, 'journal_v2');
  if (v2 === undefined) {
    yield* decodeJournal(sectionPayload(sb, 'journal') ?? new Uint8Array(0));
    return;
  }
  for (const { start, nr } of decodeJournalV2(v2)) {
    const end = Math.min(start + nr, device.bucketCount);
    for (let bucket = start; bucket < end; bucket++) yield bucket;
  }
}

/** Only its alloc keys say where a missing member's superblocks and journal are. */
function markMissing(own: DeviceBuckets): void {
  for (const { page, row } of own.rows()) {
    const type = page.dataType[row]!;
    if (type !== TYPE.sb && type !== TYPE.journal) continue;
    page.markType[row] = type;
    page.markDirty[row] = page.dirty[row]!;
  }
}

/** The alloc keys against the marks. Mirrors bch2_alloc_write_key. */
export function checkAllocKeys(context: InvariantContext, buckets: AllBuckets): void {
  const { report } = context;
  for (const [dev, own] of buckets) {
    const { bucketSizeSectors } = own.device;
    for (const { bucket, page, row } of own.rows()) {
      const where = bucketPlace(dev, bucket);
      report.compare('alloc_key_data_type_wrong', where, page.dataType[row]!, expectedType(page, row));
      report.compare('alloc_key_dirty_sectors_wrong', where, page.dirty[row]!, page.markDirty[row]!);
      report.compare('alloc_key_cached_sectors_wrong', where, page.cached[row]!, page.markCached[row]!);
      report.compare('alloc_key_stripe_sectors_wrong', where, page.striped[row]!, page.markStriped[row]!);
      report.compare('alloc_key_stripe_wrong', where, page.stripe[row]!, page.markStripe[row]!);
      report.compare('alloc_key_stripe_redundancy_wrong', where, page.redundancy[row]!, page.markRedundancy[row]!);
      const sectors = page.markDirty[row]! + page.markStriped[row]!;
      // Pieces of compressed extents round up: together they may count more than the bucket has.
      if (sectors > bucketSizeSectors + page.markRounding[row]!) {
        report.add('bucket_sector_count_overflow', where, { found: sectors, most: bucketSizeSectors });
      }
    }
  }
}

export function checkDerivedBtrees(context: InvariantContext, buckets: AllBuckets): void {
  // Since 1.38 that btree is ordered by journal entries.
  if (context.report.asks('need_discard_key_wrong')) checkNeedDiscard(context, buckets);
  checkFreespace(context, buckets);
  checkBucketGens(context, buckets);
  if (context.report.asks('lru_entry_bad')) checkLru(context, buckets);
}

function checkNeedDiscard(context: InvariantContext, buckets: AllBuckets): void {
  const { report } = context;
  for (const { k } of context.keys('need_discard')) {
    if (k.type !== SET) continue;
    const where = keyPlace(btrees.idOf('need_discard'), k.p);
    const at = bucketAt(buckets, k.p);
    if (at === undefined) {
      report.add('need_discard_freespace_key_to_invalid_dev_bucket', where, { run: undefined });
      continue;
    }
    const page = at.device.page(at.bucket);
    const row = rowOf(at.bucket);
    page.flags[row] = page.flags[row]! | IN_NEED_DISCARD;
    if (page.dataType[row] !== TYPE.needDiscard) {
      report.add('need_discard_freespace_key_bad', where, { btree: 'need_discard', dataType: page.dataType[row]! });
    }
  }
  for (const [dev, own] of buckets) {
    if (!own.device.hasFreespace) continue;
    for (const { bucket, page, row } of own.rows()) {
      if (page.dataType[row] === TYPE.needDiscard && (page.flags[row]! & IN_NEED_DISCARD) === 0) {
        report.add('need_discard_key_wrong', bucketPlace(dev, bucket), {});
      }
    }
  }
}

/** Generation bits of a bucket's freespace position. Mirrors alloc_freespace_genbits, shifted down. */
const genBits = (page: BucketPage, row: number): number => ((page.gen[row]! - page.oldestGen[row]!) & 255) >> 4;

/** Runs of free buckets; those whose oldest pointers are 16 generations old or more come later, by their age. */
function checkFreespace(context: InvariantContext, buckets: AllBuckets): void {
  const { report } = context;
  const FREESPACE = btrees.idOf('freespace');
  /** Where the runs without generation bits have come to, by device. */
  const next = new Map<number, number>();
  for (const { k } of context.keys('freespace')) {
    if (k.type !== SET) continue;
    const where = keyPlace(FREESPACE, k.p);
    const own = k.p[4] === 0 && k.p[0] === 0 ? buckets.get(k.p[3]!) : undefined;
    const bits = k.p[2]! >>> 24;
    const end = (k.p[2]! & 0xff_ffff) * 2 ** 32 + k.p[1]!;
    const start = end - k.size;
    if (own === undefined || start < own.device.firstBucket || end > own.device.bucketCount) {
      report.add('need_discard_freespace_key_to_invalid_dev_bucket', where, { run: [start, end] });
      continue;
    }
    if (bits === 0) {
      checkGap(context, own, next.get(own.device.index) ?? own.device.firstBucket, start);
      next.set(own.device.index, end);
    }
    eachTouched(own, start, end, (bucket, page, row) => {
      if (bits !== 0) page.flags[row] = page.flags[row]! | IN_FREESPACE;
      if (page.dataType[row] !== TYPE.free || genBits(page, row) !== bits) {
        const genBitsFact = { found: bits, expected: genBits(page, row) };
        const facts = { btree: 'freespace', bucket, dataType: page.dataType[row]!, genBits: genBitsFact } as const;
        report.add('need_discard_freespace_key_bad', where, facts);
      }
    });
    if (bits !== 0) checkTouched(context, own, start, end, bits);
  }
  for (const own of buckets.values()) {
    if (!own.device.hasFreespace) continue;
    checkGap(context, own, next.get(own.device.index) ?? own.device.firstBucket, own.device.bucketCount);
    for (const { bucket, page, row } of own.rows()) {
      if (page.dataType[row] !== TYPE.free || genBits(page, row) === 0 || page.flags[row]! & IN_FREESPACE) continue;
      const facts = { start: bucket, end: bucket + 1, genBits: genBits(page, row) };
      report.add('freespace_key_wrong', bucketPlace(own.device.index, bucket), facts);
    }
  }
}

/** Rows of pages that exist, between two buckets; the length of the rest costs nothing, since only the superblock vouches for it. */
function eachTouched(
  own: DeviceBuckets,
  start: number,
  end: number,
  visit: (bucket: number, page: BucketPage, row: number) => void,
): void {
  for (let bucket = own.nextTouched(start); bucket < end; bucket = own.nextTouched(bucket)) {
    const pageEnd = Math.min(end, (Math.floor(bucket / PAGE_BUCKETS) + 1) * PAGE_BUCKETS);
    const page = own.peek(bucket);
    for (; bucket < pageEnd; bucket++) if (page !== undefined) visit(bucket, page, rowOf(bucket));
  }
}

/** Runs of buckets of which nothing is known: they have no key, and are free without generation bits. */
function eachUntouched(
  own: DeviceBuckets,
  start: number,
  end: number,
  visit: (from: number, to: number) => void,
): void {
  for (let bucket = start; bucket < end; ) {
    const touched = own.nextTouched(bucket);
    if (touched > bucket) visit(bucket, Math.min(end, touched));
    bucket =
      Math.max(touched, bucket) === Number.POSITIVE_INFINITY
        ? end
        : (Math.floor(touched / PAGE_BUCKETS) + 1) * PAGE_BUCKETS;
  }
}

/** Buckets between two runs: none of them is free. */
function checkGap(context: InvariantContext, own: DeviceBuckets, start: number, end: number): void {
  if (!own.device.hasFreespace) return;
  const { report } = context;
  const place = (bucket: number) => bucketPlace(own.device.index, bucket);
  const hole = (from: number, to: number) =>
    report.add('freespace_hole_missing', place(from), { start: from, end: to });
  eachUntouched(own, start, end, hole);
  eachTouched(own, start, end, (bucket, page, row) => {
    if (page.dataType[row] !== TYPE.free || genBits(page, row) !== 0) return;
    if ((page.flags[row]! & HAS_KEY) === 0) hole(bucket, bucket + 1);
    else report.add('freespace_key_wrong', place(bucket), { start: bucket, end: bucket + 1, genBits: 0 });
  });
}

/** A run with generation bits over buckets of which nothing is known: theirs are 0. */
function checkTouched(context: InvariantContext, own: DeviceBuckets, start: number, end: number, bits: number): void {
  eachUntouched(own, start, end, from => {
    const where = bucketPlace(own.device.index, from);
    const genBitsFact = { found: bits, expected: 0 };
    const facts = { btree: 'freespace', bucket: from, dataType: TYPE.free, genBits: genBitsFact } as const;
    context.report.add('need_discard_freespace_key_bad', where, facts);
  });
}

function checkBucketGens(context: InvariantContext, buckets: AllBuckets): void {
  const { report } = context;
  const ID = btrees.idOf('bucket_gens');
  /** Keys that were seen, by device: pages of generations that have none are zero. */
  const seen = new Map<number, Set<number>>();
  for (const { k, value } of context.keys('bucket_gens')) {
    if (k.type !== BUCKET_GENS || value.length < BUCKET_GENS_PER_KEY) continue;
    const where = keyPlace(ID, k.p);
    const own = k.p[4] === 0 ? buckets.get(k.p[3]!) : undefined;
    if (own === undefined) {
      report.add('bucket_gens_to_invalid_dev', where, { dev: bposInode(k.p) });
      continue;
    }
    const start = Number(bposOffset(k.p)) * BUCKET_GENS_PER_KEY;
    if (start + BUCKET_GENS_PER_KEY <= own.device.firstBucket || start >= own.device.bucketCount) {
      report.add('bucket_gens_to_invalid_buckets', where, { start, bucketCount: own.device.bucketCount });
      continue;
    }
    const keys = seen.get(own.device.index) ?? new Set<number>();
    seen.set(own.device.index, keys);
    keys.add(start);
    for (let i = 0; i < BUCKET_GENS_PER_KEY; i++) {
      const bucket = start + i;
      const found = value[i]!;
      if (!own.has(bucket)) {
        if (found !== 0) report.add('bucket_gens_nonzero_for_invalid_buckets', where, { bucket, gen: found });
      } else {
        const page = own.peek(bucket);
        const row = rowOf(bucket);
        const hasKey = page !== undefined && (page.flags[row]! & HAS_KEY) !== 0;
        const place = bucketPlace(own.device.index, bucket);
        if (hasKey) report.compare('bucket_gens_key_wrong', place, found, page.gen[row]!);
        else if (found !== 0) report.add('bucket_gens_hole_wrong', place, { gen: found });
      }
    }
  }
  for (const [dev, own] of buckets) {
    const keys = seen.get(dev);
    for (const { bucket, page, row } of own.rows()) {
      if (page.gen[row] === 0 || keys?.has(bucket - (bucket % BUCKET_GENS_PER_KEY))) continue;
      report.add('bucket_gens_key_wrong', bucketPlace(dev, bucket), { found: undefined, expected: page.gen[row]! });
    }
  }
}

/** BCH_LRU_FRAGMENTATION_START: the list of buckets that could be emptied into others. */
const FRAGMENTATION_LRU = 0xffff;
const TIME_MAX = 2 ** 48 - 1;

/** When a bucket's cached copies were last read; 0 for one that is not in the list. Mirrors alloc_lru_idx_read. */
function readLruTime(page: BucketPage, row: number): number {
  return page.dataType[row] === TYPE.cached ? Math.min(page.readTime[row]!, TIME_MAX) : 0;
}

const MOVABLE: readonly number[] = [TYPE.btree, TYPE.user, TYPE.stripe];

/** How full a bucket is that could be emptied into another one, 2^31 when full; 0 for any other. Mirrors alloc_lru_idx_fragmentation. */
function fragmentationTime(own: DeviceBuckets, page: BucketPage, row: number): number {
  const { bucketSizeSectors } = own.device;
  if (!MOVABLE.includes(page.dataType[row]!) || fragmentedOf(page, row, bucketSizeSectors) === 0) return 0;
  const dirty = Math.min(page.dirty[row]! + page.striped[row]!, bucketSizeSectors);
  return Math.floor((dirty * 2 ** 31) / bucketSizeSectors);
}

function checkLru(context: InvariantContext, buckets: AllBuckets): void {
  const { report } = context;
  const LRU = btrees.idOf('lru');
  for (const { k } of context.keys('lru')) {
    if (k.type !== SET) continue;
    const where = keyPlace(LRU, k.p);
    const { id, time, bucket: packed } = lruPos(k.p);
    const dev = Number(packed >> 48n);
    const bucket = Number(packed & 0xffff_ffff_ffffn);
    const own = buckets.get(dev);
    if (own === undefined || !own.has(bucket) || k.p[0] !== 0) {
      report.add('lru_entry_to_invalid_bucket', where, { dev, bucket });
      continue;
    }
    const page = own.page(bucket);
    const row = rowOf(bucket);
    const isFragmentation = id === FRAGMENTATION_LRU;
    const expected = isFragmentation ? fragmentationTime(own, page, row) : id === dev ? readLruTime(page, row) : 0;
    if (time !== expected || time === 0) {
      report.add('lru_entry_bad', where, { list: id, found: time, expected });
      continue;
    }
    page.flags[row] = page.flags[row]! | (isFragmentation ? IN_FRAGMENTATION_LRU : IN_READ_LRU);
  }
  for (const [dev, own] of buckets) {
    for (const { bucket, page, row } of own.rows()) {
      const missing = (list: 'read' | 'fragmentation', time: number) =>
        report.add('alloc_key_to_missing_lru_entry', bucketPlace(dev, bucket), { list, time });
      const read = readLruTime(page, row);
      if (read !== 0 && (page.flags[row]! & IN_READ_LRU) === 0) missing('read', read);
      const fragmented = fragmentationTime(own, page, row);
      if (fragmented !== 0 && (page.flags[row]! & IN_FRAGMENTATION_LRU) === 0) missing('fragmentation', fragmented);
    }
  }
}
