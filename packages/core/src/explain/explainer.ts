// Explains what lies at a byte of a member, from what says it by itself (superblocks, the journal's buckets) to what has to be looked for: the
// keys that point there. Nothing here throws for damage: it is reported in the explanation. What was read once (journal, snapshots,
// nodes) is kept for the next byte.

import { DataReader } from '../data/extent-read.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { type JournalReading, readJournal } from '../journal/journal.ts';
import { bposOffsetNumber, makeBpos } from '../ondisk/bpos.ts';
import { CorruptError, DeviceError, IncompatibleError, UsageError } from '../ondisk/errors.ts';
import { alloc, allocV2, allocV3 } from '../ondisk/keys/alloc.ts';
import type { Alloc } from '../ondisk/keys/alloc-bucket.ts';
import { allocV4 } from '../ondisk/keys/alloc-v4.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { KeyKind } from '../ondisk/keys/kind.ts';
import { stripe } from '../ondisk/keys/stripe.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { Damage } from '../report/finding.ts';
import type { OpenMember } from '../superblock/member-set.ts';
import { bytesToSectors, roundDown, sectorsToBytes } from '../util/sizes.ts';
import { dataPlaceAt } from './data-place.ts';
import type { BucketFacts, Explanation, Place, StripePlace } from './explanation.ts';
import { FileFinder } from './files-of.ts';
import { journalPlaceAt } from './journal-place.ts';
import { forgottenNode, nodePlaceAt } from './node-place.ts';
import { findOwners, type Owner } from './pointers.ts';
import { layoutPlaceAt, sectorAround, superblockPlaceAt } from './superblock-place.ts';

export interface ExplainOptions {
  /** Look through all pointers, also where backpointers have an answer. */
  readonly scan?: boolean;
}

const allocKinds = new Map<number, KeyKind<Alloc>>(
  [alloc, allocV2, allocV3, allocV4].map(kind => [keyTypes.idOf(kind.name), kind]),
);
const STRIPE = keyTypes.idOf('stripe');

/** Losses that are reported in one explanation. */
const NOTICES_MAX = 16;

/** `loadChecksums()` and `loadCompression()` have to have been awaited. */
export class Explainer {
  readonly #source: Filesystem;
  readonly #files: FileFinder;
  readonly #data: DataReader;
  #journal: { readonly reading: JournalReading | undefined } | undefined;
  #notices = new Set<string>();

  constructor(source: Filesystem) {
    this.#source = source;
    const onDamage = (damage: Damage) => this.#notice(damage.message);
    this.#files = new FileFinder(source, onDamage);
    this.#data = new DataReader(source, { onDamage });
  }

  /**
   * What lies at a byte of a member.
   * @param dev index of the member
   * @param offset bytes from the start of its device
   * @throws UsageError when there is no such member or the byte is past the end of the device
   * @throws DeviceError when a superblock or the journal cannot be read
   */
  explain(dev: number, offset: number, { scan = false }: ExplainOptions = {}): Explanation {
    this.#notices = new Set();
    const member = this.#source.set.members.find(({ sb }) => sb.dev_idx === dev);
    if (member === undefined) throw new UsageError(`member ${dev} is not among the devices that were given`);
    const { device } = member;
    if (!Number.isSafeInteger(offset) || offset < 0 || offset >= device.sizeBytes) {
      throw new UsageError(`byte ${offset} is not on ${device.name}, which has ${device.sizeBytes} bytes`);
    }
    const bucket = this.#bucketAt(dev, offset);
    const fixed = this.#fixedPlaces(member, offset);
    let searched: Explanation['searched'] = 'none';
    let places: readonly Place[] = fixed;
    if (fixed.length === 0 && bucket !== undefined) {
      const found = this.#ownedPlaces(device, dev, offset, bucket, scan);
      places = found.places;
      searched = found.searched;
    }
    const leftovers = places.length === 0 && bucket !== undefined ? this.#leftovers(device, dev, offset, bucket) : [];
    const isZero = this.#isZero(device, offset);
    return {
      device: { index: dev, name: device.name, sizeBytes: device.sizeBytes },
      offset,
      bucket,
      places,
      leftovers,
      searched,
      isZero,
      notices: [...this.#notices],
    };
  }

  #notice(notice: string): void {
    if (this.#notices.size < NOTICES_MAX) this.#notices.add(notice);
  }

  #bucketAt(dev: number, offset: number): BucketFacts | undefined {
    const member = members(this.#source.sb)[dev];
    const sizeSectors = member?.bucket_size ?? 0;
    if (member === undefined || sizeSectors === 0) return undefined;
    const nr = Math.floor(offset / sectorsToBytes(sizeSectors));
    if (nr >= member.nbuckets) return undefined;
    let found: Alloc | undefined;
    let isLost = false;
    const pos = makeBpos(BigInt(dev), BigInt(nr), 0);
    const onDamage = (damage: Damage) => {
      isLost = true;
      this.#notice(damage.message);
    };
    const key = this.#source.btree('alloc').get(pos, { onDamage });
    const kind = key === undefined ? undefined : allocKinds.get(key.k.type);
    if (key !== undefined && kind !== undefined && key.value.length >= kind.minBytes) found = kind.decode(key.value);
    return {
      nr,
      sizeSectors,
      offset: offset - nr * sectorsToBytes(sizeSectors),
      isReserved: nr < member.first_bucket,
      alloc: found,
      isLost: isLost && found === undefined,
    };
  }

  /** Superblocks and the journal, whose places the superblock says. */
  #fixedPlaces(member: OpenMember, offset: number): readonly Place[] {
    const places = [
      layoutPlaceAt(member.device, offset),
      superblockPlaceAt(member, offset),
      journalPlaceAt(this.#source, member, offset, () => this.#readJournal()),
    ];
    return places.filter(place => place !== undefined);
  }

  /** A filesystem that is clean was opened without it. */
  #readJournal(): JournalReading | undefined {
    this.#journal ??= { reading: this.#source.replay.journal ?? this.#tryJournal() };
    return this.#journal.reading;
  }

