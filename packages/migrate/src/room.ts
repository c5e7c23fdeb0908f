// Where there is room for a new filesystem on a device that is full of another one: buckets of which not a block is used, places for its
// superblocks among them, and the size of bucket that leaves most of the room usable. Pure arithmetic over the map of used blocks.

import {
  BUCKETS_MIN,
  bytesToSectors,
  defaultSuperblockBytes,
  type IsHeld,
  isPowerOfTwo,
  SB_SECTOR,
  sectorsToBytes,
} from '@bcachefs-ts/core/engine';
import type { Ext4BlockMap } from '@bcachefs-ts/ext4';

const KIB = 1024;
const MIB = 1024 * KIB;

/** What is tried when no size is asked for. */
const BUCKET_BYTES_TRIED = [128 * KIB, 256 * KIB, 512 * KIB, MIB, 2 * MIB] as const;
/** A larger bucket is better as long as it costs no more than this part of the room. */
const ROOM_GIVEN_UP = 0.02;
/** Small copies hold all that a filesystem of one member will ever need. */
const SUPERBLOCK_BYTES_LEAST = 64 * KIB;
/** A search for a lost superblock looks so far from the end (SCAN_BYTES_DEFAULT). */
const SEARCHED_BYTES = 64 * MIB;

export interface RoomRequest {
  readonly map: Ext4BlockMap;
  readonly blockBytes: number;
  /** Of the device. */
  readonly sizeBytes: number;
  readonly bucketBytes?: number | undefined;
  readonly superblockBytes?: number | undefined;
}

export interface Room {
  readonly bucketBytes: number;
  readonly bucketCount: number;
  /** Bytes after the last whole bucket: no pointer can lead there. */
  readonly tailStart: number;
  /** Buckets in which nothing is used. */
  readonly freeBuckets: number;
  /** Whether nothing of the new filesystem may be put into a bucket: something is there, or finish will put the superblock there. */
  readonly isExcluded: IsHeld;
  readonly superblockBytes: number;
  /** Sectors of the two copies, in order; empty when there is no room for them. */
  readonly superblockSectors: readonly number[];
  /** The sizes that were compared, with the bytes that each leaves in free buckets. */
  readonly tried: readonly { readonly bucketBytes: number; readonly freeBytes: number }[];
}

/** Sizes that a device may have: undefined when it is too small for any. */
export function findRoom(request: RoomRequest): Room | undefined {
  const sizes = request.bucketBytes === undefined ? BUCKET_BYTES_TRIED : [request.bucketBytes];
  const rooms = sizes
    .filter(size => size % request.blockBytes === 0 || request.blockBytes % size === 0)
    .filter(size => Math.floor(request.sizeBytes / size) > BUCKETS_MIN)
    .map(size => roomWith(request, size));
  const most = Math.max(0, ...rooms.map(freeBytesOf));
  const good = rooms.filter(
    room => room.superblockSectors.length > 0 && freeBytesOf(room) >= most * (1 - ROOM_GIVEN_UP),
  );
  const chosen = good.at(-1) ?? rooms.toSorted((a, b) => freeBytesOf(b) - freeBytesOf(a))[0];
  if (chosen === undefined) return undefined;
  return { ...chosen, tried: rooms.map(room => ({ bucketBytes: room.bucketBytes, freeBytes: freeBytesOf(room) })) };
}

const freeBytesOf = ({ freeBuckets, bucketBytes }: Room): number => freeBuckets * bucketBytes;

function roomWith({ map, blockBytes, sizeBytes, superblockBytes }: RoomRequest, bucketBytes: number): Room {
  const bucketCount = Math.floor(sizeBytes / bucketBytes);
  const used = new Uint8Array(Math.ceil(bucketCount / 8));
  const take = (startBytes: number, endBytes: number) => {
    const end = Math.min(bucketCount, Math.ceil(endBytes / bucketBytes));
    for (let bucket = Math.floor(startBytes / bucketBytes); bucket < end; bucket++)
      used[bucket >>> 3]! |= 1 << (bucket & 7);
  };
  for (const { block, blocks } of map.usedRuns()) take(block * blockBytes, (block + blocks) * blockBytes);
  // Bucket 0 is none of the new filesystem's: the sectors that lead to it are there.
  take(0, 1);
  const isUsed = (bucket: number) => ((used[bucket >>> 3]! >>> (bucket & 7)) & 1) === 1;
  let wanted = superblockBytes ?? defaultSuperblockBytes(sizeBytes);
  let superblockSectors = superblockPlaces(isUsed, bucketCount, bucketBytes, wanted);
  while (superblockSectors.length === 0 && superblockBytes === undefined && wanted > SUPERBLOCK_BYTES_LEAST) {
    wanted /= 2;
    superblockSectors = superblockPlaces(isUsed, bucketCount, bucketBytes, wanted);
  }
  take(0, finalSuperblockEnd(wanted, blockBytes));
  let freeBuckets = 0;
  for (let bucket = 0; bucket < bucketCount; bucket++) if (!isUsed(bucket)) freeBuckets++;
  return {
    bucketBytes,
    bucketCount,
    tailStart: bucketCount * bucketBytes,
    freeBuckets: freeBuckets - superblockSectors.length * Math.ceil(wanted / bucketBytes),
    isExcluded: (_dev, bucket) => isUsed(bucket),
    superblockBytes: wanted,
    superblockSectors,
    tried: [],
  };
}

/** Where the area ends that finish gives to superblocks: two copies, at their usual places. */
function finalSuperblockEnd(superblockBytes: number, blockBytes: number): number {
  return Math.ceil((sectorsToBytes(SB_SECTOR) + superblockBytes) / blockBytes) * blockBytes + superblockBytes;
}

/** Two places in free buckets, clear of where finish will have its copies: one as near to the end as possible, one far from it. */
function superblockPlaces(
  isUsed: (bucket: number) => boolean,
  bucketCount: number,
  bucketBytes: number,
  superblockBytes: number,
): readonly number[] {
  if (!isPowerOfTwo(superblockBytes)) return [];
  const length = Math.ceil(superblockBytes / bucketBytes);
  const first = Math.ceil(finalSuperblockEnd(superblockBytes, 4 * KIB) / bucketBytes);
  const isRoom = (bucket: number) => {
    for (let at = bucket; at < bucket + length; at++) if (isUsed(at)) return false;
    return true;
  };
  let late: number | undefined;
  for (let bucket = bucketCount - length; bucket >= first; bucket--) {
    if (!isRoom(bucket)) continue;
    late = bucket;
    break;
  }
  if (late === undefined) return [];
  const near = late * bucketBytes >= bucketCount * bucketBytes - SEARCHED_BYTES;
  const limit = near ? late - length : bucketCount - length;
  for (let bucket = first; bucket <= limit; bucket++) {
    if (bucket + length > late && bucket < late + length) continue;
    if (!isRoom(bucket)) continue;
    return [bucket, late].sort((a, b) => a - b).map(place => bytesToSectors(place * bucketBytes));
  }
  return [];
}
