// An opened ext2, ext3 or ext4 filesystem. It never writes, and never replays a journal: what would need that is refused.
//
// Inodes are read through the groups' tables, and only those that the bitmaps say are in use. Everything is verified when it is read.

import { blockDirectory, inlineDirectory } from './directory.ts';
import { damaged, hex, refusalError } from './faults.ts';
import { Groups } from './groups.ts';
import { FLAG_EXTENTS, FLAG_INLINE_DATA, INODE_BLOCK_AT, INODE_BLOCK_BYTES, Inode, inodeChecksum } from './inode.ts';
import type { Internals } from './internals.ts';
import { mapping } from './mapping.ts';
import { readSuperblock, type Superblock } from './superblock.ts';
import { ROOT_INODE, tree } from './tree.ts';
import type {
  Ext4,
  Ext4BlockRun,
  Ext4Dirent,
  Ext4Extent,
  Ext4Facts,
  Ext4Inode,
  Ext4Name,
  Ext4Options,
  Ext4Refusal,
  Ext4Usage,
  Ext4Xattr,
  ReadableDevice,
} from './types.ts';
import { usageSteps } from './usage.ts';
import { attributeBlockRefs, inlineRest, readXattrs, type XattrSource, xattrSizes } from './xattrs.ts';

/** Of an inode table, read in one go. */
const PIECE_BYTES = 256 * 1024;
const RESIZE_INODE = 7;
const DOUBLE_INDIRECT = 13;
const PATH_MAX = 4096;

/**
 * Opens a filesystem for reading.
 * @throws InputError when there is none, or its superblock or descriptors are damaged; IncompatibleError for one that is refused, unless
 * `allowRefused`; DeviceError
 */
export function openExt4(device: ReadableDevice, { allowRefused = false }: Ext4Options = {}): Ext4 {
  const sb = readSuperblock(device);
  const fs = new Filesystem(device, sb);
  if (!allowRefused) fs.checkReadable();
  return fs;
}

/** Extents of the file that was read last, to find the next part of it. */
interface OpenFile {
  readonly number: number;
  /** Three numbers each: file block, block, blocks. Unwritten ones are left out. */
  readonly runs: Float64Array;
}

class Filesystem implements Internals {
  readonly name: string;
  readonly facts: Ext4Facts;
  readonly refusals: readonly Ext4Refusal[];
  readonly sb: Superblock;
  readonly #device: ReadableDevice;
  readonly #own: ReadonlySet<number>;
  #groups: Groups | undefined;
  #inodeBitmap: { readonly group: number; readonly bits: Uint8Array | undefined } | undefined;
  #table: { readonly at: number; readonly bytes: Uint8Array } | undefined;
  #open: OpenFile | undefined;

