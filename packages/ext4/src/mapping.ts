// Which blocks of the device a file's blocks are: extent trees, and the indirect blocks of ext2 and ext3, both as one stream of runs and
// of the nodes on the way to them.
//
// A hostile tree ends: entries of extent nodes must ascend inside of what leads to them, so none can be met twice; of indirect blocks none may
// be met twice. Source: fs/ext4/ext4_extents.h, __ext4_ext_check, ext4_get_branch of Linux 6.12.

import { crc32c } from '@bcachefs-ts/core/engine';
import { damaged, hex } from './faults.ts';
import { FLAG_EXTENTS, type Inode, inodeSeed } from './inode.ts';
import type { Superblock } from './superblock.ts';
import type { ReadableDevice } from './types.ts';

export type Mapped =
  | { readonly kind: 'node'; readonly block: number }
  | {
      readonly kind: 'data';
      readonly fileBlock: number;
      readonly block: number;
      readonly blocks: number;
      readonly unwritten: boolean;
    };

const EXTENT_MAGIC = 0xf30a;
const DEPTH_MAX = 5;
const HEADER_BYTES = 12;
const ENTRY_BYTES = 12;
/** Longer ones are unwritten. */
const WRITTEN_MAX = 32768;
const FILE_BLOCKS_MAX = 2 ** 32;
const DIRECT = 12;

/** In the order of the file; a node comes before what it leads to. Runs are as on disk, not joined. @throws InputError */
export function mapping(device: ReadableDevice, sb: Superblock, inode: Inode): Iterable<Mapped> {
  const mapper = new Mapper(device, sb, inode);
  return (inode.flagBits & FLAG_EXTENTS) !== 0 ? mapper.extents() : mapper.indirect();
}

class Mapper {
  readonly #device: ReadableDevice;
  readonly #sb: Superblock;
  readonly #inode: Inode;
  /** The next file block that may be mapped. */
  #next = 0;

  constructor(device: ReadableDevice, sb: Superblock, inode: Inode) {
    this.#device = device;
    this.#sb = sb;
    this.#inode = inode;
  }

  *extents(): Generator<Mapped> {
    const root = this.#inode.blockBytes;
    const depth = new DataView(root.buffer, root.byteOffset).getUint16(6, true);
    if (depth > DEPTH_MAX) throw this.#bad(`its extent tree is ${depth} levels deep, expected up to ${DEPTH_MAX}`);
    yield* this.#node(root, depth, 0, FILE_BLOCKS_MAX, undefined);
  }

