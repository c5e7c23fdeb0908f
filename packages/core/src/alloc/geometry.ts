// The sizes of a new filesystem: blocks, buckets, btree nodes, and where each device's superblocks go. Pure arithmetic over
// what was asked for and how large the devices are: nothing here depends on the host's memory, processors or kernel.
// Follows bch2_pick_bucket_size and bch2_sb_layout_init of v1.36.1, whose choices are valid for metadata version 1.13 too.

import { UsageError } from '../ondisk/errors.ts';
import type { BchSbLayout } from '../ondisk/superblock.ts';
import { layoutOf, superblockLayout } from '../superblock/layout.ts';
import { SUPERBLOCK_BYTES_MAX } from '../superblock/read.ts';
import { bytesToSectors, isPowerOfTwo, SECTOR_BYTES } from '../util/sizes.ts';

/** A member has at least this many buckets, or no kernel takes it. */
export const BUCKETS_MIN = 512;
/**
 * Linux 6.12 takes smaller devices too, down to 3 MiB, but hangs as soon as their journal of eight tiny buckets is full
 * (seen at 4 to 7 MiB); at 8 MiB it works.
 */
export const DEVICE_BYTES_MIN = 8 * 2 ** 20;
/**
 * What Linux 6.12 can work with: it mounts smaller ones, and panics or stops for ever with its journal full as soon as they are written to.
 * Seen with nodes of 4 KiB in blocks of 512 bytes (a split finds too few keys), with nodes of 4 blocks of 1, 2 and 4 KiB (each write of a few
 * keys fills a quarter of a node), and with buckets of 4 and of 8 KiB. Nodes of 8 KiB and of 8 blocks in buckets of 16 KiB work, for every
 * size of block.
 */
const BTREE_NODE_BYTES_MIN = 8192;
const BTREE_NODE_BLOCKS_MIN = 8;
const BUCKET_BYTES_MIN = 16384;
/** A member has at most this many buckets: the kernel keeps an array over them in one allocation. */
export const BUCKETS_MAX = 2 ** 31 - 1 - 64;
/** Bucket sizes are kept as a 16-bit number of sectors; the largest power of two that fits is 16 MiB. */
const BUCKET_BYTES_MAX = 0xffff * SECTOR_BYTES;

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

/** Below this total, blocks of 512 bytes waste less than they cost. */
const SMALL_FILESYSTEM_BYTES = GIB;
/** fsck keeps about 24 bytes a bucket in memory; more buckets than this make it need more than a small machine has. */
const BUCKETS_COMFORTABLE = 2 ** 24;
const BTREE_NODE_BYTES_DEFAULT = 256 * KIB;
const BUCKET_BYTES_SMALL = 64 * KIB;

/** One device as far as its geometry goes. */
export interface DeviceSize {
  /** For messages. */
  readonly name: string;
  readonly sizeBytes: number;
  /** The device's own smallest efficient write, 0 where unknown. */
  readonly physicalSectorBytes: number;
  readonly logicalSectorBytes: number;
  /** As asked for with --bucket_size. */
  readonly bucketBytes?: number | undefined;
  /** Where its superblocks go instead of the usual places, in order: on a device that something else still lies on. */
  readonly superblockSectors?: readonly number[] | undefined;
}

export interface GeometryRequest {
  readonly devices: readonly DeviceSize[];
  readonly blockBytes?: number | undefined;
  readonly btreeNodeBytes?: number | undefined;
  readonly encodedExtentMaxBytes: number;
  readonly superblockBytes?: number | undefined;
}

export interface DeviceGeometry {
  readonly bucketBytes: number;
  readonly bucketCount: number;
  readonly layout: BchSbLayout;
}

export interface Geometry {
  readonly blockBytes: number;
  readonly btreeNodeBytes: number;
  readonly devices: readonly DeviceGeometry[];
}

/**
 * Chooses all sizes that were not asked for, and checks those that were.
 * @throws UsageError with the numbers when a device is too small or the sizes do not fit together
 */
