// What a filesystem keeps back. Buckets of each device, so that there is room for nodes and for moving things whatever happens; and a share
// of all sectors, which no user's data gets: a kernel that finds more in use says ENOSPC to everything.
// Source: bch2_dev_buckets_reserved in buckets.h, bch2_recalc_capacity in alloc_background.c, __bch2_fs_usage_read_short in buckets.c,
// BTREE_NODE_RESERVE in btree_update_interior.h, v1.13.0.

import type { FilesystemSource } from '../btree/source.ts';
import { getBigBits, getBits } from '../ondisk/bits.ts';
import { type DataTypeName, dataTypes } from '../ondisk/data-types.ts';
import { type AccountingPos, accountingBpos } from '../ondisk/keys/accounting.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { AllocDevice } from './alloc-devices.ts';

/** BTREE_NODE_RESERVE: nodes that a kernel wants to have room for at any time. */
const RESERVED_NODES = 28;
/** Of btree nodes, copygc and rebalance. */
const WRITE_POINTS = 3;
const REPLICAS_MAX = 4;

/** Buckets for the reserve of nodes. */
export function nodeReserveBuckets(
  { bucketSizeSectors }: Pick<AllocDevice, 'bucketSizeSectors'>,
  nodeSectors: number,
): number {
  return Math.ceil(RESERVED_NODES / Math.max(1, Math.floor(bucketSizeSectors / nodeSectors)));
}

/** Buckets of a device that no user's data is put into. */
export const dataReserveBuckets = (
  device: Pick<AllocDevice, 'bucketSizeSectors' | 'bucketEnd'>,
  nodeSectors: number,
): number => 2 * nodeReserveBuckets(device, nodeSectors) + (device.bucketEnd >>> 6);

/** Sectors of which users get nothing, on these devices. */
export function reservedSectors(sb: Superblock, devices: readonly AllocDevice[]): number {
  const nodeSectors = getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
  const capacity = capacityOf(devices);
  const forMoving = devices.reduce(
    (sum, device) => sum + 2 * (dataReserveBuckets(device, nodeSectors) + WRITE_POINTS) * device.bucketSizeSectors,
    0,
  );
  const inSectors = Number(getBigBits(sb.flags, sbBits.GC_RESERVE_BYTES));
  const byOption = inSectors > 0 ? inSectors : Math.floor((capacity * getBits(sb.flags, sbBits.GC_RESERVE)) / 100);
  return Math.min(Math.max(byOption, forMoving), capacity);
}

/** Sectors that users' data and metadata may still take, copies counted, by the counters; below 0 when more is in use. */
export function availableSectors(base: FilesystemSource, devices: readonly AllocDevice[]): number {
  let left = capacityOf(devices) - reservedSectors(base.sb, devices);
  for (const { index: dev, bucketSizeSectors } of devices) {
    const counted = (name: DataTypeName) =>
      countersOf(base, { type: 'dev_data_type', dev, data_type: dataTypes.idOf(name) });
    for (const name of ['sb', 'journal'] as const) left -= (counted(name)[0] ?? 0) * bucketSizeSectors;
    for (const name of ['btree', 'user', 'parity', 'stripe'] as const) left -= counted(name)[1] ?? 0;
  }
  for (let nr_replicas = 1; nr_replicas <= REPLICAS_MAX; nr_replicas++) {
    left -= (countersOf(base, { type: 'persistent_reserved', nr_replicas })[0] ?? 0) * nr_replicas;
  }
  return left;
}

const capacityOf = (devices: readonly AllocDevice[]): number =>
  devices.reduce((sum, { bucketEnd, firstBucket, bucketSizeSectors }) => {
    return sum + (bucketEnd - firstBucket) * bucketSizeSectors;
  }, 0);

const ACCOUNTING = keyTypes.idOf('accounting');

/** The numbers of a counter; none where there is no such counter. */
export function countersOf(
  source: FilesystemSource,
  counted: Exclude<AccountingPos, { type: 'unknown' }>,
): readonly number[] {
  const key = source.btree('accounting').get(accountingBpos(counted, { version: source.sb.version }));
  if (key === undefined || key.k.type !== ACCOUNTING) return [];
  const view = viewOf(key.value);
  return Array.from({ length: key.value.length >> 3 }, (_, nr) => Number(view.getBigInt64(8 * nr, true)));
}
