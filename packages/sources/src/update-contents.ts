// Makes the contents of one regular file equal to those of a source, and writes no more than what differs. A file is compared in pieces of
// the length that extents have at the most: what is written anew is an extent by itself then, and no part of an old one keeps all of
// it on the disk, as it would with checksums over the whole or with compression. Files of one piece are written anew as a whole, and so
// come out as if they had just been made.

import type { FileEdit, FileRef } from '@bcachefs-ts/core/engine';
import { isZero } from './file-chunks.ts';
import type { SourceFile } from './source.ts';

/** What contents are changed in: see UpdateSession. */
export interface ContentSession {
  readonly edit: FileEdit;
  change(file: FileRef): FileEdit;
  step(): void;
  readonly isDryRun: boolean;
}

export interface ContentCounter {
  /** Bytes of the source that were looked at. */
  onRead(count: number): void;
  onWritten(count: number): void;
}

/** encoded_extent_max, as by default. */
const PIECE_BYTES = 128 * 1024;

/** A file that has just been made. A step is a part of a large one. */
export function* writeContents(
  session: ContentSession,
  file: FileRef,
  entry: SourceFile,
  counter: ContentCounter,
): Generator<void> {
  for (const chunk of entry.chunks()) {
    if (chunk.offset > 0) session.step();
    if (chunk.kind === 'data') {
      if (!session.isDryRun) session.change(file).content.write(file, chunk.offset, chunk.bytes);
      counter.onWritten(chunk.length);
    }
    counter.onRead(chunk.length);
    yield;
  }
  extend(session, file, entry.sizeBytes);
}

/** @returns whether anything differed */
export function* updateContents(
  session: ContentSession,
  file: FileRef,
  entry: SourceFile,
  counter: ContentCounter,
): Generator<void, boolean> {
  const oldBytes = Number(session.edit.files.inode(file).bi_size);
  const isSmall = oldBytes <= PIECE_BYTES && entry.sizeBytes <= PIECE_BYTES;
  const comparison = new Comparison(session, file, entry, oldBytes);
  if (isSmall) {
    if (!comparison.differsAnywhere()) {
      counter.onRead(entry.sizeBytes);
      return false;
    }
    if (!session.isDryRun) session.change(file).content.truncate(file, 0);
    yield* writeContents(session, file, entry, counter);
    return true;
  }
  let isChanged = oldBytes !== entry.sizeBytes;
  if (oldBytes > entry.sizeBytes && !session.isDryRun) session.change(file).content.truncate(file, entry.sizeBytes);
  for (const chunk of entry.chunks()) {
    if (chunk.offset > 0) session.step();
    if (chunk.kind === 'hole') {
      for (const { offset, length } of comparison.dataIn(chunk.offset, chunk.offset + chunk.length)) {
        if (!session.isDryRun) session.change(file).content.punch(file, offset, offset + length);
        isChanged = true;
      }
    } else {
      for (const { from, to } of comparison.differencesIn(chunk.offset, chunk.bytes)) {
        const bytes = chunk.bytes.subarray(from - chunk.offset, to - chunk.offset);
        if (!session.isDryRun) session.change(file).content.write(file, from, bytes);
        counter.onWritten(bytes.length);
        isChanged = true;
      }
    }
    counter.onRead(chunk.length);
    yield;
  }
  extend(session, file, entry.sizeBytes);
  return isChanged;
}

/** A hole at the end. */
function extend(session: ContentSession, file: FileRef, sizeBytes: number): void {
  if (session.isDryRun || Number(session.edit.files.inode(file).bi_size) >= sizeBytes) return;
  session.change(file).content.truncate(file, sizeBytes);
}

interface Range {
  readonly from: number;
  readonly to: number;
}

/** Beside each other: a file of the source, and what is there. */
class Comparison {
  readonly #session: ContentSession;
  readonly #file: FileRef;
  readonly #entry: SourceFile;
  readonly #oldBytes: number;
  #buffer = new Uint8Array(0);

  constructor(session: ContentSession, file: FileRef, entry: SourceFile, oldBytes: number) {
    this.#session = session;
    this.#file = file;
    this.#entry = entry;
    this.#oldBytes = oldBytes;
  }

  /** For files of one piece. */
  differsAnywhere(): boolean {
    if (this.#oldBytes !== this.#entry.sizeBytes) return true;
    if (this.#oldBytes === 0) return false;
    for (const chunk of this.#entry.chunks()) {
      const there = this.#read(chunk.offset, chunk.length);
      if (chunk.kind === 'hole' ? !isZero(there) : Buffer.compare(there, chunk.bytes) !== 0) return true;
    }
    return false;
  }

  /** Pieces of a chunk that are not the same; what lies past the old end is not. Neighbours are joined. */
  differencesIn(offset: number, bytes: Uint8Array): readonly Range[] {
    const there = this.#read(offset, bytes.length);
    const end = offset + bytes.length;
    const found: Range[] = [];
    for (let from = offset; from < end; ) {
      const to = Math.min(end, from - (from % PIECE_BYTES) + PIECE_BYTES);
      const [start, stop] = [from - offset, to - offset];
      const isSame =
        to <= this.#oldBytes && Buffer.compare(there.subarray(start, stop), bytes.subarray(start, stop)) === 0;
      if (!isSame) {
        const last = found.at(-1);
        if (last?.to === from) found[found.length - 1] = { from: last.from, to };
        else found.push({ from, to });
      }
      from = to;
    }
    return found;
  }

  /** What is data where the source has a hole, zeroes left out. */
  dataIn(from: number, to: number): readonly { readonly offset: number; readonly length: number }[] {
    const segments = this.#session.edit.content.segments(this.#file, from, to);
    return segments.filter(({ kind, offset, length }) => {
      if (kind !== 'data' && kind !== 'inline') return false;
      for (let done = 0; done < length; done += PIECE_BYTES) {
        if (!isZero(this.#read(offset + done, Math.min(PIECE_BYTES, length - done)))) return true;
      }
      return false;
    });
  }

  /** Good until the next reading; zeroes past the end. */
  #read(offset: number, length: number): Uint8Array {
    if (this.#buffer.length < length) this.#buffer = new Uint8Array(length);
    const into = this.#buffer.subarray(0, length).fill(0);
    this.#session.edit.content.read(this.#file, offset, into);
    return into;
  }
}
