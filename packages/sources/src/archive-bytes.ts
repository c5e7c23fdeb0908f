// The bytes of an archive, readable at any place. A regular file that is not compressed is read where it is. Whatever comes through a pipe,
// and whatever is compressed, goes to a temporary file first, which has no name and takes as much room as the archive does unpacked
// from its compression: members are wanted in the order of their names, not in their own.
//
// gzip, zstd and xz are undone (archive-decoders.ts); the other compressions are recognised and refused with what to do about it.

import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, read, readSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DeviceError, IncompatibleError, InputError } from '@bcachefs-ts/core/engine';
import { type Decoder, DecoderError, gunzipped, type SteadyPieces, unxz, unzstd } from './archive-decoders.ts';

/** Read ahead when reading goes on where it ended; else only what is asked for, and a little. */
const WINDOW_BYTES = 256 * 1024;
const NEAR_BYTES = 4096;
const PIECE_BYTES = 256 * 1024;

export interface SpoolOptions {
  /** Where the temporary file goes: TMPDIR, else /tmp. */
  readonly temporaryFolder?: string | undefined;
}

export class ArchiveBytes {
  readonly name: string;
  readonly sizeBytes: number;
  readonly #fd: number;
  readonly #window = new Uint8Array(WINDOW_BYTES);
  #windowAt = 0;
  #windowBytes = 0;

  /** @param fd a regular file, from now on this object's */
  constructor(name: string, fd: number) {
    this.name = name;
    this.#fd = fd;
    this.sizeBytes = fstatSync(fd).size;
  }

  /** A view of bytes, valid until the next reading; shorter at the end of the archive. @param length up to 4 KiB */
  peek(offset: number, length: number): Uint8Array {
    const end = Math.min(offset + length, this.sizeBytes);
    if (offset >= end) return new Uint8Array(0);
    const windowEnd = this.#windowAt + this.#windowBytes;
    if (offset < this.#windowAt || end > windowEnd) {
      const isNear = offset >= this.#windowAt && offset <= windowEnd + WINDOW_BYTES;
      const wanted = Math.min(isNear ? WINDOW_BYTES : NEAR_BYTES, this.sizeBytes - offset);
      this.#windowBytes = 0;
      this.#readInto(offset, this.#window.subarray(0, wanted));
      [this.#windowAt, this.#windowBytes] = [offset, wanted];
    }
    return this.#window.subarray(offset - this.#windowAt, end - this.#windowAt);
  }

  /** @throws DeviceError when they are not there */
  read(offset: number, into: Uint8Array): void {
    if (into.length > NEAR_BYTES) this.#readInto(offset, into);
    else into.set(this.peek(offset, into.length));
  }

  close(): void {
    closeSync(this.#fd);
  }

  #readInto(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const count = withName(this.name, 'reading', () =>
        readSync(this.#fd, into, done, into.length - done, offset + done),
      );
      if (count === 0) throw new DeviceError('busy', this.name, 'became shorter while it was being read');
      done += count;
    }
  }
}

interface Compression {
  readonly name: string;
  readonly isMagic: (first: Uint8Array) => boolean;
  /** How to undo it elsewhere. */
  readonly program: string;
  readonly decoder?: Decoder;
}

const startsWith =
  (...magic: readonly number[]) =>
  (first: Uint8Array): boolean =>
    magic.every((byte, i) => first[i] === byte);

/** A frame, or one to be skipped, with which parallel compressors begin. */
const isZstd = (first: Uint8Array): boolean =>
  startsWith(0x28, 0xb5, 0x2f, 0xfd)(first) ||
  (first[0]! >> 4 === 5 && startsWith(0x2a, 0x4d, 0x18)(first.subarray(1)));

const compressions: readonly Compression[] = [
  { name: 'gzip', isMagic: startsWith(0x1f, 0x8b), program: 'gzip', decoder: gunzipped },
  { name: 'zstd', isMagic: isZstd, program: 'zstd', decoder: unzstd },
  { name: 'xz', isMagic: startsWith(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00), program: 'xz', decoder: unxz },
  { name: 'bzip2', isMagic: startsWith(0x42, 0x5a, 0x68), program: 'bzip2' },
  { name: 'lz4', isMagic: startsWith(0x04, 0x22, 0x4d, 0x18), program: 'lz4' },
  { name: 'lzip', isMagic: startsWith(0x4c, 0x5a, 0x49, 0x50), program: 'lzip' },
  { name: 'compress', isMagic: startsWith(0x1f, 0x9d), program: 'gzip' },
];

/**
 * @param path of a file; `-` for standard input
 * @throws DeviceError; IncompatibleError for a compression that cannot be undone here; InputError for one that is damaged
 */
export async function openArchiveBytes(path: string, options: SpoolOptions = {}): Promise<ArchiveBytes> {
  const name = path === '-' ? 'standard input' : path;
  const fd = path === '-' ? 0 : withName(name, 'opening', () => openSync(path, 'r'));
  let isKept = false;
  try {
    const isFile = withName(name, 'looking at it', () => fstatSync(fd)).isFile();
    // Standard input may stand anywhere in its file, so it is always read through.
    if (fd !== 0 && isFile && compressionOf(firstBytes(name, fd)) === undefined) {
      isKept = true;
      return new ArchiveBytes(name, fd);
    }
    isKept = true;
    return await spool(name, fd, fd !== 0 && isFile, options);
  } finally {
    if (fd !== 0 && !isKept) closeSync(fd);
  }
}

function firstBytes(name: string, fd: number): Uint8Array {
  const bytes = new Uint8Array(8);
  return bytes.subarray(
    0,
    withName(name, 'reading', () => readSync(fd, bytes, 0, bytes.length, 0)),
  );
}

