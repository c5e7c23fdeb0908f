// struct ext4_super_block: 1 KiB at byte 1024. Read, checked against itself and the device, and made facts; what keeps the filesystem from
// being read is listed by name. A geometry that passes here cannot make the rest read past the device, nor hold more than it has room for.
// Source: fs/ext4/ext4.h and ext4_fill_super of Linux 6.12, ext2_fs.h of e2fsprogs 1.47.

import { crc32c } from '@bcachefs-ts/core/engine';
import { damaged, hex } from './faults.ts';
import {
  COMPAT_HAS_JOURNAL,
  COMPAT_SPARSE_SUPER2,
  featureNames,
  INCOMPAT_64BIT,
  INCOMPAT_CSUM_SEED,
  INCOMPAT_JOURNAL_DEV,
  INCOMPAT_META_BG,
  INCOMPAT_MMP,
  INCOMPAT_RECOVER,
  RO_BIGALLOC,
  RO_GDT_CSUM,
  RO_METADATA_CSUM,
  RO_ORPHAN_PRESENT,
  RO_SPARSE_SUPER,
  refusedFeatures,
} from './features.ts';
import type { Ext4Facts, Ext4Refusal, ReadableDevice } from './types.ts';

const SUPERBLOCK_AT = 1024;
const SUPERBLOCK_BYTES = 1024;
const MAGIC = 0xef53;
const STATE_VALID = 1;
const STATE_ERROR = 2;
const STATE_ORPHANS = 4;
const MMP_CLEAN = 0xff4d4d50;
const MMP_MAGIC = 0x004d4d50;
/** 64 TiB with blocks of 4 KiB, 4 TiB with those of 1 KiB. What is kept of a group takes 60 bytes, and a page of 128 bytes for each stretch of 1024 clusters of which some are in use. */
const GROUPS_MAX = 2 ** 19;

export interface Superblock {
  readonly facts: Ext4Facts;
  readonly refusals: readonly Ext4Refusal[];
  /** Where checksums of metadata begin. */
  readonly seed: number;
  readonly uuid: Uint8Array;
  readonly groupChecksums: 'crc32c' | 'crc16' | 'none';
  readonly hasMetaBg: boolean;
  readonly firstMetaBg: number;
  readonly reservedGdtBlocks: number;
  readonly hasSparseSuper: boolean;
  /** With sparse_super2: the groups that have the copies; 0 for none. */
  readonly backupGroups: readonly number[] | undefined;
  /** 0 without. */
  readonly mmpBlock: number;
}

/** Whether there is a superblock of ext2, ext3 or ext4. @param bytes the device's first 2 KiB */
export function looksLikeExt4(bytes: Uint8Array): boolean {
  if (bytes.length < SUPERBLOCK_AT + SUPERBLOCK_BYTES) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset + SUPERBLOCK_AT, SUPERBLOCK_BYTES);
  const [blocks, logBlockSize, revision] = [
    view.getUint32(4, true),
    view.getUint32(24, true),
    view.getUint32(76, true),
  ];
  return view.getUint16(56, true) === MAGIC && blocks > 0 && logBlockSize <= 6 && revision <= 1;
}

