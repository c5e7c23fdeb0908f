// Group descriptors: where each group's bitmaps and its part of the inode table are. Read once, their checksums verified, and kept in typed
// arrays. Also which blocks of a group hold copies of the superblock and the descriptors.
// Source: struct ext4_group_desc, ext4_group_desc_csum, descriptor_loc of Linux 6.12; ext2fs_super_and_bgd_loc2 of e2fsprogs 1.47.

import { crc32c } from '@bcachefs-ts/core/engine';
import { crc16, crc32cOfU32, u32Bytes } from './checksums.ts';
import { damaged, hex } from './faults.ts';
import type { Superblock } from './superblock.ts';
import type { Ext4BlockRun, ReadableDevice } from './types.ts';

const INODE_UNINIT = 1;
const BLOCK_UNINIT = 2;

export class Groups {
  readonly #device: ReadableDevice;
  readonly #sb: Superblock;
  readonly #blockBitmap: Float64Array;
  readonly #inodeBitmap: Float64Array;
  readonly #inodeTable: Float64Array;
  readonly #flags: Uint16Array;
  readonly #freeClusters: Uint32Array;
  readonly #freeInodes: Uint32Array;
  readonly #directories: Uint32Array;
  readonly #unusedInodes: Uint32Array;
  readonly #blockBitmapSum: Uint32Array;
  readonly #inodeBitmapSum: Uint32Array;

  /** @throws InputError for a checksum that is wrong, and for places outside of the filesystem */
  constructor(device: ReadableDevice, sb: Superblock) {
    this.#device = device;
    this.#sb = sb;
    const { groups } = sb.facts;
    this.#blockBitmap = new Float64Array(groups);
    this.#inodeBitmap = new Float64Array(groups);
    this.#inodeTable = new Float64Array(groups);
    this.#flags = new Uint16Array(groups);
    this.#freeClusters = new Uint32Array(groups);
    this.#freeInodes = new Uint32Array(groups);
    this.#directories = new Uint32Array(groups);
    this.#unusedInodes = new Uint32Array(groups);
    this.#blockBitmapSum = new Uint32Array(groups);
    this.#inodeBitmapSum = new Uint32Array(groups);
    this.#read();
  }

