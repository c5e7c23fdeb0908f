// What all four versions of alloc keys come down to: the state of one bucket. Its text and the rules that its fields keep are the
// same whichever version it is stored in.
// Sources: alloc_background.c and .h (v1.13.0), alloc/background.c and .h (v1.36.1, v1.39.2).

import type { PrintBuffer } from '../../util/print-buffer.ts';
import type { Bkey } from '../bkey.ts';
import { type DataTypeName, dataTypes } from '../data-types.ts';
import type { FaultName } from '../faults.ts';
import { type Release, releaseForVersion } from '../releases.ts';
import { dataTypeText } from '../replicas-entry.ts';
import { VERSION_MAX_READ, versionOf } from '../versions.ts';
import type { KeyFormat, KeyProblem, KeyTextContext } from './kind.ts';

/** The state of a bucket. Sizes in 512-byte sectors. */
export interface Alloc {
  readonly journal_seq_nonempty: bigint;
  readonly journal_seq_empty: bigint;
  /** See NEED_DISCARD. */
  readonly flags: number;
  readonly gen: number;
  readonly oldest_gen: number;
  readonly data_type: number;
  readonly dirty_sectors: number;
  readonly cached_sectors: number;
  readonly stripe_sectors: number;
  /** Until 1.36 the number of the stripe that the bucket is in; 0 is none in either. */
  readonly stripe_refcount: number;
  /** Sectors that the filesystem had read when the bucket was last read from. */
  readonly read_time: bigint;
  readonly write_time: bigint;
  /** What the text calls bp_start: the length of the fields in u64s, or that of alloc_v4 for the versions before it. */
  readonly backpointers_start: number;
  /** Length of the value that it came from. */
  readonly sizeBytes: number;
}

/** Bits of `flags`. */
export const NEED_DISCARD = 1;
export const NEED_INC_GEN = 2;

const dataType = (name: DataTypeName) => dataTypes.idOf(name);
const FREE = dataType('free');
const CACHED = dataType('cached');
const STRIPE = dataType('stripe');
const PARITY = dataType('parity');
const USER = dataType('user');
const NEED_GC_GENS = dataType('need_gc_gens');
const DISCARD = dataType('need_discard');
const MULTIPLE = dataType('multiple');
const MOVABLE: readonly number[] = [dataType('btree'), USER, STRIPE];
const WITH_DIRTY_DATA: readonly number[] = [dataType('sb'), dataType('journal'), dataType('btree'), USER, PARITY];

/** BUCKET_GC_GEN_MAX: when its oldest pointers may be this many generations old, a bucket is not used again before they were looked for. */
export const GC_GEN_MAX = 96;
/** 48 bits. */
export const LRU_TIME_MAX = 0xffff_ffff_ffffn;

const VERSION_1_36 = versionOf('no_sb_user_data_replicas');

/** Sectors in use that are not cached copies; the sum is one of 32 bits, as in the reference. */
const dirtySectors = (value: Alloc) => (value.stripe_sectors + value.dirty_sectors) >>> 0;

/** What is in a bucket, as far as its data type follows from it. */
export interface BucketUse {
  readonly dirtySectors: number;
  readonly cachedSectors: number;
  /** 0 when it is in none. */
  readonly stripe: number;
  readonly needDiscard: boolean;
  /** How many generations old its oldest pointers may be. */
  readonly oldestAge: number;
}

/**
 * The data type that follows from what is in a bucket. Mirrors alloc_data_type.
 * @param type of what was put into it or taken out last; without a change the type that it has
 * @param release 1.36 takes dirty data of a `stripe` bucket without a stripe for user data; 1.39 no longer goes by NEED_DISCARD
 */
export function bucketDataType(type: number, use: BucketUse, release: Release): number {
  if (release === '1.39' && type === MULTIPLE) return MULTIPLE;
  if (use.stripe !== 0) return type === PARITY ? PARITY : STRIPE;
  if (use.dirtySectors !== 0) return release !== '1.13' && (type === CACHED || type === STRIPE) ? USER : type;
  if (use.cachedSectors !== 0) return CACHED;
  if (release === '1.39' ? type === DISCARD : use.needDiscard) return DISCARD;
  return use.oldestAge >= GC_GEN_MAX ? NEED_GC_GENS : FREE;
}

const useOf = (value: Alloc): BucketUse => ({
  dirtySectors: dirtySectors(value),
  cachedSectors: value.cached_sectors,
  stripe: value.stripe_refcount,
  needDiscard: (value.flags & NEED_DISCARD) !== 0,
  oldestAge: (value.gen - value.oldest_gen) & 255,
});

/** The releases that may have written a key in a filesystem of this version. */
function releasesOf(version: number): readonly Release[] {
  if (version > VERSION_1_36) return ['1.36', '1.39'];
  return version === VERSION_1_36 ? ['1.36'] : ['1.13', '1.36'];
}

