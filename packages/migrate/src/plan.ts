// What migrate is going to do, found out before anything is written: what there is, what of it stays where it is, where the new metadata goes and
// whether there is room for it, what cannot be kept. A disk that is too full is found here.

import {
  type BlockDevice,
  BUCKETS_MIN,
  bytesToSectors,
  dataReserveBuckets,
  type FormatPlan,
  type FormatRequest,
  journalBucketCount,
  newFilesystemDefault,
  type OptionName,
  type OptionNumber,
  planFormat,
  type RandomSource,
  sectorsToBytes,
  UsageError,
  VERSION_CURRENT_WRITTEN,
} from '@bcachefs-ts/core/engine';
import type { Ext4, Ext4Losses, Ext4Usage } from '@bcachefs-ts/ext4';
import { IMAGE_DIRECTORY } from './build.ts';
import { isMarkable, readExt4Superblock } from './mark.ts';
import { findRoom, type Room } from './room.ts';

/** A kernel refuses blocks that are larger than its pages. */
const PAGE_BYTES = 4096;

/** What the new filesystem is to be like. */
export interface MigrationRequest {
  readonly options: ReadonlyMap<OptionName, OptionNumber>;
  readonly bucketBytes?: number | undefined;
  readonly superblockBytes?: number | undefined;
  readonly label?: string | undefined;
  readonly fsLabel?: string | undefined;
  readonly uuid?: string | undefined;
  readonly nowNs: bigint;
  readonly random: RandomSource;
  /** What is lost is lost: see `lossesOf`. */
  readonly accepts: { readonly casefold: boolean; readonly verity: boolean; readonly largeXattrs: boolean };
}

export interface MigrationPlan {
  readonly format: FormatPlan;
  readonly room: Room;
  readonly usage: Ext4Usage;
  readonly blockBytes: number;
  readonly isExcluded: Room['isExcluded'];
  /** What the journal and the superblocks take, and, by an estimate, what nodes will. */
  readonly metadataBytes: number;
  readonly nodesBytes: number;
  /** Data that has to be copied, since it cannot stay: at the most. */
  readonly copiedBytes: number;
  /** In free buckets. */
  readonly freeBytes: number;
  readonly usedBytes: number;
  readonly readBytes: number;
  readonly hasChecksums: boolean;
  /** What cannot be kept, a line each. */
  readonly losses: readonly string[];
  /** Lines that somebody should read before. */
  readonly warnings: readonly string[];
}

/** Seconds that it will take, by bytes that are read at 200 MB/s and inodes made at 20,000 a second. */
export const expectedSeconds = ({ readBytes, usage }: MigrationPlan): number =>
  Math.ceil(readBytes / 200e6 + inodesOf(usage) / 10_000);

export const inodesOf = ({ inodes }: Ext4Usage): number =>
  inodes.dir + inodes.file + inodes.symlink + inodes.chr + inodes.blk + inodes.fifo + inodes.sock;

