// Entries of directories. They are read linearly: to a reader that does not know of hashes, the nodes of an htree are blocks of empty entries.
// Checksums of leaves and of those nodes are verified. Source: struct ext4_dir_entry_2, ext4_dirblock_csum, get_dx_countlimit of Linux 6.12.

import { crc32c } from '@bcachefs-ts/core/engine';
import { damaged, hex } from './faults.ts';
import { INCOMPAT_FILETYPE } from './features.ts';
import { type Inode, inodeSeed } from './inode.ts';
import { mapping } from './mapping.ts';
import type { Superblock } from './superblock.ts';
import type { Ext4Dirent, ReadableDevice } from './types.ts';

const HEADER_BYTES = 8;
const TAIL_BYTES = 12;
const TAIL_TYPE = 0xde;
const SLASH = 0x2f;
const DOT = 0x2e;
/** Read in one go. */
const PIECE_BYTES = 64 * 1024;

/** Entries of a directory in blocks, without `.` and `..`. @throws InputError */
export function* blockDirectory(device: ReadableDevice, sb: Superblock, inode: Inode): Generator<Ext4Dirent> {
  const { blockBytes } = sb.facts;
  const reader = new DirectoryReader(device, sb, inode);
  const count = inode.sizeBytes / blockBytes;
  if (!Number.isInteger(count) || count === 0)
    throw reader.bad(`its size is ${inode.sizeBytes} bytes, expected a multiple of ${blockBytes}`);
  let next = 0;
  for (const run of mapping(device, sb, inode)) {
    if (run.kind === 'node' || run.fileBlock >= count) continue;
    if (run.fileBlock !== next || run.unwritten) throw reader.bad(`its block ${next} is missing`);
    const blocks = Math.min(run.blocks, count - next);
    const atOnce = Math.max(1, Math.floor(PIECE_BYTES / blockBytes));
    for (let done = 0; done < blocks; done += atOnce) {
      const bytes = new Uint8Array(Math.min(atOnce, blocks - done) * blockBytes);
      device.read((run.block + done) * blockBytes, bytes);
      for (let at = 0; at < bytes.length; at += blockBytes)
        yield* reader.block(bytes.subarray(at, at + blockBytes), next + done + at / blockBytes);
    }
    next += blocks;
  }
  if (next < count) throw reader.bad(`its block ${next} is missing`);
}

/**
 * Entries of one that lies in its inode. @param contents i_block and system.data: four bytes of the directory above, then entries in what is left
 * of i_block, then those of the attribute, each part whole
 */
export function* inlineDirectory(
  device: ReadableDevice,
  sb: Superblock,
  inode: Inode,
  contents: Uint8Array,
  inodePartBytes: number,
): Generator<Ext4Dirent> {
  const reader = new DirectoryReader(device, sb, inode);
  yield* reader.entries(contents.subarray(4, inodePartBytes), 0, false);
  if (contents.length > inodePartBytes) yield* reader.entries(contents.subarray(inodePartBytes), 0, false);
}

class DirectoryReader {
  readonly #device: ReadableDevice;
  readonly #sb: Superblock;
  readonly #inode: Inode;
  readonly #seed: number;

  constructor(device: ReadableDevice, sb: Superblock, inode: Inode) {
    this.#device = device;
    this.#sb = sb;
    this.#inode = inode;
    this.#seed = inodeSeed(sb.seed, inode.number, inode.generation);
  }

