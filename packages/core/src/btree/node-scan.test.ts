// What a scan finds, with and without the superblock's map of where nodes may be.

import { expect, test } from 'vitest';
import { testImageContents } from '../../../../test/support/images.ts';
import { allocDevices } from '../alloc/alloc-devices.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { getBits } from '../ondisk/bits.ts';
import { btreeNodeMagic } from '../ondisk/btree-node.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { filesystemOf } from '../opened/filesystem.ts';
import { openMembers } from '../superblock/member-set.ts';
import { scanForNodes } from './node-scan.ts';

test('every live node is found, and a map with small steps hides none of those that it marks', () => {
  const [bytes] = testImageContents('basic');
  const filesystem = filesystemOf(openMembers([MemoryDevice.from(bytes!)]));
  const { sb } = filesystem;
  const { firstBucket, bucketEnd, bucketSizeSectors } = allocDevices(sb)[0]!;
  const nodeSectors = getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
  const found = (bitmap: { readonly shift: number; readonly bits: bigint } | undefined) => {
    const device = filesystem.device(0)!;
    const scanned = { index: 0, device, firstBucket, bucketEnd, bucketSizeSectors, bitmap };
    const settings = { magic: btreeNodeMagic(sb.uuid), nodeSectors, key: undefined };
    return scanForNodes([scanned], settings).flatMap(({ places }) => places.map(({ offset }) => offset));
  };
  const everywhere = found(undefined);
  expect(everywhere.length).toBeGreaterThanOrEqual(filesystem.replay.roots.size);
  // The smallest steps with which 64 of them reach the last node.
  const shift = Math.max(0, Math.ceil(Math.log2((Math.max(...everywhere) + 1) / 64)));
  for (const offset of everywhere) {
    const bits = 1n << BigInt(Math.floor(offset / 2 ** shift));
    expect(found({ shift, bits })).toContain(offset);
  }
  expect(found({ shift, bits: 0n })).toEqual([]);
});
