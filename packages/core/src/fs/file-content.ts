// The contents of files as they are changed: bytes written anywhere in them, holes, sizes, targets of symlinks. Writing goes in whole
// blocks; what a block had before around the new bytes is read first. Blocks of zeroes become holes, a file that fits into half a
// block (at most 1024 bytes) goes into its key.
//
// Bytes are on the devices when flush has been called, and count when the transaction is committed.
// Source: bch2_write, bch2_extent_update_i_size_sectors in io_write.c, bch2_truncate in fs-io.c, bch2_fpunch in io_misc.c, v1.13.0.

import { makeKey } from '../btree/transaction.ts';
import { deleteExtents, insertExtent, insertFirstExtent } from '../data/extent-insert.ts';
import { DataReader } from '../data/extent-read.ts';
import type { AdoptedRun, ExtentWriter } from '../data/extent-write.ts';
import { readFile } from '../data/file-read.ts';
import { ioOptionsOf } from '../data/io-options.ts';
import { type FileSegment, fileSegments } from '../data/segments.ts';
import type { Key } from '../ondisk/bkey.ts';
import { assert } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { roundUp, SECTOR_BYTES } from '../util/sizes.ts';
import { isZero } from '../util/zero-bytes.ts';
import type { EditState, FileRef } from './edit-state.ts';
import type { CachedInode } from './inode-cache.ts';

const INLINE_DATA = keyTypes.idOf('inline_data');
/** More is kept in no key. */
const INLINE_MAX = 1024;
/** This many zeroes in a row become a hole. */
const HOLE_BYTES = 4096;
/** What is written in one go. */
const PART_BYTES = 2 ** 20;

export interface FileContentOptions {
  /** Whether short files go into their keys: the option inline_data of a mount. */
  readonly inlineData?: boolean;
}

export class FileContent {
  readonly #state: EditState;
  readonly #extents: ExtentWriter;
  readonly #blockBytes: number;
  readonly #inlineMax: number;
  readonly #padded: Uint8Array;
  #reader: DataReader | undefined;

  constructor(state: EditState, extents: ExtentWriter, { inlineData = true }: FileContentOptions = {}) {
    this.#state = state;
    this.#extents = extents;
    this.#blockBytes = state.tx.sb.block_size * SECTOR_BYTES;
    this.#inlineMax = inlineData ? Math.min(this.#blockBytes / 2, INLINE_MAX) : 0;
    this.#padded = new Uint8Array(this.#blockBytes);
  }

  /** Whether keys with data in them were made: the feature has to be in the superblock. */
  hasInlineData = false;

