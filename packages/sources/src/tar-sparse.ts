// Where the data of a sparse member belongs, in the four forms that GNU tar has written: the table in its own header ('S', "old GNU"), the
// records of extended headers (0.0 and 0.1), and lines of text in front of the data (1.0, which `bcachefs tar` writes too).
// Source: "Storing Sparse Files" and "Basic Tar Format" in the manual of GNU tar.

import type { ArchiveBytes } from './archive-bytes.ts';
import type { Region } from './file-chunks.ts';
import { type ParsedRecords, recordNumber, recordText } from './pax-records.ts';
import { BLOCK_BYTES, numberAt, TarHeaderError } from './tar-header.ts';

/** More would be 64 MiB of memory. */
const REGIONS_MAX = 2 ** 22;

export interface SparseMap {
  /** Of the file, holes and all. */
  readonly sizeBytes: number;
  /** Offset and length in turn, ascending; the data lies in the archive in this order. */
  readonly regions: Float64Array;
  /** Where the first region's data is in the archive. */
  readonly dataAt: number;
}

/** The table of an 'S' header: four regions, and 21 in each block that follows. */
export function oldGnuMap(bytes: ArchiveBytes, headerAt: number, dataBytes: number): SparseMap {
  const regions: number[] = [];
  const block = bytes.peek(headerAt, BLOCK_BYTES);
  const sizeBytes = safe(numberAt(block, 483, 12, 'size'));
  let isExtended = oldGnuRegions(block, 386, 4, 482, regions);
  let at = headerAt + BLOCK_BYTES;
  while (isExtended) {
    isExtended = oldGnuRegions(wholeBlock(bytes, at), 0, 21, 504, regions);
    at += BLOCK_BYTES;
  }
  return { sizeBytes, regions: checked(regions, sizeBytes, dataBytes), dataAt: at };
}

/** Where the data of an 'S' member starts, without looking at the table. */
export function oldGnuDataAt(bytes: ArchiveBytes, headerAt: number): number {
  let at = headerAt + BLOCK_BYTES;
  for (let isExtended = bytes.peek(headerAt, BLOCK_BYTES)[482] !== 0; isExtended; at += BLOCK_BYTES)
    isExtended = wholeBlock(bytes, at)[504] !== 0;
  return at;
}

function oldGnuRegions(block: Uint8Array, from: number, count: number, flagAt: number, regions: number[]): boolean {
  for (let i = 0; i < count; i++) {
    const at = from + 24 * i;
    // An unused place.
    if (block[at] === 0 || block[at + 12] === 0) continue;
    push(regions, numberAt(block, at, 12, 'offset'), numberAt(block, at + 12, 12, 'length'));
  }
  return block[flagAt] !== 0;
}

/** @returns undefined when the records say of no sparse file */
export function paxSparseMap(
  { records, sparsePairs }: ParsedRecords,
  bytes: ArchiveBytes,
  dataAt: number,
  dataBytes: number,
): SparseMap | undefined {
  const [major, minor] = [recordNumber(records, 'GNU.sparse.major'), recordNumber(records, 'GNU.sparse.minor')];
  if (major === 1n && minor === 0n) return textMap(records, bytes, dataAt, dataBytes);
  if (major !== undefined && major > 0n) throw new TarHeaderError(`a sparse file of GNU's format ${major}.${minor}`);
  const size = recordNumber(records, 'GNU.sparse.size') ?? recordNumber(records, 'GNU.sparse.realsize');
  if (size === undefined) return undefined;
  const regions: number[] = [];
  const map = records.get('GNU.sparse.map');
  if (map !== undefined) {
    const numbers = map.length === 0 ? [] : recordText(map).split(',').map(decimal);
    if (numbers.length % 2 !== 0) throw new TarHeaderError('the map of a sparse file ends in the middle');
    for (let i = 0; i < numbers.length; i += 2) push(regions, numbers[i]!, numbers[i + 1]!);
  } else {
    for (const [i, [keyword]] of sparsePairs.entries()) {
      const isOffset = i % 2 === 0;
      if (isOffset !== (keyword === 'offset')) throw new TarHeaderError('the map of a sparse file is out of order');
      if (!isOffset)
        push(regions, decimal(recordText(sparsePairs[i - 1]![1])), decimal(recordText(sparsePairs[i]![1])));
    }
  }
  const sizeBytes = safe(size);
  return { sizeBytes, regions: checked(regions, sizeBytes, dataBytes), dataAt };
}