export function planGeometry(request: GeometryRequest): Geometry {
  for (const { name, sizeBytes } of request.devices) {
    if (sizeBytes < DEVICE_BYTES_MIN) {
      throw new UsageError(
        `${name} is too small: ${sizeBytes} bytes, at least ${DEVICE_BYTES_MIN} are needed (a kernel hangs on smaller ones)`,
      );
    }
  }
  const totalBytes = request.devices.reduce((sum, device) => sum + device.sizeBytes, 0);
  const blockBytes = request.blockBytes ?? defaultBlockBytes(request.devices, totalBytes);
  checkBlockSize(blockBytes, request.devices);

  checkSuperblockSize(request.superblockBytes);
  const wantedBucketBytes = preferredBucketBytes(request, blockBytes, totalBytes);
  const bucketBytes = request.devices.map(
    device => device.bucketBytes ?? fitBucketToDevice(device, wantedBucketBytes, blockBytes, request.btreeNodeBytes),
  );
  // Buckets may have any size, btree nodes only powers of two.
  const btreeNodeBytes =
    request.btreeNodeBytes ?? Math.min(BTREE_NODE_BYTES_DEFAULT, ...bucketBytes.map(powerOfTwoAtMost));
  checkNodeSize(
    btreeNodeBytes,
    blockBytes,
    request.btreeNodeBytes === undefined ? '--bucket_size' : '--btree_node_size',
  );

  return {
    blockBytes,
    btreeNodeBytes,
    devices: request.devices.map((device, index) => {
      const bucket = bucketBytes[index]!;
      const bucketCount = Math.floor(device.sizeBytes / bucket);
      checkBuckets(device, bucket, bucketCount, blockBytes, btreeNodeBytes);
      return {
        bucketBytes: bucket,
        bucketCount,
        layout: layoutFor(device, bucket, blockBytes, request.superblockBytes),
      };
    }),
  };
}

function layoutFor(
  { name, sizeBytes, superblockSectors }: DeviceSize,
  bucketBytes: number,
  blockBytes: number,
  wantedBytes: number | undefined,
): BchSbLayout {
  const superblockBytes = wantedBytes ?? defaultSuperblockBytes(sizeBytes);
  if (superblockSectors !== undefined) return layoutOf(superblockSectors, bytesToSectors(superblockBytes));
  return superblockLayout({ name, sizeBytes, blockBytes, bucketBytes, superblockBytes });
}

/** @param option the one that the size comes from */
function checkNodeSize(btreeNodeBytes: number, blockBytes: number, option: string): void {
  const least = smallestNodeBytes(blockBytes);
  if (btreeNodeBytes >= least) return;
  throw new UsageError(
    `btree nodes of ${btreeNodeBytes} bytes, at least ${least} are needed with blocks of ${blockBytes} ` +
      `(Linux 6.12 panics or hangs with nodes of less than ${BTREE_NODE_BYTES_MIN} bytes or ${BTREE_NODE_BLOCKS_MIN} blocks)`,
    option,
  );
}

function smallestNodeBytes(blockBytes: number): number {
  return Math.max(BTREE_NODE_BYTES_MIN, BTREE_NODE_BLOCKS_MIN * blockBytes);
}

const tooSmall = (bytes: number, min: number, option: string): UsageError =>
  new UsageError(`${bytes} bytes, at least ${min} are needed (a kernel cannot work with less)`, option);

/** 512 bytes for small filesystems, else 4096, and never less than a device's physical sectors. */
function defaultBlockBytes(devices: readonly DeviceSize[], totalBytes: number): number {
  const physical = Math.max(...devices.map(device => Math.max(device.physicalSectorBytes, device.logicalSectorBytes)));
  return Math.max(totalBytes < SMALL_FILESYSTEM_BYTES ? 512 : 4096, physical);
}

function checkBlockSize(blockBytes: number, devices: readonly DeviceSize[]): void {
  for (const device of devices) {
    if (blockBytes < device.logicalSectorBytes) {
      throw new UsageError(
        `${blockBytes} bytes is smaller than the sectors of ${device.name} (${device.logicalSectorBytes} bytes)`,
        '--block_size',
      );
    }
  }
}

