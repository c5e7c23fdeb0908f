// Room for nodes in buckets that the caller knows to be free, whatever the lists on disk say: for repairs of those lists.

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
      return { ...source, open: undefined, usedSectors: 0, givenNodes: 0 };
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