/** @throws InputError for what is not one, or cannot be; DeviceError */
export function readSuperblock(device: ReadableDevice): Superblock {
  const bad = (detail: string) => damaged(device.name, 'superblock', detail);
  if (device.sizeBytes < SUPERBLOCK_AT + SUPERBLOCK_BYTES)
    throw bad(`${device.sizeBytes} bytes are too few for an ext4 filesystem`);
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  device.read(SUPERBLOCK_AT, bytes);
  const view = new DataView(bytes.buffer);
  const u16 = (at: number) => view.getUint16(at, true);
  const u32 = (at: number) => view.getUint32(at, true);

  const magic = u16(0x38);
  if (magic !== MAGIC) throw bad(`its magic is ${hex(magic)}, expected ${hex(MAGIC)}: there is no ext4 filesystem`);
  const revision = u32(0x4c);
  if (revision > 1) throw bad(`its revision is ${revision}, expected 0 or 1`);
  // Revision 0 has neither features nor inodes of another size.
  const dynamic = (at: number) => (revision === 0 ? 0 : u32(at));
  const words = { compat: dynamic(0x5c), incompat: dynamic(0x60), roCompat: dynamic(0x64) };
  const has = {
    wide: (words.incompat & INCOMPAT_64BIT) !== 0,
    bigalloc: (words.roCompat & RO_BIGALLOC) !== 0,
    checksums: (words.roCompat & RO_METADATA_CSUM) !== 0,
  };
  if (has.checksums) {
    const [type, stored, computed] = [bytes[0x175]!, u32(0x3fc), crc32c(0xffff_ffff, bytes.subarray(0, 0x3fc))];
    if (type !== 1) throw bad(`its checksum type is ${type}, expected 1`);
    if (stored !== computed) throw bad(`its checksum is ${hex(stored)}, expected ${hex(computed)}`);
  }

  const logBlockSize = u32(0x18);
  if (logBlockSize > 6) throw bad(`its block size is 2^${10 + logBlockSize} bytes, expected 1 to 64 KiB`);
  const blockBytes = 1024 << logBlockSize;
  const logClusterSize = has.bigalloc ? u32(0x1c) : logBlockSize;
  if (logClusterSize < logBlockSize || logClusterSize > 20)
    throw bad(`its cluster size is 2^${10 + logClusterSize} bytes, expected ${blockBytes} bytes to 1 GiB`);
  const blocksPerCluster = 2 ** (logClusterSize - logBlockSize);
  const blocks = u32(0x04) + (has.wide ? u32(0x150) * 2 ** 32 : 0);
  const freeBlocks = u32(0x0c) + (has.wide ? u32(0x158) * 2 ** 32 : 0);
  const firstDataBlock = u32(0x14);
  const firstExpected = blockBytes === 1024 && !has.bigalloc ? 1 : 0;
  if (firstDataBlock !== firstExpected)
    throw bad(
      `its first data block is ${firstDataBlock}, expected ${firstExpected} with blocks of ${blockBytes} bytes`,
    );
  const clustersPerGroup = has.bigalloc ? u32(0x24) : u32(0x20);
  const blocksPerGroup = u32(0x20);
  if (clustersPerGroup === 0 || clustersPerGroup > 8 * blockBytes || clustersPerGroup % 8 !== 0)
    throw bad(`it has ${clustersPerGroup} clusters in a group, expected a multiple of 8 up to ${8 * blockBytes}`);
  if (blocksPerGroup !== clustersPerGroup * blocksPerCluster)
    throw bad(`it has ${blocksPerGroup} blocks in a group, expected ${clustersPerGroup * blocksPerCluster}`);

  // Neither a kernel nor e2fsprogs opens it otherwise.
  if (!has.bigalloc && (u32(0x1c) !== logBlockSize || u32(0x24) !== blocksPerGroup))
    throw bad(
      `its clusters are of 2^${10 + u32(0x1c)} bytes, ${u32(0x24)} in a group, expected what blocks are (2^${10 + logBlockSize} bytes, ${blocksPerGroup})`,
    );
  if (dynamic(0x174) % 256 > 31) throw bad(`its flexible groups are of 2^${dynamic(0x174) % 256} groups`);

  const facts = { blocks, firstDataBlock, blocksPerGroup, blockBytes };
  const isJournal = (words.incompat & INCOMPAT_JOURNAL_DEV) !== 0;
  if (blocks <= firstDataBlock || blocks * blockBytes > Number.MAX_SAFE_INTEGER)
    throw bad(`it has ${blocks} blocks, which cannot be`);
  if (blocks * blockBytes > device.sizeBytes)
    throw bad(
      `it has ${blocks} blocks of ${blockBytes} bytes, and the device only ${device.sizeBytes} bytes: it is cut off`,
    );
  const groups = Math.ceil((blocks - firstDataBlock) / blocksPerGroup);

  const inodeBytes = revision === 0 ? 128 : u16(0x58);
  if (inodeBytes < 128 || inodeBytes > blockBytes || (inodeBytes & (inodeBytes - 1)) !== 0)
    throw bad(`its inodes have ${inodeBytes} bytes, expected a power of two from 128 to ${blockBytes}`);
  const inodes = u32(0x00);
  const inodesPerGroup = u32(0x28);
  const inodesPerBlock = blockBytes / inodeBytes;
  if (!isJournal) {
    if (inodesPerGroup === 0 || inodesPerGroup > 8 * blockBytes || inodesPerGroup % inodesPerBlock !== 0)
      throw bad(
        `it has ${inodesPerGroup} inodes in a group, expected a multiple of ${inodesPerBlock} up to ${8 * blockBytes}`,
      );
    if (inodes !== groups * inodesPerGroup)
      throw bad(`it has ${inodes} inodes, expected ${groups * inodesPerGroup} in ${groups} groups`);
  }
  const firstInode = revision === 0 ? 11 : u32(0x54);
  if (!isJournal && (firstInode < 11 || firstInode > inodes))
    throw bad(`its first inode is ${firstInode}, expected 11 to ${inodes}`);
  const descBytes = has.wide ? u16(0xfe) : 32;
  if (has.wide && (descBytes < 64 || descBytes > Math.min(1024, blockBytes) || (descBytes & (descBytes - 1)) !== 0))
    throw bad(`its group descriptors have ${descBytes} bytes, expected a power of two from 64 to 1024`);
  const hasMetaBg = (words.incompat & INCOMPAT_META_BG) !== 0;
  const descBlocks = Math.ceil((groups * descBytes) / blockBytes);
  const firstMetaBg = hasMetaBg ? u32(0x104) : 0;
  if (firstMetaBg > descBlocks) throw bad(`its first meta group is ${firstMetaBg}, expected up to ${descBlocks}`);
  const reservedGdtBlocks = u16(0xce);
  if (reservedGdtBlocks > blockBytes / 4)
    throw bad(`it has ${reservedGdtBlocks} reserved descriptor blocks, expected up to ${blockBytes / 4}`);
  const mmpBlock = (words.incompat & INCOMPAT_MMP) === 0 ? 0 : u32(0x168) + u32(0x16c) * 2 ** 32;
  if ((words.incompat & INCOMPAT_MMP) !== 0 && (mmpBlock <= firstDataBlock || mmpBlock >= blocks))
    throw bad(`its block of multiple mount protection is ${mmpBlock}, which is not in it`);

  const uuid = bytes.slice(0x68, 0x78);
  const hasSeed = (words.incompat & INCOMPAT_CSUM_SEED) !== 0;
  const whole: Ext4Facts = {
    ...facts,
    freeBlocks,
    clusterBytes: blockBytes * blocksPerCluster,
    blocksPerCluster,
    groups,
    clustersPerGroup,
    inodes,
    freeInodes: u32(0x10),
    inodesPerGroup,
    inodeBytes,
    firstInode,
    descBytes,
    uuid: uuidText(uuid),
    label: upToNul(bytes.slice(0x78, 0x88)),
    lastMounted: upToNul(bytes.slice(0x88, 0xc8)),
    features: featureNames(words),
    ...words,
    state: u16(0x3a),
    revision,
    errorCount: dynamic(0x194),
    mountCount: u16(0x34),
    createdSeconds: dynamic(0x108) + (bytes[0x276]! & 0xff) * 2 ** 32,
    mountedSeconds: u32(0x2c) + (bytes[0x275]! & 0xff) * 2 ** 32,
    writtenSeconds: u32(0x30) + (bytes[0x274]! & 0xff) * 2 ** 32,
    checkedSeconds: u32(0x40) + (bytes[0x277]! & 0xff) * 2 ** 32,
    hasChecksums: has.checksums,
    journalInode: (words.compat & COMPAT_HAS_JOURNAL) === 0 ? 0 : dynamic(0xe0),
    resizeInode: (words.compat & 0x10) === 0 ? 0 : 7,
    orphanFileInode: (words.compat & 0x1000) === 0 ? 0 : dynamic(0x280),
    userQuotaInode: (words.roCompat & 0x100) === 0 ? 0 : dynamic(0x240),
    groupQuotaInode: (words.roCompat & 0x100) === 0 ? 0 : dynamic(0x244),
    projectQuotaInode: (words.roCompat & 0x100) === 0 ? 0 : dynamic(0x26c),
  };
  const seed = hasSeed ? u32(0x270) : crc32c(0xffff_ffff, uuid);
  return {
    facts: whole,
    refusals: refusalsOf(device, whole, { lastOrphan: dynamic(0xe8), mmpBlock, seed }),
    seed,
    uuid,
    groupChecksums: has.checksums ? 'crc32c' : (words.roCompat & RO_GDT_CSUM) !== 0 ? 'crc16' : 'none',
    hasMetaBg,
    firstMetaBg,
    reservedGdtBlocks,
    hasSparseSuper: (words.roCompat & RO_SPARSE_SUPER) !== 0,
    backupGroups: (words.compat & COMPAT_SPARSE_SUPER2) === 0 ? undefined : [u32(0x24c), u32(0x250)],
    mmpBlock,
  };
}

