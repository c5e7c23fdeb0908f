// What a scan finds, with and without the superblock's map of where nodes may be.

import { expect, test } from 'vitest';
import { testImageContents } from '../../../../test/support/images.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { getBits } from '../ondisk/bits.ts';
import { btreeNodeMagic } from '../ondisk/btree-node.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { filesystemOf } from '../opened/filesystem.ts';
import { openMembers } from '../superblock/member-set.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { scanForNodes } from './node-scan.ts';

test('every live node is found, and a map with small steps hides none of those that it marks', () => {
  const [bytes] = testImageContents('basic');
  const filesystem = filesystemOf(openMembers([MemoryDevice.from(bytes!)]));
  const { sb } = filesystem;
  const nodeSectors = getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
  // Buckets of several nodes, so that several are looked at together.
  const bucketSizeSectors = 4 * nodeSectors;
  const bucketEnd = Math.floor(filesystem.device(0)!.sizeBytes / (bucketSizeSectors * SECTOR_BYTES));
  const found = (bitmap: { readonly shift: number; readonly bits: bigint } | undefined) => {
    const device = filesystem.device(0)!;
    const scanned = { index: 0, device, firstBucket: 0, bucketEnd, bucketSizeSectors, bitmap };
    const settings = { magic: btreeNodeMagic(sb.uuid), nodeSectors, key: undefined };
    return scanForNodes([scanned], settings).flatMap(({ places }) => places.map(({ offset }) => offset));
  };
  const everywhere = found(undefined);
  expect(everywhere.length).toBeGreaterThanOrEqual(filesystem.replay.roots.size);
  // Steps of one node: a map has 64 of them.
  const shift = Math.log2(nodeSectors);
  const mappable = everywhere.filter(offset => offset < 64 * nodeSectors);
  expect(new Set(mappable.map(offset => Math.floor(offset / nodeSectors) % 4)).size).toBe(4);
  for (const offset of mappable) {
    const bits = 1n << BigInt(Math.floor(offset / 2 ** shift));
    expect(found({ shift, bits })).toContain(offset);
  }
  expect(found({ shift, bits: 0n })).toEqual([]);
});
