// Data leaves the stripes that lean on what goes, whole members or the buckets at the end of one: it is plain from then on, with as many copies
// as it shall have. What lies on buckets that stay keeps its place; the rest is read there, or computed from the other blocks, and written
// elsewhere: on other members, or further ahead on the same one. With its last pointer a stripe ends, which frees its parity.
// Source: the purpose of bch2_data_update_init and ec_stripe_delete in data_update.c and ec.c, v1.13.0, which leave stripes where they are.

import { type AllocDevice, allocDevices } from '../alloc/alloc-devices.ts';
import { withPointers } from '../alloc/extent-pointers.ts';
import { isEmptyStripe } from '../alloc/stripe-pointers.ts';
import type { FilesystemSource } from '../btree/source.ts';
import type { Change } from '../change/change.ts';
import { extentContent } from '../data/extent-read.ts';
import { bucketContents } from '../data/move-extents.ts';
import { type Replica, replicasOf, verifyEncoded } from '../data/replicas.ts';
import { StripeReader } from '../data/stripes.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposOffsetNumber, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { type Stripe, stripe } from '../ondisk/keys/stripe.ts';
import { roundUp, sectorsToBytes } from '../util/sizes.ts';
import { DataOptions } from './data-options.ts';

const STRIPE = keyTypes.idOf('stripe');

/** What goes. */
export interface Leaving {
  /** Members that get nothing new. */
  readonly devs: ReadonlySet<number>;
  /** Buckets from `sector` on of a member that stays: what lies there gets another place on it. */
  readonly tail?: { readonly dev: number; readonly sector: number };
}

type Placed = Pick<ExtentPtr, 'dev' | 'offset'>;

const isInTail = ({ tail }: Leaving, { dev, offset }: Placed): boolean =>
  tail !== undefined && dev === tail.dev && offset >= tail.sector;
const isGoing = (leaving: Leaving, ptr: Placed): boolean => leaving.devs.has(ptr.dev) || isInTail(leaving, ptr);

/** The positions of the stripes with a block in what goes. */
export function* leaningStripes(source: FilesystemSource, leaving: Leaving): Generator<Bpos> {
  for (const key of source.btree('stripes').keys())
    if (stripeOf(key)?.ptrs.some(ptr => isGoing(leaving, ptr))) yield key.k.p.slice();
}

/** Sectors of data in the stripes with a block in what goes. */
export function leaningSectors(source: FilesystemSource, leaving: Leaving): number {
  let sectors = 0;
  for (const pos of leaningStripes(source, leaving)) {
    const { blockcounts = [], nr_blocks, nr_redundant } = stripeOf(source.btree('stripes').get(pos))!;
    for (const count of blockcounts.slice(0, nr_blocks - nr_redundant)) sectors += count;
  }
  return sectors;
}

/** Whether the blocks of a stripe that are left without a member give what is on it. */
export function isComputable(source: FilesystemSource, idx: number, without: number): boolean {
  const value = stripeOf(source.btree('stripes').get(Uint32Array.of(0, idx, 0, 0, 0)));
  if (value === undefined) return false;
  const gone = value.ptrs.filter(({ dev }) => dev === without || source.device(dev) === undefined);
  return gone.length <= value.nr_redundant;
}

const stripeOf = (key: Key | undefined): Stripe | undefined =>
  key?.k.type === STRIPE && key.value.length >= stripe.minBytes ? stripe.decode(key.value) : undefined;

export class StripeLeaving {
  readonly #change: Change;
  readonly #filesystem: FilesystemSource;
  readonly #leaving: Leaving;
  readonly #durability: readonly number[];
  readonly #devices: readonly (AllocDevice | undefined)[];
  readonly #options: DataOptions;
  readonly #stripes: StripeReader;
  /** New places of what several keys show parts of, by the old one. */
  readonly #copied = new Map<string, ExtentPtr[]>();
  /** Keys that were changed. */
  keys = 0;
  /** Sectors that were written, and those of copies that there is no member for. */
  sectors = 0;
  fewerSectors = 0;

