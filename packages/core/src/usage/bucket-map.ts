// What is in the buckets of every member, in cells of neighbouring buckets, so that a map of it has a size that one can look at however large the
// device is. From the alloc btree, which has a key for each bucket that was ever used; buckets without a key are free.
//
// Only the fields that are added up are read, where they lie: a key takes 30 ns, and memory is for the cells alone.
// Source: struct bch_alloc_v4, bch2_bucket_sectors and bch2_bucket_sectors_fragmented, v1.13.0.

import { bucketStateOf, countedSectorsOf, isEmptyType, TYPE } from '../alloc/bucket-state.ts';
import { keyRuns } from '../btree/key-runs.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { BchAllocV4 } from '../ondisk/keys/alloc-v4.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { diskGroups, labelText, memberGroup } from '../ondisk/sb-fields/disk-groups.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { Damage } from '../report/finding.ts';

export interface BucketMapOptions {
  /** Into how many cells a device is divided at most; each has at least one bucket. */
  readonly cellsMax: number;
  /** Called with each part of the alloc btree that is lost: its buckets appear as free. */
  readonly onDamage: (damage: Damage) => void;
}

/** What the buckets of one data type hold. */
export interface TypeTotal {
  /** Of `dataTypes`; or a number that has no name. */
  readonly dataType: number;
  readonly buckets: number;
  /** That hold something; 0 for types of empty buckets. */
  readonly sectors: number;
  /** Room left in buckets that are in use. */
  readonly fragmentedSectors: number;
}

/** Neighbouring buckets. */
export interface MapCell {
  readonly firstBucket: number;
  readonly buckets: number;
  /** Those that occur, by number; free ones too. */
  readonly types: readonly TypeTotal[];
}

export interface DeviceMap {
  readonly index: number;
  /** The path under which it was opened; undefined when it is missing. */
  readonly path: string | undefined;
  readonly label: string | undefined;
  readonly bucketSizeSectors: number;
  /** The first one that is used. */
  readonly firstBucket: number;
  /** From the first one on. */
  readonly buckets: number;
  /** The last cell may have fewer. */
  readonly bucketsPerCell: number;
  readonly cells: readonly MapCell[];
  readonly totals: readonly TypeTotal[];
}

const ALLOC_V4 = keyTypes.idOf('alloc_v4');
const AT = BchAllocV4.offset;
/** Data types are bytes on disk: those that have no name share the last row. */
const TYPES = 1 + Math.max(...dataTypes.rows.map(({ id }) => id)) + 1;
const UNKNOWN = TYPES - 1;

/** By member, missing ones too: what is on them is in the btrees of the others. @throws DeviceError, CorruptError when nothing can be read */
export function bucketMap(filesystem: Filesystem, { cellsMax, onDamage }: BucketMapOptions): readonly DeviceMap[] {
  const sums = sumsByDevice(filesystem, cellsMax);
  const state = { dataType: 0, dirtySectors: 0, cachedSectors: 0, stripeSectors: 0 };
  for (const run of keyRuns(filesystem.btree('alloc'), { onDamage })) {
    const view = new DataView(run.bytes.buffer, run.bytes.byteOffset, run.bytes.byteLength);
    for (let i = run.first; i < run.end; i++) {
      // Positions are device:bucket.
      const at = run.positionAt(i);
      if (run.rows[at + 4] !== 0) continue;
      const device = sums.get(run.rows[at + 3]!);
      if (device === undefined) continue;
      const bucket = run.rows[at + 2]! * 2 ** 32 + run.rows[at + 1]!;
      if (run.type(i) === ALLOC_V4 && run.valueBytes(i) >= AT.nr_external_backpointers + 4) {
        const value = run.valueAt(i);
        state.dataType = view.getUint8(value + AT.data_type);
        state.dirtySectors = view.getUint32(value + AT.dirty_sectors, true);
        state.cachedSectors = view.getUint32(value + AT.cached_sectors, true);
        // In older keys backpointers follow the shorter fields, which say how long they are.
        const fieldBytes = 8 * ((view.getUint32(value + AT.flags, true) >>> 2) & 0x3f);
        const hasStripeSectors = Math.min(fieldBytes, run.valueBytes(i)) >= AT.stripe_sectors + 4;
        state.stripeSectors = hasStripeSectors ? view.getUint32(value + AT.stripe_sectors, true) : 0;
        device.add(bucket, state);
      } else device.add(bucket, bucketStateOf(run.key(i)));
    }
  }
  return [...sums.values()].map(device => device.map());
}

