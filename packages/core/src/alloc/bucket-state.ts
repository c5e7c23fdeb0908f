// The state of one bucket: what its alloc key says, as plain values, and what follows from it for its other fields and for the lists
// that it is in. Pure functions of the state; who calls them is bucket-table.ts.
// Source: struct bch_alloc_v4, alloc_data_type, bch2_bucket_sectors and alloc_lru_idx_fragmentation in alloc_background.h, v1.13.0.

import type { Key } from '../ondisk/bkey.ts';
import { type DataTypeName, dataTypes } from '../ondisk/data-types.ts';
import type { OldAlloc } from '../ondisk/keys/alloc.ts';
import {
  bucketDataType,
  fragmentation,
  LRU_TIME_MAX,
  NEED_DISCARD,
  NEED_INC_GEN,
} from '../ondisk/keys/alloc-bucket.ts';
import { type AllocV4, BchAllocV4 } from '../ondisk/keys/alloc-v4.ts';
import { keyKind } from '../ondisk/keys/index.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { AllocDevice } from './alloc-devices.ts';

/** What an alloc key says. Sizes in sectors. */
export interface BucketState {
  gen: number;
  oldestGen: number;
  dataType: number;
  needDiscard: boolean;
  needIncGen: boolean;
  dirtySectors: number;
  cachedSectors: number;
  stripeSectors: number;
  /** The number of its stripe; 0 for none. */
  stripe: number;
  stripeRedundancy: number;
  /** Sectors that the filesystem had read and written when it was last read from and written to. */
  readTime: bigint;
  writeTime: bigint;
  /** The journal entry that it was last filled or emptied in. */
  journalSeq: bigint;
}

/** A clock's time as buckets note it, in the bits that they have for it; 0 says never. Mirrors bch2_current_io_time. */
export function ioTime(clock: bigint): bigint {
  const time = clock & LRU_TIME_MAX;
  return time > 0n ? time : 1n;
}

const id = (name: DataTypeName): number => dataTypes.idOf(name);
export const TYPE = {
  free: id('free'),
  sb: id('sb'),
  journal: id('journal'),
  btree: id('btree'),
  user: id('user'),
  cached: id('cached'),
  parity: id('parity'),
  stripe: id('stripe'),
  needGcGens: id('need_gc_gens'),
  needDiscard: id('need_discard'),
  unstriped: id('unstriped'),
} as const;

/** A bucket without a key: free, and never used. */
export const untouchedBucket = (): BucketState => ({
  gen: 0,
  oldestGen: 0,
  dataType: TYPE.free,
  needDiscard: false,
  needIncGen: false,
  dirtySectors: 0,
  cachedSectors: 0,
  stripeSectors: 0,
  stripe: 0,
  stripeRedundancy: 0,
  readTime: 0n,
  writeTime: 0n,
  journalSeq: 0n,
});

/** Nothing is in it, and it is on the list of free ones or of those that wait for their discard. */
export const isUnused = (state: BucketState): boolean =>
  (state.dataType === TYPE.free || state.dataType === TYPE.needDiscard) &&
  state.dirtySectors + state.cachedSectors + state.stripeSectors === 0 &&
  state.stripe === 0;

/** Of a key of any of the four types; a value too short for its type says nothing. */
export function bucketStateOf({ k, value }: Key): BucketState {
  const kind = keyKind(k.type);
  if (kind === undefined || !kind.name.startsWith('alloc') || value.length < kind.minBytes) return untouchedBucket();
  const alloc = kind.decode(value) as AllocV4 | OldAlloc; // the kinds of that name
  const isOld = 'stripe' in alloc;
  return {
    gen: alloc.gen,
    oldestGen: alloc.oldest_gen,
    dataType: alloc.data_type,
    needDiscard: (alloc.flags & NEED_DISCARD) !== 0,
    needIncGen: (alloc.flags & NEED_INC_GEN) !== 0,
    dirtySectors: alloc.dirty_sectors,
    cachedSectors: alloc.cached_sectors,
    stripeSectors: alloc.stripe_sectors,
    stripe: isOld ? alloc.stripe : alloc.stripe_refcount,
    stripeRedundancy: isOld ? alloc.stripe_redundancy : alloc.stripe_redundancy_obsolete,
    readTime: alloc.read_time,
    writeTime: alloc.write_time,
    journalSeq: alloc.journal_seq_nonempty,
  };
}

/** BCH_ALLOC_V4_U64s, as the flags say it. */
const FIELDS_U64S = (BchAllocV4.size / 8) << 2;

