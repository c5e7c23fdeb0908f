// Back to ext4. Nothing of it was written over as long as bcachefs still has every block that ext4 uses as a part of a file, in a bucket that was never
// emptied: what is owned is not written to. So before anything is changed, ext4 is read as it was, all its inodes are compared with its bitmaps, and
// every block that is in use is looked for among bcachefs' pointers. Then three sectors are put back, each flushed: see mark.ts for their order.

import {
  type BlockDevice,
  BUCKETS_MAX,
  bposOffsetNumber,
  bucketStateOf,
  decodeExtentEntries,
  type Filesystem,
  filesystemOf,
  keyTypes,
  members,
  openMembers,
  printableBytes,
  SECTOR_BYTES,
  sectorsToBytes,
} from '@bcachefs-ts/core/engine';
import { type Ext4, type Ext4BlockMap, openExt4 } from '@bcachefs-ts/ext4';
import { LaidDevice, writeMark } from './mark.ts';
import { recordPlaces } from './record.ts';
import type { MigrationState } from './state.ts';

type Migrated = Extract<MigrationState, { readonly kind: 'migrated' }>;

/** Blocks that bcachefs has moved or freed since. */
export interface LostBlocks {
  readonly blocks: number;
  readonly bytes: number;
  /** Up to ten files of ext4 that had some of them; empty when it was metadata only. */
  readonly paths: readonly string[];
}

export interface RollbackPlan {
  readonly usedBytes: number;
  readonly blockBytes: number;
  /** Undefined when everything stands where it stood. */
  readonly lost: LostBlocks | undefined;
}

/**
 * Looks whether ext4 is whole: steps, each with the share that is done.
 * @throws InputError when ext4 itself is not what it was; CorruptError, DeviceError for what bcachefs cannot say any more
 */
export function* planRollback(device: BlockDevice, { original }: Migrated): Generator<number, RollbackPlan, void> {
  const ext4 = openExt4(new LaidDevice(device, original));
  const { map } = yield* ext4.usageSteps();
  const filesystem = filesystemOf(openMembers([device]));
  const { blockBytes } = ext4.facts;
  const missing = new Uint32Array(Math.ceil(map.blocks / 32));
  const { start, tail } = reach(filesystem);
  for (const { block, blocks } of map.usedRuns(Math.floor(start / blockBytes)))
    for (let at = block; at < block + blocks && (at + 1) * blockBytes <= tail; at++)
      missing[at >>> 5]! |= 1 << (at & 31);
  let count = 0;
  for (const btree of ['extents', 'reflink'] as const) {
    for (const { k, value } of filesystem.btree(btree).keys()) {
      if (k.type === EXTENT || k.type === REFLINK_V)
        strike(missing, value.subarray(k.type === EXTENT ? 0 : 8), k.size, blockBytes);
      if (++count % 4096 === 0) yield 1;
    }
  }
  returnEmptied(filesystem, missing, map, blockBytes);
  return {
    usedBytes: map.usedBlocks * blockBytes,
    blockBytes,
    lost: lostOf(ext4, missing, blockBytes),
  };
}

const EXTENT = keyTypes.idOf('extent');
const REFLINK_V = keyTypes.idOf('reflink_v');

/** Where the first bucket begins and the last one ends: bcachefs writes nothing in front of that or after it. */
function reach({ sb }: Filesystem): { readonly start: number; readonly tail: number } {
  const { first_bucket, nbuckets, bucket_size } = members(sb)[0]!; // a migrated filesystem that was opened has a member
  const bucketBytes = sectorsToBytes(bucket_size);
  return { start: first_bucket * bucketBytes, tail: Math.min(nbuckets, BUCKETS_MAX) * bucketBytes };
}

/** Blocks that an extent lies on, and may have lain on since the migration. */
function strike(missing: Uint32Array, value: Uint8Array, size: number, blockBytes: number): void {
  const blockSectors = blockBytes / SECTOR_BYTES;
  let sectors = size;
  for (const entry of decodeExtentEntries(value)) {
    if (entry.type === 'crc32' || entry.type === 'crc64' || entry.type === 'crc128') {
      // All of it is kept as long as a part of it is.
      sectors = entry.compressed_size;
    }
    if (entry.type !== 'ptr' || entry.dev !== 0 || entry.gen !== 0 || entry.cached) continue;
    const first = Math.floor(entry.offset / blockSectors);
    const end = Math.ceil((entry.offset + sectors) / blockSectors);
    for (let block = first; block < end && block >>> 5 < missing.length; block++)
      missing[block >>> 5]! &= ~(1 << (block & 31));
  }
}

/** A bucket that was emptied once may hold new data of the same generation 256 times later, which cannot be seen; one with another generation is lost. */
function returnEmptied(filesystem: Filesystem, missing: Uint32Array, map: Ext4BlockMap, blockBytes: number): void {
  const bucketBytes = sectorsToBytes(members(filesystem.sb)[0]!.bucket_size);
  for (const key of filesystem.btree('alloc').keys()) {
    const { gen } = bucketStateOf(key);
    if (gen === 0) continue;
    const start = bposOffsetNumber(key.k.p) * bucketBytes;
    const from = Math.floor(start / blockBytes);
    const to = Math.min(map.blocks, Math.ceil((start + bucketBytes) / blockBytes));
    if (from >= to) continue;
    for (const { block, blocks } of map.usedRuns(from, to))
      for (let at = block; at < block + blocks; at++) missing[at >>> 5]! |= 1 << (at & 31);
  }
}

const PATHS_MAX = 10;

function lostOf(ext4: Ext4, missing: Uint32Array, blockBytes: number): LostBlocks | undefined {
  let blocks = 0;
  for (const word of missing) for (let bits = word; bits !== 0; bits &= bits - 1) blocks++;
  if (blocks === 0) return undefined;
  const isMissing = (block: number) => ((missing[block >>> 5]! >>> (block & 31)) & 1) === 1;
  const paths: string[] = [];
  for (const { path, inode, isFurtherName } of ext4.tree()) {
    if (inode.kind !== 'file' || isFurtherName) continue;
    let isHit = false;
    for (const { block, blocks: length } of ext4.extents(inode))
      for (let at = block; at < block + length && !isHit; at++) isHit = isMissing(at);
    if (isHit) paths.push(printableBytes(path));
    if (paths.length === PATHS_MAX) break;
  }
  return { blocks, bytes: blocks * blockBytes, paths };
}

/** Three sectors; then the superblocks of what was bcachefs, so that no search finds them. */
export function rollBack(device: BlockDevice, { sb, original }: Migrated): void {
  const [, sector] = original;
  writeMark(device, 'closing');
  if (sector !== undefined) device.write(sector.at, sector.bytes);
  device.flush();
  writeMark(device, 'none');
  wipeSuperblocks(device, sb);
}

/** The mark of a migration or a rollback that was cut off goes. */
export const unmark = (device: BlockDevice): void => writeMark(device, 'none');

function wipeSuperblocks(device: BlockDevice, { layout }: Migrated['sb']): void {
  for (const sector of layout.sb_offset.slice(0, layout.nr_superblocks))
    device.write(sectorsToBytes(Number(sector)), new Uint8Array(WIPED_BYTES));
  for (const place of recordPlaces(layout)) device.write(place, new Uint8Array(SECTOR_BYTES));
  device.flush();
}
/** The magic is among them. */
const WIPED_BYTES = 4096;
