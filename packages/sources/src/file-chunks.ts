// The contents of a file as chunks of data and holes, the same on every host: whether a range of zeroes is a hole in the file that it comes
// from depends on the filesystem there, its block size, and how the file was written. So every aligned block of 4 KiB that is zero is a
// hole here, and nothing else is. Holes that the host knows of only spare reading them.

import type { SourceChunk } from './source.ts';

export const HOLE_BYTES = 4096;
const BUFFER_BYTES = 1024 * 1024;

/** A run of a file that may hold something else than zeroes. */
export interface Region {
  readonly offset: number;
  readonly length: number;
}

export interface RegionReader {
  readonly sizeBytes: number;
  /** Ascending, not overlapping, inside of the file; the rest is zero. */
  regions(): Iterable<Region>;
  /** Fills `into` with the file's bytes from `offset`, zeroes between regions included. */
  read(offset: number, into: Uint8Array): void;
}

/** Chunks of data of up to 1 MiB, in a buffer of the generator's; holes of any length, never two in a row. */
export function* fileChunks(file: RegionReader): Generator<SourceChunk> {
  const { sizeBytes } = file;
  const buffer = new Uint8Array(Math.min(BUFFER_BYTES, sizeBytes));
  /** Up to here chunks were given; from here to `at` all is zero. */
  let given = 0;
  for (const [from, to] of wholeBlocks(file)) {
    for (let at = from; at < to; ) {
      const bytes = buffer.subarray(0, Math.min(buffer.length, to - at));
      file.read(at, bytes);
      for (let start = 0; start < bytes.length; ) {
        if (isZeroBlock(bytes, start)) {
          start += HOLE_BYTES;
          continue;
        }
        let end = start + HOLE_BYTES;
        while (end < bytes.length && !isZeroBlock(bytes, end)) end += HOLE_BYTES;
        end = Math.min(end, bytes.length);
        const offset = at + start;
        if (offset > given) yield { kind: 'hole', offset: given, length: offset - given };
        yield { kind: 'data', offset, length: end - start, bytes: bytes.subarray(start, end) };
        given = at + end;
        start = end;
      }
      at += bytes.length;
    }
  }
  if (given < sizeBytes) yield { kind: 'hole', offset: given, length: sizeBytes - given };
}

/** The regions, grown to whole blocks and joined where they meet; the last block ends with the file. */
function* wholeBlocks(file: RegionReader): Generator<readonly [from: number, to: number]> {
  let [from, to] = [0, 0];
  for (const { offset, length } of file.regions()) {
    if (length === 0) continue;
    const start = offset - (offset % HOLE_BYTES);
    const end = Math.min(file.sizeBytes, Math.ceil((offset + length) / HOLE_BYTES) * HOLE_BYTES);
    if (start <= to) {
      to = Math.max(to, end);
      continue;
    }
    if (to > from) yield [from, to];
    [from, to] = [start, end];
  }
  if (to > from) yield [from, to];
}

const ZEROES = new Uint8Array(HOLE_BYTES);

function isZeroBlock(bytes: Uint8Array, at: number): boolean {
  if (bytes[at] !== 0) return false;
  const end = Math.min(at + HOLE_BYTES, bytes.length);
  return Buffer.compare(bytes.subarray(at, end), ZEROES.subarray(0, end - at)) === 0;
}

export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += HOLE_BYTES) if (!isZeroBlock(bytes, at)) return false;
  return true;
}
