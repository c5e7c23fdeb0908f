// Where the superblocks of a device go. Follows bch2_sb_layout_init (c_src/libbcachefs.c).

import { UsageError } from '../ondisk/errors.ts';
import { BCHFS_MAGIC, type BchSbLayout, SB_LAYOUT_OFFSETS, SB_SECTOR } from '../ondisk/superblock.ts';
import { bytesToSectors, roundDown, roundUp, SECTOR_BYTES } from '../util/sizes.ts';

export interface LayoutRequest {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly bucketBytes: number;
  /** Room for each copy, a power of two. */
  readonly superblockBytes: number;
}

/**
 * Two superblocks at the start of the device, a third one at the start of a bucket near its end.
 * @throws UsageError when they do not fit
 */
export function superblockLayout(request: LayoutRequest): BchSbLayout {
  const { name, sizeBytes, blockBytes, bucketBytes, superblockBytes } = request;
  const copySectors = superblockBytes / SECTOR_BYTES;
  const endSector = bytesToSectors(sizeBytes);
  const second = roundUp(SB_SECTOR + copySectors, blockBytes / SECTOR_BYTES);
  const third = roundDown(endSector - copySectors, bucketBytes / SECTOR_BYTES);
  if (third < second + copySectors) {
    throw new UsageError(
      `${name} is too small for three superblocks of ${superblockBytes} bytes: it has ${sizeBytes} bytes, ` +
        `the third would begin at ${third * SECTOR_BYTES}, the second ends at ${(second + copySectors) * SECTOR_BYTES}`,
      '--superblock_size',
    );
  }
  return layoutOf([SB_SECTOR, second, third], copySectors);
}

/**
 * A layout with its copies where they are wanted.
 * @param offsets sectors, in order; the copies do not overlap
 * @param copySectors room for each copy, a power of two
 */
export function layoutOf(offsets: readonly number[], copySectors: number): BchSbLayout {
  return {
    magic: BCHFS_MAGIC,
    layout_type: 0,
    sb_max_size_bits: Math.log2(copySectors),
    nr_superblocks: offsets.length,
    pad: new Uint8Array(5),
    sb_offset: Array.from({ length: SB_LAYOUT_OFFSETS }, (_, i) => BigInt(offsets[i] ?? 0)),
  };
}
