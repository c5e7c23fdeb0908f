// Puts good parity in the place of bad: it is computed from the data of its stripe, compared with the stripe's checksum, and goes to a free
// bucket, on the same member or on another that has no block of the stripe; the stripe leads there from then on.

import { type AllocDevice, allocDevices, allowsData } from '../alloc/alloc-devices.ts';
import { makeKey } from '../btree/transaction.ts';
import type { Change } from '../change/change.ts';
import { StripeReader } from '../data/stripes.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { bposOffsetNumber, bposText } from '../ondisk/bpos.ts';
import { CorruptError, DeviceError, NoSpaceError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { type Stripe, stripe, withBlockPtr } from '../ondisk/keys/stripe.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import type { LeftReason } from './copy-repair.ts';

const STRIPE = keyTypes.idOf('stripe');

export class ParityRepair {
  readonly #change: Change;
  readonly #devices: readonly (AllocDevice | undefined)[];
  /** Sectors that were written. */
  sectors = 0;

  constructor(change: Change) {
    this.#change = change;
    this.#devices = allocDevices(change.tx.sb);
  }

  /**
   * @param pos of the stripe
   * @param block of parity
   * @returns why nothing was changed; undefined when it was
   */
  repair(pos: Bpos, block: number): LeftReason | undefined {
    const { tx } = this.#change;
    const key = tx.get('stripes', pos);
    if (key?.k.type !== STRIPE || key.value.length < stripe.minBytes) return 'gone';
    const value = stripe.decode(key.value);
    const bytes = parityOf(new StripeReader(tx), pos, block);
    if (bytes === undefined) return 'gone';
    const to = this.#place(value, block);
    if (to === undefined) return 'no room';
    tx.device(to.dev)?.write(sectorsToBytes(to.offset), bytes);
    this.sectors += value.sectors;
    tx.update('stripes', makeKey(STRIPE, pos.slice(), withBlockPtr(value, block, to), key.k));
    return undefined;
  }

  #place({ ptrs, sectors }: Stripe, block: number): ExtentPtr | undefined {
    const { tx, allocator } = this.#change;
    const own = ptrs[block]!.dev;
    const taken = ptrs.map(({ dev }) => dev);
    const others = this.#devices.flatMap(one => (one === undefined || taken.includes(one.index) ? [] : [one.index]));
    for (const index of [own, ...others]) {
      const device = this.#devices[index];
      if (device === undefined || tx.device(index) === undefined || !device.isWritable) continue;
      // All of a bucket: nothing else may be in one of parity.
      if (!allowsData(device, 'user') || device.durability === 0 || device.bucketSizeSectors !== sectors) continue;
      try {
        return allocator.allocateOn(index, sectors);
      } catch (thrown) {
        if (!(thrown instanceof NoSpaceError)) throw thrown;
      }
    }
    return undefined;
  }
}

/** A block of parity as it should be; undefined where too little of its stripe is good. */
export function parityOf(stripes: StripeReader, pos: Bpos, block: number): Uint8Array | undefined {
  try {
    return stripes.parity(bposOffsetNumber(pos), block, { btree: 'stripes', pos: bposText(pos) });
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof DeviceError) return undefined;
    throw thrown;
  }
}
