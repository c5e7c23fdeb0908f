// Key types alloc, alloc_v2 and alloc_v3: the state of a bucket until 0.20. The first stores the fields that its bits name, each in
// bytes of its own number; the others a count of variable-length integers. The key's position is device:bucket.
// Source: alloc/format.h and alloc/background.c, v1.36.1.

import type { FaultName } from '../faults.ts';
import { at, layout, u8, u32, u64, viewOf } from '../layout.ts';
import { VarintReader } from '../varint.ts';
import { type Alloc, allocJson, allocText, NEED_DISCARD } from './alloc-bucket.ts';
import type { KeyKind, KeyProblem } from './kind.ts';

/** struct bch_alloc without the fields after it. */
export const BchAlloc = layout('bch_alloc', 2, {
  fields: at(0, u8), // bits of V1_FIELDS
  gen: at(1, u8),
});

/** struct bch_alloc_v2, likewise. */
export const BchAllocV2 = layout('bch_alloc_v2', 4, {
  nr_fields: at(0, u8), // of V2_FIELDS; the others are 0
  gen: at(1, u8),
  oldest_gen: at(2, u8),
  data_type: at(3, u8),
});

/** struct bch_alloc_v3, likewise. */
export const BchAllocV3 = layout('bch_alloc_v3', 16, {
  journal_seq: at(0, u64),
  flags: at(8, u32), // NEED_DISCARD, NEED_INC_GEN
  nr_fields: at(12, u8),
  gen: at(13, u8),
  oldest_gen: at(14, u8),
  data_type: at(15, u8),
});

const V1_FIELDS = [
  { name: 'read_time', sizeBytes: 2 },
  { name: 'write_time', sizeBytes: 2 },
  { name: 'data_type', sizeBytes: 1 },
  { name: 'dirty_sectors', sizeBytes: 2 },
  { name: 'cached_sectors', sizeBytes: 2 },
  { name: 'oldest_gen', sizeBytes: 1 },
  { name: 'stripe', sizeBytes: 4 },
  { name: 'stripe_redundancy', sizeBytes: 1 },
] as const;

const V2_FIELDS = [
  { name: 'read_time', bits: 64 },
  { name: 'write_time', bits: 64 },
  { name: 'dirty_sectors', bits: 32 },
  { name: 'cached_sectors', bits: 32 },
  { name: 'stripe', bits: 32 },
  { name: 'stripe_redundancy', bits: 8 },
] as const;

type FieldName = (typeof V1_FIELDS)[number]['name'] | (typeof V2_FIELDS)[number]['name'];

/** Length of alloc_v4 in u64s: what the reference makes of older keys in memory, and then prints. */
const ALLOC_V4_U64S = 8;

/** A bucket and the value that it came from: these types are read and carried, never changed. */
export interface OldAlloc extends Alloc {
  /** The number of its stripe; 0 for none. */
  readonly stripe: number;
  readonly stripe_redundancy: number;
  readonly bytes: Uint8Array;
  /** Why the fields cannot be read to their end; those after that are 0. */
  readonly damage: string | undefined;
}

interface Header {
  readonly gen: number;
  readonly oldest_gen?: number;
  readonly data_type?: number;
  readonly journal_seq?: bigint;
  readonly flags?: number;
}

function oldAlloc(
  bytes: Uint8Array,
  header: Header,
  fields: ReadonlyMap<FieldName, bigint>,
  damage: string | undefined,
): OldAlloc {
  const field = (name: FieldName) => fields.get(name) ?? 0n;
  return {
    journal_seq_nonempty: header.journal_seq ?? 0n,
    journal_seq_empty: 0n,
    flags: (header.flags ?? 0) & NEED_DISCARD,
    gen: header.gen,
    oldest_gen: header.oldest_gen ?? Number(field('oldest_gen')),
    data_type: header.data_type ?? Number(field('data_type')),
    dirty_sectors: Number(field('dirty_sectors')),
    cached_sectors: Number(field('cached_sectors')),
    stripe_sectors: 0,
    stripe_refcount: field('stripe') === 0n ? 0 : 1,
    stripe: Number(field('stripe')),
    stripe_redundancy: Number(field('stripe_redundancy')),
    read_time: field('read_time'),
    write_time: field('write_time'),
    backpointers_start: ALLOC_V4_U64S,
    sizeBytes: bytes.length,
    bytes,
    damage,
  };
}

function decodeV1(bytes: Uint8Array): OldAlloc {
  const view = viewOf(bytes);
  const header = BchAlloc.get(view, 0);
  const fields = new Map<FieldName, bigint>();
  let end = BchAlloc.size;
  for (const [i, { name, sizeBytes }] of V1_FIELDS.entries()) {
    if (((header.fields >> i) & 1) === 0) continue;
    const start = end;
    end += sizeBytes;
    if (end > bytes.length) continue;
    if (sizeBytes === 1) fields.set(name, BigInt(view.getUint8(start)));
    else fields.set(name, BigInt(sizeBytes === 2 ? view.getUint16(start, true) : view.getUint32(start, true)));
  }
  const damage = end > bytes.length ? `${bytes.length} bytes, expected ${8 * Math.ceil(end / 8)} or more` : undefined;
  return oldAlloc(bytes, { gen: header.gen }, fields, damage);
}

/** The integers after the header; each must fit the number of bits that the field has. */
function decodeVarints(bytes: Uint8Array, start: number, count: number): [Map<FieldName, bigint>, string | undefined] {
  const fields = new Map<FieldName, bigint>();
  const reader = new VarintReader(bytes, start);
  for (const { name, bits } of V2_FIELDS.slice(0, count)) {
    if (!reader.next()) return [fields, `${name} ends past the end of the value`];
    const value = (BigInt(reader.hi) << 32n) | BigInt(reader.lo);
    if (value >> BigInt(bits) !== 0n) return [fields, `${name} ${value}, expected ${bits} bits`];
    fields.set(name, value);
  }
  return [fields, undefined];
}

const problemOf = (error: FaultName, { damage }: OldAlloc): KeyProblem[] =>
  damage === undefined ? [] : [{ error, detail: damage }];

const common = { encode: (value: OldAlloc) => value.bytes, text: allocText, json: allocJson };

export const alloc: KeyKind<OldAlloc> = {
  ...common,
  name: 'alloc',
  minBytes: 8,
  decode: decodeV1,
  validate: value => problemOf('alloc_v1_val_size_bad', value),
};

export const allocV2: KeyKind<OldAlloc> = {
  ...common,
  name: 'alloc_v2',
  minBytes: 8,
  decode(bytes) {
    const header = BchAllocV2.get(viewOf(bytes), 0);
    return oldAlloc(bytes, header, ...decodeVarints(bytes, BchAllocV2.size, header.nr_fields));
  },
  validate: value => problemOf('alloc_v2_unpack_error', value),
};

export const allocV3: KeyKind<OldAlloc> = {
  ...common,
  name: 'alloc_v3',
  minBytes: BchAllocV3.size,
  decode(bytes) {
    const header = BchAllocV3.get(viewOf(bytes), 0);
    return oldAlloc(bytes, header, ...decodeVarints(bytes, BchAllocV3.size, header.nr_fields));
  },
  validate: value => problemOf('alloc_v3_unpack_error', value),
};
