// Moves what lies in a bucket into others of the same device, as it is: encoded bytes do not depend on where they are (the nonce of what
// is encrypted is made of the key's version), so nothing is decrypted, decompressed or checked, and damage stays as visible as it was.
//
// Sectors that several keys share, such as a checksummed extent of which parts were written over, move once and stay shared. The
// backpointers say where the keys are.
// Source: the purpose of bch2_evacuate_bucket in move.c; extent_nonce in checksum.h; __bch2_extent_ptr_to_bp in backpointers.h, v1.13.0.

import type { AllocDevice } from '../alloc/alloc-devices.ts';
import { entryBytesOf, type SpacePointer, spacePointers, withPointers } from '../alloc/extent-pointers.ts';
import type { FilesystemSource } from '../btree/source.ts';
import type { Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bpos, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { assert, CorruptError, UsageError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { BchBackpointer, backpointerBpos, backpointerSector } from '../ondisk/keys/backpointer.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { roundDown, roundUp, sectorsToBytes } from '../util/sizes.ts';

const BACKPOINTER = keyTypes.idOf('backpointer');

/** Where moved data goes: the allocator is one. */
export interface DeviceRoom {
  allocateOn(dev: number, sectors: number): ExtentPtr;
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

interface Range {
  readonly start: number;
  end: number;
}

/**
 * Moves the data of one bucket: it is written to its new places at once, and the keys are changed in the transaction.
 * @returns sectors that were copied
 * @throws NoSpaceError; CorruptError where backpointers and keys do not agree; UsageError for blocks of stripes
 */
export function moveBucketData(
  tx: Transaction,
  device: AllocDevice,
  room: DeviceRoom,
  { bucket, references }: BucketContents,
): number {
  const keys = references
    .filter(({ level }) => level === 0)
    .map(reference => ({ reference, ...pointerInto(tx, device, bucket, reference) }));
  const blockSectors = tx.sb.block_size;
  const ranges: Range[] = [];
  const sorted = keys.map(({ pointer }) => pointer).sort((a, b) => a.offset - b.offset);
  for (const { offset, compressedSize } of sorted) {
    const start = roundDown(offset, blockSectors);
    const end = roundUp(offset + compressedSize, blockSectors);
    const last = ranges.at(-1);
    if (last !== undefined && start < last.end) last.end = Math.max(last.end, end);
    else ranges.push({ start, end });
  }
  const places = ranges.map(range => ({ ...range, to: copied(tx, device, room, range) }));
  for (const { reference, key, pointer } of keys) {
    const place = places.findLast(({ start }) => start <= pointer.offset);
    assert(place !== undefined, 'every pointer is in a range that moved');
    const offset = place.to.offset + pointer.offset - place.start;
    const moved = withPointers(key, ptr =>
      ptr.dev === device.index && ptr.offset === pointer.offset ? { ...ptr, offset, gen: place.to.gen } : ptr,
    );
    tx.update(reference.btree, moved);
  }
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}

function copied(tx: Transaction, { index }: AllocDevice, room: DeviceRoom, { start, end }: Range): ExtentPtr {
  const device = tx.device(index);
  assert(device !== undefined, 'what is moved lies on a device that is there');
  const to = room.allocateOn(index, end - start);
  const bytes = new Uint8Array(sectorsToBytes(end - start));
  device.read(sectorsToBytes(start), bytes);
  device.write(sectorsToBytes(to.offset), bytes);
  return to;
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
