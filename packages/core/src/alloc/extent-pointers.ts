// The pointers of a key, as far as space goes: where each is, what it takes, and whether it waits to be moved. Every key that goes
// through a transaction is read here twice, so entries are not decoded into values as extent-entries.ts does it, but read out of
// their words: checksums, which would be bigints, do not matter here.
// Source: bkey_for_each_ptr_decode in extents.h, ptr_disk_sectors in buckets.h, bch2_bkey_sectors_need_rebalance in extents.c, v1.13.0.

import { makeKey } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { compressionTypeOf, compressionTypes } from '../ondisk/compression-types.ts';
import { assert } from '../ondisk/errors.ts';
import {
  decodeExtentPtr,
  type ExtentPtr,
  encodeExtentEntries,
  encodeExtentPtr,
  rebalanceEntry,
} from '../ondisk/extent-entries.ts';
import { BchBtreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { BchReflinkV } from '../ondisk/keys/reflink-v.ts';
import { viewOf } from '../ondisk/layout.ts';
import { type AllocDevice, allowsData, isInTarget } from './alloc-devices.ts';

/** One pointer and what applies to it. Sizes in sectors. */
export interface SpacePointer {
  readonly dev: number;
  /** Sector of the device. */
  readonly offset: number;
  readonly gen: number;
  readonly cached: boolean;
  readonly unwritten: boolean;
  /** Of the whole encoded extent. */
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  /** Where in the uncompressed extent the key begins. */
  readonly crcOffset: number;
  readonly compressionType: number;
  /** Where among the entries the checksum stands that applies to it: two pointers with the same one lead to the same bytes. -1 without one. */
  readonly entry: number;
  /** The block of a stripe that it is in. */
  readonly stripe: { readonly idx: number; readonly block: number } | undefined;
}

/** What a file's options ask for in the background. */
export interface RebalanceWish {
  /** Option value; 0 for none. */
  readonly compression: number;
  /** Option value; 0 for none. */
  readonly target: number;
}

export interface SpacePointers {
  readonly pointers: readonly SpacePointer[];
  readonly wish: RebalanceWish | undefined;
}

/** Where the entries of a value begin, by key type; undefined for keys that do not point anywhere. */
const ENTRIES_AT: readonly (number | undefined)[] = (() => {
  const starts: (number | undefined)[] = [];
  starts[keyTypes.idOf('btree_ptr')] = 0;
  starts[keyTypes.idOf('btree_ptr_v2')] = BchBtreePtrV2.size;
  starts[keyTypes.idOf('extent')] = 0;
  starts[keyTypes.idOf('reflink_v')] = BchReflinkV.size;
  return starts;
})();

const INCOMPRESSIBLE = compressionTypes.idOf('incompressible');

/** The bytes of its entries; none for a key that does not point anywhere. */
export function entryBytesOf(key: Key | undefined): Uint8Array {
  const start = key === undefined ? undefined : ENTRIES_AT[key.k.type];
  return key === undefined || start === undefined ? NO_BYTES : key.value.subarray(start);
}
const NO_BYTES = new Uint8Array(0);

/** Entries by the number of their lowest bit, in u64s. After one that is not known, nothing can be read. */
const ENTRY_U64S = [1, 1, 2, 3, 1, 1] as const;

/** The pointers among these entries. @param sizeSectors what the key covers, which counts where there is no checksum entry */
export function spacePointers(source: Uint8Array, sizeSectors: number): SpacePointers {
  const view = viewOf(source);
  const pointers: SpacePointer[] = [];
  let compressedSize = sizeSectors;
  let uncompressedSize = sizeSectors;
  let crcOffset = 0;
  let compressionType = 0;
  let entry = -1;
  let stripe: SpacePointer['stripe'];
  let wish: RebalanceWish | undefined;
  for (let at = 0; at + 8 <= source.length; ) {
    const lo = view.getUint32(at, true);
    const hi = view.getUint32(at + 4, true);
    const type = lo === 0 ? ENTRY_U64S.length : 31 - Math.clz32(lo & -lo);
    const end = at + 8 * (ENTRY_U64S[type] ?? source.length);
    if (end > source.length) break;
    if (type >= 1 && type <= 3) entry = at;
    switch (type) {
      case 0:
        pointers.push({
          dev: (hi >>> 16) & 0xff,
          offset: (lo >>> 4) + (hi & 0xffff) * 2 ** 28,
          gen: hi >>> 24,
          cached: (lo & 2) !== 0,
          unwritten: (lo & 8) !== 0,
          compressedSize,
          uncompressedSize,
          crcOffset,
          compressionType,
          entry,
          stripe,
        });
        stripe = undefined;
        break;
      case 1:
        compressedSize = ((lo >>> 2) & 0x7f) + 1;
        uncompressedSize = ((lo >>> 9) & 0x7f) + 1;
        crcOffset = (lo >>> 16) & 0x7f;
        compressionType = lo >>> 28;
        break;
      case 2:
        compressedSize = ((lo >>> 3) & 0x1ff) + 1;
        uncompressedSize = ((lo >>> 12) & 0x1ff) + 1;
        crcOffset = (lo >>> 21) & 0x1ff;
        compressionType = (hi >>> 12) & 15;
        break;
      case 3:
        compressedSize = ((lo >>> 4) & 0x1fff) + 1;
        uncompressedSize = ((lo >>> 17) & 0x1fff) + 1;
        crcOffset = (lo >>> 30) | ((hi & 0x7ff) << 2);
        compressionType = hi >>> 28;
        break;
      case 4:
        stripe = { block: (lo >>> 5) & 0xff, idx: (lo >>> 17) + hi * 2 ** 15 };
        break;
      case 5:
        wish = { compression: (hi >>> 8) & 0xff, target: hi >>> 16 };
        break;
    }
    at = end;
  }
  return { pointers, wish };
}

/**
 * A key with its pointers changed.
 * @param change gives a pointer as it is to be, or several that stand in its place, for copies that are stored alike. Undefined or none
 * drops it, and its checksum entry with the last pointer that this applies to. One that leads elsewhere is in no stripe any more
 * @param staysInStripe of pointers into stripes, as they were: the others are in none any more. All stay when left out
 */
export function withPointers(
  key: Key,
  change: (pointer: ExtentPtr) => ExtentPtr | readonly ExtentPtr[] | undefined,
  staysInStripe: (pointer: ExtentPtr) => boolean = () => true,
): Key {
  const start = ENTRIES_AT[key.k.type];
  assert(start !== undefined, 'a key of a type that has pointers');
  const source = entryBytesOf(key);
  const view = viewOf(source);
  const kept: Uint8Array[] = [key.value.subarray(0, start)];
  /** Entries that are there for the pointer after them. */
  let crc: Uint8Array | undefined;
  let stripe: Uint8Array | undefined;
  for (let at = 0; at + 8 <= source.length; ) {
    const lo = view.getUint32(at, true);
    const type = lo === 0 ? ENTRY_U64S.length : 31 - Math.clz32(lo & -lo);
    const end = Math.min(source.length, at + 8 * (ENTRY_U64S[type] ?? source.length));
    const entry = source.subarray(at, end);
    if (type === 0) {
      const old = decodeExtentPtr(view.getBigUint64(at, true));
      const changed = change(old) ?? [];
      for (const pointer of Array.isArray(changed) ? (changed as readonly ExtentPtr[]) : [changed as ExtentPtr]) {
        if (crc !== undefined) kept.push(crc);
        crc = undefined;
        const isSamePlace = pointer.dev === old.dev && pointer.offset === old.offset;
        if (stripe !== undefined && isSamePlace && staysInStripe(old)) kept.push(stripe);
        const word = new Uint8Array(8);
        viewOf(word).setBigUint64(0, encodeExtentPtr(pointer), true);
        kept.push(word);
      }
      stripe = undefined;
    } else if (type <= 3) crc = entry;
    else if (type === 4) stripe = entry;
    else kept.push(entry);
    at = end;
  }
  return makeKey(key.k.type, key.k.p, joined(kept), key.k);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const value = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    value.set(part, at);
    at += part.length;
  }
  return value;
}