  /**
   * @param filesystem as it is before the change
   * @param durability how many copies one on each member counts for: none on those that leave
   */
  constructor(change: Change, filesystem: FilesystemSource, leaving: Leaving, durability: readonly number[]) {
    this.#change = change;
    this.#filesystem = filesystem;
    this.#leaving = leaving;
    this.#durability = durability;
    this.#devices = allocDevices(filesystem.sb);
    this.#options = new DataOptions(change.tx);
    this.#stripes = new StripeReader(filesystem);
  }

  /**
   * Takes everything out of a stripe, as long as fewer than `keysMax` keys are changed.
   * @returns whether it has ended
   * @throws NoSpaceError; CorruptError where its counts do not agree with what points into it; DeviceError for what cannot be read anywhere
   */
  leave(pos: Bpos, keysMax: number): boolean {
    const { tx } = this.#change;
    const value = stripeOf(tx.get('stripes', pos));
    if (value === undefined) return true;
    for (const ptr of value.ptrs.slice(0, value.nr_blocks - value.nr_redundant)) {
      const device = this.#devices[ptr.dev];
      if (device === undefined) continue;
      const bucket = Math.floor(ptr.offset / device.bucketSizeSectors);
      for (const { references } of bucketContents(this.#filesystem, device, bucket, bucket + 1))
        for (const { btree, level, pos: at } of references) {
          if (level > 0) continue;
          if (this.keys >= keysMax) return false;
          this.#leaveKey(btree, at, bposOffsetNumber(pos));
        }
    }
    tx.settle();
    const left = stripeOf(tx.get('stripes', pos));
    if (left === undefined) return true;
    if (isEmptyStripe(left)) {
      // Nothing was in it.
      tx.delete('stripes', pos);
      return true;
    }
    const detail = `its blocks count sectors that nothing points to: run fsck`;
    throw new CorruptError('stripe_sector_count_wrong', { btree: 'stripes', pos: bposText(pos) }, detail);
  }

  #leaveKey(btree: number, pos: Bpos, idx: number): void {
    const { tx } = this.#change;
    const key = tx.get(btree, pos);
    const content = key === undefined ? undefined : extentContent(key);
    if (key === undefined || content?.kind !== 'data') return;
    const copies = replicasOf(content.entries, key.k).filter(({ ptr }) => !ptr.cached);
    const striped = copies.filter(({ stripePtr }) => stripePtr?.idx === idx);
    if (striped.length === 0) return;
    this.keys++;
    const wanted = this.#options.of(btree, key).replicas;
    let kept = copies.reduce((sum, { ptr }) => sum + (this.#durability[ptr.dev] ?? 0), 0);
    const taken = new Set(copies.map(({ ptr }) => ptr.dev));
    const places = new Map<ExtentPtr, readonly ExtentPtr[]>();
    for (const copy of striped) {
      const isStaying = !isGoing(this.#leaving, copy.ptr) && tx.device(copy.ptr.dev) !== undefined;
      const ahead = isInTail(this.#leaving, copy.ptr) ? 1 : 0;
      const needed = ahead + Math.max(wanted - kept, kept === 0 ? 1 : 0);
      const added = needed <= 0 ? [] : this.#placed(btree, key, copy, needed, taken);
      kept += Math.max(0, added.length - ahead);
      for (const { dev } of added) taken.add(dev);
      // What cannot be read anywhere, what there is no place for and what has copies enough stays where it is, in no stripe: it is treated as such.
      const isMoved = !isStaying && added.length > 0;
      places.set(copy.ptr, [...(isMoved ? [] : [copy.ptr]), ...added]);
    }
    const find = (ptr: ExtentPtr) => striped.find(copy => isSamePlace(copy.ptr, ptr))?.ptr;
    const isNew = (ptr: ExtentPtr) => [...places.values()].flat().some(({ dev }) => dev === ptr.dev);
    const left = withPointers(
      key,
      ptr => {
        const own = find(ptr);
        if (own !== undefined) return places.get(own);
        // A cached copy on the same device gives way.
        return ptr.cached && isNew(ptr) ? undefined : ptr;
      },
      ptr => find(ptr) === undefined,
    );
    tx.update(btree, left);
  }

  /**
   * New copies of what lies in a block of a stripe.
   * @returns fewer than were asked for where there are no more members, and none when the data cannot be had
   */
  #placed(btree: number, key: Key, copy: Replica, count: number, taken: ReadonlySet<number>): ExtentPtr[] {
    const { ptr, encoding } = copy;
    const sectors = roundUp(encoding.compressedSectors, this.#filesystem.sb.block_size);
    const name = `${ptr.dev}:${ptr.offset}:${ptr.gen}:${sectors}:${encoding.csum.lo}:${encoding.csum.hi}`;
    const known = this.#copied.get(name) ?? [];
    const isAhead = isInTail(this.#leaving, ptr);
    const isOpen = ({ dev }: Placed) => !taken.has(dev) || (isAhead && dev === ptr.dev);
    const usable = encoding.csumType === 0 ? [] : known.filter(isOpen).slice(0, count);
    if (usable.length === count) return usable;
    const bytes = this.#bytes(btree, key, copy, sectors);
    if (bytes === undefined) return [];
    const added = [...usable];
    const without = new Set([...taken, ...this.#leaving.devs, ...usable.map(({ dev }) => dev)]);
    while (added.length < count) {
      // The first one: what is known of the same data begins with it too.
      const to =
        isAhead && added.length === 0
          ? this.#change.allocator.allocateOn(ptr.dev, sectors)
          : this.#other(btree, key, sectors, without);
      if (to === undefined) break;
      this.#change.tx.device(to.dev)?.write(sectorsToBytes(to.offset), bytes);
      this.sectors += sectors;
      without.add(to.dev);
      added.push(to);
    }
    this.fewerSectors += (count - added.length) * sectors;
    this.#copied.set(name, [...known, ...added.filter(one => !known.includes(one))]);
    return added;
  }

  /** On a member that gets smaller only where there is no other. */
  #other(btree: number, key: Key, sectors: number, without: ReadonlySet<number>): ExtentPtr | undefined {
    const { target } = this.#options.of(btree, key);
    const { tail } = this.#leaving;
    const place = (closed: ReadonlySet<number>) =>
      this.#change.allocator.allocateMoved({ sectors, target, without: closed });
    if (tail === undefined || without.has(tail.dev)) return place(without);
    return place(new Set([...without, tail.dev])) ?? place(without);
  }

  /** All of an encoded extent: as it is on its member, as the other blocks have it where that is not right, or as it is after all. */
  #bytes(btree: number, key: Key, copy: Replica, sectors: number): Uint8Array | undefined {
    const { ptr, stripePtr, encoding } = copy;
    const where = { btree: btrees.nameOf(btree), pos: bposText(key.k.p) };
    const bytes = new Uint8Array(sectorsToBytes(sectors));
    const isRead = succeeds(() => {
      const device = this.#filesystem.device(ptr.dev);
      if (device === undefined) throw new DeviceError('missing', `member ${ptr.dev}`, 'it is not there');
      device.read(sectorsToBytes(ptr.offset), bytes);
    });
    const verify = (one: Uint8Array) =>
      verifyEncoded(
        one.subarray(0, sectorsToBytes(encoding.compressedSectors)),
        encoding,
        key.k,
        this.#filesystem.key,
        where,
      );
    if (isRead && succeeds(() => verify(bytes))) return bytes;
    const computed = new Uint8Array(bytes.length);
    const isComputed =
      stripePtr !== undefined &&
      succeeds(() => {
        this.#stripes.rebuild({ stripePtr, ptr, skipSectors: 0, where }, computed);
        verify(computed);
      });
    if (isComputed) return computed;
    return isRead ? bytes : undefined;
  }
}

/** @returns false for what is damaged or cannot be read */
function succeeds(action: () => void): boolean {
  try {
    action();
    return true;
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof DeviceError) return false;
    throw thrown;
  }
}

const isSamePlace = (a: ExtentPtr, b: ExtentPtr): boolean => a.dev === b.dev && a.offset === b.offset;
