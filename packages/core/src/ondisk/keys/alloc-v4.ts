// Key type alloc_v4: what a bucket holds and since when. The key's position is device:bucket.
//
// It has grown twice (journal_seq_empty, then stripe_sectors); bits of `flags` say how long the part of fixed length is. Until 0.28
// backpointers of the bucket followed it.
// Sources: struct bch_alloc_v4 in alloc_background_format.h (v1.13.0) and alloc/format.h (v1.39.2), with their .c files.

import { bposText } from '../bpos.ts';
import { btrees } from '../btrees.ts';
import { dataTypes } from '../data-types.ts';
import { array, at, layout, type Struct, u8, u32, u64, viewOf } from '../layout.ts';
import { type Alloc, allocJson, allocProblems, allocText } from './alloc-bucket.ts';
import { type Backpointer, BchBackpointer, bucketOffset } from './backpointer.ts';
import type { KeyKind, KeyProblem } from './kind.ts';
import { padded } from './padded.ts';

export const BchAllocV4 = layout('bch_alloc_v4', 64, {
  journal_seq_nonempty: at(0, u64), // when it was last filled
  flags: at(8, u32), // NEED_DISCARD and the like, and the two lengths below
  gen: at(12, u8),
  oldest_gen: at(13, u8), // of the pointers that may still be around
  data_type: at(14, u8),
  stripe_redundancy_obsolete: at(15, u8), // until 1.36
  dirty_sectors: at(16, u32),
  cached_sectors: at(20, u32),
  io_time: at(24, array(u64, 2)), // READ, WRITE: sectors that the filesystem had read and written by then
  stripe_refcount: at(40, u32), // until 1.36 the number of the stripe
  nr_external_backpointers: at(44, u32), // the last member at first
  journal_seq_empty: at(48, u64), // when it was last emptied; until 1.13 a place in the list of fragmented buckets
  stripe_sectors: at(56, u32), // since 1.8; of dirty data in a stripe
  pad: at(60, u32),
});

const AT = BchAllocV4.offset;

/** A bucket and what its key may hold beside the fields. */
export interface AllocV4 extends Alloc, Omit<Struct<typeof BchAllocV4>, 'io_time'> {
  /** The whole value as it is on disk. */
  readonly bytes: Uint8Array;
  /** Those inside the key, until 0.28. */
  readonly backpointers: readonly Backpointer[];
}

/** BCH_ALLOC_V4_U64s_V0: length of the first version, which did not say it. */
const U64S_V0 = 6;

/** Length of the fields in u64s, 0 for the first version. */
const backpointersStart = (flags: number) => (flags >>> 2) & 0x3f;
const backpointerCount = (flags: number) => (flags >>> 8) & 0x3f;

/** How long the value should be. */
const valueU64s = (flags: number) =>
  (backpointersStart(flags) || U64S_V0) + (backpointerCount(flags) * BchBackpointer.size) / 8;

function embeddedBackpointers(bytes: Uint8Array, flags: number): readonly Backpointer[] {
  const count = backpointerCount(flags);
  if (count === 0) return [];
  const view = viewOf(bytes);
  const backpointers: Backpointer[] = [];
  const start = 8 * (backpointersStart(flags) || U64S_V0);
  for (let i = 0; i < count; i++) {
    const offset = start + i * BchBackpointer.size;
    if (offset + BchBackpointer.size > bytes.length) break;
    backpointers.push(BchBackpointer.get(view, offset));
  }
  return backpointers;
}

export const allocV4: KeyKind<AllocV4> = {
  name: 'alloc_v4',
  minBytes: 8 * U64S_V0,
  // Member by member: there is one for each bucket, and the layout's own way took 11 µs instead of 0.4 µs (Node 20).
  decode(bytes) {
    const view = viewOf(padded(bytes, BchAllocV4.size));
    const flags = view.getUint32(AT.flags, true);
    const end = 8 * (backpointersStart(flags) || U64S_V0);
    return {
      journal_seq_nonempty: view.getBigUint64(AT.journal_seq_nonempty, true),
      flags,
      gen: view.getUint8(AT.gen),
      oldest_gen: view.getUint8(AT.oldest_gen),
      data_type: view.getUint8(AT.data_type),
      stripe_redundancy_obsolete: view.getUint8(AT.stripe_redundancy_obsolete),
      dirty_sectors: view.getUint32(AT.dirty_sectors, true),
      cached_sectors: view.getUint32(AT.cached_sectors, true),
      read_time: view.getBigUint64(AT.io_time, true),
      write_time: view.getBigUint64(AT.io_time + 8, true),
      stripe_refcount: view.getUint32(AT.stripe_refcount, true),
      nr_external_backpointers: view.getUint32(AT.nr_external_backpointers, true),
      // A backpointer may follow the fields.
      journal_seq_empty: end > AT.journal_seq_empty ? view.getBigUint64(AT.journal_seq_empty, true) : 0n,
      stripe_sectors: end > AT.stripe_sectors ? view.getUint32(AT.stripe_sectors, true) : 0,
      pad: end > AT.pad ? view.getUint32(AT.pad, true) : 0,
      backpointers_start: backpointersStart(flags),
      sizeBytes: bytes.length,
      bytes,
      backpointers: embeddedBackpointers(bytes, flags),
    };
  },
  /** The fields are put over the bytes; what follows them stays. */
  encode(value) {
    const fields = new Uint8Array(BchAllocV4.size);
    BchAllocV4.put(viewOf(fields), 0, { ...value, io_time: [value.read_time, value.write_time] });
    const target = Uint8Array.from(value.bytes);
    target.set(
      fields.subarray(0, Math.min(8 * (backpointersStart(value.flags) || U64S_V0), fields.length, target.length)),
    );
    return target;
  },
  validate(value, _k, context = {}) {
    const problems: KeyProblem[] = [];
    const neededBytes = 8 * valueU64s(value.flags);
    if (neededBytes > value.sizeBytes) {
      problems.push({
        error: 'alloc_v4_val_size_bad',
        detail: `${value.sizeBytes} bytes, expected ${neededBytes} or more`,
      });
    }
    if (backpointersStart(value.flags) === 0 && backpointerCount(value.flags) !== 0)
      problems.push({ error: 'alloc_v4_backpointers_start_bad', detail: 'backpointers without a start, expected one' });
    problems.push(...allocProblems(value, context));
    return problems;
  },
  text: allocText,
  json: value => ({
    ...allocJson(value),
    ...(value.backpointers.length === 0 ? {} : { backpointers: value.backpointers.map(embeddedJson) }),
  }),
};

function embeddedJson(value: Backpointer): unknown {
  return {
    btree: btrees.nameOf(value.btree_id),
    level: value.level,
    data_type: dataTypes.nameOf(value.data_type),
    bucket_offset: bucketOffset(value),
    bucket_len: value.bucket_len,
    pos: bposText(value.pos),
  };
}