/** A key with another wish for the background, or none. */
export function withWish(key: Key, wish: RebalanceWish | undefined): Key {
  const start = ENTRIES_AT[key.k.type];
  assert(start !== undefined, 'a key of a type that has pointers');
  const source = entryBytesOf(key);
  const view = viewOf(source);
  const kept: Uint8Array[] = [key.value.subarray(0, start)];
  for (let at = 0; at + 8 <= source.length; ) {
    const lo = view.getUint32(at, true);
    const type = lo === 0 ? ENTRY_U64S.length : 31 - Math.clz32(lo & -lo);
    const end = Math.min(source.length, at + 8 * (ENTRY_U64S[type] ?? source.length));
    if (type !== REBALANCE) kept.push(source.subarray(at, end));
    at = end;
  }
  if (wish !== undefined) kept.push(encodeExtentEntries([rebalanceEntry(wish)]));
  return makeKey(key.k.type, key.k.p, joined(kept), key.k);
}
/** The number of its entry's lowest bit. */
const REBALANCE = 5;

/** Sectors that a pointer takes of its bucket. @param sectors that the key covers, or those of a node */
export function diskSectorsOf(
  { compressionType, compressedSize, uncompressedSize }: SpacePointer,
  sectors: number,
): number {
  if (compressionType === 0 || compressionType === INCOMPRESSIBLE) return sectors;
  return Math.ceil((sectors * compressedSize) / uncompressedSize);
}

/** Sectors that are to be compressed otherwise or moved, in the background. */
export function rebalanceSectors(
  { pointers, wish }: SpacePointers,
  devices: readonly (AllocDevice | undefined)[],
): number {
  if (wish === undefined) return 0;
  let sectors = wish.compression === 0 ? 0 : sectorsToCompress(pointers, compressionTypeOf(wish.compression));
  const { target } = wish;
  if (target === 0) return sectors;
  const inTarget = devices.filter(device => device !== undefined && isInTarget(device, target));
  if (!inTarget.some(device => device?.isWritable && allowsData(device, 'user'))) return sectors;
  for (const { cached, dev, compressedSize } of pointers) {
    if (!cached && !inTarget.includes(devices[dev])) sectors += compressedSize;
  }
  return sectors;
}

function sectorsToCompress(pointers: readonly SpacePointer[], type: number): number {
  let sectors = 0;
  for (const { cached, unwritten, compressionType, compressedSize } of pointers) {
    // One that cannot be compressed, or is not written yet, leaves the whole extent alone.
    if (compressionType === INCOMPRESSIBLE || unwritten) return 0;
    if (!cached && compressionType !== type) sectors += compressedSize;
  }
  return sectors;
}
