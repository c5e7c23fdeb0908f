// Key type stripe: an erasure-coded stripe: a bucket on each of several devices, the last ones parity, with checksums of the data and
// how much of each block is in use. The key's position is 0:stripe.
//
// After the header come the pointers, then for each block its checksums (one for every `1 << csum_granularity_bits` sectors), then a
// sector count for each block: where the counts are depends on the checksum type.
// Sources: struct bch_stripe in data/ec/format.h, data/ec/trigger.h and trigger.c, v1.36.1 and v1.39.2.

import { toHex } from '../../util/hex.ts';
import { compareBpos, POS_MIN } from '../bpos.ts';
import { checksumTypes, checksumTypeText } from '../checksum-types.ts';
import {
  decodeExtentEntries,
  decodeExtentPtr,
  type ExtentPtr,
  encodeExtentPtr,
  extentPtrText,
} from '../extent-entries.ts';
import type { FaultName } from '../faults.ts';
import { at, layout, type Struct, u8, u16, viewOf } from '../layout.ts';
import { extentPtrsProblems } from './extent-ptrs.ts';
import type { KeyKind, KeyProblem } from './kind.ts';

/** struct bch_stripe without what is of variable length. */
export const BchStripe = layout('bch_stripe', 8, {
  sectors: at(0, u16), // of each block
  algorithm: at(2, u8), // since 1.39 only the low four bits, see NEEDS_RECONCILE
  nr_blocks: at(3, u8), // with parity
  nr_redundant: at(4, u8), // parity
  csum_granularity_bits: at(5, u8),
  csum_type: at(6, u8), // see checksum-types.ts
  disk_label: at(7, u8), // group index plus one; 0 is none
});

export interface Stripe extends Struct<typeof BchStripe> {
  /** The blocks' pointers, as far as the value holds them. */
  readonly ptrs: readonly ExtentPtr[];
  /** Sectors in use of each block, as far as the value holds them; undefined when the checksum type is not known. */
  readonly blockcounts: readonly number[] | undefined;
  /** The whole value as it is on disk. */
  readonly bytes: Uint8Array;
}

const ALGORITHM = 15;
/** Since 1.39: a block is to be moved or rebuilt. */
const NEEDS_RECONCILE = 16;
/** Since 1.39: how many data blocks could be added, from this bit on. */
const CAN_WIDEN_SHIFT = 5;

const PTR_BYTES = 8;
const BLOCKCOUNT_BYTES = 2;
export const BLOCKCOUNT_MAX = 0xffff;

/** Where the block counts start, in bytes from the start of the value; undefined when the checksum type is not known. */
function blockcountsOffset(header: Struct<typeof BchStripe>): number | undefined {
  const type = checksumTypes.byId(header.csum_type);
  if (type === undefined) return undefined;
  return BchStripe.size + header.nr_blocks * (PTR_BYTES + csumsPerBlock(header) * type.sizeBytes);
}

/**
 * The value with another count of sectors in use of one block.
 * @returns undefined when the value does not hold it or the checksum type is not known
 */
export function withBlockcount(value: Stripe, block: number, sectors: number): Uint8Array | undefined {
  const countsAt = blockcountsOffset(value);
  if (countsAt === undefined || block >= value.nr_blocks) return undefined;
  const at = countsAt + block * BLOCKCOUNT_BYTES;
  if (at + BLOCKCOUNT_BYTES > value.bytes.length) return undefined;
  const changed = value.bytes.slice();
  viewOf(changed).setUint16(at, sectors, true);
  return changed;
}

/** The value with another place of one block. */
export function withBlockPtr(value: Stripe, block: number, ptr: ExtentPtr): Uint8Array {
  const changed = value.bytes.slice();
  viewOf(changed).setBigUint64(BchStripe.size + block * PTR_BYTES, encodeExtentPtr(ptr), true);
  return changed;
}

/** How many checksums each block has. Mirrors stripe_csums_per_device. */
export function csumsPerBlock(header: Struct<typeof BchStripe>): number {
  return Math.ceil(header.sectors / 2 ** header.csum_granularity_bits);
}

/**
 * The checksum of a part of a block, `csum_granularity_bits` long, as it is on disk.
 * @returns undefined when the value does not hold it or the checksum type is not known
 */
export function stripeCsum(value: Stripe, block: number, part: number): Uint8Array | undefined {
  const type = checksumTypes.byId(value.csum_type);
  if (type === undefined || block >= value.nr_blocks || part >= csumsPerBlock(value)) return undefined;
  const start = BchStripe.size + value.nr_blocks * PTR_BYTES + (block * csumsPerBlock(value) + part) * type.sizeBytes;
  const end = start + type.sizeBytes;
  return end <= value.bytes.length ? value.bytes.subarray(start, end) : undefined;
}

