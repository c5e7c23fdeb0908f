// The buckets that a transaction touches. Each has three states: as it was before the transaction, as the changes since then leave it, and
// as its keys in the transaction say. Pointers change the second one only; when the transaction settles, the alloc trigger runs once
// from the first to the second, and the keys of alloc and all that follows from it are changed from the third to the result.
//
// So an extent that goes and comes back leaves its bucket as it was, with its generation; room that was taken for a node and given back
// leaves no trace; and filling a bucket with thousands of files writes its key once. The reference runs the trigger for each
// transaction of its own, which are small.
// Source: bch2_trigger_alloc in alloc_background.c, bch2_alloc_key_to_dev_counters in disk_accounting.h, v1.13.0.

import { makeKey, type Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { AllocDevice } from './alloc-devices.ts';
import { bucketPos, updateBucketIndexes } from './bucket-indexes.ts';
import {
  type BucketState,
  bucketStateOf,
  countedSectorsOf,
  dataTypeOf,
  encodeBucketState,
  fragmentedSectorsOf,
  isEmptyType,
  isSameState,
  TYPE,
  totalSectorsOf,
  unstripedSectorsOf,
  untouchedBucket,
} from './bucket-state.ts';
import type { CounterDeltas } from './counter-deltas.ts';

const ALLOC = btrees.idOf('alloc');
const ALLOC_V4 = keyTypes.idOf('alloc_v4');

/** What alloc keys note of the time of a change. */
export interface ChangeTime {
  /** The number of the journal entry that commits. */
  readonly journalSeq: number;
  /** Sectors that the filesystem has read and written so far, 1 or more; the io clocks of the journal and of the clean section. */
  readonly readClock: bigint;
  readonly writeClock: bigint;
}

/** One bucket of a transaction. */
export interface TouchedBucket {
  readonly device: AllocDevice;
  readonly bucket: number;
  /** Before the transaction. */
  readonly base: Readonly<BucketState>;
  /** With everything that was put in and taken away; flags, times and lists follow when it settles. */
  readonly now: BucketState;
  /** What the keys in the transaction say. */
  settled: Readonly<BucketState>;
  isChanged: boolean;
}

export class BucketTable {
  /** By device, then bucket. */
  readonly #buckets: Map<number, TouchedBucket>[] = [];
  #changed: TouchedBucket[] = [];

  /** The bucket for a change. Its `now` may be written to after `noteChange`. */
  touch(tx: Transaction, device: AllocDevice, bucket: number): TouchedBucket {
    let own = this.#buckets[device.index];
    if (own === undefined) {
      own = new Map();
      this.#buckets[device.index] = own;
    }
    let touched = own.get(bucket);
    if (touched === undefined) {
      const key = tx.get(ALLOC, bucketPos(device.index, bucket));
      const base = key === undefined ? untouchedBucket() : bucketStateOf(key);
      touched = { device, bucket, base, now: { ...base }, settled: base, isChanged: false };
      own.set(bucket, touched);
    }
    return touched;
  }

  /** Whether the transaction has put something into a bucket. */
  isInUse(dev: number, bucket: number): boolean {
    const now = this.#buckets[dev]?.get(bucket)?.now;
    return now !== undefined && (totalSectorsOf(now) !== 0 || now.stripe !== 0);
  }

  /** Its alloc key is looked at again when the transaction settles. */
  noteChange(touched: TouchedBucket): void {
    if (touched.isChanged) return;
    touched.isChanged = true;
    this.#changed.push(touched);
  }

  /** Stores the alloc keys of buckets that changed since the last time, and what follows from them. */
  settle(tx: Transaction, counters: CounterDeltas, time: ChangeTime): void {
    const changed = this.#changed;
    this.#changed = [];
    for (const touched of changed) {
      const state = this.settleBucket(tx, touched, counters, time);
      if (state !== undefined) tx.store(ALLOC, allocKey(touched, state));
    }
  }

  /** @returns the state that its alloc key is to say; undefined when it says that already */
  settleBucket(
    tx: Transaction,
    touched: TouchedBucket,
    counters: CounterDeltas,
    time: ChangeTime,
  ): BucketState | undefined {
    touched.isChanged = false;
    const after = stateAfter(touched.base, touched.now, time);
    const before = touched.settled;
    if (isSameState(before, after)) return undefined;
    touched.settled = after;
    updateBucketIndexes(tx, touched.device, touched.bucket, before, after);
    countBucket(counters, touched.device, before, after);
    return after;
  }
}

export const allocKey = ({ device, bucket }: TouchedBucket, state: BucketState): Key =>
  makeKey(ALLOC_V4, bucketPos(device.index, bucket), encodeBucketState(state));

/** What the alloc trigger makes of a change. */
function stateAfter(base: BucketState, now: BucketState, time: ChangeTime): BucketState {
  const after = { ...now };
  after.dataType = dataTypeOf(after, after.dataType);
  if (totalSectorsOf(after) > totalSectorsOf(base)) {
    after.readTime = time.readClock;
    after.writeTime = time.writeClock;
    after.needIncGen = true;
    after.needDiscard = true;
  }
  if (isEmptyType(after.dataType) && after.needIncGen && !isEmptyAsBefore(base, now)) {
    after.gen = (after.gen + 1) & 255;
    after.needIncGen = false;
    after.dataType = dataTypeOf(after, after.dataType);
  }
  if (after.dataType === TYPE.cached && after.readTime === 0n) after.readTime = time.readClock;
  if (isEmptyType(base.dataType) !== isEmptyType(after.dataType)) after.journalSeq = BigInt(time.journalSeq);
  return after;
}

/** Nothing came of the changes: an empty bucket that the kernel still had open keeps its generation. */
const isEmptyAsBefore = (base: BucketState, now: BucketState): boolean =>
  isEmptyType(base.dataType) && isSameState({ ...now, dataType: base.dataType }, base);

function countBucket(counters: CounterDeltas, device: AllocDevice, before: BucketState, after: BucketState): void {
  const dev = device.index;
  const fragmented = [fragmentedSectorsOf(before, device), fragmentedSectorsOf(after, device)] as const;
  if (before.dataType !== after.dataType) {
    counters.addDevice(dev, after.dataType, 1, countedSectorsOf(after), fragmented[1]);
    counters.addDevice(dev, before.dataType, -1, -countedSectorsOf(before), -fragmented[0]);
  } else {
    const sectors = countedSectorsOf(after) - countedSectorsOf(before);
    if (sectors !== 0) counters.addDevice(dev, after.dataType, 0, sectors, fragmented[1] - fragmented[0]);
  }
  const unstriped = [unstripedSectorsOf(before), unstripedSectorsOf(after)] as const;
  if (unstriped[0] !== unstriped[1]) {
    const buckets = (unstriped[1] === 0 ? 0 : 1) - (unstriped[0] === 0 ? 0 : 1);
    counters.addDevice(dev, TYPE.unstriped, buckets, unstriped[1] - unstriped[0], 0);
  }
}
