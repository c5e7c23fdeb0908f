// Reading a file: its segments, and the bytes of each. `fileChunks` goes through a file in order with bounded memory and is what
// restoring and checking are built on; `readFile` fills a buffer from anywhere in it.
//
// Chunks of data are gathered in one buffer of up to 1 MiB, which the next chunk uses again: who wants to keep bytes copies them.
// An extent that is verified as a whole is read straight into its place there.

import { assert, CorruptError, DeviceError, IncompatibleError } from '../ondisk/errors.ts';
import type { Damage } from '../report/finding.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import type { DataReader } from './extent-read.ts';
import { type DataError, FileFinding, type ReplicaFailure } from './finding.ts';
import {
  type EmptySegment,
  type FileExtents,
  type FileSegment,
  fileSegments,
  type IndirectExtents,
  type StoredSegment,
} from './segments.ts';

export const CHUNK_BYTES: number = 2 ** 20;

export interface FileReadOptions {
  /**
   * Called with everything that is wrong; reading then goes on, lost ranges are chunks of their own (zeroes for `readFile`). Without it
   * what is lost is thrown, and copies that failed while another was good go without a word.
   */
  readonly onFinding?: ((finding: FileFinding) => void) | undefined;
  /** Give bytes that fail their checksum, as `suspect`. */
  readonly ignoreErrors?: boolean | undefined;
  /** See FileSegmentsOptions. */
  readonly reflinks?: IndirectExtents | undefined;
}

export interface FileChunksOptions extends FileReadOptions {
  /** Bytes from the start of the file: 0. */
  readonly from?: number | undefined;
  /** Its end. */
  readonly to?: number | undefined;
  /** The longest chunk of data: CHUNK_BYTES. */
  readonly chunkBytes?: number | undefined;
}

/** A run of a file; offset and length in bytes. Chunks follow each other without gaps. */
export type FileChunk =
  /** `bytes` are the generator's: they are overwritten when the next chunk is asked for. */
  | { readonly kind: 'data'; readonly offset: number; readonly length: number; readonly bytes: Uint8Array }
  /** Zeroes: nothing is stored. */
  | { readonly kind: 'hole'; readonly offset: number; readonly length: number }
  | { readonly kind: 'lost'; readonly offset: number; readonly length: number; readonly error: DataError };

/**
 * A file in order.
 * @throws CorruptError, DeviceError for what is lost, without `onFinding`
 */
export function* fileChunks(
  reader: DataReader,
  table: SnapshotTable,
  file: FileExtents,
  options: FileChunksOptions = {},
): Generator<FileChunk> {
  const { chunkBytes = CHUNK_BYTES, from = 0, to = file.sizeBytes } = options;
  assert(chunkBytes > 0, 'a chunk has a length');
  const buffer = new Uint8Array(Math.max(0, Math.min(chunkBytes, file.sizeBytes - from, to - from)));
  const reading = new FileReading(reader, options);
  // Data gathered in the buffer, and zeroes in a row: one of the two at most.
  let gathered = 0;
  let gatheredAt = 0;
  let hole: { readonly offset: number; length: number } | undefined;
  const flush = (): FileChunk | undefined => {
    if (hole !== undefined) {
      const chunk: FileChunk = { kind: 'hole', ...hole };
      hole = undefined;
      return chunk;
    }
    if (gathered === 0) return undefined;
    const bytes = buffer.subarray(0, gathered);
    gathered = 0;
    return { kind: 'data', offset: gatheredAt, length: bytes.length, bytes };
  };

  for (const segment of reading.segments(table, file, from, to)) {
    if (isEmpty(segment)) {
      if (hole !== undefined) hole.length += segment.length;
      else {
        const chunk = flush();
        if (chunk !== undefined) yield chunk;
        hole = { offset: segment.offset, length: segment.length };
      }
      continue;
    }
    if (hole !== undefined || segment.kind === 'lost' || gathered + segment.length > buffer.length) {
      const chunk = flush();
      if (chunk !== undefined) yield chunk;
    }
    if (segment.kind === 'lost') {
      reading.lost(segment.error, segment.offset, segment.length);
      yield segment;
      continue;
    }
    for (let done = 0; done < segment.length; ) {
      const length = Math.min(segment.length - done, buffer.length - gathered);
      const offset = segment.offset + done;
      const error = reading.read(segment, done, buffer.subarray(gathered, gathered + length));
      if (error === undefined) {
        if (gathered === 0) gatheredAt = offset;
        gathered += length;
      } else {
        const chunk = flush();
        if (chunk !== undefined) yield chunk;
        yield { kind: 'lost', offset, length, error };
      }
      done += length;
      if (gathered === buffer.length) {
        const chunk = flush();
        if (chunk !== undefined) yield chunk;
      }
    }
  }
  const chunk = flush();
  if (chunk !== undefined) yield chunk;
}

