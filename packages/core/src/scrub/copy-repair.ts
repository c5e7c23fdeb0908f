// Puts good copies in the place of bad ones, by copy-on-write: the bytes of a good copy, as they are encoded, go to free room on the device of
// the bad one, or on another where there is none; the key gets a pointer to them and loses that to the bad copy. The other pointers stay. A
// bad copy that was only cached goes without a replacement. Where no copy is good, nothing is touched.
//
// A copy is read and judged once more before it is copied. Nothing is decrypted: what is encrypted has a nonce of its key's version, which
// stays (see data/move-extents.ts). What several keys show parts of is copied once.

import { type AllocDevice, allocDevices, allowsData } from '../alloc/alloc-devices.ts';
import { withPointers } from '../alloc/extent-pointers.ts';
import type { Change } from '../change/change.ts';
import { BucketGens } from '../data/bucket-gens.ts';
import { StripeReader } from '../data/stripes.ts';
import { CorruptError, DeviceError, NoSpaceError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { roundUp, sectorsToBytes } from '../util/sizes.ts';
import { type Copy, CopyBatch, type ScrubbedKey } from './batch.ts';
import { type CopyReader, copyBytes, copyPlace } from './copy-reader.ts';

/** Why a bad copy stays, although there is a good one. */
export type LeftReason = 'no room' | 'gone';

export class CopyRepair {
  readonly #change: Change;
  readonly #reader: CopyReader;
  readonly #stripes: StripeReader;
  readonly #devices: readonly (AllocDevice | undefined)[];
  /** New places, by what was at the old one. */
  readonly #copied = new Map<string, ExtentPtr>();
  /** Sectors that were written. */
  sectors = 0;

  constructor(change: Change, reader: CopyReader) {
    this.#change = change;
    this.#reader = reader;
    this.#stripes = new StripeReader(change.tx, new BucketGens(change.tx, () => {}));
    this.#devices = allocDevices(change.tx.sb);
  }

  /**
   * @param scrubbed with a bad copy
   * @returns why nothing was changed; undefined when it was
   */
  repair(scrubbed: ScrubbedKey): LeftReason | undefined {
    const { tx } = this.#change;
    const { btree, k } = scrubbed;
    const key = tx.get(btree, k.p);
    if (key === undefined) return 'gone';
    const bad = scrubbed.copies.filter(({ state }) => state === 'bad');
    // As the key is now: repairs of this run change other keys only.
    const batch = new CopyBatch();
    batch.add(btree, key);
    const copies = batch.keys[0]?.copies ?? [];
    const found = bad.map(({ ptr }) => copies.find(copy => isSamePlace(copy.ptr, ptr)));
    if (found.some(copy => copy === undefined)) return 'gone';
    const replaced = bad.filter(({ ptr }) => !ptr.cached);
    const kept = copies.filter(copy => !found.includes(copy));
    let source: Copy | undefined;
    let added: ExtentPtr[] | undefined = [];
    if (replaced.length > 0) {
      const good = this.#goodCopy(kept, scrubbed) ?? this.#rebuiltCopy(copies);
      if (good === undefined) return 'gone';
      source = good.copy;
      added = this.#placed(good.copy, good.bytes, replaced, kept);
      if (added === undefined) return 'no room';
    }
    const isBad = (ptr: ExtentPtr) => bad.some(copy => isSamePlace(copy.ptr, ptr));
    tx.update(
      btree,
      withPointers(key, ptr => {
        const own = isBad(ptr) ? [] : [ptr];
        return source !== undefined && isSamePlace(ptr, source.ptr) ? [...own, ...(added ?? [])] : own;
      }),
    );
    return undefined;
  }

  /** @param scrubbed what is known of the copies: those that were not good then are not tried */
  #goodCopy(
    kept: readonly Copy[],
    scrubbed: ScrubbedKey,
  ): { readonly copy: Copy; readonly bytes: Uint8Array } | undefined {
    const isGood = ({ ptr }: Copy) =>
      scrubbed.copies.some(known => known.state === 'good' && isSamePlace(known.ptr, ptr));
    const candidates = kept.filter(isGood).sort((a, b) => Number(a.ptr.cached) - Number(b.ptr.cached));
    for (const copy of candidates) {
      const bytes = this.#reader.readOne(copy);
      if (bytes !== undefined) return { copy, bytes };
    }
    return undefined;
  }

  /** What a stripe gives in the place of a block that is bad. */
  #rebuiltCopy(copies: readonly Copy[]): { readonly copy: Copy; readonly bytes: Uint8Array } | undefined {
    for (const copy of copies) {
      const bytes = this.rebuilt(copy);
      if (bytes !== undefined) return { copy, bytes };
    }
    return undefined;
  }

  /** The bytes of a copy that is in a stripe, from the stripe's other blocks; undefined where these do not give them. */
  rebuilt(copy: Copy): Uint8Array | undefined {
    return rebuiltFrom(this.#stripes, this.#reader, copy, copyPlace(this.#change.tx, copy));
  }

  /** @returns pointers to new copies, as many as were replaced; undefined when there is no room */
  #placed(good: Copy, bytes: Uint8Array, replaced: readonly Copy[], kept: readonly Copy[]): ExtentPtr[] | undefined {
    const added: ExtentPtr[] = [];
    for (const { ptr } of replaced) {
      const id = [ptr.dev, ptr.offset, ptr.gen, good.encoding.csum.lo, good.encoding.csum.hi, copyBytes(good)].join(
        ':',
      );
      const known = good.encoding.csumType === 0 ? undefined : this.#copied.get(id);
      const taken = [...kept.map(copy => copy.ptr.dev), ...added.map(one => one.dev)];
      const to = known !== undefined && !taken.includes(known.dev) ? known : this.#write(ptr.dev, taken, bytes);
      if (to === undefined) return undefined;
      this.#copied.set(id, to);
      added.push(to);
    }
    return added;
  }

  /** @param taken devices that have another copy */
  #write(dev: number, taken: readonly number[], bytes: Uint8Array): ExtentPtr | undefined {
    const { tx, allocator } = this.#change;
    const blockSectors = tx.sb.block_size;
    const sectors = roundUp(bytes.length, sectorsToBytes(blockSectors)) / sectorsToBytes(1);
    const others = this.#devices.flatMap(device =>
      device === undefined || device.index === dev ? [] : [device.index],
    );
    for (const index of [dev, ...others]) {
      const device = this.#devices[index];
      const target = tx.device(index);
      if (device === undefined || target === undefined || taken.includes(index) || !device.isWritable) continue;
      if (!allowsData(device, 'user') || device.durability === 0 || device.bucketSizeSectors < sectors) continue;
      let to: ExtentPtr;
      try {
        to = allocator.allocateOn(index, sectors);
      } catch (thrown) {
        if (!(thrown instanceof NoSpaceError)) throw thrown;
        continue;
      }
      const padded = bytes.length === sectorsToBytes(sectors) ? bytes : new Uint8Array(sectorsToBytes(sectors));
      if (padded !== bytes) padded.set(bytes);
      target.write(sectorsToBytes(to.offset), padded);
      this.sectors += sectors;
      return to;
    }
    return undefined;
  }
}

/** Whether, and as what, a stripe gives a block that is bad or whose member is missing. */
export function rebuiltFrom(
  stripes: StripeReader,
  reader: CopyReader,
  copy: Copy,
  where: ReturnType<typeof copyPlace>,
): Uint8Array | undefined {
  const { ptr, stripePtr } = copy;
  if (stripePtr === undefined) return undefined;
  const bytes = new Uint8Array(copyBytes(copy));
  try {
    stripes.rebuild({ stripePtr, ptr, skipSectors: 0, where }, bytes);
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof DeviceError) return undefined;
    throw thrown;
  }
  return reader.problemOf(copy, bytes) === undefined ? bytes : undefined;
}

const isSamePlace = (a: ExtentPtr, b: ExtentPtr): boolean => a.dev === b.dev && a.offset === b.offset;
