// The trigger of keys that point to data or nodes: extent, reflink_v, btree_ptr, btree_ptr_v2. A pointer adds to its bucket, has a
// backpointer, and counts in replicas, compression, snapshot, btree and inum; the key may wait for rebalance.
// Source: bch2_trigger_extent, __trigger_extent, bch2_trigger_pointer and bch2_bucket_ref_update in buckets.c,
// __bch2_extent_ptr_to_bp in backpointers.h, v1.13.0.

import { deletedKey, type KeyChange, makeKey, type Transaction } from '../btree/transaction.ts';
import type { Bkey, Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, compareBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { CorruptError } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { type BackpointerOf, backpointerBpos, backpointerValue, isBackpointerTo } from '../ondisk/keys/backpointer.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { MEMBER_INVALID } from '../ondisk/member-states.ts';
import { areEqual } from '../util/byte-text.ts';
import { dataTypeOf, isTypeMismatch, TYPE } from './bucket-state.ts';
import type { TouchedBucket } from './bucket-table.ts';
import {
  diskSectorsOf,
  entryBytesOf,
  rebalanceSectors,
  type SpacePointer,
  type SpacePointers,
  spacePointers,
} from './extent-pointers.ts';
import { markStripePointer } from './stripe-pointers.ts';
import type { TriggerContext } from './trigger-context.ts';

const BACKPOINTERS = btrees.idOf('backpointers');
const REBALANCE_WORK = btrees.idOf('reconcile_work');
const BACKPOINTER = keyTypes.idOf('backpointer');
const SET = keyTypes.idOf('set');
const NO_VALUE = new Uint8Array(0);

/** 1 for a key that comes, -1 for one that goes. */
export type Sign = 1 | -1;

/** A key that comes or goes. */
interface MarkedKey {
  readonly btree: number;
  readonly level: number;
  readonly k: Bkey;
  readonly sign: Sign;
}

/** What comes into a bucket, or goes. */
interface BucketContent {
  readonly pointer: Pick<SpacePointer, 'gen' | 'cached' | 'stripe'>;
  readonly dataType: number;
  readonly sectors: number;
  readonly sign: Sign;
}

export function pointerTrigger(context: TriggerContext, tx: Transaction, change: KeyChange): Key | undefined {
  const { btree, level, before, after } = change;
  const bytesBefore = entryBytesOf(before);
  const bytesAfter = entryBytesOf(after);
  if (areSamePointers(before, after) && areEqual(bytesBefore, bytesAfter)) return after;
  const waiting = [0, 0];
  if (before !== undefined) waiting[0] = markKey(context, tx, { btree, level, k: before.k, sign: -1 }, bytesBefore);
  if (after !== undefined) waiting[1] = markKey(context, tx, { btree, level, k: after.k, sign: 1 }, bytesAfter);
  const [waited = 0, waits = 0] = waiting;
  if (waited !== waits) context.counters.addRebalanceWork(waits - waited);
  if ((waited === 0) !== (waits === 0)) {
    const { p } = (after ?? before)!.k;
    tx.store(REBALANCE_WORK, waits === 0 ? deletedKey(p) : makeKey(SET, p, NO_VALUE));
  }
  return after;
}

/** The reference compares entries only: its keys change in their places, pointers to nodes are changed here by commit. */
const areSamePointers = (before: Key | undefined, after: Key | undefined): boolean =>
  before !== undefined &&
  after !== undefined &&
  before.k.size === after.k.size &&
  compareBpos(before.k.p, after.k.p) === 0;

/** @returns sectors that wait to be moved or compressed */
function markKey(context: TriggerContext, tx: Transaction, marked: MarkedKey, entryBytes: Uint8Array): number {
  const { counters, needs } = context;
  const { btree, level, k, sign } = marked;
  const isNode = level > 0;
  const dataType = isNode ? TYPE.btree : TYPE.user;
  const size = isNode ? context.nodeSectors : k.size;
  const found: SpacePointers = spacePointers(entryBytes, k.size);
  const devs: number[] = [];
  let sectors = 0;
  let nrRequired = 1;
  let compression = 0;
  let uncompressed = 0;
  let compressed = 0;
  for (const pointer of found.pointers) {
    const onDisk = diskSectorsOf(pointer, size);
    const isStale = !markPointer(context, tx, marked, pointer, onDisk);
    if (pointer.cached) {
      if (isStale) continue;
      counters.addReplicas(TYPE.cached, 1, [pointer.dev], sign * onDisk);
    } else if (pointer.stripe === undefined) {
      sectors += onDisk;
      devs.push(pointer.dev);
      if (isNode && sign > 0) needs.addNode(pointer.dev, pointer.offset, size);
    } else {
      markStripePointer(context, tx, placeOf(marked), { pointer, dataType, sectors: sign * onDisk });
      nrRequired = 0;
    }
    // One for each run of pointers of the same compression.
    if (compression !== 0 && compression !== pointer.compressionType) {
      counters.addCompression(compression, sign, uncompressed, compressed);
      uncompressed = 0;
      compressed = 0;
    }
    compression = pointer.compressionType;
    if (compression !== 0) {
      uncompressed += pointer.uncompressedSize;
      compressed += pointer.compressedSize;
    }
  }
  if (compression !== 0) counters.addCompression(compression, sign, uncompressed, compressed);
  if (devs.length > 0) {
    counters.addReplicas(dataType, nrRequired, devs, sign * sectors);
    if (!isNode && k.p[0] !== 0) counters.addSnapshot(k.p[0]!, sign * sectors);
  }
  if (isNode) counters.addNode(btree, level - 1, sign, sectors);
  else counters.addInum(k.p, sign, sign * k.size, sign * sectors);
  return rebalanceSectors(found, context.devices);
}

const placeOf = ({ btree, level, k }: MarkedKey) => ({
  btree: btrees.nameOf(btree),
  pos: bposText(k.p),
  ...(level === 0 ? {} : { level }),
});

/** @returns false for a cached pointer whose bucket holds something else by now: it does not count */
function markPointer(
  context: TriggerContext,
  tx: Transaction,
  marked: MarkedKey,
  pointer: SpacePointer,
  onDisk: number,
): boolean {
  const { btree, level, k, sign } = marked;
  const device = context.devices[pointer.dev];
  const touched = device === undefined ? undefined : context.bucketAt(tx, device, pointer.offset);
  if (device === undefined || touched === undefined) {
    // A pointer to a member that was removed is allowed to stay.
    if (pointer.dev === MEMBER_INVALID) return true;
    const detail = `a pointer to ${pointer.dev}:${pointer.offset}, where no bucket of a member is`;
    const damage = new CorruptError('ptr_to_invalid_device', placeOf(marked), detail);
    if (sign > 0) throw damage;
    context.damaged(damage);
    return true;
  }
  const dataType = level > 0 ? TYPE.btree : pointer.stripe === undefined ? TYPE.user : TYPE.stripe;
  const content = { pointer, dataType, sectors: onDisk, sign };
  const isFresh = markBucket(context, touched, content, () => placeOf(marked));
  if (!isFresh) return false;
  if (pointer.cached && !context.rules.hasCachedBackpointers) return true;
  const pos = backpointerBpos(pointer.dev, pointer.offset, pointer.crcOffset, context.rules);
  if (sign < 0) dropBackpointer(tx, pos, marked);
  else {
    const value: BackpointerOf = {
      btree,
      level,
      pos: k.p,
      dataType,
      lengthSectors: onDisk,
      sectorInBucket: pointer.offset % device.bucketSizeSectors,
      gen: pointer.gen,
      suboffset: pointer.crcOffset,
    };
    tx.store(BACKPOINTERS, makeKey(BACKPOINTER, pos, backpointerValue(value, context.rules)));
  }
  return true;
}

/**
 * Adds to a bucket, or takes from it.
 * @returns false for a cached pointer that is stale
 * @throws CorruptError for something that cannot be put there
 */
export function markBucket(
  context: TriggerContext,
  touched: TouchedBucket,
  { pointer, dataType, sectors, sign }: BucketContent,
  where: () => CorruptError['where'],
): boolean {
  const { now, device, bucket } = touched;
  if (pointer.gen !== now.gen && pointer.cached && ((now.gen - pointer.gen) & 255) < 128) return false;
  const wrong = (error: FaultName, detail: string): true => {
    const damage = new CorruptError(error, where(), `${detail} in bucket ${device.index}:${bucket}`);
    if (sign > 0) throw damage;
    context.damaged(damage);
    return true;
  };
  if (pointer.gen !== now.gen) return wrong('stale_dirty_ptr', `generation ${pointer.gen}, expected ${now.gen}`);
  if (isTypeMismatch(now.dataType, dataType)) {
    const names = [now.dataType, dataType].map(one => dataTypes.nameOf(one));
    return wrong('ptr_bucket_data_type_mismatch', names.join(' and '));
  }
  const counted = pointer.stripe !== undefined ? 'stripeSectors' : pointer.cached ? 'cachedSectors' : 'dirtySectors';
  const sum = now[counted] + sign * sectors;
  if (sum < 0 || sum > 0xffff_ffff)
    wrong('bucket_sector_count_overflow', `${now[counted]} sectors and ${sign * sectors} more`);
  now[counted] = Math.max(0, sum);
  now.dataType = dataTypeOf(now, dataType);
  context.buckets.noteChange(touched);
  return true;
}

/**
 * The backpointer of a key that goes. When an extent is split, the piece that begins where it began is there before it goes, and has
 * put its own at the same position.
 */
function dropBackpointer(tx: Transaction, pos: Bpos, { btree, level, k }: MarkedKey): void {
  const known = tx.changesOf(BACKPOINTERS)?.get(pos);
  if (known !== undefined && known.k.type === BACKPOINTER) {
    if (!isBackpointerTo(known.value, btree, level, k.p)) return;
  }
  tx.store(BACKPOINTERS, deletedKey(pos));
}