  /**
   * Writes bytes at an offset; the file grows to hold them. mtime and ctime are now; nothing happens where there are no bytes.
   * @throws NoSpaceError, DeviceError; CorruptError when what stands in the same block cannot be read
   */
  write(file: FileRef, offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#state.cache.trim();
    const cached = this.#state.writable(file);
    const { inode } = cached;
    const oldSize = Number(inode.bi_size);
    const end = offset + bytes.length;
    assert(Number.isSafeInteger(end), 'files end below 2^53');
    if (offset === 0 && end >= oldSize && end <= this.#inlineMax) this.#writeInline(cached, bytes);
    else this.#writeBlocks(cached, offset, bytes, Math.max(oldSize, end));
    if (end > oldSize) inode.bi_size = BigInt(end);
    inode.bi_mtime = this.#state.time();
    this.#state.touchChanged(cached);
  }

  /**
   * A run of a file is what lies on a device already: it gets keys, and nothing is written. Size and times stay.
   * @param offset in bytes, at a block
   * @throws DeviceError when it cannot be read for its checksums; CorruptError where the device has something else
   */
  adopt(file: FileRef, offset: number, run: AdoptedRun): void {
    this.#state.cache.trim();
    const cached = this.#state.writable(file);
    const sector = offset / SECTOR_BYTES;
    const whole = (sectors: number) => (sectors * SECTOR_BYTES) % this.#blockBytes === 0;
    assert(whole(sector) && whole(run.sector) && whole(run.sectors), 'whole blocks are adopted');
    const { words, snapshot, inode } = cached;
    const pos = Uint32Array.of(snapshot, 0, 0, words.lo, words.hi);
    const options = ioOptionsOf(this.#state.tx.sb, inode);
    for (const key of this.#extents.adopt(pos, sector, run, options)) this.#insert(cached, key);
  }

  /** Makes the file so long; what comes into it is zeroes. */
  truncate(file: FileRef, sizeBytes: number): void {
    this.#state.cache.trim();
    const cached = this.#state.writable(file);
    const { inode } = cached;
    if (BigInt(sizeBytes) < inode.bi_size)
      this.#clear(cached, sizeBytes, roundUp(Number(inode.bi_size), this.#blockBytes));
    inode.bi_size = BigInt(sizeBytes);
    inode.bi_mtime = this.#state.time();
    this.#state.touchChanged(cached);
  }

  /** A hole in a file, whose size stays. */
  punch(file: FileRef, from: number, to: number): void {
    this.#state.cache.trim();
    const cached = this.#state.writable(file);
    const size = Number(cached.inode.bi_size);
    const end = to >= size ? roundUp(size, this.#blockBytes) : to;
    if (from < end) this.#clear(cached, from, end);
    cached.inode.bi_mtime = this.#state.time();
    this.#state.touchChanged(cached);
  }

  /** Bytes from anywhere in a file, as they are by now; what lies past its end is left alone. */
  read(file: FileRef, offset: number, into: Uint8Array): void {
    this.#read(this.#state.cached(file), offset, into);
  }

  /** Where a file has data and where holes, as it is by now. */
  segments(file: FileRef, from: number, to: number): FileSegment[] {
    const { inum, snapshot, inode } = this.#state.cached(file);
    this.flush();
    const sizeBytes = Number(inode.bi_size);
    const range = { from, to: Math.min(to, sizeBytes) };
    return [...fileSegments(this.#state.tx, this.#state.table, { inum, snapshot, sizeBytes }, range)];
  }

  /** All bytes are on the devices, though they may not have flushed them; inodes are in the transaction. */
  flush(): void {
    this.#extents.flush();
    this.#state.cache.flush();
  }

  /** Zeroes between two bytes: whole blocks go, what is left of others is overwritten. */
  #clear(cached: CachedInode, from: number, to: number): void {
    const block = this.#blockBytes;
    const size = Number(cached.inode.bi_size);
    const firstWhole = roundUp(from, block);
    const endWhole = Math.max(firstWhole, to - (to % block));
    const zeroes = (start: number, end: number) => {
      if (end > start) this.#writeBlocks(cached, start, new Uint8Array(end - start), size);
    };
    if (from < firstWhole && this.#hasData(cached, from)) zeroes(from, Math.min(firstWhole, to, size));
    if (firstWhole < to && endWhole < to && this.#hasData(cached, endWhole)) zeroes(endWhole, Math.min(to, size));
    this.#deleteSectors(cached, firstWhole / SECTOR_BYTES, endWhole / SECTOR_BYTES);
  }

  /** Whether something stands in the block that a byte is in: zeroes need not be written over a hole. */
  #hasData(cached: CachedInode, at: number): boolean {
    const start = at - (at % this.#blockBytes);
    const block = new Uint8Array(Math.max(0, Math.min(this.#blockBytes, Number(cached.inode.bi_size) - start)));
    this.#read(cached, start, block);
    return !isZero(block);
  }

  #writeInline(cached: CachedInode, bytes: Uint8Array): void {
    const value = new Uint8Array(roundUp(bytes.length, 8));
    value.set(bytes);
    const size = this.#blockBytes / SECTOR_BYTES;
    const { words, snapshot } = cached;
    this.hasInlineData = true;
    this.#insert(cached, makeKey(INLINE_DATA, Uint32Array.of(snapshot, size, 0, words.lo, words.hi), value, { size }));
  }

  /** @param sizeBytes of the file when it is done: past it all is zero */
  #writeBlocks(cached: CachedInode, offset: number, bytes: Uint8Array, sizeBytes: number): void {
    const block = this.#blockBytes;
    let at = offset;
    let rest = bytes;
    const head = at % block;
    if (head !== 0 || rest.length < block) {
      const part = rest.subarray(0, Math.min(rest.length, block - head));
      this.#writePartial(cached, at, part, sizeBytes);
      at += part.length;
      rest = rest.subarray(part.length);
    }
    const whole = rest.length - (rest.length % block);
    for (let done = 0; done < whole; done += PART_BYTES) {
      this.#writeWhole(cached, at + done, rest.subarray(done, Math.min(whole, done + PART_BYTES)));
    }
    if (whole < rest.length) this.#writePartial(cached, at + whole, rest.subarray(whole), sizeBytes);
  }

  /** A part of one block: the rest of it is what it was. */
  #writePartial(cached: CachedInode, at: number, bytes: Uint8Array, sizeBytes: number): void {
    const start = at - (at % this.#blockBytes);
    const padded = this.#padded.fill(0);
    const isWholeTail = at === start && at + bytes.length >= Math.min(sizeBytes, Number(cached.inode.bi_size));
    const old = Math.min(this.#blockBytes, Number(cached.inode.bi_size) - start);
    if (!isWholeTail && old > 0) this.#read(cached, start, padded.subarray(0, old));
    padded.set(bytes, at - start);
    this.#writeWhole(cached, start, padded);
  }

  /** Whole blocks, with holes for zeroes. */
  #writeWhole(cached: CachedInode, at: number, bytes: Uint8Array): void {
    const step = Math.max(this.#blockBytes, HOLE_BYTES);
    let start = 0;
    while (start < bytes.length) {
      let end = start;
      const isHole = isZero(bytes.subarray(start, Math.min(bytes.length, start + step)));
      do end = Math.min(bytes.length, end + step);
      while (end < bytes.length && isZero(bytes.subarray(end, Math.min(bytes.length, end + step))) === isHole);
      const sector = (at + start) / SECTOR_BYTES;
      if (isHole) this.#deleteSectors(cached, sector, (at + end) / SECTOR_BYTES);
      else this.#writeExtents(cached, sector, bytes.subarray(start, end));
      start = end;
    }
  }

  #writeExtents(cached: CachedInode, sector: number, bytes: Uint8Array): void {
    const { words, snapshot, inode } = cached;
    const pos = Uint32Array.of(snapshot, 0, 0, words.lo, words.hi);
    const options = ioOptionsOf(this.#state.tx.sb, inode);
    for (const key of this.#extents.write(pos, sector, bytes, options)) this.#insert(cached, key);
  }

  #insert(cached: CachedInode, key: Key): void {
    const { tx, table } = this.#state;
    const { sectors } = isEmpty(cached) ? insertFirstExtent(tx, key) : insertExtent(tx, table, key);
    cached.inode.bi_sectors += BigInt(sectors);
  }

  #deleteSectors(cached: CachedInode, start: number, end: number): void {
    if (start >= end || isEmpty(cached)) return;
    const { tx, table } = this.#state;
    const { sectors } = deleteExtents(tx, table, { inum: cached.inum, snapshot: cached.snapshot, start, end });
    cached.inode.bi_sectors += BigInt(sectors);
  }

  #read(cached: CachedInode, offset: number, into: Uint8Array): void {
    this.#extents.flush();
    this.#reader ??= new DataReader(this.#state.tx);
    const { inum, snapshot, inode } = cached;
    const sizeBytes = Number(inode.bi_size);
    readFile(this.#reader, this.#state.table, { inum, snapshot, sizeBytes }, offset, into);
  }
}

/** Whether a file is known to have no extents: what is put into one is counted in its sectors. */
const isEmpty = ({ isNew, inode }: CachedInode): boolean => isNew && inode.bi_sectors === 0n;