function decodeStripe(bytes: Uint8Array): Stripe {
  const view = viewOf(bytes);
  const header = BchStripe.get(view, 0);
  const ptrs: ExtentPtr[] = [];
  for (let i = 0; i < header.nr_blocks; i++) {
    const start = BchStripe.size + i * PTR_BYTES;
    if (start + PTR_BYTES > bytes.length) break;
    ptrs.push(decodeExtentPtr(view.getBigUint64(start, true)));
  }
  const countsAt = blockcountsOffset(header);
  if (countsAt === undefined) return { ...header, ptrs, blockcounts: undefined, bytes };
  const blockcounts: number[] = [];
  for (let i = 0; i < header.nr_blocks; i++) {
    const start = countsAt + i * BLOCKCOUNT_BYTES;
    if (start + BLOCKCOUNT_BYTES > bytes.length) break;
    blockcounts.push(view.getUint16(start, true));
  }
  return { ...header, ptrs, blockcounts, bytes };
}

export const stripe: KeyKind<Stripe> = {
  name: 'stripe',
  minBytes: BchStripe.size,
  decode: decodeStripe,
  encode: value => value.bytes,
  validate(value, k, context) {
    const problems: KeyProblem[] = [];
    const found = (error: FaultName, detail: string) => problems.push({ error, detail });
    const isBelow2To32 = k.p[4] === 0 && k.p[3] === 0 && k.p[2] === 0;
    const isAtMost = isBelow2To32 && (k.p[1] !== 0xffff_ffff || k.p[0] === 0);
    if (compareBpos(k.p, POS_MIN) === 0 || !isAtMost) found('stripe_pos_bad', 'a position outside 0:1 to 0:4294967295');
    const countsAt = blockcountsOffset(value) ?? BchStripe.size + value.nr_blocks * PTR_BYTES;
    const needed = 8 * Math.ceil((countsAt + value.nr_blocks * BLOCKCOUNT_BYTES) / 8);
    if (value.bytes.length < needed)
      found('stripe_val_size_bad', `${value.bytes.length} bytes, expected ${needed} or more`);
    if (value.csum_granularity_bits >= 64)
      found('stripe_csum_granularity_bad', `granularity ${value.csum_granularity_bits}, expected below 64`);
    if (value.sectors === 0) found('stripe_sectors_zero', 'blocks of 0 sectors, expected 1 or more');
    const ptrsEnd = BchStripe.size + value.ptrs.length * PTR_BYTES;
    problems.push(
      ...extentPtrsProblems(decodeExtentEntries(value.bytes.subarray(BchStripe.size, ptrsEnd)), k, context),
    );
    return problems;
  },
  text(out, value, context) {
    const isNew = context.style === '1.39';
    const nrData = value.nr_blocks - value.nr_redundant;
    out.print(`algo ${isNew ? value.algorithm & ALGORITHM : value.algorithm} sectors ${value.sectors} `);
    // Unsigned, as in the reference, when there is more parity than blocks.
    out.print(`blocks ${nrData >>> 0}:${value.nr_redundant} csum ${checksumTypeText(value.csum_type)} gran `);
    const bits = value.csum_granularity_bits;
    out.print(bits < 64 ? `${1n << BigInt(bits)}` : `(invalid shift ${bits})`);
    if (isNew) {
      out.print(` label=${value.disk_label === 0 ? '(none)' : context.label(value.disk_label - 1)}`);
      if (value.algorithm & NEEDS_RECONCILE) out.print(' needs_reconcile');
      const canWiden = value.algorithm >> CAN_WIDEN_SHIFT;
      if (canWiden !== 0) out.print(` can_widen=${canWiden}`);
    } else if (value.disk_label !== 0) {
      out.print(` label${context.label(value.disk_label - 1)}`);
    }
    out.indented(() => {
      value.ptrs.forEach((ptr, i) => {
        out.print(`\n${extentPtrText(ptr, context)}`);
        const count = value.blockcounts?.[i];
        // Parity has no count of its own; 1.39 prints it nevertheless.
        if (count !== undefined && (isNew || i < nrData)) out.print(`#${count}`);
      });
    });
  },
  json: value => ({
    sectors: value.sectors,
    algorithm: value.algorithm & ALGORITHM,
    needs_reconcile: (value.algorithm & NEEDS_RECONCILE) !== 0,
    can_widen: value.algorithm >> CAN_WIDEN_SHIFT,
    nr_blocks: value.nr_blocks,
    nr_redundant: value.nr_redundant,
    csum_granularity_bits: value.csum_granularity_bits,
    csum_type: checksumTypeText(value.csum_type),
    disk_label: value.disk_label === 0 ? null : value.disk_label - 1,
    blocks: value.ptrs.map((ptr, i) => ({
      dev: ptr.dev,
      offset: ptr.offset,
      gen: ptr.gen,
      sectors: value.blockcounts?.[i],
      csums: blockCsums(value, i),
    })),
  }),
};

function blockCsums(value: Stripe, block: number): readonly string[] {
  const csums: string[] = [];
  for (let part = 0; part < csumsPerBlock(value); part++) {
    const csum = stripeCsum(value, block, part);
    if (csum === undefined || csum.length === 0) break;
    csums.push(toHex(csum));
  }
  return csums;
}
