// The trigger of stripes: each block takes a bucket, those of parity all of it, and parity counts in replicas. How much of the other
// blocks is in use is the extents' business.
// Source: bch2_trigger_stripe, mark_stripe_bucket and __mark_stripe_bucket in ec.c, v1.13.0.

import type { KeyChange, Transaction } from '../btree/transaction.ts';
import type { Bkey, Key } from '../ondisk/bkey.ts';
import { bposText } from '../ondisk/bpos.ts';
import { CorruptError } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { type Stripe, stripe } from '../ondisk/keys/stripe.ts';
import { MEMBER_INVALID } from '../ondisk/member-states.ts';
import { dataTypeOf, TYPE, totalSectorsOf } from './bucket-state.ts';
import { markBucket, type Sign } from './pointer-trigger.ts';
import type { TriggerContext } from './trigger-context.ts';

const STRIPE = keyTypes.idOf('stripe');

export function stripeTrigger(context: TriggerContext, tx: Transaction, change: KeyChange): Key | undefined {
  const { before, after } = change;
  const [gone, come] = [stripeOf(before), stripeOf(after)];
  for (const [key, value, sign] of [
    [after, come, 1],
    [before, gone, -1],
  ] as const) {
    if (key === undefined || value === undefined || haveSameBlocks(gone, come)) continue;
    const devs = value.ptrs.map(({ dev }) => dev);
    const sectors = value.sectors * value.nr_redundant;
    context.counters.addReplicas(TYPE.parity, value.nr_blocks - value.nr_redundant, devs, sign * sectors);
  }
  const blocks = Math.max(gone?.ptrs.length ?? 0, come?.ptrs.length ?? 0);
  for (let block = 0; block < blocks; block++) {
    if (isSameBlock(gone, come, block)) continue;
    // The old one first: a block that moves within the same bucket leaves it before it comes.
    if (before !== undefined && gone !== undefined)
      markBlock(context, tx, { k: before.k, value: gone, sign: -1 }, block);
    if (after !== undefined && come !== undefined) markBlock(context, tx, { k: after.k, value: come, sign: 1 }, block);
  }
  return after;
}

/** One that comes or goes. */
interface MarkedStripe {
  readonly k: Bkey;
  readonly value: Stripe;
  readonly sign: Sign;
}

const stripeOf = (key: Key | undefined): Stripe | undefined =>
  key?.k.type === STRIPE && key.value.length >= stripe.minBytes ? stripe.decode(key.value) : undefined;

function isSameBlock(a: Stripe | undefined, b: Stripe | undefined, block: number): boolean {
  const [left, right] = [a?.ptrs[block], b?.ptrs[block]];
  if (a === undefined || b === undefined || left === undefined || right === undefined) return false;
  return left.dev === right.dev && left.offset === right.offset && left.gen === right.gen;
}

const haveSameBlocks = (a: Stripe | undefined, b: Stripe | undefined): boolean =>
  a !== undefined && b !== undefined && a.ptrs.every((_, block) => isSameBlock(a, b, block));

function markBlock(context: TriggerContext, tx: Transaction, { k, value, sign }: MarkedStripe, block: number): void {
  const ptr = value.ptrs[block];
  if (ptr === undefined || ptr.dev === MEMBER_INVALID) return;
  const where = { btree: 'stripes', pos: bposText(k.p) };
  const wrong = (error: FaultName, detail: string) => {
    const damage = new CorruptError(error, where, detail);
    if (sign > 0) throw damage;
    context.damaged(damage);
  };
  const device = context.devices[ptr.dev];
  const touched = device === undefined ? undefined : context.bucketAt(tx, device, ptr.offset);
  if (touched === undefined) {
    wrong('ptr_to_invalid_device', `block ${block} at ${ptr.dev}:${ptr.offset}, where no bucket of a member is`);
    return;
  }
  const { now, bucket } = touched;
  const isParity = block >= value.nr_blocks - value.nr_redundant;
  const nr = k.p[1]!;
  if (sign > 0 && now.stripe !== 0)
    wrong('stripe_bucket_shared', `bucket ${ptr.dev}:${bucket} is in stripe ${now.stripe}`);
  if (sign > 0 && isParity && totalSectorsOf(now) !== 0) wrong('parity_bucket_in_use', `bucket ${ptr.dev}:${bucket}`);
  if (sign < 0 && now.stripe !== nr) wrong('stripe_bucket_shared', `bucket ${ptr.dev}:${bucket} is not in this stripe`);
  const type = isParity ? TYPE.parity : TYPE.stripe;
  if (isParity) {
    const pointer = { gen: ptr.gen, cached: false, stripe: undefined };
    markBucket(context, touched, { pointer, dataType: type, sectors: value.sectors, sign }, () => where);
  }
  now.stripe = sign > 0 ? nr : 0;
  now.stripeRedundancy = sign > 0 ? value.nr_redundant : 0;
  // What is left in a block of a stripe that ends is data as any other.
  now.dataType = dataTypeOf(now, sign < 0 && !isParity ? TYPE.user : type);
  context.buckets.noteChange(touched);
}
