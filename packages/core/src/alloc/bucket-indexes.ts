// The btrees that buckets are found by: need_discard, freespace, the two lists of lru, and bucket_gens. All follow from alloc keys, so
// keys are stored here without triggers of their own. freespace is a btree of extents whose keys cover runs of buckets, so that one
// bucket of a run is cut out, and put back to its neighbours.
// Source: bch2_bucket_do_index and bch2_bucket_gen_update in alloc_background.c, bch2_lru_change in lru.c, key_type_set_merge in
// bkey_methods.c, v1.13.0.

import { deletedKey, makeKey, type Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { LRU_TIME_MAX } from '../ondisk/keys/alloc-bucket.ts';
import { BUCKET_GENS_PER_KEY } from '../ondisk/keys/bucket-gens.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { AllocDevice } from './alloc-devices.ts';
import { type BucketState, fragmentationLruTime, freespaceGenBits, readLruTime, TYPE } from './bucket-state.ts';

const FREESPACE = btrees.idOf('freespace');
const NEED_DISCARD = btrees.idOf('need_discard');
const LRU = btrees.idOf('lru');
const BUCKET_GENS = btrees.idOf('bucket_gens');
const SET = keyTypes.idOf('set');
const BUCKET_GENS_TYPE = keyTypes.idOf('bucket_gens');

const NO_VALUE = new Uint8Array(0);
/** KEY_SIZE_MAX. */
const SIZE_MAX = 0xffff_ffff;
/** BCH_LRU_FRAGMENTATION_START. */
export const FRAGMENTATION_LRU: number = 0xffff;

/** dev:bucket:0. */
export const bucketPos = (dev: number, bucket: number): Bpos =>
  Uint32Array.of(0, bucket >>> 0, Math.floor(bucket / 2 ** 32), dev, 0);

/** A position in freespace: after the last bucket that a key covers. */
export const freespacePos = (dev: number, end: number, genBits: number): Bpos =>
  Uint32Array.of(0, end >>> 0, ((genBits << 24) | Math.floor(end / 2 ** 32)) >>> 0, dev, 0);

/** What a key of freespace covers. Bucket numbers have 56 bits, of which a device has fewer than 53. */
export function freespaceRun({ k }: Key): { readonly start: number; readonly end: number; readonly genBits: number } {
  const end = (k.p[2]! & 0xff_ffff) * 2 ** 32 + k.p[1]!;
  return { start: end - k.size, end, genBits: k.p[2]! >>> 24 };
}

/** Takes a bucket from the lists that it is in by its old state, and puts it into those of the new one. */
export function updateBucketIndexes(
  tx: Transaction,
  device: AllocDevice,
  bucket: number,
  before: BucketState,
  after: BucketState,
): void {
  const dev = device.index;
  const isMoved =
    before.dataType !== after.dataType ||
    (after.dataType === TYPE.free && freespaceGenBits(before) !== freespaceGenBits(after));
  if (isMoved) {
    if (before.dataType === TYPE.free) cutFreespace(tx, dev, bucket, bucket + 1, freespaceGenBits(before));
    if (before.dataType === TYPE.needDiscard) tx.store(NEED_DISCARD, deletedKey(bucketPos(dev, bucket)));
    if (after.dataType === TYPE.free) addFreespace(tx, dev, bucket, bucket + 1, freespaceGenBits(after));
    if (after.dataType === TYPE.needDiscard) tx.store(NEED_DISCARD, makeKey(SET, bucketPos(dev, bucket), NO_VALUE));
  }
  changeLru(tx, dev, dev, bucket, readLruTime(before), readLruTime(after));
  const fragmentation = [fragmentationLruTime(before, device), fragmentationLruTime(after, device)] as const;
  changeLru(tx, FRAGMENTATION_LRU, dev, bucket, ...fragmentation);
  if (before.gen !== after.gen) setGen(tx, dev, bucket, after.gen);
}

function changeLru(tx: Transaction, list: number, dev: number, bucket: number, before: bigint, after: bigint): void {
  if (before === after) return;
  if (before !== 0n) tx.store(LRU, deletedKey(lruBpos(list, before, dev, bucket)));
  if (after !== 0n) tx.store(LRU, makeKey(SET, lruBpos(list, after, dev, bucket), NO_VALUE));
}

/** Mirrors lru_pos: the list and the time, then the bucket as one number. */
export function lruBpos(list: number, time: bigint, dev: number, bucket: number): Bpos {
  const bounded = time & LRU_TIME_MAX;
  const timeHigh = Number(bounded >> 32n);
  return Uint32Array.of(
    0,
    bucket >>> 0,
    ((dev << 16) | Math.floor(bucket / 2 ** 32)) >>> 0,
    Number(bounded & 0xffff_ffffn),
    ((list << 16) | timeHigh) >>> 0,
  );
}

function setGen(tx: Transaction, dev: number, bucket: number, gen: number): void {
  const pos = bucketPos(dev, Math.floor(bucket / BUCKET_GENS_PER_KEY));
  const known = tx.get(BUCKET_GENS, pos);
  const gens = new Uint8Array(BUCKET_GENS_PER_KEY);
  if (known !== undefined && known.k.type === BUCKET_GENS_TYPE) gens.set(known.value.subarray(0, gens.length));
  gens[bucket % BUCKET_GENS_PER_KEY] = gen;
  tx.store(BUCKET_GENS, makeKey(BUCKET_GENS_TYPE, pos, gens));
}

/** Takes buckets out of whatever keys cover them. */
export function cutFreespace(tx: Transaction, dev: number, start: number, end: number, genBits: number): void {
  const runs: Key[] = [];
  for (const key of tx
    .btree(FREESPACE)
    .keys({ from: freespacePos(dev, start + 1, genBits), to: lastOf(dev, genBits) })) {
    if (freespaceRun(key).start >= end) break;
    runs.push(key);
  }
  for (const key of runs) {
    const run = freespaceRun(key);
    if (run.end > end) storeRun(tx, dev, Math.max(end, run.start), run.end, genBits);
    else tx.store(FREESPACE, deletedKey(key.k.p));
    if (run.start < start) storeRun(tx, dev, run.start, start, genBits);
  }
}

/** Puts buckets that are not covered back, into one key with neighbours that touch them. */
export function addFreespace(tx: Transaction, dev: number, start: number, end: number, genBits: number): void {
  let from = start;
  let to = end;
  for (const key of tx.btree(FREESPACE).keys({ from: freespacePos(dev, start, genBits), to: lastOf(dev, genBits) })) {
    const run = freespaceRun(key);
    if (run.start > end) break;
    const isMergeable = key.k.type === SET && to - from + run.end - run.start <= SIZE_MAX;
    if (run.end === start && isMergeable) {
      from = run.start;
      tx.store(FREESPACE, deletedKey(key.k.p));
    } else if (run.start === end && isMergeable) to = run.end;
  }
  storeRun(tx, dev, from, to, genBits);
}

function storeRun(tx: Transaction, dev: number, start: number, end: number, genBits: number): void {
  tx.store(FREESPACE, makeKey(SET, freespacePos(dev, end, genBits), NO_VALUE, { size: end - start }));
}

const lastOf = (dev: number, genBits: number): Bpos => freespacePos(dev, 2 ** 53, genBits);
