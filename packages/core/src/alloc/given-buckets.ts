// Room for nodes, and for data that a repair moves, in buckets that the caller knows to be free, whatever the lists on disk say: for repairs of those lists.

import type { NodeAllocator } from '../btree/node-store.ts';
import { getBits } from '../ondisk/bits.ts';
import { assert } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { allocDevices, allowsData } from './alloc-devices.ts';
import { NoBucketsError } from './no-space.ts';

export interface FreeBucket {
  readonly bucket: number;
  /** The generation that its alloc key has, or will have. */
  readonly gen: number;
}

/** A device and what of the bucket that is being filled is left. */
interface Source {
  readonly dev: number;
  readonly durability: number;
  readonly bucketSizeSectors: number;
  readonly buckets: Iterator<FreeBucket>;
  open: FreeBucket | undefined;
  usedSectors: number;
  givenNodes: number;
  readonly takesData: boolean;
  /** The bucket that data goes to. */
  data: { readonly open: FreeBucket; usedSectors: number } | undefined;
}

export class GivenBuckets implements NodeAllocator {
  readonly #sources: readonly Source[];
  readonly #nodeSectors: number;
  readonly #replicas: number;
  readonly #released: (readonly ExtentPtr[])[] = [];

  /** @param free by device; nothing that is in use on the devices lies in them, and nothing else takes them */
  constructor(sb: Superblock, free: ReadonlyMap<number, Iterable<FreeBucket>>) {
    this.#nodeSectors = getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
    this.#replicas = getBits(sb.flags, sbBits.META_REPLICAS_WANT);
    const devices = allocDevices(sb);
    this.#sources = [...free].map(([dev, buckets]) => {
      const device = devices[dev];
      assert(device !== undefined && allowsData(device, 'btree'), `device ${dev} takes btree nodes`);
      const { durability, bucketSizeSectors } = device;
      const source = { dev, durability, bucketSizeSectors, buckets: buckets[Symbol.iterator]() };
      const takesData = allowsData(device, 'user');
      return { ...source, open: undefined, usedSectors: 0, givenNodes: 0, takesData, data: undefined };
    });
  }

  /** @throws NoSpaceError */
  allocate(): readonly ExtentPtr[] {
    const again = this.#released.pop();
    if (again !== undefined) return again;
    const pointers: ExtentPtr[] = [];
    let durability = 0;
    for (const source of this.#sources.toSorted((a, b) => a.givenNodes - b.givenNodes)) {
      if (durability >= this.#replicas) break;
      const pointer = this.#take(source);
      if (pointer === undefined) continue;
      pointers.push(pointer);
      durability += source.durability;
    }
    const possible = this.#sources.reduce((sum, source) => sum + source.durability, 0);
    if (pointers.length === 0 || durability < Math.min(this.#replicas, possible))
      throw new NoBucketsError('btree', this.#nodeSectors, this.#replicas, durability, []);
    return pointers;
  }

  release(pointers: readonly ExtentPtr[]): void {
    this.#released.push(pointers);
  }

  /**
   * Room for data in one piece, on this device or, where it has none, on another one.
   * @param taken devices that have another copy of it: no key has two pointers to one device
   * @returns undefined when it is more than any bucket holds
   * @throws NoSpaceError
   */
  allocateData(dev: number, sectors: number, taken: readonly number[] = []): ExtentPtr | undefined {
    const able = this.#sources.filter(
      source => source.takesData && source.bucketSizeSectors >= sectors && !taken.includes(source.dev),
    );
    if (able.length === 0) return undefined;
    for (const source of able.toSorted((a, b) => Number(b.dev === dev) - Number(a.dev === dev))) {
      let { data } = source;
      if (data === undefined || data.usedSectors + sectors > source.bucketSizeSectors) {
        const { done, value } = source.buckets.next();
        if (done) continue;
        data = { open: value, usedSectors: 0 };
        source.data = data;
      }
      const { bucket, gen } = data.open;
      const offset = bucket * source.bucketSizeSectors + data.usedSectors;
      data.usedSectors += sectors;
      return { type: 'ptr', cached: false, unwritten: false, offset, dev: source.dev, gen };
    }
    throw new NoBucketsError('user', sectors, 1, 0, []);
  }

  #take(source: Source): ExtentPtr | undefined {
    if (source.open === undefined || source.usedSectors + this.#nodeSectors > source.bucketSizeSectors) {
      const { done, value } = source.buckets.next();
      source.open = done ? undefined : value;
      source.usedSectors = 0;
    }
    if (source.open === undefined) return undefined;
    const { bucket, gen } = source.open;
    const offset = bucket * source.bucketSizeSectors + source.usedSectors;
    source.usedSectors += this.#nodeSectors;
    source.givenNodes++;
    return { type: 'ptr', cached: false, unwritten: false, offset, dev: source.dev, gen };
  }
}