  /** The block of a group's part of the inode table, and how many there are. */
  inodeTable(group: number): Ext4BlockRun {
    return { block: this.#inodeTable[group]!, blocks: this.tableBlocks };
  }

  get tableBlocks(): number {
    const { inodesPerGroup, inodeBytes, blockBytes } = this.#sb.facts;
    return (inodesPerGroup * inodeBytes) / blockBytes;
  }

  /** Inodes of a group that may be in use: those after them were never written. */
  inodesLookedAt(group: number): number {
    if ((this.#flags[group]! & INODE_UNINIT) !== 0) return 0;
    return this.#sb.facts.inodesPerGroup - this.#unusedInodes[group]!;
  }

  freeClusters = (group: number): number => this.#freeClusters[group]!;
  freeInodes = (group: number): number => this.#freeInodes[group]!;
  directories = (group: number): number => this.#directories[group]!;

  firstBlock(group: number): number {
    const { firstDataBlock, blocksPerGroup } = this.#sb.facts;
    return firstDataBlock + group * blocksPerGroup;
  }

  blocksOf(group: number): number {
    return Math.min(this.#sb.facts.blocksPerGroup, this.#sb.facts.blocks - this.firstBlock(group));
  }

  /** Its checksum verified; undefined where none was written, as nothing but metadata is in use. @throws InputError */
  blockBitmap(group: number): Uint8Array | undefined {
    if ((this.#flags[group]! & BLOCK_UNINIT) !== 0) return undefined;
    const { clustersPerGroup } = this.#sb.facts;
    return this.#bitmap('block', group, this.#blockBitmap[group]!, clustersPerGroup / 8, this.#blockBitmapSum[group]!);
  }

  /** The same of inodes; undefined where none is in use. */
  inodeBitmap(group: number): Uint8Array | undefined {
    if ((this.#flags[group]! & INODE_UNINIT) !== 0) return undefined;
    const { inodesPerGroup } = this.#sb.facts;
    const bytes = Math.ceil(inodesPerGroup / 8);
    return this.#bitmap('inode', group, this.#inodeBitmap[group]!, bytes, this.#inodeBitmapSum[group]!);
  }

  /** All blocks that hold metadata of the group, wherever they are. */
  *metadata(group: number): Generator<Ext4BlockRun> {
    yield* this.superblockBlocks(group);
    yield { block: this.#blockBitmap[group]!, blocks: 1 };
    yield { block: this.#inodeBitmap[group]!, blocks: 1 };
    yield this.inodeTable(group);
  }

  /** Copies of the superblock and the descriptors, with the blocks that are reserved for more of those. */
  *superblockBlocks(group: number): Generator<Ext4BlockRun> {
    const { blockBytes, firstDataBlock } = this.#sb.facts;
    const hasSuper = this.hasSuperblock(group);
    let first = this.firstBlock(group);
    // With bigalloc the superblock of blocks of 1 KiB is in block 1 of a group that begins with block 0.
    if (group === 0 && firstDataBlock === 0 && blockBytes === 1024) first = 1;
    if (hasSuper) yield { block: first, blocks: 1 };
    const perBlock = this.#descriptorsPerBlock;
    const metaGroup = Math.floor(group / perBlock);
    if (!this.#sb.hasMetaBg || metaGroup < this.#sb.firstMetaBg) {
      const count = this.#sb.hasMetaBg ? this.#sb.firstMetaBg : this.#descriptorBlocks + this.#sb.reservedGdtBlocks;
      const inGroup = Math.min(count, this.firstBlock(group) + this.blocksOf(group) - first - 1);
      if (hasSuper && inGroup > 0) yield { block: first + 1, blocks: inGroup };
    } else if ([0, 1, perBlock - 1].includes(group % perBlock)) {
      yield { block: first + (hasSuper ? 1 : 0), blocks: 1 };
    }
  }

  hasSuperblock(group: number): boolean {
    if (group === 0) return true;
    const { backupGroups, hasSparseSuper } = this.#sb;
    if (backupGroups !== undefined) return backupGroups.includes(group);
    if (group === 1 || !hasSparseSuper) return true;
    return [3, 5, 7].some(base => isPowerOf(base, group));
  }

  get #descriptorsPerBlock(): number {
    return this.#sb.facts.blockBytes / this.#sb.facts.descBytes;
  }

  get #descriptorBlocks(): number {
    return Math.ceil(this.#sb.facts.groups / this.#descriptorsPerBlock);
  }

  /** Where block `nr` of the descriptors is. */
  #descriptorBlock(nr: number): number {
    const { blockBytes, firstDataBlock } = this.#sb.facts;
    const isShifted = blockBytes === 1024 && firstDataBlock === 0;
    if (!this.#sb.hasMetaBg || nr < this.#sb.firstMetaBg) return firstDataBlock + (isShifted ? 1 : 0) + nr + 1;
    const group = nr * this.#descriptorsPerBlock;
    return this.firstBlock(group) + (this.hasSuperblock(group) ? 1 : 0) + (isShifted && group === 0 ? 1 : 0);
  }

  #read(): void {
    const { facts, groupChecksums } = this.#sb;
    const { blockBytes, descBytes, groups } = facts;
    const block = new Uint8Array(blockBytes);
    const view = new DataView(block.buffer);
    const perBlock = this.#descriptorsPerBlock;
    const isWide = descBytes >= 64;
    for (let group = 0; group < groups; group++) {
      const at = (group % perBlock) * descBytes;
      if (at === 0) {
        const nr = this.#descriptorBlock(group / perBlock);
        if (nr >= facts.blocks) throw this.#bad(group, `its descriptor would be in block ${nr} of ${facts.blocks}`);
        this.#device.read(nr * blockBytes, block);
      }
      const half = (lo: number, hi: number) =>
        view.getUint16(at + lo, true) + (isWide ? view.getUint16(at + hi, true) * 65536 : 0);
      const place = (lo: number, hi: number) =>
        view.getUint32(at + lo, true) + (isWide ? view.getUint32(at + hi, true) * 2 ** 32 : 0);
      if (groupChecksums !== 'none') this.#verify(group, block.subarray(at, at + descBytes));
      this.#blockBitmap[group] = this.#inside(group, 'block bitmap', place(0x00, 0x20), 1);
      this.#inodeBitmap[group] = this.#inside(group, 'inode bitmap', place(0x04, 0x24), 1);
      this.#inodeTable[group] = this.#inside(group, 'inode table', place(0x08, 0x28), this.tableBlocks);
      this.#freeClusters[group] = half(0x0c, 0x2c);
      this.#freeInodes[group] = half(0x0e, 0x2e);
      this.#directories[group] = half(0x10, 0x30);
      // Without checksums these mean nothing.
      this.#flags[group] = groupChecksums === 'none' ? 0 : view.getUint16(at + 0x12, true);
      const unused = groupChecksums === 'none' ? 0 : half(0x1c, 0x32);
      if (unused > facts.inodesPerGroup)
        throw this.#bad(group, `it has ${unused} unused inodes, expected up to ${facts.inodesPerGroup}`);
      this.#unusedInodes[group] = unused;
      this.#blockBitmapSum[group] = half(0x18, 0x38);
      this.#inodeBitmapSum[group] = half(0x1a, 0x3a);
    }
  }

  #verify(group: number, descriptor: Uint8Array): void {
    const stored = descriptor[0x1e]! | (descriptor[0x1f]! << 8);
    let computed: number;
    if (this.#sb.groupChecksums === 'crc32c') {
      const copy = descriptor.slice();
      copy[0x1e] = 0;
      copy[0x1f] = 0;
      computed = crc32c(crc32cOfU32(this.#sb.seed, group), copy) & 0xffff;
    } else {
      const seeded = crc16(crc16(0xffff, this.#sb.uuid), u32Bytes(group));
      computed = crc16(crc16(seeded, descriptor.subarray(0, 0x1e)), descriptor.subarray(0x20));
    }
    if (stored !== computed)
      throw this.#bad(group, `the checksum of its descriptor is ${hex(stored)}, expected ${hex(computed)}`);
  }

  #inside(group: number, what: string, block: number, count: number): number {
    const { blocks, firstDataBlock } = this.#sb.facts;
    if (block < firstDataBlock || block + count > blocks)
      throw this.#bad(group, `its ${what} would be in block ${block}, expected ${firstDataBlock} to ${blocks - count}`);
    return block;
  }

  #bitmap(what: string, group: number, block: number, bytes: number, stored: number): Uint8Array {
    const bitmap = new Uint8Array(bytes);
    this.#device.read(block * this.#sb.facts.blockBytes, bitmap);
    if (!this.#sb.facts.hasChecksums) return bitmap;
    const mask = this.#sb.facts.descBytes >= 64 ? 0xffff_ffff : 0xffff;
    const computed = (crc32c(this.#sb.seed, bitmap) & mask) >>> 0;
    if (stored !== computed)
      throw this.#bad(group, `the checksum of its ${what} bitmap is ${hex(stored)}, expected ${hex(computed)}`);
    return bitmap;
  }

  #bad(group: number, detail: string) {
    return damaged(this.#device.name, `group ${group}`, detail);
  }
}

function isPowerOf(base: number, value: number): boolean {
  let power = base;
  while (power < value) power *= base;
  return power === value;
}
