// Marks: what each key that points to data, nodes or parity adds to buckets, counters and backpointers. This is the reference's
// bookkeeping done once more from the keys alone, in one walk.
// Source: __trigger_extent, bch2_trigger_pointer and bch2_check_fix_ptr in buckets.c, bch2_trigger_stripe in ec.c, v1.13.0.

import type { Key } from '../ondisk/bkey.ts';
import type { Location } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { MEMBER_INVALID } from '../ondisk/keys/extent-ptrs.ts';
import type { PointerFact } from '../report/facts.ts';
import type { Counters } from './accounting.ts';
import type { AllBuckets } from './alloc.ts';
import { addBackpointer, type BackpointerDifference, backpointerWords } from './backpointers.ts';
import { type DeviceBuckets, familyOf, GC_GEN_MAX, genDifference, HAS_KEY, rowOf, TYPE } from './buckets.ts';
import { type InvariantContext, keyPlace } from './context.ts';
import { diskSectors, entriesOf, exactSectors, type Pointer, pointersOf } from './pointers.ts';
import type { RebalanceNeeds } from './rebalance.ts';
import type { Stripes } from './stripes.ts';

/** Where a pointer goes, when it counts. */
interface PlaceInBucket {
  readonly own: DeviceBuckets;
  readonly bucket: number;
  readonly sectorInBucket: number;
}

/** Extents, and their sectors before and after. */
const NOTHING_COMPRESSED: readonly [number, number, number] = [1, 0, 0];

export class Marks {
  readonly #context: InvariantContext;
  readonly #buckets: AllBuckets;
  readonly #counters: Counters;
  readonly #stripes: Stripes;
  readonly #rebalance: RebalanceNeeds;
  readonly #hasGenInBackpointers: boolean;
  readonly #backpointerShift: number;
  readonly #asksBackpointers: boolean;
  readonly #hasCachedBackpointers: boolean;

  constructor(
    context: InvariantContext,
    buckets: AllBuckets,
    counters: Counters,
    stripes: Stripes,
    rebalance: RebalanceNeeds,
  ) {
    this.#context = context;
    this.#buckets = buckets;
    this.#counters = counters;
    this.#stripes = stripes;
    this.#rebalance = rebalance;
    this.#hasGenInBackpointers = context.atLeast('backpointer_bucket_gen');
    this.#hasCachedBackpointers = context.atLeast('cached_backpointers');
    this.#backpointerShift = rulesOf(context.sb).backpointerShift;
    this.#asksBackpointers = context.report.asks('ptr_to_missing_backpointer');
  }

