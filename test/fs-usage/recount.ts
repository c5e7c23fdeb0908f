// Counts anew what a filesystem's counters say, from the keys that they count: every pointer of every extent and btree node, every
// bucket's alloc key, every reservation and inode. Plain and slow, and without anything of the counters' reader: what
// bch2_trigger_extent, bch2_trigger_stripe and bch2_alloc_key_to_dev_counters add up one change at a time (v1.13.0).

import {
  type Alloc,
  alloc,
  allocV2,
  allocV3,
  allocV4,
  btrees,
  compressionTypeText,
  dataTypes,
  dataTypeText,
  type Filesystem,
  getBits,
  type Key,
  type KeyKind,
  keyTypes,
  memberAlive,
  members,
  releaseForVersion,
  sbBits,
  stripe,
} from '@bcachefs-ts/core/engine';
import { bpos, bposInode, bposOffset } from '../../packages/core/src/ondisk/bpos.ts';
import { btreePtr } from '../../packages/core/src/ondisk/keys/btree-ptr.ts';
import { btreePtrV2 } from '../../packages/core/src/ondisk/keys/btree-ptr-v2.ts';
import { type Extent, extent } from '../../packages/core/src/ondisk/keys/extent.ts';
import { reflinkV } from '../../packages/core/src/ondisk/keys/reflink-v.ts';
import { reservation } from '../../packages/core/src/ondisk/keys/reservation.ts';

/** Sums by what is summed: `replicas user 1/2 [0 1]`, `dev 0 free`, `compression lz4`, `btree extents`, `inodes`, `reserved 1`. */
export type Sums = ReadonlyMap<string, readonly bigint[]>;

export const replicasName = (dataType: number, required: number, devs: readonly number[]) =>
  `replicas ${dataTypeText(dataType)} ${required}/${devs.length} [${devs.toSorted((a, b) => a - b).join(' ')}]`;
export const deviceName = (dev: number, dataType: number) => `dev ${dev} ${dataTypeText(dataType)}`;
export const compressionName = (type: number) => `compression ${compressionTypeText(type)}`;
export const btreeName = (id: number) => `btree ${btrees.nameOf(id)}`;
export const reservedName = (replicas: number) => `reserved ${replicas}`;
export const INODES = 'inodes';

const [FREE, BTREE, USER, CACHED, PARITY, STRIPE, UNSTRIPED] = [0, 3, 4, 5, 6, 7, 10];
const EMPTY_TYPES: readonly number[] = dataTypes.rows.filter(row => row.isEmpty).map(row => row.id);
const INCOMPRESSIBLE = 5;

const extentKinds = new Map<number, KeyKind<Extent>>([
  [keyTypes.idOf('extent'), extent],
  [keyTypes.idOf('reflink_v'), reflinkV],
]);
const nodeKinds = new Map<number, KeyKind<Extent>>([
  [keyTypes.idOf('btree_ptr'), btreePtr],
  [keyTypes.idOf('btree_ptr_v2'), btreePtrV2],
]);
const allocKinds = new Map<number, KeyKind<Alloc>>([
  [keyTypes.idOf('alloc'), alloc],
  [keyTypes.idOf('alloc_v2'), allocV2],
  [keyTypes.idOf('alloc_v3'), allocV3],
  [keyTypes.idOf('alloc_v4'), allocV4],
]);
const INODE_TYPES = ['inode', 'inode_v2', 'inode_v3'].map(name => keyTypes.byName(name)?.id);

/** What all keys add up to; sums of 0 are left out. */
export function recount(filesystem: Filesystem): Sums {
  const recounting = new Recount(filesystem);
  recounting.buckets();
  recounting.nodes();
  recounting.data();
  recounting.stripes();
  recounting.inodes();
  return new Map([...recounting.sums].filter(([, values]) => values.some(value => value !== 0n)).sort());
}

class Recount {
  readonly sums = new Map<string, bigint[]>();
  readonly #filesystem: Filesystem;
  /** Generations of buckets by `dev:bucket`. */
  readonly #gens = new Map<string, number>();
  readonly #bucketSizes: readonly number[];
  readonly #is139: boolean;

  constructor(filesystem: Filesystem) {
    this.#filesystem = filesystem;
    this.#bucketSizes = members(filesystem.sb).map(member => member.bucket_size);
    this.#is139 = releaseForVersion(filesystem.sb.version) === '1.39';
  }