/**
 * Fills a buffer from a file.
 * @param offset bytes from the start of the file
 * @returns how many bytes there are: less than `into` at the end of the file, 0 past it
 * @throws CorruptError, DeviceError for what is lost, without `onFinding`; with it, lost ranges are zeroes
 */
export function readFile(
  reader: DataReader,
  table: SnapshotTable,
  file: FileExtents,
  offset: number,
  into: Uint8Array,
  options: FileReadOptions = {},
): number {
  const end = Math.min(offset + into.length, file.sizeBytes);
  if (offset >= end) return 0;
  const reading = new FileReading(reader, options);
  for (const segment of reading.segments(table, file, offset, end)) {
    const target = into.subarray(segment.offset - offset, segment.offset - offset + segment.length);
    if (segment.kind === 'lost') reading.lost(segment.error, segment.offset, segment.length);
    const isThere = segment.kind !== 'lost' && !isEmpty(segment) && reading.read(segment, 0, target) === undefined;
    if (!isThere) target.fill(0);
  }
  return end - offset;
}

const isEmpty = (segment: FileSegment): segment is EmptySegment =>
  segment.kind === 'hole' || segment.kind === 'reserved' || segment.kind === 'unwritten';

/** How far the scout goes ahead, at most: some more than what workers can hold of extents as the kernel makes them. */
const SCOUT_BYTES = 4 * 2 ** 20;

/** Segments, while a second walk goes ahead of them and has prepared what will be read. */
function* scouted(
  segments: Iterable<FileSegment>,
  reader: DataReader,
  table: SnapshotTable,
  file: FileExtents,
  to: number,
): Generator<FileSegment> {
  let scout: Iterator<FileSegment> | undefined;
  let ahead: FileSegment | undefined;
  try {
    for (const segment of segments) {
      if (reader.isParallel) {
        if (scout === undefined) {
          scout = scoutSegments(reader, table, file, segment.offset, to);
          ahead = scout.next().value;
        }
        while (ahead !== undefined && ahead.offset < segment.offset + SCOUT_BYTES) {
          if (ahead.kind === 'data' && !reader.prepare(ahead.key)) break;
          ahead = scout.next().value;
        }
      }
      yield segment;
    }
  } finally {
    if (scout !== undefined) reader.dropPrepared();
  }
}

/** The same segments, up to the first that cannot be read: the walk that follows reports what is wrong there. */
function* scoutSegments(
  reader: DataReader,
  table: SnapshotTable,
  file: FileExtents,
  from: number,
  to: number,
): Generator<FileSegment> {
  try {
    yield* fileSegments(reader.source, table, file, { from, to });
  } catch (thrown) {
    const isSaid = thrown instanceof CorruptError || thrown instanceof DeviceError;
    if (!isSaid && !(thrown instanceof IncompatibleError)) throw thrown;
  }
}

/** One pass over a file, and what it finds. */
class FileReading {
  readonly #reader: DataReader;
  readonly #options: FileReadOptions;

  constructor(reader: DataReader, options: FileReadOptions) {
    this.#reader = reader;
    this.#options = options;
  }

  segments(table: SnapshotTable, file: FileExtents, from: number, to: number): Generator<FileSegment> {
    const { onFinding, reflinks } = this.#options;
    const onDamage =
      onFinding === undefined
        ? undefined
        : (error: Damage) => onFinding(new FileFinding('metadata', error, from, to - from));
    const segments = fileSegments(this.#reader.source, table, file, { from, to, onDamage, reflinks });
    return scouted(segments, this.#reader, table, file, to);
  }

  /** @throws the error when there is no listener */
  lost(error: DataError, offset: number, length: number): void {
    const { onFinding } = this.#options;
    if (onFinding === undefined) throw error;
    onFinding(new FileFinding('lost', error, offset, length));
  }

  /** Reads a part of a segment. @returns why it is lost, after it was reported */
  read(segment: StoredSegment, skip: number, into: Uint8Array): DataError | undefined {
    const { onFinding, ignoreErrors } = this.#options;
    const offset = segment.offset + skip;
    const found = (kind: FileFinding['kind'], error: DataError): void =>
      onFinding?.(new FileFinding(kind, error, offset, into.length));
    const failures: ReplicaFailure[] = [];
    try {
      const ignored = this.#reader.read(segment.key, segment.keyOffset + skip, into, {
        btree: segment.btree,
        ignoreErrors,
        onReplicaFailure: failure => failures.push(failure),
      });
      if (ignored !== undefined) found('suspect', ignored);
      else for (const { error } of failures) found('healed', error);
      return undefined;
    } catch (thrown) {
      if (!(thrown instanceof CorruptError || thrown instanceof DeviceError)) throw thrown;
      this.lost(thrown, offset, into.length);
      return thrown;
    }
  }
}
