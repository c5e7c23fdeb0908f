// A device leaves: nothing is in its buckets any more but its own superblocks and journal, and these go with it. Afterwards no key and no
// counter names it; its slot in the superblock is for the caller, who empties it when that is so.
// Source: bch2_dev_remove and bch2_dev_remove_alloc, v1.13.0.

import { deletedKey, type Transaction } from '../btree/transaction.ts';
import { type Bpos, bposOffsetNumber, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { CorruptError } from '../ondisk/errors.ts';
import type { AllocDevice } from './alloc-devices.ts';
import { bucketPos } from './bucket-indexes.ts';
import { bucketStateOf, isEmptyType, TYPE, totalSectorsOf } from './bucket-state.ts';
import { markMetadataBucket } from './new-device.ts';
import { forgetBuckets, removeBuckets } from './remove-buckets.ts';
import type { TriggerContext } from './trigger-context.ts';

const ALLOC = btrees.idOf('alloc');
const BACKPOINTERS = btrees.idOf('backpointers');
const BUCKET_GENS = btrees.idOf('bucket_gens');
/** Above all numbers of buckets. */
const BUCKET_MAX = 2 ** 48;

/**
 * Alloc keys of empty buckets go: a part of what removeDevice does, for devices with more of them than one commit takes.
 * @param most so many at most
 * @returns how many there were
 * @throws CorruptError when a bucket holds anything else than a superblock or the journal
 */
export function forgetEmptyBuckets(tx: Transaction, dev: number, most: number): number {
  const known: Bpos[] = [];
  for (const key of tx.btree(ALLOC).keys({ from: bucketPos(dev, 0), to: bucketPos(dev, BUCKET_MAX) })) {
    if (known.length >= most) break;
    const state = bucketStateOf(key);
    if (state.dataType === TYPE.sb || state.dataType === TYPE.journal) continue;
    if (!isEmptyType(state.dataType) || totalSectorsOf(state) !== 0 || state.stripe !== 0) {
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
 * All buckets of a device leave all btrees and counters.
 * @param uncounted buckets of the device that the counters do not know of: a commit like this one was cut off before the superblock
 * @throws CorruptError when a bucket holds anything else than a superblock or the journal
 */
export function removeDevice(context: TriggerContext, tx: Transaction, device: AllocDevice, uncounted: number): void {
  const { index: dev, firstBucket } = device;
  const own: { readonly bucket: number; readonly type: 'sb' | 'journal' }[] = [];
  for (const key of tx.btree(ALLOC).keys({ from: bucketPos(dev, 0), to: bucketPos(dev, BUCKET_MAX) })) {
    const { dataType } = bucketStateOf(key);
    const bucket = bposOffsetNumber(key.k.p);
    if (dataType === TYPE.sb) own.push({ bucket, type: 'sb' });
    if (dataType === TYPE.journal) own.push({ bucket, type: 'journal' });
  }
  for (const { bucket, type } of own) markMetadataBucket(context, tx, dev, bucket, type, 0);
  tx.settle();
  forgetBuckets(tx, dev, 0, Number.POSITIVE_INFINITY);
  tx.settle();
  removeBuckets(context, tx, device, firstBucket, uncounted);
  const gens = { from: bucketPos(dev, 0), to: bucketPos(dev, BUCKET_MAX) };
  for (const { k } of [...tx.btree(BUCKET_GENS).keys(gens)]) tx.store(BUCKET_GENS, deletedKey(k.p));
  // Such as led to nothing before.
  const stray = { from: bucketPos(dev, 0), to: Uint32Array.of(0xffff_ffff, 0xffff_ffff, 0xffff_ffff, dev, 0) };
  for (const { k } of [...tx.btree(BACKPOINTERS).keys(stray)]) tx.store(BACKPOINTERS, deletedKey(k.p));
}
