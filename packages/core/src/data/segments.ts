// A file as a row of segments, as the reference reads it: at each offset the answer is the first key in the order of the btree that ends
// after it and that the file's snapshot sees; up to where that key begins there is a hole. Keys that overlap what was given already
// lose their front: in one snapshot that does not happen, across snapshots it does. What lies past the file's size is cut.
//
// reflink_p keys are followed into the reflink btree, where several keys may serve one; nothing there points any further. The pads of a
// reflink_p say what it holds a reference to and do not change what is read.
//
// Where keys of the file may have been lost with a node, what would be a hole is lost.
// Sources: bch2_btree_iter_peek_slot in btree_iter.c, __bch2_read and __bch2_read_indirect_extent in io_read.c, v1.13.0;
// data/reflink.c, v1.39.2.

import { bposSuccessor } from '../btree/iterate.ts';
import type { FilesystemSource, KeyReader } from '../btree/source.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposOffsetNumber, bposText, compareBpos, makeBpos } from '../ondisk/bpos.ts';
import { assert, CorruptError } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import type { Damage } from '../report/finding.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeys } from '../snapshots/visible.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { extentContent } from './extent-read.ts';
import type { DataError } from './finding.ts';

/** A file, as far as its data go. */
export interface FileExtents {
  /** The inode number. */
  readonly inum: bigint;
  /** The snapshot that it is read in. */
  readonly snapshot: number;
  /** bi_size. Above 2^53 no segment begins: such a file is not read (see fileSize). */
  readonly sizeBytes: number;
}

/** A run of a file, in bytes. */
interface FileRange {
  /** From the start of the file. */
  readonly offset: number;
  readonly length: number;
}

/** Bytes that are stored; inline: in the key. */
export interface StoredSegment extends FileRange {
  readonly kind: 'data' | 'inline';
  /** What DataReader.read takes. */
  readonly key: Key;
  readonly btree: 'extents' | 'reflink';
  /** Where in the key the segment begins, in bytes. */
  readonly keyOffset: number;
}

/** Zeroes. reserved: promised; unwritten: allocated and never written. */
export interface EmptySegment extends FileRange {
  readonly kind: 'hole' | 'reserved' | 'unwritten';
}

/** What stood there cannot be known. */
export interface LostSegment extends FileRange {
  readonly kind: 'lost';
  readonly error: DataError;
}

/** Segments of a file follow each other without gaps. */
export type FileSegment = StoredSegment | EmptySegment | LostSegment;

export interface FileSegmentsOptions {
  /** Bytes from the start of the file: 0. */
  readonly from?: number | undefined;
  /** Its end. */
  readonly to?: number | undefined;
  /**
   * Called with nodes that are lost or damaged; the walk goes on, and what they may have held is `lost`. Without it the first such loss is
   * thrown. What the keys themselves say is lost is never thrown.
   */
  readonly onDamage?: ((damage: Damage) => void) | undefined;
  /** Looks up indirect extents; to be shared by who reads many files. */
  readonly reflinks?: IndirectExtents | undefined;
}

/**
 * A size as it is in an inode, as a number.
 * @throws CorruptError vfs_i_size_bad when it is above 2^53
 */
