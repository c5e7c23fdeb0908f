// The pointers of a key, each with the checksum entry and the stripe pointer that apply to it.
// Source: bkey_for_each_ptr_decode in extents.h, ptr_disk_sectors in buckets.h, v1.13.0.

import type { Key } from '../ondisk/bkey.ts';
import { compressionTypes } from '../ondisk/compression-types.ts';
import {
  decodeExtentEntries,
  type ExtentCrc,
  type ExtentEntry,
  type ExtentPtr,
  type ExtentStripePtr,
} from '../ondisk/extent-entries.ts';
import { BchBtreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { BchReflinkV } from '../ondisk/keys/reflink-v.ts';

/** Where the entries of a value begin, by key type. */
const ENTRIES_AT: ReadonlyMap<number, number> = new Map([
  [keyTypes.idOf('btree_ptr'), 0],
  [keyTypes.idOf('btree_ptr_v2'), BchBtreePtrV2.size],
  [keyTypes.idOf('extent'), 0],
  [keyTypes.idOf('reflink_v'), BchReflinkV.size],
]);

const NO_ENTRIES: readonly ExtentEntry[] = [];
const INCOMPRESSIBLE = compressionTypes.idOf('incompressible');

/** The extent entries of a key that points to data or nodes; none for any other. */
export function entriesOf(key: Key): readonly ExtentEntry[] {
  const start = ENTRIES_AT.get(key.k.type);
  return start === undefined || key.value.length < start ? NO_ENTRIES : decodeExtentEntries(key.value.subarray(start));
}

/** A pointer with the entries that apply to it. */
export interface PointerParts {
  readonly ptr: ExtentPtr;
  readonly crc: ExtentCrc | undefined;
  /** The block of a stripe that it is. */
  readonly stripe: ExtentStripePtr | undefined;
}

/** The pointers of a row of entries. */
export function pointerParts(entries: readonly ExtentEntry[]): readonly PointerParts[] {
  const parts: PointerParts[] = [];
  let crc: ExtentCrc | undefined;
  let stripe: ExtentStripePtr | undefined;
  for (const entry of entries) {
    switch (entry.type) {
      case 'crc32':
      case 'crc64':
      case 'crc128':
        crc = entry;
        break;
      case 'stripe_ptr':
        stripe = entry;
        break;
      case 'ptr':
        parts.push({ ptr: entry, crc, stripe });
        stripe = undefined;
        break;
    }
  }
  return parts;
}

/** What of a checksum entry decides space. */
type Crc = Pick<ExtentCrc, 'compressed_size' | 'uncompressed_size' | 'offset' | 'compression_type'>;

export interface Pointer extends Omit<PointerParts, 'crc'> {
  readonly crc: Crc;
}

/** @param sizeSectors what the key covers, which counts where there is no checksum entry */
export function pointersOf(entries: readonly ExtentEntry[], sizeSectors: number): readonly Pointer[] {
  const plain = { compressed_size: sizeSectors, uncompressed_size: sizeSectors, offset: 0, compression_type: 0 };
  return pointerParts(entries).map(parts => ({ ...parts, crc: parts.crc ?? plain }));
}

/** Sectors that a pointer takes of its bucket. @param sectors that the key covers, or those of a node */
export function diskSectors(sectors: number, pointer: Pointer): number {
  return Math.ceil(exactSectors(sectors, pointer));
}

/** The same before it is rounded up. */
export function exactSectors(sectors: number, { crc }: Pointer): number {
  const isCompressed = crc.compression_type !== 0 && crc.compression_type !== INCOMPRESSIBLE;
  return isCompressed ? (sectors * crc.compressed_size) / crc.uncompressed_size : sectors;
}