  /**
   * Everything that a key with pointers adds up to.
   * @param level above 0 for pointers to nodes
   * @returns sectors that are waiting to be moved or compressed
   */
  markKey(btree: number, level: number, key: Key): number {
    const entries = entriesOf(key);
    if (entries.length === 0) return 0;
    const isNode = level > 0;
    const { k } = key;
    const dataType = isNode ? TYPE.btree : TYPE.user;
    const pointers = pointersOf(entries, k.size);
    const devs: number[] = [];
    let sectors = 0;
    let nrRequired = 1;
    let compression = 0;
    let compressed = NOTHING_COMPRESSED;
    for (const pointer of pointers) {
      const { ptr, crc, stripe } = pointer;
      const onDisk = diskSectors(isNode ? this.#context.nodeSectors : k.size, pointer);
      const isStale = !this.#markPointer(btree, level, key, pointer, onDisk);
      if (ptr.cached) {
        if (isStale) continue;
        this.#counters.addReplicas(TYPE.cached, 1, [ptr.dev], onDisk);
      } else if (stripe === undefined) {
        sectors += onDisk;
        devs.push(ptr.dev);
      } else {
        this.#stripes.markBlock(this.#context, keyPlace(btree, k.p, level), pointer, onDisk, dataType, this.#counters);
        nrRequired = 0;
      }
      if (compression !== 0 && compression !== crc.compression_type) {
        this.#counters.add({ type: 'compression', compression_type: compression }, compressed);
        compressed = NOTHING_COMPRESSED;
      }
      compression = crc.compression_type;
      if (compression !== 0)
        compressed = [1, compressed[1] + crc.uncompressed_size, compressed[2] + crc.compressed_size];
    }
    if (devs.length > 0) {
      this.#counters.addReplicas(dataType, nrRequired, devs, sectors);
      if (!isNode && k.p[0] !== 0) this.#counters.addSnapshot(k.p[0]!, sectors);
    }
    if (compression !== 0) this.#counters.add({ type: 'compression', compression_type: compression }, compressed);
    if (isNode) this.#counters.add({ type: 'btree', id: btree }, [sectors]);
    else this.#counters.inums.add(k.p[3]!, k.p[4]!, 1, k.size, sectors);

    const waiting = this.#rebalance.sectorsOf(entries, pointers);
    if (waiting > 0) this.#counters.add({ type: 'rebalance_work' }, [waiting]);
    return waiting;
  }

  /** The backpointers that a key asks for, once more, for buckets that differ. */
  expectBackpointers(btree: number, level: number, key: Key, difference: BackpointerDifference): void {
    for (const pointer of pointersOf(entriesOf(key), key.k.size)) {
      const place = this.#placeOf(pointer.ptr);
      if (place === undefined || !this.#hasBackpointer(place, pointer.ptr)) continue;
      const onDisk = diskSectors(level > 0 ? this.#context.nodeSectors : key.k.size, pointer);
      const { words, target } = this.#backpointer(btree, level, key, pointer, place, onDisk);
      difference.expect(place.own.device.index, place.bucket, words, target);
    }
  }

  /** Cached ones have them since 1.21, as long as they are not stale. */
  #hasBackpointer({ own, bucket }: { readonly own: DeviceBuckets; readonly bucket: number }, ptr: ExtentPtr): boolean {
    return !ptr.cached || (this.#hasCachedBackpointers && own.page(bucket).gen[rowOf(bucket)] === ptr.gen);
  }

  /** @returns false for a pointer that does not count: it is stale, or goes nowhere */
  #markPointer(btree: number, level: number, key: Key, pointer: Pointer, onDisk: number): boolean {
    const { ptr, stripe } = pointer;
    const { report } = this.#context;
    const where = () => keyPlace(btree, key.k.p, level);
    const place = this.#placeOf(ptr);
    if (place === undefined) {
      // A pointer to a member that was removed is allowed to stay.
      if (ptr.dev !== MEMBER_INVALID) report.add('ptr_to_invalid_device', where(), { pointer: pointerFact(ptr) });
      return true;
    }
    const { own, bucket } = place;
    const page = own.page(bucket);
    const row = rowOf(bucket);
    if ((page.flags[row]! & HAS_KEY) === 0)
      report.add('ptr_to_missing_alloc_key', where(), { pointer: pointerFact(ptr, bucket) });
    this.#judgeGens(where, ptr, bucket, page.gen[row]!, page.oldestGen[row]!);
    if (ptr.gen !== page.gen[row]) return false;

    const type = level > 0 ? TYPE.btree : stripe === undefined ? TYPE.user : TYPE.stripe;
    const known = page.markType[row]!;
    if (known !== 0 && familyOf(known) !== familyOf(type)) {
      const facts = { pointer: pointerFact(ptr, bucket), found: known, expected: type };
      report.add('ptr_bucket_data_type_mismatch', where(), facts);
    }
    // What it was before is what it stays: nodes come before data, superblocks and journals before both.
    const isOther = known !== 0 && familyOf(known) !== familyOf(type);
    page.markType[row] = known === TYPE.stripe || isOther ? known : type;
    const sums = stripe !== undefined ? page.markStriped : ptr.cached ? page.markCached : page.markDirty;
    sums[row] = sums[row]! + onDisk;
    if (level === 0) page.markRounding[row] = page.markRounding[row]! + onDisk - exactSectors(key.k.size, pointer);

    if (this.#asksBackpointers && (!ptr.cached || this.#hasCachedBackpointers)) {
      const { words } = this.#backpointer(btree, level, key, pointer, place, onDisk);
      addBackpointer(own, bucket, words, 1);
    }
    return true;
  }

  #judgeGens(where: () => Location, ptr: ExtentPtr, bucket: number, gen: number, oldestGen: number): void {
    const { report } = this.#context;
    const age = genDifference(gen, ptr.gen);
    const wrong = (rule: 'ptr_gen_newer_than_bucket_gen' | 'ptr_too_stale' | 'stale_dirty_ptr') =>
      report.add(rule, where(), { pointer: pointerFact(ptr, bucket), bucketGen: gen });
    if (age < 0) wrong('ptr_gen_newer_than_bucket_gen');
    else if (age > GC_GEN_MAX) wrong('ptr_too_stale');
    else if (age > 0 && !ptr.cached) wrong('stale_dirty_ptr');
    if (genDifference(oldestGen, ptr.gen) > 0) {
      const facts = { found: oldestGen, most: ptr.gen, pointer: pointerFact(ptr, bucket) };
      report.add('alloc_key_oldest_gen_wrong', where(), facts);
    }
  }

  #placeOf(ptr: ExtentPtr): PlaceInBucket | undefined {
    const own = this.#buckets.get(ptr.dev);
    if (own === undefined || own.device.bucketSizeSectors === 0) return undefined;
    const { bucketSizeSectors } = own.device;
    const bucket = Math.floor(ptr.offset / bucketSizeSectors);
    return own.has(bucket) ? { own, bucket, sectorInBucket: ptr.offset % bucketSizeSectors } : undefined;
  }

  #backpointer(btree: number, level: number, key: Key, pointer: Pointer, place: PlaceInBucket, onDisk: number) {
    const { ptr, crc, stripe } = pointer;
    const dataType = level > 0 ? TYPE.btree : stripe === undefined ? TYPE.user : TYPE.stripe;
    const target = { btree, level, dataType, pos: key.k.p };
    const gen = this.#hasGenInBackpointers ? ptr.gen : undefined;
    const words = backpointerWords(
      target,
      ptr.offset,
      place.sectorInBucket,
      crc.offset,
      onDisk,
      gen,
      this.#backpointerShift,
    );
    return { words, target };
  }
}

function pointerFact({ dev, offset, gen, cached }: ExtentPtr, bucket?: number): PointerFact {
  return { dev, offset, gen, cached, ...(bucket === undefined ? {} : { bucket }) };
}