const compressionOf = (first: Uint8Array): Compression | undefined =>
  compressions.find(({ isMagic }) => isMagic(first));

/** @param fd closed at the end, but for standard input @param isWhole the file is the archive, from its first byte on */
async function spool(
  name: string,
  fd: number,
  isWhole: boolean,
  { temporaryFolder = tmpdir() }: SpoolOptions,
): Promise<ArchiveBytes> {
  const pieces = readPieces(name, fd);
  let target: number | undefined;
  try {
    const head = await atLeast(pieces, 8);
    const whole = chain(head, pieces);
    const compression = compressionOf(head);
    target = openUnnamed(temporaryFolder);
    const steady = isWhole ? async () => storedPieces(name, fd) : copyingTo(temporaryFolder);
    const plain = compression === undefined ? whole : decompressed(name, compression, whole, steady);
    for await (const piece of plain) writeAll(temporaryFolder, target, piece);
    return new ArchiveBytes(name, target);
  } catch (error) {
    if (target !== undefined) closeSync(target);
    throw error;
  } finally {
    // Decoders read ahead. Closed at once, the number could be another file's by the time that such a read comes to it.
    if (fd !== 0) void pieces.return(undefined).finally(() => closeSync(fd));
  }
}

async function* decompressed(
  name: string,
  { name: compression, program, decoder }: Compression,
  whole: AsyncIterable<Uint8Array>,
  steady: SteadyPieces,
): AsyncGenerator<Uint8Array> {
  const useProgram = `use: ${program} -dc ARCHIVE | … --source=-`;
  if (decoder === undefined) {
    const detail = `is compressed by ${compression}, which cannot be undone here; ${useProgram}`;
    throw new IncompatibleError('archive_compression', { path: name }, detail);
  }
  try {
    yield* decoder(whole, steady);
  } catch (cause) {
    if (!(cause instanceof DecoderError)) throw cause;
    if (cause.kind === 'options') {
      const detail = `is compressed by ${compression} with ${cause.message}; ${useProgram}`;
      throw new IncompatibleError('archive_compression', { path: name }, detail);
    }
    const detail = `the ${compression} data is damaged or cut off (${cause.message})`;
    throw new InputError('archive_compression', { path: name }, detail);
  }
}

function copyingTo(folder: string): SteadyPieces {
  return async pieces => {
    const fd = openUnnamed(folder);
    try {
      for await (const piece of pieces) writeAll(folder, fd, piece);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return closing(fd, storedPieces(folder, fd));
  };
}

function* closing(fd: number, pieces: Iterable<Uint8Array>): Generator<Uint8Array> {
  try {
    yield* pieces;
  } finally {
    closeSync(fd);
  }
}

function* storedPieces(name: string, fd: number): Generator<Uint8Array> {
  const piece = new Uint8Array(PIECE_BYTES);
  for (let at = 0; ; ) {
    const count = withName(name, 'reading', () => readSync(fd, piece, 0, piece.length, at));
    if (count === 0) return;
    yield piece.subarray(0, count);
    at += count;
  }
}

/** A pipe that another process made non-blocking says EAGAIN when nothing is there yet. */
async function* readPieces(name: string, fd: number): AsyncGenerator<Uint8Array, undefined> {
  for (;;) {
    // A new one each time: decompression may still hold the one before.
    const piece = new Uint8Array(PIECE_BYTES);
    let count: number;
    try {
      count = await new Promise<number>((resolve, reject) => {
        read(fd, piece, 0, piece.length, null, (error, bytesRead) =>
          error === null ? resolve(bytesRead) : reject(error),
        );
      });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error)) throw error;
      if (error.code === 'EOF') return;
      if (error.code !== 'EAGAIN') throw deviceError(name, 'reading', error);
      await new Promise(resolve => setTimeout(resolve, 5));
      continue;
    }
    if (count === 0) return;
    yield piece.subarray(0, count);
  }
}

/** The first bytes: so many, or all there are. */
async function atLeast(pieces: AsyncGenerator<Uint8Array>, count: number): Promise<Uint8Array> {
  let head = new Uint8Array(0);
  while (head.length < count) {
    const { value, done } = await pieces.next();
    if (done === true || value === undefined) break;
    head = Uint8Array.from(Buffer.concat([head, value]));
  }
  return head;
}

async function* chain(head: Uint8Array, rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (head.length > 0) yield head;
  yield* rest;
}

function openUnnamed(folder: string): number {
  const path = join(folder, `bcachefs-source-${randomBytes(8).toString('hex')}`);
  const fd = withName(path, 'making a temporary file', () => openSync(path, 'wx+', 0o600));
  // Gone with its last user, whatever ends the process. Systems that cannot do that keep the file until it is closed, or longer.
  unlinkSync(path);
  return fd;
}

function writeAll(folder: string, fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; )
    done += withName(folder, 'writing the archive to a temporary file there (TMPDIR chooses the place)', () =>
      writeSync(fd, bytes, done, bytes.length - done),
    );
}

function withName<T>(name: string, doing: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw deviceError(name, doing, error);
  }
}

function deviceError(name: string, doing: string, cause: unknown): unknown {
  if (!(cause instanceof Error && 'code' in cause)) return cause;
  const code = `${cause.code}`;
  const kind = code === 'ENOENT' ? 'missing' : code === 'ENOSPC' ? 'full' : code === 'EACCES' ? 'permission' : 'io';
  return new DeviceError(kind, name, `${doing} failed (${code})`, { cause });
}