  #add(name: string, ...values: readonly number[]): void {
    const sum = this.sums.get(name) ?? values.map(() => 0n);
    this.sums.set(
      name,
      sum.map((value, i) => value + BigInt(values[i]!)),
    );
  }

  /** Buckets without an alloc key are free. */
  buckets(): void {
    for (const [index, member] of members(this.#filesystem.sb).entries()) {
      if (memberAlive(member)) this.#add(deviceName(index, FREE), member.nbuckets - member.first_bucket, 0, 0);
    }
    for (const key of this.#filesystem.btree('alloc').keys()) {
      const kind = allocKinds.get(key.k.type);
      if (kind === undefined) continue;
      const dev = Number(bposInode(key.k.p));
      const value = kind.decode(key.value);
      this.#gens.set(`${dev}:${bposOffset(key.k.p)}`, value.gen);
      const dirty = value.dirty_sectors + value.stripe_sectors;
      const sectors = value.data_type === CACHED ? value.cached_sectors : dirty;
      const bucketSize = this.#bucketSizes[dev]!;
      const isEmptyType = EMPTY_TYPES.includes(value.data_type);
      // Since 1.39 a bucket of a stripe that nothing is in counts as all fragmented.
      const unused = sectors > 0 || (this.#is139 && !isEmptyType) ? Math.max(0, bucketSize - sectors) : 0;
      this.#add(deviceName(dev, FREE), -1, 0, 0);
      this.#add(deviceName(dev, value.data_type), 1, sectors, unused);
      if (value.data_type === STRIPE && value.dirty_sectors > 0)
        this.#add(deviceName(dev, UNSTRIPED), 1, value.dirty_sectors, 0);
    }
  }

  /** Every node has a pointer: in the node above it, or as a root. */
  nodes(): void {
    const { sb, replay } = this.#filesystem;
    const nodeSectors = getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
    for (const [id, root] of replay.roots) {
      const pointers: Key[] = root.key === undefined ? [] : [root.key];
      for (let level = 1; level <= root.level; level++) pointers.push(...this.#filesystem.btree(id).keys({ level }));
      for (const key of pointers) {
        const entries = nodeKinds.get(key.k.type)?.decode(key.value).entries ?? [];
        const devs = entries.flatMap(entry => (entry.type === 'ptr' ? [entry.dev] : []));
        this.#add(replicasName(BTREE, 1, devs), nodeSectors * devs.length);
        this.#add(btreeName(id), nodeSectors * devs.length);
      }
    }
  }

  data(): void {
    for (const btree of ['extents', 'reflink'] as const) {
      for (const key of this.#filesystem.btree(btree).keys()) {
        const kind = extentKinds.get(key.k.type);
        if (kind !== undefined) this.#extent(key, kind.decode(key.value));
        if (key.k.type === keyTypes.idOf('reservation')) {
          this.#add(reservedName(reservation.decode(key.value).nr_replicas), key.k.size);
        }
      }
    }
  }

  #extent({ k }: Key, { entries }: Extent): void {
    let compressed = 1;
    let whole = 1;
    let compression = 0;
    let stripeIndex: number | undefined;
    const devs: number[] = [];
    let sectors = 0;
    let isStriped = false;
    const counted = new Map<number, [number, number]>();
    for (const entry of entries) {
      if (entry.type === 'crc32' || entry.type === 'crc64' || entry.type === 'crc128') {
        ({ compressed_size: compressed, uncompressed_size: whole, compression_type: compression } = entry);
      }
      if (entry.type === 'stripe_ptr') stripeIndex = entry.idx;
      if (entry.type !== 'ptr') continue;
      const isCompressed = compression !== 0 && compression !== INCOMPRESSIBLE;
      const size = isCompressed ? Math.ceil((k.size * compressed) / whole) : k.size;
      const ofStripe = stripeIndex;
      stripeIndex = undefined;
      if (entry.cached) {
        const bucket = Math.floor(entry.offset / (this.#bucketSizes[entry.dev] ?? 1));
        const gen = this.#gens.get(`${entry.dev}:${bucket}`) ?? 0;
        if (gen !== entry.gen) continue; // stale
        this.#add(replicasName(CACHED, 1, [entry.dev]), size);
      } else if (ofStripe !== undefined) {
        isStriped = true;
        const { ptrs, nr_redundant } = this.#stripe(ofStripe);
        const all = ptrs.map(ptr => ptr.dev);
        this.#add(replicasName(USER, all.length - nr_redundant, all), size);
      } else {
        sectors += size;
        devs.push(entry.dev);
      }
      if (compression !== 0) {
        const [uncompressedSum, compressedSum] = counted.get(compression) ?? [0, 0];
        counted.set(compression, [uncompressedSum + whole, compressedSum + compressed]);
      }
    }
    if (devs.length > 0) this.#add(replicasName(USER, isStriped ? 0 : 1, devs), sectors);
    for (const [type, [uncompressedSum, compressedSum]] of counted) {
      this.#add(compressionName(type), 1, uncompressedSum, compressedSum);
    }
  }

  #stripe(index: number) {
    const pos = new Uint8Array(20);
    new DataView(pos.buffer).setBigUint64(4, BigInt(index), true);
    const key = this.#filesystem.btree('stripes').get(bpos.get(new DataView(pos.buffer), 0));
    if (key === undefined) throw new Error(`no stripe ${index}`);
    return stripe.decode(key.value);
  }

  stripes(): void {
    for (const key of this.#filesystem.btree('stripes').keys()) {
      const { ptrs, nr_redundant, sectors } = stripe.decode(key.value);
      const devs = ptrs.map(ptr => ptr.dev);
      this.#add(replicasName(PARITY, devs.length - nr_redundant, devs), sectors * nr_redundant);
    }
  }

  /** Versions of an inode in several snapshots count each. */
  inodes(): void {
    for (const { k } of this.#filesystem.btree('inodes').keys()) {
      if (INODE_TYPES.includes(k.type)) this.#add(INODES, 1);
    }
  }
}
