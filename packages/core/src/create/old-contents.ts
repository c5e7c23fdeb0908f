// An earlier life of a device. A kernel knows journal entries and btree nodes of a filesystem by its internal UUID, and that a bset belongs to a
// node by the node's random number. When both come from a seed, a device may hold entries, nodes and bsets of a filesystem that was made from the
// same seed before, whatever was on it in between: they would be replayed after a crash, read past the end of a node, or found by a search
// for lost nodes.
//
// What is cleared is what could be taken for a part of the filesystem, no more: journal buckets, and the places where a search looks for
// nodes. What lies past the end of nodes is looked at when they are written (btree/stale-bsets.ts).
// Source: journal_read_bucket in journal_io.c, read_btree_nodes_worker in btree_node_scan.c, v1.13.0.

import type { DeviceGeometry } from '../alloc/geometry.ts';
import { newJournalBuckets } from '../alloc/journal-buckets.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { getBits } from '../ondisk/bits.ts';
import { BtreeNodeHeader, btreeNodeMagic } from '../ondisk/btree-node.ts';
import { assert } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { bytesToSectors, sectorsToBytes } from '../util/sizes.ts';
import { isZero } from '../util/zero-bytes.ts';

/** What is read and cleared at once. */
const PIECE_BYTES = 2 ** 20;
const BUCKETS_A_STEP = 1024;

/**
 * Clears what an earlier filesystem of the same internal UUID may have left on a device. One read for each place of a btree node, and all of
 * the journal is read; only what is not zero is written. Between two steps it can be given up.
 * @param sb what the device will have
 * @throws DeviceError
 */
export function* clearOldLife(
  device: BlockDevice,
  sb: Superblock,
  geometry: DeviceGeometry,
): Generator<void, void, void> {
  const { bucketBytes, bucketCount, layout } = geometry;
  const journal = newJournalBuckets({ layout, bucketSizeSectors: bytesToSectors(bucketBytes), bucketCount });
  for (const bucket of journal) {
    clearWhereNotZero(device, bucket * bucketBytes, bucketBytes);
    yield;
  }
  const nodeBytes = sectorsToBytes(getBits(sb.flags, sbBits.BTREE_NODE_SIZE));
  assert(nodeBytes > 0, 'nodes have a size');
  const magic = btreeNodeMagic(sb.uuid);
  const head = new Uint8Array(sectorsToBytes(sb.block_size));
  const view = viewOf(head);
  for (let bucket = 0; bucket < bucketCount; bucket++) {
    if (bucket % BUCKETS_A_STEP === 0) yield;
    for (let at = 0; at + nodeBytes <= bucketBytes; at += nodeBytes) {
      const offset = bucket * bucketBytes + at;
      device.read(offset, head);
      if (view.getBigUint64(BtreeNodeHeader.offset.magic, true) !== magic) continue;
      device.write(offset, new Uint8Array(head.length));
    }
  }
}

function clearWhereNotZero(device: BlockDevice, offset: number, length: number): void {
  const piece = new Uint8Array(Math.min(length, PIECE_BYTES));
  for (let at = 0; at < length; at += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, length - at));
    device.read(offset + at, part);
    if (!isZero(part)) device.write(offset + at, part.fill(0));
  }
}