  constructor(device: ReadableDevice, sb: Superblock) {
    this.name = device.name;
    this.facts = sb.facts;
    this.refusals = sb.refusals;
    this.sb = sb;
    this.#device = device;
    const { facts } = sb;
    this.#own = new Set([
      facts.journalInode,
      facts.orphanFileInode,
      facts.userQuotaInode,
      facts.groupQuotaInode,
      facts.projectQuotaInode,
    ]);
  }

  /** @throws IncompatibleError */
  checkReadable(): void {
    const [refusal] = this.refusals;
    if (refusal !== undefined) throw refusalError(this.name, refusal);
    this.#groups ??= new Groups(this.#device, this.sb);
  }

  get groups(): Groups {
    this.checkReadable();
    return this.#groups!; // checkReadable has seen to it
  }

  *inodes(): Generator<Inode> {
    const { groups, facts } = this;
    const { inodeBytes, inodesPerGroup, blockBytes } = facts;
    const perPiece = Math.max(1, Math.floor(PIECE_BYTES / inodeBytes));
    const buffer = new Uint8Array(PIECE_BYTES);
    for (let group = 0; group < facts.groups; group++) {
      const bits = groups.inodeBitmap(group);
      const looked = groups.inodesLookedAt(group);
      this.#compareInodeCounts(group, bits, looked);
      const table = groups.inodeTable(group).block * blockBytes;
      for (let first = 0; first < looked; first += perPiece) {
        const count = Math.min(perPiece, looked - first);
        const piece = buffer.subarray(0, count * inodeBytes);
        this.#device.read(table + first * inodeBytes, piece);
        for (let i = 0; i < count; i++) {
          const nr = first + i;
          const number = group * inodesPerGroup + nr + 1;
          const at = i * inodeBytes;
          const isUsed = bits !== undefined && ((bits[nr >>> 3]! >>> (nr & 7)) & 1) === 1;
          if (!isUsed) {
            // i_links_count and i_mode.
            if ((piece[at + 0x1a]! | piece[at + 0x1b]!) !== 0 && (piece[at]! | piece[at + 1]!) !== 0)
              throw this.#bad(number, 'its bitmap says that it is free, and it has names');
            continue;
          }
          const inode = this.#decode(number, piece.slice(at, at + inodeBytes));
          if (inode !== undefined) yield inode;
        }
      }
    }
  }

  inode(number: number): Inode {
    const { groups, facts } = this;
    const { inodesPerGroup, inodeBytes, blockBytes } = facts;
    if (!Number.isInteger(number) || number < 1 || number > facts.inodes)
      throw this.#bad(number, `expected inodes 1 to ${facts.inodes}`);
    const group = Math.floor((number - 1) / inodesPerGroup);
    const nr = number - 1 - group * inodesPerGroup;
    if (this.#inodeBitmap?.group !== group) this.#inodeBitmap = { group, bits: groups.inodeBitmap(group) };
    const { bits } = this.#inodeBitmap;
    const isUsed = bits !== undefined && ((bits[nr >>> 3]! >>> (nr & 7)) & 1) === 1;
    if (!isUsed || nr >= groups.inodesLookedAt(group)) throw this.#bad(number, 'it is named, and it is not in use');
    // Neighbours in directories are neighbours in the table.
    const at = groups.inodeTable(group).block * blockBytes + nr * inodeBytes;
    const start = at - (at % blockBytes);
    if (this.#table?.at !== start) {
      const bytes = new Uint8Array(blockBytes);
      this.#device.read(start, bytes);
      this.#table = { at: start, bytes };
    }
    const inode = this.#decode(number, this.#table.bytes.slice(at - start, at - start + inodeBytes));
    if (inode === undefined) throw this.#bad(number, 'it is named, and it is empty');
    return inode;
  }

  *extents(inode: Ext4Inode): Generator<Ext4Extent> {
    const own = this.#ownInode(inode);
    if (!hasMapping(own) || own.number === RESIZE_INODE) return;
    let joined: { fileBlock: number; block: number; blocks: number; unwritten: boolean } | undefined;
    for (const run of mapping(this.#device, this.sb, own)) {
      if (run.kind === 'node') continue;
      const { fileBlock, block, blocks, unwritten } = run;
      const isNext =
        joined !== undefined &&
        joined.unwritten === unwritten &&
        joined.fileBlock + joined.blocks === fileBlock &&
        joined.block + joined.blocks === block;
      if (isNext && joined !== undefined) {
        joined.blocks += blocks;
        continue;
      }
      if (joined !== undefined) yield joined;
      joined = { fileBlock, block, blocks, unwritten };
    }
    if (joined !== undefined) yield joined;
  }

  inlineData(inode: Ext4Inode): Uint8Array | undefined {
    const own = this.#ownInode(inode);
    if ((own.flagBits & FLAG_INLINE_DATA) === 0) return undefined;
    const rest = inlineRest(this.#xattrSource, own) ?? new Uint8Array(0);
    const whole = new Uint8Array(INODE_BLOCK_BYTES + rest.length);
    whole.set(own.blockBytes);
    whole.set(rest, INODE_BLOCK_BYTES);
    if (own.kind === 'dir') return whole;
    if (own.sizeBytes > whole.length)
      throw this.#bad(own.number, `its ${own.sizeBytes} bytes lie in it, and there are only ${whole.length}`);
    return whole.subarray(0, own.sizeBytes);
  }

  symlinkTarget(inode: Ext4Inode): Uint8Array {
    const own = this.#ownInode(inode);
    const { sizeBytes } = own;
    if (own.kind !== 'symlink') throw this.#bad(own.number, 'it is not a symbolic link');
    if (sizeBytes === 0 || sizeBytes >= PATH_MAX)
      throw this.#bad(own.number, `its target has ${sizeBytes} bytes, expected 1 to ${PATH_MAX - 1}`);
    const target =
      this.inlineData(own) ?? (isFastSymlink(own) ? own.blockBytes.slice(0, sizeBytes) : this.contents(own));
    if (target.includes(0)) throw this.#bad(own.number, 'its target has a NUL in it');
    return target;
  }

  xattrs(inode: Ext4Inode): readonly Ext4Xattr[] {
    return readXattrs(this.#xattrSource, this.#ownInode(inode));
  }

  /** Whether there may be any: a quick look. */
  hasAttributes(inode: Inode): boolean {
    const at = inode.attributesAt;
    return inode.attributeBlock !== 0 || (at !== undefined && inode.view.getUint32(at, true) !== 0);
  }

  xattrSizes(inode: Inode): Iterable<{ readonly nameBytes: number; readonly valueBytes: number }> {
    return xattrSizes(this.#xattrSource, inode);
  }

  attributeBlockRefs(inode: Inode): number {
    return attributeBlockRefs(this.#xattrSource, inode);
  }

  *directory(inode: Ext4Inode): Generator<Ext4Dirent> {
    const own = this.#ownInode(inode);
    if (own.typeOf() !== 0o040000) throw this.#bad(own.number, 'it is not a directory');
    const inline = this.inlineData(own);
    if (inline === undefined) yield* blockDirectory(this.#device, this.sb, own);
    else yield* inlineDirectory(this.#device, this.sb, own, inline, INODE_BLOCK_BYTES);
  }

  *metadataBlocks(inode: Ext4Inode): Generator<Ext4BlockRun> {
    const own = this.#ownInode(inode);
    yield* this.treeBlocks(own);
    if (own.attributeBlock !== 0) yield { block: own.attributeBlock, blocks: 1 };
  }

  /** Nodes of the extent tree, or indirect blocks. */
  *treeBlocks(inode: Inode): Generator<Ext4BlockRun> {
    if (inode.number === RESIZE_INODE) {
      // Its other blocks are reserved for descriptors, and in the groups' metadata.
      const block = inode.view.getUint32(INODE_BLOCK_AT + 4 * DOUBLE_INDIRECT, true);
      if (block >= this.facts.blocks) throw this.#bad(RESIZE_INODE, `it owns block ${block} of ${this.facts.blocks}`);
      if (block !== 0) yield { block, blocks: 1 };
      return;
    }
    if (!hasMapping(inode)) return;
    for (const each of mapping(this.#device, this.sb, inode))
      if (each.kind === 'node') yield { block: each.block, blocks: 1 };
  }

  read(inode: Ext4Inode, offset: number, into: Uint8Array): void {
    const own = this.#ownInode(inode);
    if (offset < 0 || offset + into.length > own.sizeBytes)
      throw this.#bad(own.number, `there are no ${into.length} bytes at byte ${offset} of ${own.sizeBytes}`);
    const inline = this.inlineData(own);
    if (inline !== undefined) {
      into.set(inline.subarray(offset, offset + into.length));
      return;
    }
    const { blockBytes } = this.facts;
    const runs = this.#runsOf(own);
    into.fill(0);
    const end = offset + into.length;
    for (let i = firstRunAfter(runs, Math.floor(offset / blockBytes)); i < runs.length; i += 3) {
      const [from, to] = [runs[i]! * blockBytes, (runs[i]! + runs[i + 2]!) * blockBytes];
      if (from >= end) break;
      const [start, stop] = [Math.max(from, offset), Math.min(to, end)];
      this.#device.read(runs[i + 1]! * blockBytes + (start - from), into.subarray(start - offset, stop - offset));
    }
  }

  /** All bytes of a small one. */
  contents(inode: Inode): Uint8Array {
    const bytes = new Uint8Array(inode.sizeBytes);
    this.read(inode, 0, bytes);
    return bytes;
  }

  usage(): Ext4Usage {
    const steps = this.usageSteps();
    for (;;) {
      const { value, done } = steps.next();
      if (done === true) return value;
    }
  }

  usageSteps(): Generator<number, Ext4Usage> {
    return usageSteps(this);
  }

  tree(): Iterable<Ext4Name> {
    return tree(this);
  }

  get #xattrSource(): XattrSource {
    return { device: this.#device, sb: this.sb, inode: nr => this.inode(nr), contents: inode => this.contents(inode) };
  }

  #runsOf(inode: Inode): Float64Array {
    if (this.#open?.number === inode.number) return this.#open.runs;
    const runs: number[] = [];
    for (const { fileBlock, block, blocks, unwritten } of this.extents(inode))
      if (!unwritten) runs.push(fileBlock, block, blocks);
    this.#open = { number: inode.number, runs: Float64Array.from(runs) };
    return this.#open.runs;
  }

  /** @returns undefined for a reserved one that is nothing */
  #decode(number: number, raw: Uint8Array): Inode | undefined {
    const { facts, sb } = this;
    const isReserved = number < facts.firstInode;
    if (isReserved && number !== ROOT_INODE && raw.every(byte => byte === 0)) return undefined;
    // Before the checksum, so that it covers what it is said to.
    const extra = raw.length > 128 ? raw[0x80]! | (raw[0x81]! << 8) : 0;
    if (128 + extra > raw.length || extra % 4 !== 0)
      throw this.#bad(number, `it has ${extra} extra bytes, expected a multiple of 4 up to ${raw.length - 128}`);
    if (facts.hasChecksums) {
      const { stored, computed } = inodeChecksum(sb.seed, number, raw);
      const isEmpty = isReserved && number !== ROOT_INODE && raw[0] === 0 && raw[1] === 0;
      if (stored !== computed && !(isEmpty && stored === 0))
        throw this.#bad(number, `its checksum is ${hex(stored)}, expected ${hex(computed)}`);
    }
    const isOwn = (isReserved && number !== ROOT_INODE) || this.#own.has(number);
    const inode = Inode.create(number, raw, facts, isOwn);
    if (inode === undefined)
      throw this.#bad(number, `its mode is 0${(raw[0]! | (raw[1]! << 8)).toString(8)}, which is not a type`);
    if (!isOwn && inode.nlink === 0) throw this.#bad(number, 'it is in use, and has no names');
    if (inode.sizeBytes > Number.MAX_SAFE_INTEGER) throw this.#bad(number, `it has ${inode.sizeBytes} bytes`);
    if ((inode.flagBits & FLAG_INLINE_DATA) !== 0 && (inode.flagBits & FLAG_EXTENTS) !== 0)
      throw this.#bad(number, 'its contents lie in it, and in extents');
    return inode;
  }

  #compareInodeCounts(group: number, bits: Uint8Array | undefined, looked: number): void {
    const { inodesPerGroup } = this.facts;
    let used = 0;
    for (let nr = 0; bits !== undefined && nr < inodesPerGroup; nr++) {
      if (((bits[nr >>> 3]! >>> (nr & 7)) & 1) === 0) continue;
      used++;
      if (nr >= looked)
        throw damaged(
          this.name,
          `group ${group}`,
          `inode ${group * inodesPerGroup + nr + 1} is in use, among those that were never written`,
        );
    }
    const free = this.groups.freeInodes(group);
    if (inodesPerGroup - used !== free)
      throw damaged(this.name, `group ${group}`, `it counts ${free} free inodes, expected ${inodesPerGroup - used}`);
  }

  /** Those that came from here have more than the door shows. */
  #ownInode(inode: Ext4Inode): Inode {
    return inode instanceof Inode ? inode : this.inode(inode.number);
  }

  #bad(inode: number, detail: string) {
    return damaged(this.name, `inode ${inode}`, detail);
  }
}

/** Whether i_block says where its blocks are. */
function hasMapping(inode: Inode): boolean {
  if ((inode.flagBits & FLAG_INLINE_DATA) !== 0) return false;
  switch (inode.typeOf()) {
    case 0o100000:
    case 0o040000:
      return true;
    case 0o120000:
      return !isFastSymlink(inode);
    case 0:
      // Bad blocks.
      return inode.kind === 'filesystem';
    default:
      return false;
  }
}

const isFastSymlink = (inode: Inode): boolean =>
  inode.sizeBytes < INODE_BLOCK_BYTES && (inode.flagBits & (FLAG_EXTENTS | FLAG_INLINE_DATA)) === 0;

/** The first run that ends after a file block. */
function firstRunAfter(runs: Float64Array, fileBlock: number): number {
  let [low, high] = [0, runs.length / 3];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (runs[3 * middle]! + runs[3 * middle + 2]! <= fileBlock) low = middle + 1;
    else high = middle;
  }
  return 3 * low;
}