/** Whether the fields contradict each other. What any release of the filesystem's age would accept is sound. */
export function allocProblems(value: Alloc, format: KeyFormat): KeyProblem[] {
  const problems: KeyProblem[] = [];
  const found = (error: FaultName, detail: string) => problems.push({ error, detail });
  const { version = VERSION_MAX_READ } = format;
  const isNew = releaseForVersion(version) === '1.39';
  const { data_type, cached_sectors, dirty_sectors, stripe_sectors, stripe_refcount } = value;

  const expected = releasesOf(version).map(release => bucketDataType(data_type, useOf(value), release));
  if (!expected.includes(data_type)) {
    const types = [...new Set(expected)].map(dataTypeText).join(' or ');
    found('alloc_key_data_type_bad', `data type ${dataTypeText(data_type)}, expected ${types}`);
  }
  for (const [name, time] of [
    ['read', value.read_time],
    ['write', value.write_time],
  ] as const) {
    if (time > LRU_TIME_MAX) found('alloc_key_io_time_bad', `${name} time ${time}, expected at most ${LRU_TIME_MAX}`);
  }

  if (dataTypes.byId(data_type)?.isEmpty) {
    if (stripe_sectors || dirty_sectors || cached_sectors || stripe_refcount) {
      found(
        'alloc_key_empty_but_have_data',
        `empty, but ${dirty_sectors} dirty, ${cached_sectors} cached, ${stripe_sectors} stripe sectors, ` +
          `stripe ${stripe_refcount}`,
      );
    }
  } else if (WITH_DIRTY_DATA.includes(data_type)) {
    if (!dirty_sectors && !stripe_sectors && !(isNew && stripe_refcount))
      found('alloc_key_dirty_sectors_0', `data type ${dataTypeText(data_type)} without dirty sectors`);
  } else if (data_type === CACHED) {
    if (!cached_sectors || dirty_sectors || stripe_sectors || stripe_refcount) {
      found(
        'alloc_key_cached_inconsistency',
        `cached, but ${cached_sectors} cached, ${dirty_sectors} dirty, ${stripe_sectors} stripe sectors, ` +
          `stripe ${stripe_refcount}`,
      );
    }
  }
  return problems;
}

/**
 * How full a bucket is that could be emptied into another one, 2^31 when full: its place in the list of fragmented buckets. 0 for a
 * bucket that is not in the list. Mirrors alloc_lru_idx_fragmentation.
 * @param dirty sectors in use that are not cached copies
 */
export function fragmentation(type: number, dirty: number, bucketSizeSectors: number): bigint {
  // Signed, as in the reference: a broken sum of more than 2^31 counts as less than the bucket.
  const unused = Math.max(0, bucketSizeSectors - (dirty | 0));
  const isMovable = MOVABLE.includes(type) || type === MULTIPLE;
  if (!isMovable || dirty === 0 || unused === 0 || bucketSizeSectors === 0) return 0n;
  return (BigInt(Math.min(dirty, bucketSizeSectors)) << 31n) / BigInt(bucketSizeSectors);
}

/** Mirrors __bch2_alloc_v4_to_text. */
export function allocText(out: PrintBuffer, value: Alloc, context: KeyTextContext, k: Bkey): void {
  out.print(`\ngen ${value.gen} oldest_gen ${value.oldest_gen} data_type ${dataTypeText(value.data_type)}\n`);
  out.print(`journal_seq_nonempty ${value.journal_seq_nonempty}\n`);
  if (value.sizeBytes > 48) out.print(`journal_seq_empty    ${value.journal_seq_empty}\n`);
  out.print(`need_discard         ${value.flags & NEED_DISCARD ? 1 : 0}\n`);
  out.print(`need_inc_gen         ${value.flags & NEED_INC_GEN ? 1 : 0}\n`);
  out.print(`dirty_sectors        ${value.dirty_sectors}\n`);
  if (value.sizeBytes > 56) out.print(`stripe_sectors       ${value.stripe_sectors}\n`);
  out.print(`cached_sectors       ${value.cached_sectors}\n`);
  out.print(`stripe_refcount      ${value.stripe_refcount}\n`);
  out.print(`io_time[READ]        ${value.read_time}\n`);
  out.print(`io_time[WRITE]       ${value.write_time}\n`);
  const device = k.p[4] === 0 ? context.device(k.p[3]!) : undefined;
  if (device !== undefined)
    out.print(`fragmentation     ${fragmentation(value.data_type, dirtySectors(value), device.bucketSizeSectors)}\n`);
  out.print(`bp_start          ${value.backpointers_start}\n`);
}

/** The members that all versions share. */
export function allocJson(value: Alloc): Record<string, unknown> {
  return {
    gen: value.gen,
    oldest_gen: value.oldest_gen,
    data_type: dataTypeText(value.data_type),
    journal_seq_nonempty: value.journal_seq_nonempty,
    journal_seq_empty: value.journal_seq_empty,
    need_discard: (value.flags & NEED_DISCARD) !== 0,
    need_inc_gen: (value.flags & NEED_INC_GEN) !== 0,
    dirty_sectors: value.dirty_sectors,
    cached_sectors: value.cached_sectors,
    stripe_sectors: value.stripe_sectors,
    stripe_refcount: value.stripe_refcount,
    io_time: { read: value.read_time, write: value.write_time },
  };
}
