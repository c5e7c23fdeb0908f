// A pointer into a block of a stripe: how much of the block is in use is noted in the stripe's key, and what is there counts for all of the
// stripe's devices.
// Source: bch2_trigger_stripe_ptr in buckets.c, bch2_ptr_matches_stripe in ec.h, v1.13.0.

import { makeKey, type Transaction } from '../btree/transaction.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError, type Location } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { type Stripe, stripe, withBlockcount } from '../ondisk/keys/stripe.ts';
import type { SpacePointer } from './extent-pointers.ts';
import type { TriggerContext } from './trigger-context.ts';

const STRIPES = btrees.idOf('stripes');
const STRIPE = keyTypes.idOf('stripe');

/** A pointer that comes or goes. */
interface MarkedPointer {
  readonly pointer: SpacePointer;
  readonly dataType: number;
  /** Below zero for one that goes. */
  readonly sectors: number;
}

export function markStripePointer(
  context: TriggerContext,
  tx: Transaction,
  where: Location,
  { pointer, dataType, sectors }: MarkedPointer,
): void {
  if (pointer.stripe === undefined) return;
  const { idx, block } = pointer.stripe;
  const wrong = (error: FaultName, detail: string) => {
    const damage = new CorruptError(error, where, detail);
    if (sectors > 0) throw damage;
    context.damaged(damage);
  };
  // Stripes have numbers of 32 bits; larger ones are nowhere.
  const key = idx > 0xffff_ffff ? undefined : tx.get(STRIPES, Uint32Array.of(0, idx, 0, 0, 0));
  if (key === undefined || key.k.type !== STRIPE || key.value.length < stripe.minBytes) {
    wrong('ptr_to_missing_stripe', `a pointer into stripe ${idx}, which is not there`);
    return;
  }
  const value = stripe.decode(key.value);
  const count = value.blockcounts?.[block];
  if (!isInBlock(value, pointer, block) || count === undefined) {
    wrong('ptr_to_incorrect_stripe', `block ${block} of stripe ${idx} is not where it points to`);
    return;
  }
  if (count + sectors < 0) wrong('stripe_sector_count_wrong', `${count} sectors of block ${block} and ${sectors} more`);
  const changed = withBlockcount(value, block, Math.max(0, count + sectors));
  if (changed !== undefined) tx.store(STRIPES, makeKey(STRIPE, key.k.p, changed, key.k));
  context.touchedStripes.add(idx);
  const devs = value.ptrs.map(({ dev }) => dev);
  context.counters.addReplicas(dataType, value.nr_blocks - value.nr_redundant, devs, sectors);
}

/** Stripes that the last pointer has left end, and their buckets are free for other things. Mirrors ec_stripe_delete_work. */
export function endEmptyStripes(context: TriggerContext, tx: Transaction): void {
  for (const idx of context.touchedStripes) {
    const key = tx.get(STRIPES, Uint32Array.of(0, idx, 0, 0, 0));
    if (key?.k.type === STRIPE && isEmptyStripe(stripe.decode(key.value))) tx.delete(STRIPES, key.k.p.slice());
  }
  context.touchedStripes.clear();
}

/** Whether nothing points into its blocks. */
export const isEmptyStripe = ({ blockcounts, nr_blocks, nr_redundant }: Stripe): boolean =>
  blockcounts !== undefined &&
  blockcounts.length === nr_blocks &&
  blockcounts.slice(0, nr_blocks - nr_redundant).every(count => count === 0);

function isInBlock(value: Stripe, pointer: SpacePointer, block: number): boolean {
  const ptr = value.ptrs[block];
  return (
    ptr !== undefined &&
    block < value.nr_blocks - value.nr_redundant &&
    ptr.dev === pointer.dev &&
    ptr.gen === pointer.gen &&
    pointer.offset >= ptr.offset &&
    pointer.offset < ptr.offset + value.sectors
  );
}
