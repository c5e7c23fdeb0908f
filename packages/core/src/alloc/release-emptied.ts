// Buckets that earlier commits have emptied become free again, to be used before what was never used. A kernel does that when it has
// discarded what is in them; nothing on disk says whether it did.
// Source: bch2_discard_one_bucket in alloc_background.c, v1.13.0.

import type { Transaction } from '../btree/transaction.ts';
import { bposOffsetNumber } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { bucketPos } from './bucket-indexes.ts';
import { bucketStateOf, TYPE } from './bucket-state.ts';
import { allocKey } from './bucket-table.ts';
import type { TriggerContext } from './trigger-context.ts';

const ALLOC = btrees.idOf('alloc');
const NEED_DISCARD = btrees.idOf('need_discard');

export interface ReleaseOptions {
  /** Whether a bucket has to stay as it is. */
  readonly isHeld?: (dev: number, bucket: number) => boolean;
}

/**
 * To be called before anything else in a transaction: what it empties itself has to stay as it is until it is committed.
 * @returns how many buckets became free
 */
export function releaseEmptied(context: TriggerContext, tx: Transaction, { isHeld }: ReleaseOptions = {}): number {
  let count = 0;
  for (const device of context.devices) {
    // What a member that is missing has, nothing is put over.
    if (device === undefined || tx.device(device.index) === undefined) continue;
    const range = { from: bucketPos(device.index, 0), to: bucketPos(device.index, device.bucketEnd) };
    const buckets = [...tx.btree(NEED_DISCARD).keys(range)].map(({ k }) => bposOffsetNumber(k.p));
    for (const bucket of buckets) {
      const key = tx.get(ALLOC, bucketPos(device.index, bucket));
      if (key === undefined || isHeld?.(device.index, bucket)) continue;
      const state = bucketStateOf(key);
      if (state.dataType !== TYPE.needDiscard) continue;
      tx.update(ALLOC, allocKey(context.buckets.touch(tx, device, bucket), { ...state, needDiscard: false }));
      count++;
    }
  }
  return count;
}