type BucketFields = Parameters<typeof countedSectorsOf>[0];
type Described = Omit<DeviceMap, 'cells' | 'totals'>;

function sumsByDevice({ sb, set }: Filesystem, cellsMax: number): ReadonlyMap<number, DeviceSums> {
  const groups = diskGroups(sb);
  const paths = new Map(set.members.map(member => [member.sb.dev_idx, member.device.name]));
  const sums = new Map<number, DeviceSums>();
  for (const [index, member] of members(sb).entries()) {
    if (!memberAlive(member)) continue;
    const group = memberGroup(member);
    const buckets = Math.max(0, member.nbuckets - member.first_bucket);
    const described = {
      index,
      path: paths.get(index),
      label: group === undefined ? undefined : labelText(groups, group),
      bucketSizeSectors: member.bucket_size,
      firstBucket: member.first_bucket,
      buckets,
      bucketsPerCell: Math.max(1, Math.ceil(buckets / cellsMax)),
    };
    sums.set(index, new DeviceSums(described));
  }
  return sums;
}

class DeviceSums {
  readonly #device: Described;
  readonly #cells: number;
  readonly #buckets: Float64Array;
  readonly #sectors: Float64Array;
  readonly #fragmented: Float64Array;

  constructor(device: Described) {
    this.#device = device;
    this.#cells = Math.ceil(device.buckets / device.bucketsPerCell);
    this.#buckets = new Float64Array(this.#cells * TYPES);
    this.#sectors = new Float64Array(this.#cells * TYPES);
    this.#fragmented = new Float64Array(this.#cells * TYPES);
  }

  add(bucket: number, state: Omit<BucketFields, 'dataType'> & { readonly dataType: number }): void {
    const { firstBucket, buckets, bucketsPerCell, bucketSizeSectors } = this.#device;
    const nr = bucket - firstBucket;
    if (nr < 0 || nr >= buckets) return;
    const at = Math.floor(nr / bucketsPerCell) * TYPES + Math.min(state.dataType, UNKNOWN);
    const sectors = countedSectorsOf(state);
    this.#buckets[at]!++;
    if (isEmptyType(state.dataType)) return;
    this.#sectors[at]! += sectors;
    this.#fragmented[at]! += sectors === 0 ? 0 : Math.max(0, bucketSizeSectors - sectors);
  }

  map(): DeviceMap {
    const { firstBucket, buckets, bucketsPerCell } = this.#device;
    const cells = Array.from({ length: this.#cells }, (_, nr): MapCell => {
      const own = Math.min(bucketsPerCell, buckets - nr * bucketsPerCell);
      return { firstBucket: firstBucket + nr * bucketsPerCell, buckets: own, types: this.#typesOf(nr, own) };
    });
    return { ...this.#device, cells, totals: totalsOf(cells) };
  }

  #typesOf(cell: number, buckets: number): readonly TypeTotal[] {
    const types: TypeTotal[] = [];
    let untouched = buckets;
    for (let dataType = 0; dataType < TYPES; dataType++) untouched -= this.#buckets[cell * TYPES + dataType]!;
    for (let dataType = 0; dataType < TYPES; dataType++) {
      const at = cell * TYPES + dataType;
      const count = this.#buckets[at]! + (dataType === TYPE.free ? Math.max(0, untouched) : 0);
      if (count === 0) continue;
      types.push({
        dataType,
        buckets: count,
        sectors: this.#sectors[at]!,
        fragmentedSectors: this.#fragmented[at]!,
      });
    }
    return types;
  }
}

/** What several cells hold together, by data type. */
export function totalsOf(cells: readonly MapCell[]): readonly TypeTotal[] {
  const totals = new Map<number, TypeTotal>();
  for (const { types } of cells) {
    for (const { dataType, buckets, sectors, fragmentedSectors } of types) {
      const sum = totals.get(dataType);
      totals.set(dataType, {
        dataType,
        buckets: buckets + (sum?.buckets ?? 0),
        sectors: sectors + (sum?.sectors ?? 0),
        fragmentedSectors: fragmentedSectors + (sum?.fragmentedSectors ?? 0),
      });
    }
  }
  return [...totals.values()].toSorted((a, b) => a.dataType - b.dataType);
}
