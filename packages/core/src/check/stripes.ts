// Stripes: the buckets that they take, and how much of each block extents use. A few hundred bytes for each stripe.
// Source: __mark_stripe_bucket and bch2_trigger_stripe in ec.c, bch2_trigger_stripe_ptr in buckets.c, v1.13.0.

import { btrees } from '../ondisk/btrees.ts';
import type { Location } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { type Stripe, stripe } from '../ondisk/keys/stripe.ts';
import type { Counters } from './accounting.ts';
import type { AllBuckets } from './alloc.ts';
import { rowOf, TYPE } from './buckets.ts';
import { type InvariantContext, keyPlace } from './context.ts';
import type { Pointer } from './pointers.ts';

const STRIPES = btrees.idOf('stripes');
const STRIPE = keyTypes.idOf('stripe');

interface CheckedStripe {
  readonly where: Location;
  readonly value: Stripe;
  /** Sectors of each block that extents point to. */
  readonly used: number[];
}

export class Stripes {
  readonly #stripes = new Map<number, CheckedStripe>();

  /** Reads all stripes and marks their buckets. */
  read(context: InvariantContext, buckets: AllBuckets, counters: Counters): void {
    for (const key of context.keys('stripes')) {
      if (key.k.type !== STRIPE || key.value.length < stripe.minBytes) continue;
      const value = stripe.decode(key.value);
      const nr = key.k.p[1]!;
      const where = keyPlace(STRIPES, key.k.p);
      this.#stripes.set(nr, { where, value, used: value.ptrs.map(() => 0) });
      const devs = value.ptrs.map(ptr => ptr.dev);
      const nrData = value.nr_blocks - value.nr_redundant;
      counters.addReplicas(TYPE.parity, nrData, devs, value.sectors * value.nr_redundant);
      for (const [block, ptr] of value.ptrs.entries()) {
        const own = buckets.get(ptr.dev);
        if (own === undefined) continue;
        const bucket = Math.floor(ptr.offset / own.device.bucketSizeSectors);
        if (!own.has(bucket)) {
          context.report.add('ptr_to_invalid_device', where, { block, dev: ptr.dev, bucket, gen: ptr.gen });
          continue;
        }
        const page = own.page(bucket);
        const row = rowOf(bucket);
        if (page.markStripe[row] !== 0) {
          context.report.add('stripe_bucket_shared', where, { dev: ptr.dev, bucket, stripe: page.markStripe[row]! });
        }
        if (ptr.gen !== page.gen[row]) {
          const facts = { block, dev: ptr.dev, bucket, gen: ptr.gen, bucketGen: page.gen[row]! };
          context.report.add('stale_dirty_ptr', where, facts);
        }
        page.markStripe[row] = nr;
        page.markRedundancy[row] = value.nr_redundant;
        const isParity = block >= nrData;
        page.markType[row] = isParity ? TYPE.parity : TYPE.stripe;
        if (isParity) page.markDirty[row] = page.markDirty[row]! + value.sectors;
      }
    }
  }

  /** What is wrong with the stripe that a pointer says it is in. */
  faultOf({ ptr, stripe: entry }: Pointer): 'ptr_to_missing_stripe' | 'ptr_to_incorrect_stripe' | undefined {
    if (entry === undefined) return undefined;
    const known = this.#stripes.get(entry.idx);
    if (known === undefined) return 'ptr_to_missing_stripe';
    const { value } = known;
    const block = value.ptrs[entry.block];
    const isInside =
      block !== undefined &&
      block.dev === ptr.dev &&
      block.gen === ptr.gen &&
      ptr.offset >= block.offset &&
      ptr.offset < block.offset + value.sectors &&
      entry.block < value.nr_blocks - value.nr_redundant;
    return isInside ? undefined : 'ptr_to_incorrect_stripe';
  }

  /** An extent's pointer to a block. */
  markBlock(
    context: InvariantContext,
    where: Location,
    pointer: Pointer,
    onDisk: number,
    dataType: number,
    counters: Counters,
  ): void {
    const { stripe: entry } = pointer;
    const fault = this.faultOf(pointer);
    const known = entry === undefined ? undefined : this.#stripes.get(entry.idx);
    if (entry !== undefined && fault === 'ptr_to_missing_stripe')
      context.report.add(fault, where, { stripe: entry.idx });
    if (entry !== undefined && fault === 'ptr_to_incorrect_stripe')
      context.report.add(fault, where, { stripe: entry.idx, block: entry.block });
    if (entry === undefined || known === undefined || fault !== undefined) return;
    const { value, used } = known;
    used[entry.block] = used[entry.block]! + onDisk;
    const devs = value.ptrs.map(one => one.dev);
    counters.addReplicas(dataType, value.nr_blocks - value.nr_redundant, devs, onDisk);
  }

  check(context: InvariantContext): void {
    for (const { where, value, used } of this.#stripes.values())
      for (const block of wrongBlocks(value, used)) {
        const found = value.blockcounts![block]!;
        context.report.add('stripe_sector_count_wrong', where, { block, found, expected: used[block]! });
      }
  }

  /** Stripes of which a block counts other sectors than the pointers into it, with what they add up to for each block of data. */
  *wrong(): Generator<{ readonly nr: number; readonly used: readonly number[] }> {
    for (const [nr, { value, used }] of this.#stripes)
      if (wrongBlocks(value, used).length > 0) yield { nr, used: used.slice(0, value.nr_blocks - value.nr_redundant) };
  }
}

/** Blocks of data whose count is there and not what it should be. */
function wrongBlocks({ blockcounts, nr_blocks, nr_redundant }: Stripe, used: readonly number[]): readonly number[] {
  return Array.from({ length: Math.max(0, nr_blocks - nr_redundant) }, (_, block) => block).filter(
    block => blockcounts?.[block] !== undefined && blockcounts[block] !== used[block],
  );
}