/** @throws UsageError for what is not possible, with what to do */
export function planMigration(
  device: BlockDevice,
  ext4: Ext4,
  usage: Ext4Usage,
  request: MigrationRequest,
): MigrationPlan {
  const { facts } = ext4;
  refuseNames(ext4);
  if (!isMarkable(readExt4Superblock(device)))
    throw new UsageError(
      'ext4 is marked read-only already (feature `read-only`): take that away with tune2fs -O ^read-only, or, if it is the mark of an ' +
        'earlier migration, with bcachefs migrate rollback',
    );
  const losses = lossesOf(usage.losses, request.accepts);
  const fsBytes = facts.blocks * facts.blockBytes;
  if (device.sizeBytes < fsBytes)
    throw new UsageError(
      `${device.name} has ${device.sizeBytes} bytes, fewer than its ext4 (${fsBytes}): run e2fsck -f`,
    );
  const blockBytes = Math.min(facts.blockBytes, PAGE_BYTES);
  const room = findRoom({
    map: usage.map,
    blockBytes: facts.blockBytes,
    sizeBytes: fsBytes,
    bucketBytes: request.bucketBytes,
    superblockBytes: request.superblockBytes,
  });
  if (room === undefined)
    throw new UsageError(
      `${device.name} is too small: ${fsBytes} bytes, what is migrated has more than ${BUCKETS_MIN} buckets of 128 KiB`,
    );
  const option = (name: OptionName) => request.options.get(name) ?? newFilesystemDefault(name);
  const hasChecksums = Number(option('data_checksum')) !== 0;
  const pieceBytes = hasChecksums ? Number(option('encoded_extent_max')) : room.bucketBytes;
  const nodesBytes = estimateNodes(usage, facts.blockBytes, pieceBytes, room);
  if (room.superblockSectors.length === 0) throw noRoom(device, room, 2 * room.superblockBytes + nodesBytes);
  const isExcluded = excludedWith(room);
  const formatRequest: FormatRequest = {
    devices: [
      {
        name: device.name,
        sizeBytes: fsBytes,
        physicalSectorBytes: device.physicalSectorBytes,
        logicalSectorBytes: device.logicalSectorBytes,
        bucketBytes: room.bucketBytes,
        superblockSectors: room.superblockSectors,
        label: request.label,
        durability: 1,
        discard: true,
        dataAllowed: ALL_DATA,
        firstBucket: 1,
      },
    ],
    options: new Map<OptionName, OptionNumber>([...request.options, ['block_size', blockBytes]]),
    targets: {},
    version: VERSION_CURRENT_WRITTEN,
    fsLabel: request.fsLabel ?? labelOf(facts.label),
    uuid: request.uuid,
    superblockBytes: room.superblockBytes,
    now: request.nowNs,
    random: request.random,
  };
  const format = planFormat(formatRequest);
  const { btreeNodeBytes } = format.geometry;
  const journalBytes = journalBucketCount(room.freeBuckets, bytesToSectors(room.bucketBytes)) * room.bucketBytes;
  const copiedBytes = movedBytes(usage, facts.blockBytes, room);
  const freeBytes = room.freeBuckets * room.bucketBytes;
  const metadataBytes = journalBytes + 2 * room.superblockBytes + nodesBytes;
  // A commit writes new nodes before the old ones are free, and a kernel wants room for 28 nodes at any time.
  // Data that is copied leaves more than that: what a filesystem keeps back from users.
  const keptBack =
    copiedBytes === 0
      ? RESERVED_NODES * btreeNodeBytes
      : room.bucketBytes *
        dataReserveBuckets(
          { bucketSizeSectors: bytesToSectors(room.bucketBytes), bucketEnd: room.bucketCount },
          bytesToSectors(btreeNodeBytes),
        );
  const needed = journalBytes + 1.5 * nodesBytes + copiedBytes + keptBack;
  if (needed > freeBytes) throw noRoom(device, room, needed);
  const usedBytes = usage.map.usedBlocks * facts.blockBytes;
  const warnings: string[] = [];
  if (usedBytes + metadataBytes > fsBytes * FULL_SHARE)
    warnings.push(
      'more than 85% is in use: bcachefs keeps 8% for itself, so that little or nothing can be written before something is deleted',
    );
  return {
    format,
    room,
    usage,
    blockBytes,
    isExcluded,
    metadataBytes,
    nodesBytes,
    copiedBytes,
    freeBytes,
    usedBytes,
    readBytes: hasChecksums ? usage.dataBlocks * facts.blockBytes : 0,
    hasChecksums,
    losses,
    warnings,
  };
}

/** journal, btree and user: bits 2 to 4 of the data types. */
const ALL_DATA = 0b11100;
/** BTREE_NODE_RESERVE */
const RESERVED_NODES = 28;
const FULL_SHARE = 0.85;

/** The copies of the superblock are in free buckets, which nothing else may take before they are marked. */
function excludedWith({ isExcluded, superblockSectors, superblockBytes, bucketBytes }: Room): Room['isExcluded'] {
  const copies = superblockSectors.map(sector => {
    const start = sectorsToBytes(sector) / bucketBytes;
    return { start, end: start + Math.ceil(superblockBytes / bucketBytes) };
  });
  return (dev, bucket) => isExcluded(dev, bucket) || copies.some(({ start, end }) => bucket >= start && bucket < end);
}