interface More {
  readonly lastOrphan: number;
  readonly mmpBlock: number;
  readonly seed: number;
}

function refusalsOf(device: ReadableDevice, facts: Ext4Facts, more: More): readonly Ext4Refusal[] {
  const refusals: Ext4Refusal[] = [];
  const check = `e2fsck -f ${device.name}`;
  const refuse = (name: Ext4Refusal['name'], why: string, run?: string) =>
    refusals.push({ name, text: run === undefined ? why : `${why}; run ${run} first`, run });
  const { incompat, roCompat, state } = facts;
  if ((incompat & INCOMPAT_JOURNAL_DEV) !== 0) {
    refuse('no_files', 'is the journal of another filesystem, without files of its own');
    return refusals;
  }
  for (const { name, why } of refusedFeatures(facts))
    refuse('feature', `has the feature ${name}, which is not read: ${why}`);
  if (facts.groups > GROUPS_MAX)
    refuse('geometry', `has ${facts.groups} groups of blocks, and only up to ${GROUPS_MAX} are read`);
  if ((incompat & INCOMPAT_RECOVER) !== 0)
    refuse('needs_recovery', 'its journal holds changes that are not in place yet (needs_recovery)', check);
  if ((state & STATE_VALID) === 0) refuse('not_clean', 'it was not unmounted cleanly', check);
  if ((state & STATE_ERROR) !== 0) refuse('not_clean', 'errors were noted while it was in use', check);
  if ((state & STATE_ORPHANS) !== 0 || more.lastOrphan !== 0 || (roCompat & RO_ORPHAN_PRESENT) !== 0)
    refuse('orphans', 'it has deleted files that were still open', check);
  if (more.mmpBlock !== 0) {
    const seq = mmpSequence(device, facts, more);
    if (seq !== MMP_CLEAN)
      refuse(
        'in_use',
        `its multiple mount protection says that it is in use (sequence ${hex(seq)}); unmount it there, or where it is mounted nowhere run tune2fs -f -E clear_mmp ${device.name}`,
      );
  }
  return refusals;
}

/** struct mmp_struct. */
function mmpSequence(
  device: ReadableDevice,
  { blockBytes, hasChecksums }: Ext4Facts,
  { mmpBlock, seed }: More,
): number {
  const bytes = new Uint8Array(1024);
  device.read(mmpBlock * blockBytes, bytes);
  const view = new DataView(bytes.buffer);
  const bad = (detail: string) => damaged(device.name, `multiple mount protection in block ${mmpBlock}`, detail);
  if (view.getUint32(0, true) !== MMP_MAGIC) throw bad(`its magic is ${hex(view.getUint32(0, true))}`);
  const [stored, computed] = [view.getUint32(0x3fc, true), crc32c(seed, bytes.subarray(0, 0x3fc))];
  if (hasChecksums && stored !== computed) throw bad(`its checksum is ${hex(stored)}, expected ${hex(computed)}`);
  return view.getUint32(4, true);
}

function upToNul(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

function uuidText(bytes: Uint8Array): string {
  const digits = Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
  return [0, 8, 12, 16, 20].map((from, i) => digits.slice(from, [8, 12, 16, 20, 32][i])).join('-');
}