  *block(bytes: Uint8Array, nr: number): Generator<Ext4Dirent> {
    if (this.#sb.facts.hasChecksums) this.#verify(bytes, nr);
    yield* this.entries(bytes, nr, nr === 0);
  }

  /** @param isFirst `.` and `..` come first */
  *entries(bytes: Uint8Array, nr: number, isFirst: boolean): Generator<Ext4Dirent> {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const hasTypes = (this.#sb.facts.incompat & INCOMPAT_FILETYPE) !== 0;
    let index = 0;
    for (let at = 0; at < bytes.length; index++) {
      const wrong = (detail: string) => this.bad(`its entry at byte ${at} of block ${nr} ${detail}`);
      if (at + HEADER_BYTES > bytes.length) throw wrong('is cut off');
      const inode = view.getUint32(at, true);
      const length = this.#length(view.getUint16(at + 4, true));
      const nameBytes = hasTypes ? bytes[at + 6]! : view.getUint16(at + 6, true);
      const fileType = hasTypes ? bytes[at + 7]! : 0;
      if (length < HEADER_BYTES || length % 4 !== 0 || at + length > bytes.length)
        throw wrong(`is ${length} bytes long, expected up to ${bytes.length - at}`);
      if (isFirst && index < 2) {
        const expected = index === 0 ? '.' : '..';
        const isDots =
          nameBytes === index + 1 && bytes.subarray(at + 8, at + 8 + nameBytes).every(byte => byte === DOT);
        if (!isDots) throw wrong(`is not '${expected}'`);
        if (index === 0 && inode !== this.#inode.number) throw wrong(`leads to inode ${inode}`);
      } else if (inode !== 0) {
        if (nameBytes === 0 || nameBytes > 255 || HEADER_BYTES + nameBytes > length)
          throw wrong(`has a name of ${nameBytes} bytes in ${length}`);
        const name = bytes.slice(at + HEADER_BYTES, at + HEADER_BYTES + nameBytes);
        if (name.includes(SLASH) || name.includes(0)) throw wrong('has a slash or NUL in its name');
        if (name[0] === DOT && (nameBytes === 1 || (nameBytes === 2 && name[1] === DOT)))
          throw wrong('is called as the directory itself or the one above');
        if (inode > this.#sb.facts.inodes)
          throw wrong(`leads to inode ${inode}, expected up to ${this.#sb.facts.inodes}`);
        yield { name, inode, fileType };
      }
      at += length;
    }
    if (isFirst && index < 2) throw this.bad(`its block ${nr} has no '..'`);
  }

  bad(detail: string) {
    return damaged(this.#device.name, `directory inode ${this.#inode.number}`, detail);
  }

  /** Blocks of 64 KiB need more than 16 bits. */
  #length(stored: number): number {
    if (this.#sb.facts.blockBytes < 65536) return stored;
    return stored === 65535 || stored === 0 ? this.#sb.facts.blockBytes : (stored & 65532) | ((stored & 3) << 16);
  }

  #verify(bytes: Uint8Array, nr: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const tail = bytes.length - TAIL_BYTES;
    const isLeaf =
      view.getUint32(tail, true) === 0 &&
      view.getUint16(tail + 4, true) === TAIL_BYTES &&
      bytes[tail + 6] === 0 &&
      bytes[tail + 7] === TAIL_TYPE;
    // A node of an htree has no room for such a tail: its first entries go over all of the block.
    const entriesAt = this.#indexAt(view);
    if (entriesAt !== undefined) {
      const [limit, count] = [view.getUint16(entriesAt, true), view.getUint16(entriesAt + 2, true)];
      const sumAt = entriesAt + 8 * limit;
      if (count > limit || sumAt + 8 > bytes.length) throw this.bad(`its block ${nr} has ${count} of ${limit} hashes`);
      const zero = new Uint8Array(4);
      let computed = crc32c(this.#seed, bytes.subarray(0, entriesAt + 8 * count));
      computed = crc32c(crc32c(computed, bytes.subarray(sumAt, sumAt + 4)), zero);
      this.#compare(nr, view.getUint32(sumAt + 4, true), computed);
      return;
    }
    if (!isLeaf) throw this.bad(`its block ${nr} has no checksum`);
    this.#compare(nr, view.getUint32(tail + 8, true), crc32c(this.#seed, bytes.subarray(0, tail)));
  }

  #compare(nr: number, stored: number, computed: number): void {
    if (stored !== computed)
      throw this.bad(`the checksum of its block ${nr} is ${hex(stored)}, expected ${hex(computed)}`);
  }

  /** Where the hashes of an htree node begin; undefined for a leaf. */
  #indexAt(view: DataView): number | undefined {
    const first = this.#length(view.getUint16(4, true));
    const { blockBytes } = this.#sb.facts;
    if (first === blockBytes) return 8;
    if (first !== 12 || this.#length(view.getUint16(16, true)) !== blockBytes - 12) return undefined;
    const isInfo = view.getUint32(24, true) === 0 && view.getUint8(29) === 8;
    return isInfo ? 32 : undefined;
  }
}