function noRoom({ name }: BlockDevice, { freeBuckets, bucketBytes, tried }: Room, neededBytes: number): UsageError {
  const sizes = tried.map(one => `${mib(one.freeBytes)} in buckets of ${one.bucketBytes / 1024} KiB`).join(', ');
  return new UsageError(
    `${name} is too full: about ${mib(neededBytes)} are needed in wholly free buckets, there are ${mib(freeBuckets * bucketBytes)} (${sizes}): ` +
      'delete something, make the filesystem larger with resize2fs, or take --data_checksum=none, which needs less',
  );
}

const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** Bytes of keys and nodes, by what each thing was seen to take, with nodes that are three quarters full. */
function estimateNodes(usage: Ext4Usage, blockBytes: number, pieceBytes: number, room: Room): number {
  const inodes = inodesOf(usage);
  const dataBytes = usage.dataBlocks * blockBytes;
  const usedBytes = usage.map.usedBlocks * blockBytes;
  const extents = usage.extents + dataBytes / pieceBytes + usedBytes / room.bucketBytes;
  const buckets = room.bucketCount - room.freeBuckets;
  const keys = 136 * inodes + 64 * inodes + 128 * extents + 160 * buckets;
  return Math.ceil(1.4 * keys) + LEAST_NODES * Math.min(room.bucketBytes, 256 * 1024);
}
/** Every btree that has a key has a node. */
const LEAST_NODES = 16;

/** What lies where nothing of a file can stay, whether it is a file's or not. */
function movedBytes({ map }: Ext4Usage, blockBytes: number, { bucketBytes, tailStart }: Room): number {
  let blocks = 0;
  for (const run of map.usedRuns(0, bucketBytes / blockBytes)) blocks += run.blocks;
  for (const run of map.usedRuns(Math.floor(tailStart / blockBytes), map.blocks)) blocks += run.blocks;
  return blocks * blockBytes;
}

function refuseNames(ext4: Ext4): void {
  const name = new TextEncoder().encode(IMAGE_DIRECTORY);
  for (const entry of ext4.directory(ext4.inode(ROOT_INODE)))
    if (entry.name.length === name.length && entry.name.every((byte, i) => byte === name[i]))
      throw new UsageError(
        `there is a file /${IMAGE_DIRECTORY} already: rename it, migrate keeps what was ext4's there`,
      );
}
const ROOT_INODE = 2;

/** A label that fits. */
function labelOf(label: Uint8Array): string | undefined {
  const text = new TextDecoder().decode(label);
  return text === '' || text.includes('\ufffd') ? undefined : text;
}

/**
 * What cannot be kept, in words.
 * @throws UsageError for what somebody has to agree to first, and for what cannot be read at all
 */
function lossesOf(losses: Ext4Losses, accepts: MigrationRequest['accepts']): readonly string[] {
  const { encrypted, casefold, verity, largeXattrs, times } = losses;
  const inodes = (loss: { readonly count: number; readonly inodes: readonly number[] }) =>
    `inode ${loss.inodes.slice(0, 3).join(', ')}${loss.count > 3 ? ' and others' : ''}`;
  if (encrypted.count > 0)
    throw new UsageError(
      `${encrypted.count} encrypted files (${inodes(encrypted)}): they can be read with their key only, by a kernel; copy or delete them first`,
    );
  const lines: string[] = [];
  const accept = (loss: Ext4Losses[keyof Ext4Losses], isAccepted: boolean, what: string, option: string) => {
    if (loss.count === 0) return;
    if (!isAccepted) throw new UsageError(`${loss.count} ${what} (${inodes(loss)}): ${option} migrates without that`);
    lines.push(`${loss.count} ${what} (${inodes(loss)})`);
  };
  accept(
    casefold,
    accepts.casefold,
    'directories that ignore case, which bcachefs of this version cannot',
    '--ignore_casefold',
  );
  accept(verity, accepts.verity, 'files protected by fs-verity, which bcachefs has not', '--ignore_verity');
  accept(largeXattrs, accepts.largeXattrs, 'attributes that are larger than bcachefs can keep', '--drop_large_xattrs');
  if (times.count > 0) lines.push(`${times.count} files with times past 2262, which become 2262 (${inodes(times)})`);
  return lines;
}
