// The end of a device moves outwards: the buckets that come are free, and are in all btrees and counters then. What makes a mount see
// them is the member's number of buckets in the superblock, which is not set here.
// Source: bch2_dev_resize in super.c, __bch2_dev_resize_alloc and bch2_dev_freespace_init in alloc_background.c, v1.13.0.

import type { Transaction } from '../btree/transaction.ts';
import { bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { addFreespace, bucketPos, freespacePos } from './bucket-indexes.ts';
import { TYPE } from './bucket-state.ts';
import type { TriggerContext } from './trigger-context.ts';

const ALLOC = btrees.idOf('alloc');
const FREESPACE = btrees.idOf('freespace');

/** Above all numbers of buckets. */
const BUCKET_MAX = 2 ** 48;

/**
 * Buckets of a device become free ones, for the first time.
 * @param start all from here on are in no list and no counter
 * @throws CorruptError when something knows of one of them
 */
export function addBuckets(context: TriggerContext, tx: Transaction, dev: number, start: number, end: number): void {
  for (const { k } of tx.btree(ALLOC).keys({ from: bucketPos(dev, start), to: bucketPos(dev, BUCKET_MAX) })) {
    const where = { btree: 'alloc', pos: bposText(k.p) };
    throw new CorruptError('alloc_key_to_missing_dev_bucket', where, 'a bucket that no counter knows of: run fsck');
  }
  const runs = { from: freespacePos(dev, start + 1, 0), to: freespacePos(dev, BUCKET_MAX, 0) };
  for (const { k } of tx.btree(FREESPACE).keys(runs)) {
    const where = { btree: 'freespace', pos: bposText(k.p) };
    const detail = 'lists buckets that no counter knows of as free: run fsck';
    throw new CorruptError('need_discard_freespace_key_to_invalid_dev_bucket', where, detail);
  }
  addFreespace(tx, dev, start, end, 0);
  context.counters.addDevice(dev, TYPE.free, end - start, 0, 0);
}

/** The same of a device's first buckets, below `end`, which it has not used. What a commit that was cut off before the superblock has added stays. */
export function addFirstBuckets(context: TriggerContext, tx: Transaction, dev: number, end: number): void {
  if (end === 0 || tx.get(ALLOC, bucketPos(dev, 0)) !== undefined) return;
  addFreespace(tx, dev, 0, end, 0);
  context.counters.addDevice(dev, TYPE.free, end, 0, 0);
}