/** The value of its key of type alloc_v4. */
export function encodeBucketState(state: BucketState): Uint8Array {
  const value = new Uint8Array(BchAllocV4.size);
  const view = viewOf(value);
  const { offset } = BchAllocV4;
  view.setBigUint64(offset.journal_seq_nonempty, state.journalSeq, true);
  const flags = (state.needDiscard ? NEED_DISCARD : 0) | (state.needIncGen ? NEED_INC_GEN : 0) | FIELDS_U64S;
  view.setUint32(offset.flags, flags, true);
  value[offset.gen] = state.gen;
  value[offset.oldest_gen] = state.oldestGen;
  value[offset.data_type] = state.dataType;
  value[offset.stripe_redundancy_obsolete] = state.stripeRedundancy;
  view.setUint32(offset.dirty_sectors, state.dirtySectors, true);
  view.setUint32(offset.cached_sectors, state.cachedSectors, true);
  view.setBigUint64(offset.io_time, state.readTime, true);
  view.setBigUint64(offset.io_time + 8, state.writeTime, true);
  view.setUint32(offset.stripe_refcount, state.stripe, true);
  view.setUint32(offset.stripe_sectors, state.stripeSectors, true);
  return value;
}

export function isSameState(a: BucketState, b: BucketState): boolean {
  return (
    a.gen === b.gen &&
    a.oldestGen === b.oldestGen &&
    a.dataType === b.dataType &&
    a.needDiscard === b.needDiscard &&
    a.needIncGen === b.needIncGen &&
    a.dirtySectors === b.dirtySectors &&
    a.cachedSectors === b.cachedSectors &&
    a.stripeSectors === b.stripeSectors &&
    a.stripe === b.stripe &&
    a.stripeRedundancy === b.stripeRedundancy &&
    a.readTime === b.readTime &&
    a.writeTime === b.writeTime &&
    a.journalSeq === b.journalSeq
  );
}

/** How many generations old the oldest pointers may be. */
export const oldestAge = ({ gen, oldestGen }: BucketState): number => (gen - oldestGen) & 255;

/** The type of a bucket that something of type `type` was put into or taken from, as a kernel of 6.12 has it. */
export const dataTypeOf = (state: BucketState, type: number): number =>
  bucketDataType(
    type,
    {
      dirtySectors: dirtySectorsOf(state),
      cachedSectors: state.cachedSectors,
      stripe: state.stripe,
      needDiscard: state.needDiscard,
      oldestAge: oldestAge(state),
    },
    '1.13',
  );

export const isEmptyType = (type: number): boolean =>
  type === TYPE.free || type === TYPE.needGcGens || type === TYPE.needDiscard;

/** Cached copies, blocks of stripes and other user data may share a bucket. Mirrors bucket_data_type_mismatch. */
export function isTypeMismatch(bucketType: number, type: number): boolean {
  return !isEmptyType(bucketType) && familyOfType(bucketType) !== familyOfType(type);
}
export const familyOfType = (type: number): number => (type === TYPE.cached || type === TYPE.stripe ? TYPE.user : type);

export const dirtySectorsOf = (state: Pick<BucketState, 'dirtySectors' | 'stripeSectors'>): number =>
  state.dirtySectors + state.stripeSectors;
export const totalSectorsOf = (state: BucketState): number => dirtySectorsOf(state) + state.cachedSectors;

/** Sectors that count for its type. Mirrors bch2_bucket_sectors. */
export const countedSectorsOf = (
  state: Pick<BucketState, 'dataType' | 'dirtySectors' | 'cachedSectors' | 'stripeSectors'>,
): number => (state.dataType === TYPE.cached ? state.cachedSectors : dirtySectorsOf(state));

/** What is left of a bucket that is in use. Mirrors bch2_bucket_sectors_fragmented. */
export function fragmentedSectorsOf(state: BucketState, { bucketSizeSectors }: AllocDevice): number {
  const sectors = countedSectorsOf(state);
  return sectors === 0 ? 0 : Math.max(0, bucketSizeSectors - sectors);
}

/** Dirty data in a `stripe` bucket that no stripe protects. Mirrors bch2_bucket_sectors_unstriped. */
export const unstripedSectorsOf = (state: BucketState): number =>
  state.dataType === TYPE.stripe ? state.dirtySectors : 0;

/** Bits above the bucket number in the freespace btree, as a number below 16. Mirrors alloc_freespace_genbits. */
export const freespaceGenBits = (state: BucketState): number => oldestAge(state) >> 4;

/** When its cached copies were last read; 0n when it is not in that list. Mirrors alloc_lru_idx_read. */
export const readLruTime = (state: BucketState): bigint =>
  state.dataType === TYPE.cached ? state.readTime & LRU_TIME_MAX : 0n;

/** How full it is, 2^31 for a full one; 0n for one that is not worth emptying. */
export const fragmentationLruTime = (state: BucketState, device: AllocDevice): bigint =>
  fragmentedSectorsOf(state, device) === 0
    ? 0n
    : fragmentation(state.dataType, dirtySectorsOf(state), device.bucketSizeSectors);