/** The bucket size that the whole filesystem would like, before the sizes of single devices are looked at. */
function preferredBucketBytes(request: GeometryRequest, blockBytes: number, totalBytes: number): number {
  return powerOfTwoAtLeast(
    Math.max(
      blockBytes,
      request.btreeNodeBytes ?? 0,
      // Encoded extents are fragmented when they are moved between buckets that hold few of them.
      4 * request.encodedExtentMaxBytes,
      totalBytes / BUCKETS_COMFORTABLE,
      // Larger buckets are faster, up to 2 MiB from 2 TiB on.
      Math.min(2 * MIB, (totalBytes / TIB) * MIB),
    ),
  );
}

/** Smaller buckets where a device would have too few of the preferred ones: at least 2048 of them, if possible. */
function fitBucketToDevice(
  device: DeviceSize,
  wantedBytes: number,
  blockBytes: number,
  btreeNodeBytes: number | undefined,
): number {
  const smallestBytes = btreeNodeBytes ?? smallestNodeBytes(blockBytes);
  if (device.sizeBytes < BUCKETS_MIN * smallestBytes) {
    throw new UsageError(
      `${device.name} is too small: ${device.sizeBytes} bytes, at least ${BUCKETS_MIN * smallestBytes} are needed ` +
        `(${BUCKETS_MIN} buckets of ${smallestBytes} bytes)`,
    );
  }
  let bucketBytes = Math.max(
    Math.min(powerOfTwoAtMost(device.sizeBytes / (4 * BUCKETS_MIN)), wantedBytes),
    smallestBytes,
  );
  while (bucketBytes < BUCKET_BYTES_SMALL && device.sizeBytes / (2 * bucketBytes) >= BUCKETS_MIN) bucketBytes *= 2;
  return Math.min(bucketBytes, powerOfTwoAtMost(BUCKET_BYTES_MAX));
}

function checkBuckets(
  device: DeviceSize,
  bucketBytes: number,
  bucketCount: number,
  blockBytes: number,
  btreeNodeBytes: number,
): void {
  const option = '--bucket_size';
  if (bucketBytes % SECTOR_BYTES !== 0 || bucketBytes % blockBytes !== 0) {
    throw new UsageError(`${bucketBytes} bytes is not a multiple of the block size, ${blockBytes} bytes`, option);
  }
  if (bucketBytes < BUCKET_BYTES_MIN) throw tooSmall(bucketBytes, BUCKET_BYTES_MIN, option);
  if (bucketBytes < btreeNodeBytes) {
    throw new UsageError(`${bucketBytes} bytes cannot hold a btree node of ${btreeNodeBytes} bytes`, option);
  }
  if (bucketBytes > BUCKET_BYTES_MAX) {
    throw new UsageError(`${bucketBytes} bytes, at most ${BUCKET_BYTES_MAX} are possible`, option);
  }
  if (bucketCount < BUCKETS_MIN) {
    throw new UsageError(
      `${device.name} has room for ${bucketCount} buckets of ${bucketBytes} bytes, at least ${BUCKETS_MIN} are needed ` +
        `(${BUCKETS_MIN * bucketBytes} bytes, it has ${device.sizeBytes})`,
      option,
    );
  }
  if (bucketCount > BUCKETS_MAX) {
    throw new UsageError(
      `${device.name} would have ${bucketCount} buckets of ${bucketBytes} bytes, at most ${BUCKETS_MAX} are possible`,
      option,
    );
  }
}

function checkSuperblockSize(bytes: number | undefined): void {
  if (bytes === undefined) return;
  if (!isPowerOfTwo(bytes) || bytes < SUPERBLOCK_BYTES_MIN || bytes > SUPERBLOCK_BYTES_MAX) {
    throw new UsageError(
      `${bytes} bytes, expected a power of two from ${SUPERBLOCK_BYTES_MIN} to ${SUPERBLOCK_BYTES_MAX}`,
      '--superblock_size',
    );
  }
}

/** 1 MiB as the reference has it; less on devices where three of those would be a large part of the whole. */
export function defaultSuperblockBytes(deviceBytes: number): number {
  return Math.min(MIB, Math.max(powerOfTwoAtMost(deviceBytes / 64), SUPERBLOCK_BYTES_MIN));
}

/** Enough for 64 members with labels, and for what kernels add. */
const SUPERBLOCK_BYTES_MIN = 64 * KIB;

function powerOfTwoAtLeast(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}

function powerOfTwoAtMost(value: number): number {
  return 2 ** Math.floor(Math.log2(value));
}