  #tryJournal(): JournalReading | undefined {
    try {
      return readJournal(this.#source.set, this.#source.key);
    } catch (thrown) {
      if (!(thrown instanceof IncompatibleError || thrown instanceof UsageError)) throw thrown;
      this.#notice(`the journal cannot be read: ${thrown.message}`);
      return undefined;
    }
  }

  #ownedPlaces(
    device: BlockDevice,
    dev: number,
    offset: number,
    bucket: BucketFacts,
    forceScan: boolean,
  ): { readonly places: readonly Place[]; readonly searched: 'backpointers' | 'scan' } {
    const { sizeSectors } = bucket;
    const place = {
      dev,
      sector: bytesToSectors(offset),
      bucketStart: bucket.nr * sizeSectors,
      bucketSectors: sizeSectors,
    };
    const onDamage = (damage: Damage) => this.#notice(damage.message);
    const search = findOwners(this.#source, place, bucket.alloc, { forceScan, onDamage });
    for (const notice of search.notices) this.#notice(notice);
    const places = search.owners.map(owner => this.#ownedPlace(device, offset, bucket, owner));
    // A copy that was given up is no more than a leftover, but it is its key that says so.
    return { places: [...places, ...this.#stripePlaces(dev, bucket)], searched: search.searched };
  }

  #ownedPlace(device: BlockDevice, offset: number, bucket: BucketFacts, owner: Owner): Place {
    const { btree, level, isRoot, key, pointer, replica } = owner;
    if (level === 0) {
      const gen = bucket.alloc?.gen ?? 0;
      const isStale = !bucket.isLost && ((gen - pointer.ptr.gen) << 24) >> 24 > 0;
      return dataPlaceAt(owner, offset, isStale, this.#data, this.#files);
    }
    const node = { btree, level: level - 1, isRoot, ptr: key, at: pointer.ptr, ...replica };
    return nodePlaceAt(this.#source, device, node, offset, (id, of) => this.#files.ofKey(id, of));
  }

  /** The stripes that have this bucket for a block: only buckets that say so are looked for. */
  #stripePlaces(dev: number, { nr, sizeSectors, alloc: state }: BucketFacts): readonly StripePlace[] {
    if (state === undefined || (state.stripe_refcount === 0 && state.stripe_sectors === 0)) return [];
    const places: StripePlace[] = [];
    for (const key of this.#source.btree('stripes').keys({ onDamage: damage => this.#notice(damage.message) })) {
      if (key.k.type !== STRIPE || key.value.length < stripe.minBytes) continue;
      const { ptrs, nr_blocks, nr_redundant } = stripe.decode(key.value);
      const block = ptrs.findIndex(ptr => ptr.dev === dev && Math.floor(ptr.offset / sizeSectors) === nr);
      if (block < 0) continue;
      places.push({
        kind: 'stripe',
        key,
        stripe: bposOffsetNumber(key.k.p),
        block,
        dataBlocks: Math.max(0, nr_blocks - nr_redundant),
        parityBlocks: nr_redundant,
      });
    }
    return places;
  }

  /** Nodes stand in their buckets at multiples of their size. */
  #leftovers(device: BlockDevice, dev: number, offset: number, bucket: BucketFacts): readonly Place[] {
    const { nodeSectors } = this.#source.reader;
    if (nodeSectors === 0) return [];
    const inBucket = roundDown(bytesToSectors(bucket.offset), nodeSectors);
    const sector = bucket.nr * bucket.sizeSectors + inBucket;
    try {
      const node = forgottenNode(this.#source, device, dev, sector);
      if (node === undefined) return [];
      return [nodePlaceAt(this.#source, device, node, offset, () => ({ list: [], hasMore: false }))];
    } catch (thrown) {
      if (!(thrown instanceof DeviceError || thrown instanceof CorruptError)) throw thrown;
      this.#notice(thrown.message);
      return [];
    }
  }

  #isZero(device: BlockDevice, offset: number): boolean | undefined {
    try {
      return sectorAround(device, offset).every(byte => byte === 0);
    } catch (thrown) {
      if (!(thrown instanceof DeviceError)) throw thrown;
      this.#notice(thrown.message);
      return undefined;
    }
  }
}