  /** @param from,to file blocks that it may map @param block where it is; undefined in the inode */
  *#node(bytes: Uint8Array, depth: number, from: number, to: number, block: number | undefined): Generator<Mapped> {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const [magic, entries, max] = [view.getUint16(0, true), view.getUint16(2, true), view.getUint16(4, true)];
    const bad = (detail: string) =>
      this.#bad(
        `${block === undefined ? 'the root of its extent tree' : `its extent node in block ${block}`}: ${detail}`,
      );
    if (magic !== EXTENT_MAGIC) throw bad(`the magic is ${hex(magic)}, expected ${hex(EXTENT_MAGIC)}`);
    if (view.getUint16(6, true) !== depth) throw bad(`the depth is ${view.getUint16(6, true)}, expected ${depth}`);
    const room = Math.floor((bytes.length - HEADER_BYTES) / ENTRY_BYTES);
    if (max > room || entries > max) throw bad(`it has ${entries} of ${max} entries, expected up to ${room}`);
    if (entries === 0 && (block !== undefined || depth > 0)) throw bad('it is empty');
    if (block !== undefined && this.#sb.facts.hasChecksums) {
      const tail = HEADER_BYTES + ENTRY_BYTES * max;
      if (tail + 4 > bytes.length) throw bad(`there is no room for a checksum after ${max} entries`);
      const { seed } = this.#sb;
      const own = inodeSeed(seed, this.#inode.number, this.#inode.generation);
      const [stored, computed] = [view.getUint32(tail, true), crc32c(own, bytes.subarray(0, tail))];
      if (stored !== computed) throw bad(`the checksum is ${hex(stored)}, expected ${hex(computed)}`);
    }
    for (let i = 0; i < entries; i++) {
      const at = HEADER_BYTES + ENTRY_BYTES * i;
      const fileBlock = view.getUint32(at, true);
      if (fileBlock < from || fileBlock < this.#next || fileBlock >= to)
        throw bad(`entry ${i} is of file block ${fileBlock}, expected ${Math.max(from, this.#next)} to ${to - 1}`);
      if (depth > 0) {
        const child = view.getUint32(at + 4, true) + view.getUint16(at + 8, true) * 2 ** 32;
        const end = i + 1 < entries ? view.getUint32(at + ENTRY_BYTES, true) : to;
        if (end <= fileBlock || end > to) throw bad(`entry ${i} ends at file block ${end}`);
        this.#check(child, 1);
        yield { kind: 'node', block: child };
        const node = new Uint8Array(this.#sb.facts.blockBytes);
        this.#device.read(child * node.length, node);
        yield* this.#node(node, depth - 1, fileBlock, end, child);
        continue;
      }
      const length = view.getUint16(at + 4, true);
      const unwritten = length > WRITTEN_MAX;
      const blocks = unwritten ? length - WRITTEN_MAX : length;
      const start = view.getUint32(at + 8, true) + view.getUint16(at + 6, true) * 2 ** 32;
      if (blocks === 0) throw bad(`entry ${i} is empty`);
      if (fileBlock + blocks > to)
        throw bad(`entry ${i} ends at file block ${fileBlock + blocks}, expected up to ${to}`);
      this.#check(start, blocks);
      this.#next = fileBlock + blocks;
      yield { kind: 'data', fileBlock, block: start, blocks, unwritten };
    }
  }

  *indirect(): Generator<Mapped> {
    const met = new Set<number>();
    const bytes = this.#inode.blockBytes;
    const perBlock = this.#sb.facts.blockBytes / 4;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    yield* this.#pointers(view, DIRECT, 0);
    let fileBlock = DIRECT;
    for (let level = 1; level <= 3; level++) {
      const block = view.getUint32(4 * (DIRECT + level - 1), true);
      if (block !== 0) yield* this.#indirectBlock(block, level, fileBlock, met);
      fileBlock += perBlock ** level;
    }
  }

  /** @param level 1 for a block of pointers to data */
  *#indirectBlock(block: number, level: number, fileBlock: number, met: Set<number>): Generator<Mapped> {
    this.#check(block, 1);
    if (met.has(block)) throw this.#bad(`its indirect block ${block} is there twice`);
    met.add(block);
    yield { kind: 'node', block };
    const { blockBytes } = this.#sb.facts;
    const bytes = new Uint8Array(blockBytes);
    this.#device.read(block * blockBytes, bytes);
    const view = new DataView(bytes.buffer);
    if (level === 1) {
      yield* this.#pointers(view, blockBytes / 4, fileBlock);
      return;
    }
    const step = (blockBytes / 4) ** (level - 1);
    for (let i = 0; i < blockBytes / 4; i++) {
      const child = view.getUint32(4 * i, true);
      if (child !== 0) yield* this.#indirectBlock(child, level - 1, fileBlock + i * step, met);
    }
  }

  /** Pointers to data, neighbours joined. */
  *#pointers(view: DataView, count: number, fileBlock: number): Generator<Mapped> {
    for (let i = 0; i < count; ) {
      const block = view.getUint32(4 * i, true);
      let blocks = 1;
      if (block !== 0) {
        while (i + blocks < count && view.getUint32(4 * (i + blocks), true) === block + blocks) blocks++;
        this.#check(block, blocks);
        yield { kind: 'data', fileBlock: fileBlock + i, block, blocks, unwritten: false };
      }
      i += blocks;
    }
  }

  #check(block: number, blocks: number): void {
    const { firstDataBlock, blocks: all } = this.#sb.facts;
    if (block > 0 && block >= firstDataBlock && block + blocks <= all) return;
    throw this.#bad(
      `it owns block ${block}${blocks === 1 ? '' : ` to ${block + blocks - 1}`}, expected blocks from ${Math.max(1, firstDataBlock)} to ${all - 1}`,
    );
  }

  #bad(detail: string) {
    return damaged(this.#device.name, `inode ${this.#inode.number}`, detail);
  }
}