export function fileSize(biSize: bigint, pos: string): number {
  if (biSize <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(biSize);
  throw new CorruptError('vfs_i_size_bad', { btree: 'inodes', pos }, `bi_size ${biSize}, expected less than 2^53`);
}

/**
 * The segments of a file, or of a part of it, in order and without gaps.
 * @throws CorruptError, DeviceError when nodes are lost and `onDamage` is not given
 */
export function* fileSegments(
  source: FilesystemSource,
  table: SnapshotTable,
  file: FileExtents,
  options: FileSegmentsOptions = {},
): Generator<FileSegment> {
  const { onDamage } = options;
  assert(Number.isSafeInteger(file.sizeBytes) && file.sizeBytes >= 0, 'the size of a file is a whole number');
  const end = Math.min(options.to ?? file.sizeBytes, file.sizeBytes);
  let cursor = options.from ?? 0;
  if (cursor >= end) return;

  const view = source.btree('extents');
  const doubts = new Doubts(view, file, onDamage);
  const reflinks = options.reflinks ?? new IndirectExtents(source);
  const walk = {
    // The first key that ends after the sector that holds the cursor.
    from: makeBpos(file.inum, BigInt(Math.floor(cursor / SECTOR_BYTES)) + 1n, 0),
    to: makeBpos(file.inum, 0xffff_ffff_ffff_ffffn, 0xffff_ffff),
    ...(onDamage === undefined ? {} : { onDamage: (damage: Damage) => doubts.add(damage) }),
  };
  for (const key of visibleKeys(view, table, file.snapshot, walk)) {
    const keyEnd = bposOffsetNumber(key.k.p) * SECTOR_BYTES;
    const keyStart = keyEnd - key.k.size * SECTOR_BYTES;
    // Keys without a length, and positions that rounding moved: neither covers anything that can be read.
    if (keyEnd <= cursor) continue;
    if (keyStart > cursor) {
      const holeEnd = Math.min(keyStart, end);
      yield* doubts.gap(cursor, holeEnd, keyStart);
      cursor = holeEnd;
    }
    if (cursor >= end) return;
    const segmentEnd = Math.min(keyEnd, end);
    yield* keySegments(key, keyStart, cursor, segmentEnd, reflinks, onDamage);
    cursor = segmentEnd;
    if (cursor >= end) return;
  }
  yield* doubts.gap(cursor, end, Number.POSITIVE_INFINITY);
}

/** Exact below 2^53; above, where nothing is read, rounded. */

/** The segments that one key of the extents btree stands for: one, or those of the indirect extents that it points to. */
function* keySegments(
  key: Key,
  keyStart: number,
  start: number,
  end: number,
  reflinks: IndirectExtents,
  onDamage: ((damage: Damage) => void) | undefined,
): Generator<FileSegment> {
  const content = extentContent(key);
  const offset = start;
  const length = end - start;
  switch (content.kind) {
    case 'data':
      yield storedOrLost({ kind: 'data', offset, length, key, btree: 'extents', keyOffset: start - keyStart });
      return;
    case 'inline':
      yield* inlineSegments({ key, btree: 'extents' }, keyStart, start, end);
      return;
    case 'hole':
    case 'reserved':
    case 'unwritten':
      yield { kind: content.kind, offset, length };
      return;
    case 'lost':
      yield { kind: 'lost', offset, length, error: content.error };
      return;
    case 'reflink':
      yield* indirectSegments(key, keyStart, start, end, reflinks, onDamage);
      return;
  }
}

/** What a bucket can hold: its size has 16 bits. */
const EXTENT_SECTORS_MAX = 0xffff;

/** A key may claim to be 2 TiB long. Nothing that long was ever written: it is lost at once, not piece by piece. */
function storedOrLost(segment: StoredSegment): FileSegment {
  const { key, btree, offset, length } = segment;
  if (key.k.size <= EXTENT_SECTORS_MAX) return segment;
  const where = { btree, pos: bposText(key.k.p) };
  const detail = `an extent of ${key.k.size} sectors, no bucket has more than ${EXTENT_SECTORS_MAX}`;
  return { kind: 'lost', offset, length, error: new CorruptError('ptr_spans_multiple_buckets', where, detail) };
}

/**
 * Inline data are for files smaller than a block, none of which is larger than this. A key may claim to be 2 TiB long; as a reader of
 * the reference sees it, what its bytes do not fill is zeroes.
 */
const INLINE_BYTES_MAX = 2 ** 16;

function* inlineSegments(
  stored: Pick<StoredSegment, 'key' | 'btree'>,
  keyStart: number,
  start: number,
  end: number,
): Generator<FileSegment> {
  const storedEnd = Math.min(end, keyStart + INLINE_BYTES_MAX);
  if (start < storedEnd) {
    yield { kind: 'inline', ...stored, offset: start, length: storedEnd - start, keyOffset: start - keyStart };
  }
  const holeStart = Math.max(start, storedEnd);
  if (holeStart < end) yield { kind: 'hole', offset: holeStart, length: end - holeStart };
}

/** Sectors of the reflink btree that numbers are exact for. */
const INDEX_END = 2 ** 53 / SECTOR_BYTES;

function* indirectSegments(
  key: Key,
  keyStart: number,
  start: number,
  end: number,
  reflinks: IndirectExtents,
  onDamage: ((damage: Damage) => void) | undefined,
): Generator<FileSegment> {
  const where = { btree: 'extents', pos: bposText(key.k.p) };
  const lost = (offset: number, until: number, error: FaultName, detail: string): FileSegment => ({
    kind: 'lost',
    offset,
    length: until - offset,
    error: new CorruptError(error, where, detail),
  });
  if (key.value.length < reflinkP.minBytes) {
    yield lost(start, end, 'bkey_val_size_too_small', `a reflink_p of ${key.value.length} bytes`);
    return;
  }
  const { idx } = reflinkP.decode(key.value);
  const index = Number(idx);
  if (index >= INDEX_END) {
    yield lost(start, end, 'reflink_p_to_missing_reflink_v', `points to sector ${idx} of the reflink btree`);
    return;
  }
  // Both in bytes of the reflink btree's one row of extents.
  const shift = index * SECTOR_BYTES - keyStart;
  for (let at = start; at < end; ) {
    const { found, next, damage } = reflinks.at((at + shift) / SECTOR_BYTES, onDamage);
    if (found === undefined) {
      const until = Math.min(end, Math.max(next * SECTOR_BYTES - shift, at + 1));
      const range = `sectors ${Math.floor((at + shift) / SECTOR_BYTES)} to ${Math.ceil((until + shift) / SECTOR_BYTES)}`;
      if (damage === undefined) {
        yield lost(
          at,
          until,
          'reflink_p_to_missing_reflink_v',
          `points to ${range} of the reflink btree: nothing is there`,
        );
      } else {
        yield { kind: 'lost', offset: at, length: until - at, error: damage };
      }
      at = until;
      continue;
    }
    const content = extentContent(found, 'reflink');
    const foundEnd = bposOffsetNumber(found.k.p) * SECTOR_BYTES - shift;
    const foundStart = foundEnd - found.k.size * SECTOR_BYTES;
    const until = Math.min(end, foundEnd);
    const range = { offset: at, length: until - at };
    switch (content.kind) {
      case 'data':
        yield storedOrLost({ kind: 'data', key: found, btree: 'reflink', keyOffset: at - foundStart, ...range });
        break;
      case 'inline':
        yield* inlineSegments({ key: found, btree: 'reflink' }, foundStart, at, until);
        break;
      case 'lost':
        yield { kind: 'lost', error: content.error, ...range };
        break;
      default: {
        // Not even a reservation may stand there.
        const detail = `points to ${bposText(found.k.p)} of the reflink btree, where no data are`;
        yield lost(at, until, 'reflink_p_to_missing_reflink_v', detail);
      }
    }
    at = until;
  }
}

/** Indirect extents that are looked up together: files that share data mostly point to neighbours. */
const BATCH_KEYS = 256;

interface Batch {
  /** In order, all with a length. */
  readonly keys: readonly Key[];
  /** Sectors that it can answer for. */
  readonly from: number;
  readonly to: number;
  /** What was lost on the way. */
  readonly damage: Damage | undefined;
}

interface IndirectLookup {
  readonly found: Key | undefined;
  /** When nothing is found: the sector where the next key begins, or which another lookup can be made for. */
  readonly next: number;
  readonly damage: Damage | undefined;
}

/** The reflink btree by sectors, a leaf's worth at a time. */
export class IndirectExtents {
  readonly #view: KeyReader;
  #batch: Batch | undefined;

  constructor(source: FilesystemSource) {
    this.#view = source.btree('reflink');
  }

  /**
   * The key that covers a sector.
   * @param sector may be a fraction
   * @throws as BtreeView.keys does, without `onDamage`
   */
  at(sector: number, onDamage?: (damage: Damage) => void): IndirectLookup {
    const wanted = Math.floor(sector);
    let batch = this.#batch;
    if (batch === undefined || wanted < batch.from || wanted >= batch.to) {
      batch = this.#read(wanted, onDamage);
      this.#batch = batch;
    }
    const { keys, to, damage } = batch;
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (bposOffsetNumber(keys[middle]!.k.p) <= wanted) low = middle + 1;
      else high = middle;
    }
    const key = keys[low];
    if (key === undefined) return { found: undefined, next: to, damage };
    const start = bposOffsetNumber(key.k.p) - key.k.size;
    return start <= wanted ? { found: key, next: start, damage } : { found: undefined, next: start, damage };
  }

  #read(from: number, onDamage: ((damage: Damage) => void) | undefined): Batch {
    const keys: Key[] = [];
    let damage: Damage | undefined;
    const walk = {
      from: makeBpos(0n, BigInt(from) + 1n, 0),
      to: makeBpos(0n, 0xffff_ffff_ffff_ffffn, 0xffff_ffff),
      ...(onDamage === undefined
        ? {}
        : {
            onDamage: (found: Damage) => {
              damage ??= found;
              onDamage(found);
            },
          }),
    };
    for (const key of this.#view.keys(walk)) {
      if (key.k.size === 0 || bposOffsetNumber(key.k.p) <= from) continue;
      keys.push(key);
      if (keys.length === BATCH_KEYS) return { keys, from, to: bposOffsetNumber(key.k.p), damage };
    }
    return { keys, from, to: Number.POSITIVE_INFINITY, damage };
  }
}

