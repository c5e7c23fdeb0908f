// The trigger of alloc keys that are changed by hand: buckets of superblocks and journals, discards, invalidated caches, repairs. What is
// put into a bucket by pointers changes its key when the transaction settles, see bucket-table.ts; both come to the same.
// Source: bch2_trigger_alloc in alloc_background.c, v1.13.0.

import type { KeyChange, Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposOffsetNumber, bposText } from '../ondisk/bpos.ts';
import { assert, CorruptError } from '../ondisk/errors.ts';
import { bucketStateOf, untouchedBucket } from './bucket-state.ts';
import { allocKey } from './bucket-table.ts';
import type { TriggerContext } from './trigger-context.ts';

/** @returns the key of type alloc_v4 that comes of it */
export function allocTrigger(context: TriggerContext, tx: Transaction, { before, after }: KeyChange): Key | undefined {
  const { p } = (after ?? before)!.k;
  const device = p[4] === 0 ? context.devices[p[3]!] : undefined;
  const bucket = bposOffsetNumber(p);
  if (device === undefined || bucket < device.firstBucket || bucket >= device.bucketEnd) {
    const where = { btree: 'alloc', pos: bposText(p) };
    const damage = new CorruptError('alloc_key_to_missing_dev_bucket', where, 'a key of a bucket that no member has');
    // One that is there may go.
    if (after !== undefined) throw damage;
    return undefined;
  }
  const touched = context.buckets.touch(tx, device, bucket);
  assert(!touched.isChanged, `the transaction settles before the alloc key ${bposText(p)} is changed by hand`);
  Object.assign(touched.now, after === undefined ? untouchedBucket() : bucketStateOf(after));
  const state = context.buckets.settleBucket(tx, touched, context.counters, context.time);
  // The settled state is what the table goes on from; a key that is taken away says the same by its absence.
  if (after === undefined) return undefined;
  return allocKey(touched, state ?? { ...touched.settled });
}