export const isTextMapped = ({ records }: ParsedRecords): boolean => recordNumber(records, 'GNU.sparse.major') === 1n;

/** Lines of numbers, padded to blocks, in front of the data. */
function textMap(records: ParsedRecords['records'], bytes: ArchiveBytes, from: number, memberBytes: number): SparseMap {
  const sizeBytes = safe(recordNumber(records, 'GNU.sparse.realsize') ?? -1n);
  let at = from;
  const line = (): bigint => {
    const piece = bytes.peek(at, Math.min(24, from + memberBytes - at));
    const end = piece.indexOf(0x0a);
    if (end < 0) throw new TarHeaderError('the map of a sparse file is damaged');
    at += end + 1;
    return decimal(recordText(piece.subarray(0, end)));
  };
  const count = line();
  if (count > REGIONS_MAX) throw new TarHeaderError(`a sparse file of ${count} parts`);
  const regions: number[] = [];
  for (let i = 0n; i < count; i++) push(regions, line(), line());
  const dataAt = from + Math.ceil((at - from) / BLOCK_BYTES) * BLOCK_BYTES;
  return { sizeBytes, regions: checked(regions, sizeBytes, memberBytes - (dataAt - from)), dataAt };
}

function push(regions: number[], offset: bigint, length: bigint): void {
  if (regions.length >= 2 * REGIONS_MAX) throw new TarHeaderError(`a sparse file of more than ${REGIONS_MAX} parts`);
  regions.push(safe(offset), safe(length));
}

function checked(regions: readonly number[], sizeBytes: number, dataBytes: number): Float64Array {
  let [end, sum] = [0, 0];
  for (let i = 0; i < regions.length; i += 2) {
    const [offset, length] = [regions[i]!, regions[i + 1]!];
    if (offset < end || offset + length > sizeBytes)
      throw new TarHeaderError(`part ${i / 2} of a sparse file is out of order or past its end`);
    end = offset + length;
    sum += length;
  }
  if (sum !== dataBytes)
    throw new TarHeaderError(`the parts of a sparse file are ${sum} bytes, the archive has ${dataBytes}`);
  return Float64Array.from(regions);
}

function decimal(text: string): bigint {
  if (!/^\d{1,20}$/.test(text)) throw new TarHeaderError('the map of a sparse file is damaged');
  return BigInt(text);
}

function safe(value: bigint): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw new TarHeaderError(`a size or offset of ${value}`);
  return Number(value);
}

function wholeBlock(bytes: ArchiveBytes, at: number): Uint8Array {
  const block = bytes.peek(at, BLOCK_BYTES);
  if (block.length < BLOCK_BYTES) throw new TarHeaderError('it ends in the middle of a header');
  return block;
}

export function* regionsOf({ regions }: SparseMap): Generator<Region> {
  for (let i = 0; i < regions.length; i += 2) yield { offset: regions[i]!, length: regions[i + 1]! };
}

/** Reads a sparse file from anywhere in it, zeroes between its parts included; quick when reading goes forward. */
export class SparseReader {
  readonly #bytes: ArchiveBytes;
  readonly #map: SparseMap;
  /** The part that was read last, and where its data is. */
  #part = 0;
  #partAt: number;

  constructor(bytes: ArchiveBytes, map: SparseMap) {
    this.#bytes = bytes;
    this.#map = map;
    this.#partAt = map.dataAt;
  }

  read(offset: number, into: Uint8Array): void {
    const { regions, dataAt } = this.#map;
    into.fill(0);
    const end = offset + into.length;
    if (this.#part >= regions.length || regions[this.#part]! > offset) [this.#part, this.#partAt] = [0, dataAt];
    while (this.#part < regions.length && regions[this.#part]! < end) {
      const [start, length] = [regions[this.#part]!, regions[this.#part + 1]!];
      const [from, to] = [Math.max(start, offset), Math.min(start + length, end)];
      if (from < to) this.#bytes.read(this.#partAt + from - start, into.subarray(from - offset, to - offset));
      if (start + length > end) return;
      this.#part += 2;
      this.#partAt += length;
    }
  }
}