/** Which gaps between keys of a file can be believed to be holes. */
class Doubts {
  readonly #view: KeyReader;
  readonly #file: FileExtents;
  readonly #onDamage: ((damage: Damage) => void) | undefined;
  /** The first one speaks for what is lost. */
  #damage: Damage | undefined;
  #sound: readonly SoundRange[] | undefined;

  constructor(view: KeyReader, file: FileExtents, onDamage: ((damage: Damage) => void) | undefined) {
    this.#view = view;
    this.#file = file;
    this.#onDamage = onDamage;
  }

  add(damage: Damage): void {
    // Keys of snapshots that are gone are a loss of those snapshots, not of nodes.
    if (!(damage instanceof CorruptError && damage.error === 'bkey_in_missing_snapshot')) this.#damage ??= damage;
    this.#onDamage?.(damage);
  }

  /**
   * A gap between keys, as a hole as far as that can be believed.
   * @param next where the key after it begins, which may be past `end`; infinite when there is none
   */
  *gap(start: number, end: number, next: number): Generator<FileSegment> {
    if (start >= end) return;
    let holeStart = start;
    if (this.#damage !== undefined) {
      this.#sound ??= this.#soundRanges();
      const doubtful = lastDoubtfulSector(this.#sound, next / SECTOR_BYTES) * SECTOR_BYTES;
      holeStart = Math.min(Math.max(doubtful, start), end);
      if (holeStart > start) yield { kind: 'lost', offset: start, length: holeStart - start, error: this.#damage };
    }
    if (holeStart < end) yield { kind: 'hole', offset: holeStart, length: end - holeStart };
  }

  /** Positions of the file whose leaves are whole. Reads them again: this happens only where something is lost. */
  #soundRanges(): readonly SoundRange[] {
    const { inum } = this.#file;
    const first = makeBpos(inum, 0n, 0);
    const last = makeBpos(inum, 0xffff_ffff_ffff_ffffn, 0xffff_ffff);
    const ranges: { readonly min: Bpos; max: Bpos }[] = [];
    // What is lost was reported in the first walk.
    for (const { facts } of this.#view.nodes({ from: first, to: last, onDamage() {} })) {
      if (facts.damage.length > 0) continue;
      const before = ranges.at(-1);
      if (before !== undefined && compareBpos(bposSuccessor(before.max), facts.minKey) === 0) before.max = facts.maxKey;
      else if (ranges.length < RANGES_MAX) ranges.push({ min: facts.minKey, max: facts.maxKey });
    }
    return ranges.map(({ min, max }) => ({
      from: compareBpos(min, first) <= 0 ? 0 : bposOffsetNumber(min) + (min[0] === 0 ? 0 : 1),
      to:
        compareBpos(max, last) >= 0
          ? Number.POSITIVE_INFINITY
          : bposOffsetNumber(max) - (max[0] === 0xffff_ffff ? 0 : 1),
    }));
  }
}

/** Leaves of one file that are kept apart: after them everything is doubtful. */
const RANGES_MAX = 100_000;

/** Positions of keys, in sectors, both included. Ranges neither touch nor overlap. */
interface SoundRange {
  readonly from: number;
  readonly to: number;
}

/**
 * The last position, up to the key after a gap, where a key may have been lost. Such a key ends there and may begin anywhere before:
 * nothing in front of it can be believed to be a hole.
 */
function lastDoubtfulSector(sound: readonly SoundRange[], next: number): number {
  const range = sound.findLast(({ from }) => from <= next);
  return range === undefined || range.to < next ? next : range.from - 1;
}
