// Moves what lies in a bucket into others, as it is: encoded bytes do not depend on where they are (the nonce of what is encrypted is made of
// the key's version), so nothing is decrypted, decompressed or checked, and damage stays as visible as it was. What cannot be read is
// taken from another copy of the same bytes, where there is one.
//
// Sectors that several keys share, such as a checksummed extent of which parts were written over, move once and stay shared, where one
// place suits all of them. The backpointers say where the keys are. Where data goes, and whether a copy is still wanted, is for the
// caller to say: the same device and another one are all the same here.
// Source: the purpose of bch2_evacuate_bucket in move.c; extent_nonce in checksum.h; __bch2_extent_ptr_to_bp in backpointers.h, v1.13.0.

import type { AllocDevice } from '../alloc/alloc-devices.ts';
import { entryBytesOf, type SpacePointer, spacePointers, withPointers } from '../alloc/extent-pointers.ts';
import type { FilesystemSource, KeyReader } from '../btree/source.ts';
import type { Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bpos, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { assert, CorruptError, DeviceError, UsageError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { BchBackpointer, backpointerBpos, backpointerSector } from '../ondisk/keys/backpointer.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { bytesToSectors, roundDown, roundUp, sectorsToBytes } from '../util/sizes.ts';

const BACKPOINTER = keyTypes.idOf('backpointer');

/** What becomes of data that is moved. */
export interface MoveRules {
  /** Whether this copy is wanted any more; without it, each one is. */
  isWanted?(key: Key, pointer: SpacePointer, btree: number): boolean;
  /**
   * Room for sectors that all of these keys share.
   * @returns undefined when there is no device for it
   * @throws NoSpaceError
   */
  place(sectors: number, keys: readonly Key[], btree: number): ExtentPtr | undefined;
  /** There is no device for a copy: whether it may go, since others are left. */
  isSpare?(key: Key, pointer: SpacePointer): boolean;
}

/** A key that points into a bucket; above level 0 the node below it is there. */
export interface BucketReference {
  readonly btree: number;
  readonly level: number;
  readonly pos: Bpos;
}

export interface BucketContents {
  readonly bucket: number;
  readonly references: readonly BucketReference[];
}

/** What is in the buckets from `start` to `end`, cached copies left out, in order. */
export function* bucketContents(
  source: FilesystemSource,
  { index, bucketSizeSectors }: AllocDevice,
  start: number,
  end: number,
): Generator<BucketContents> {
  let bucket = -1;
  let references: BucketReference[] = [];
  const rules = rulesOf(source.sb);
  const range = {
    from: backpointerBpos(index, start * bucketSizeSectors, 0, rules),
    to: backpointerBpos(index, end * bucketSizeSectors, 0, rules),
  };
  for (const { k, value } of source.btree('backpointers').keys(range)) {
    if (k.type !== BACKPOINTER || value.length < BchBackpointer.size) continue;
    const at = Math.floor(backpointerSector(k.p, rules) / bucketSizeSectors);
    if (at >= end) break;
    if (at !== bucket && references.length > 0) {
      yield { bucket, references };
      references = [];
    }
    bucket = at;
    const pos = bpos.get(viewOf(value), BchBackpointer.offset.pos);
    references.push({ btree: value[BchBackpointer.offset.btree_id]!, level: value[BchBackpointer.offset.level]!, pos });
  }
  if (references.length > 0) yield { bucket, references };
}

/** A node, and the position of its pointer. */
export interface BucketNode {
  readonly btree: number;
  /** 0 for leaves. */
  readonly level: number;
  readonly pos: Bpos;
}

/**
 * The nodes of a bucket, as their backpointers have them.
 * @throws CorruptError for a backpointer without its node: what is moved by it would never be gone
 */
export function bucketNodes(
  source: FilesystemSource,
  { index, bucketSizeSectors }: AllocDevice,
  { bucket, references }: BucketContents,
): readonly BucketNode[] {
  const nodes = references.filter(({ level }) => level > 0);
  for (const { btree, level, pos } of nodes) {
    const pointers = spacePointers(entryBytesOf(pointerToNodeAt(source.btree(btree), level, pos)), 0).pointers;
    if (pointers.some(({ dev, offset }) => dev === index && Math.floor(offset / bucketSizeSectors) === bucket))
      continue;
    const where = { btree: btrees.nameOf(btree), pos: bposText(pos) };
    const detail = `no node of level ${level - 1} that ends there is in bucket ${index}:${bucket}: run fsck`;
    throw new CorruptError('backpointer_to_missing_ptr', where, detail);
  }
  return nodes.map(({ btree, level, pos }) => ({ btree, level: level - 1, pos }));
}

/** @param level of the pointer; that of a root is one above it */
function pointerToNodeAt(view: KeyReader, level: number, pos: Bpos): Key | undefined {
  if (view.root === undefined || level > view.root.level + 1) return undefined;
  if (level === view.root.level + 1) return view.root.key;
  for (const key of view.keys({ level, from: pos, to: pos })) return key;
  return undefined;
}

interface Range {
  readonly start: number;
  end: number;
}

/** A key of a bucket's data, and its pointer there. */
interface MovedKey {
  readonly reference: BucketReference;
  readonly key: Key;
  readonly pointer: SpacePointer;
}

export interface MovedData {
  /** Sectors that were copied. */
  readonly sectors: number;
  /** Sectors of copies that were not wanted any more, and of those for which there is no device. */
  readonly droppedSectors: number;
  readonly spareSectors: number;
  /** Keys that still point there: there is no device that may have the data. */
  readonly left: readonly BucketReference[];
}

/**
 * Moves the data of one bucket: it is written to its new places at once, and the keys are changed in the transaction.
 * @param shared makes the copies instead, those of several buckets together; the caller flushes it before the transaction is committed
 * @throws NoSpaceError; CorruptError where backpointers and keys do not agree; UsageError for blocks of stripes; DeviceError when it cannot
 * be read anywhere
 */
export function moveBucketData(
  tx: Transaction,
  device: AllocDevice,
  rules: MoveRules,
  { bucket, references }: BucketContents,
  shared?: CopyRuns,
): MovedData {
  const found = references
    .filter(({ level }) => level === 0)
    .map(reference => ({ reference, ...pointerInto(tx, device, bucket, reference) }));
  const copies = shared ?? new CopyRuns(tx, device.index);
  const moves = new BucketMoves(tx, device, rules, copies);
  const wanted: MovedKey[] = [];
  for (const moved of found) {
    const { key, pointer, reference } = moved;
    if (rules.isWanted?.(key, pointer, reference.btree) ?? true) wanted.push(moved);
    else moves.drop(moved, 'droppedSectors');
  }
  wanted.sort((a, b) => a.pointer.offset - b.pointer.offset);
  const { block_size: blockSectors } = tx.sb;
  let range: Range | undefined;
  let sharing: MovedKey[] = [];
  for (const moved of wanted) {
    const own = rangeOf(moved.pointer, blockSectors);
    if (range !== undefined && own.start < range.end) {
      range.end = Math.max(range.end, own.end);
      sharing.push(moved);
      continue;
    }
    if (range !== undefined) moves.move(range, sharing);
    range = own;
    sharing = [moved];
  }
  if (range !== undefined) moves.move(range, sharing);
  if (shared === undefined) copies.flush();
  return moves.result;
}

const rangeOf = ({ offset, compressedSize }: SpacePointer, blockSectors: number): Range => ({
  start: roundDown(offset, blockSectors),
  end: roundUp(offset + compressedSize, blockSectors),
});

/** Sectors with their new place. */
interface Copy extends Range {
  readonly to: ExtentPtr;
  readonly sharing: readonly MovedKey[];
}

/** They stay in the cache of a processor from the reading to the writing: with 4 MiB it took 0.7 s more for 4 GiB. */
const RUN_SECTORS = bytesToSectors(2 ** 20);

/** Copies of sectors of one device that are decided and not made yet: places side by side are written at once, and such sources read at once. */
export class CopyRuns {
  readonly #tx: Transaction;
  readonly #dev: number;
  #run: Copy[] = [];
  #sectors = 0;

  constructor(tx: Transaction, dev: number) {
    this.#tx = tx;
    this.#dev = dev;
  }

  put(copy: Copy): void {
    const last = this.#run.at(-1);
    const sectors = copy.end - copy.start;
    const isBeside =
      last !== undefined && last.to.dev === copy.to.dev && last.to.offset + last.end - last.start === copy.to.offset;
    if (!isBeside || this.#sectors + sectors > RUN_SECTORS) this.flush();
    this.#run.push(copy);
    this.#sectors += sectors;
  }

  /** @throws DeviceError */
  flush(): void {
    const [first] = this.#run;
    if (first === undefined) return;
    const bytes = roomFor(sectorsToBytes(this.#sectors));
    let at = 0;
    for (let nr = 0; nr < this.#run.length; ) {
      let end = nr + 1;
      while (end < this.#run.length && this.#run[end]!.start === this.#run[end - 1]!.end) end++;
      const beside = this.#run.slice(nr, end);
      const length = sectorsToBytes(beside.at(-1)!.end - beside[0]!.start);
      this.#readAll(beside, bytes.subarray(at, at + length));
      at += length;
      nr = end;
    }
    this.#run = [];
    this.#sectors = 0;
    const device = this.#tx.device(first.to.dev);
    assert(device !== undefined, 'room is given on devices that are there');
    device.write(sectorsToBytes(first.to.offset), bytes);
  }

  #readAll(copies: readonly Copy[], into: Uint8Array): void {
    const { start } = copies[0]!;
    try {
      this.#readAt(this.#dev, start, into);
    } catch (thrown) {
      if (!(thrown instanceof DeviceError)) throw thrown;
      // Whatever of it can be read, or is elsewhere too.
      for (const copy of copies) {
        const [from, to] = [sectorsToBytes(copy.start - start), sectorsToBytes(copy.end - start)];
        this.#read(copy, copy.sharing, into.subarray(from, to));
      }
    }
  }

  #read({ start, end }: Range, sharing: readonly MovedKey[], into: Uint8Array): void {
    try {
      this.#readAt(this.#dev, start, into);
    } catch (thrown) {
      const [only, ...others] = sharing;
      if (!(thrown instanceof DeviceError) || only === undefined || others.length > 0) throw thrown;
      const other = sameBytesElsewhere(only, this.#tx);
      if (other === undefined) throw thrown;
      this.#readAt(
        other.dev,
        other.offset - (only.pointer.offset - start),
        into.subarray(0, sectorsToBytes(end - start)),
      );
    }
  }

  #readAt(dev: number, sector: number, into: Uint8Array): void {
    const device = this.#tx.device(dev);
    if (device === undefined)
      throw new DeviceError('missing', `member ${dev}`, 'it is not among the devices that were given');
    device.read(sectorsToBytes(sector), into);
  }
}

let room = new Uint8Array(0);

/** The same bytes each time: making new ones for each extent took a tenth of the time. */
function roomFor(length: number): Uint8Array {
  if (room.length < length) room = new Uint8Array(length);
  return room.subarray(0, length);
}

/** What is done with one bucket. */
class BucketMoves {
  readonly #tx: Transaction;
  readonly #device: AllocDevice;
  readonly #rules: MoveRules;
  readonly #copies: CopyRuns;
  readonly #sums = { sectors: 0, droppedSectors: 0, spareSectors: 0 };
  readonly #left: BucketReference[] = [];

  constructor(tx: Transaction, device: AllocDevice, rules: MoveRules, copies: CopyRuns) {
    this.#tx = tx;
    this.#device = device;
    this.#rules = rules;
    this.#copies = copies;
  }

  get result(): MovedData {
    return { ...this.#sums, left: this.#left };
  }

  drop({ reference, key, pointer }: MovedKey, as: 'droppedSectors' | 'spareSectors'): void {
    this.#sums[as] += pointer.compressedSize;
    this.#tx.update(
      reference.btree,
      withPointers(key, ptr => (this.#isIt(ptr, pointer) ? undefined : ptr)),
    );
  }

  /** Sectors that several keys share get one place, where there is one for all of them. */
  move(range: Range, sharing: readonly MovedKey[]): void {
    const sectors = range.end - range.start;
    const [{ reference: first } = sharing[0]!] = sharing;
    const to = this.#rules.place(
      sectors,
      sharing.map(({ key }) => key),
      first.btree,
    );
    if (to !== undefined) {
      this.#copy(range, to, sharing);
      for (const moved of sharing) this.#lead(moved, range, to);
      return;
    }
    for (const moved of sharing) {
      const { key, pointer, reference } = moved;
      const own = rangeOf(pointer, this.#tx.sb.block_size);
      const alone = sharing.length === 1 ? undefined : this.#rules.place(own.end - own.start, [key], reference.btree);
      if (alone !== undefined) {
        this.#copy(own, alone, [moved]);
        this.#lead(moved, own, alone);
      } else if (this.#rules.isSpare?.(key, pointer)) this.drop(moved, 'spareSectors');
      else this.#left.push(reference);
    }
  }

  #isIt(ptr: ExtentPtr, { offset }: SpacePointer): boolean {
    return ptr.dev === this.#device.index && ptr.offset === offset && !ptr.cached;
  }

  /** The key with the new place; a cached copy on the same device gives way. */
  #lead({ reference, key, pointer }: MovedKey, { start }: Range, { dev, offset, gen }: ExtentPtr): void {
    const moved = withPointers(key, ptr => {
      if (this.#isIt(ptr, pointer)) return { ...ptr, dev, offset: offset + pointer.offset - start, gen };
      return ptr.cached && ptr.dev === dev ? undefined : ptr;
    });
    this.#tx.update(reference.btree, moved);
  }

  #copy({ start, end }: Range, to: ExtentPtr, sharing: readonly MovedKey[]): void {
    this.#copies.put({ start, end, to, sharing });
    this.#sums.sectors += end - start;
  }
}

/** Another copy of the same encoded bytes, on a device that is there. */
function sameBytesElsewhere({ key, pointer }: MovedKey, tx: Transaction): SpacePointer | undefined {
  return spacePointers(entryBytesOf(key), key.k.size).pointers.find(
    other =>
      other.dev !== pointer.dev &&
      !other.cached &&
      other.stripe === undefined &&
      other.entry === pointer.entry &&
      tx.device(other.dev) !== undefined,
  );
}

function pointerInto(
  tx: Transaction,
  { index, bucketSizeSectors }: AllocDevice,
  bucket: number,
  { btree, pos }: BucketReference,
): { readonly key: Key; readonly pointer: SpacePointer } {
  const key = tx.get(btree, pos);
  const pointers = key === undefined ? [] : spacePointers(entryBytesOf(key), key.k.size).pointers;
  const pointer = pointers.find(
    ({ dev, offset, cached }) => dev === index && !cached && Math.floor(offset / bucketSizeSectors) === bucket,
  );
  const where = { btree: btrees.nameOf(btree), pos: bposText(pos) };
  if (key === undefined || pointer === undefined) {
    throw new CorruptError(
      'backpointer_to_missing_ptr',
      where,
      `nothing there points to bucket ${index}:${bucket}: run fsck`,
    );
  }
  if (pointer.stripe !== undefined)
    throw new UsageError(`bucket ${index}:${bucket} is a block of a stripe, which cannot be moved`);
  if (pointer.offset + pointer.compressedSize > (bucket + 1) * bucketSizeSectors) {
    throw new CorruptError(
      'ptr_spans_multiple_buckets',
      where,
      `a pointer beyond the end of bucket ${index}:${bucket}`,
    );
  }
  return { key, pointer };
}

/** Keys of files that still have pointers into the buckets of a device from `end` on: cached copies, which may be stale by now. */
export function* keysInto(
  source: FilesystemSource,
  { index, bucketSizeSectors }: AllocDevice,
  end: number,
): Generator<{
  readonly btree: number;
  readonly key: Key;
}> {
  const isThere = ({ dev, offset }: Pick<ExtentPtr, 'dev' | 'offset'>) =>
    dev === index && offset >= end * bucketSizeSectors;
  for (const name of ['extents', 'reflink'] as const) {
    for (const key of source.btree(name).keys()) {
      if (spacePointers(entryBytesOf(key), key.k.size).pointers.some(isThere)) yield { btree: btrees.idOf(name), key };
    }
  }
}

/**
 * Drops the cached copies of a key in the buckets of a device from `end` on.
 * @throws CorruptError when a copy there is no cached one: no backpointer led to it
 */
export function dropCachedInto(
  tx: Transaction,
  { index, bucketSizeSectors }: AllocDevice,
  end: number,
  btree: number,
  key: Key,
): void {
  const left = withPointers(key, ptr => {
    if (ptr.dev !== index || ptr.offset < end * bucketSizeSectors) return ptr;
    if (ptr.cached) return undefined;
    const where = { btree: btrees.nameOf(btree), pos: bposText(key.k.p) };
    const detail = `a pointer to ${ptr.dev}:${ptr.offset} without a backpointer: run fsck`;
    throw new CorruptError('ptr_to_missing_backpointer', where, detail);
  });
  tx.update(btree, left);
}
