// What an earlier node left behind the end of one that is written in its place. A bset belongs to the node whose random number it has, and
// where these come from a seed, the earlier node may have had the same.
// Source: bch2_btree_node_read_done in btree_io.c, v1.13.0.

import type { BlockDevice } from '../device/block-device.ts';
import { Bset } from '../ondisk/bset.ts';
import { ENTRY_BSET_AT } from '../ondisk/btree-node.ts';
import { viewOf } from '../ondisk/layout.ts';

/**
 * Clears the blocks past a new node's end that look like bsets of it. A kernel goes on reading there when it has appended to the node
 * since, and complains of such a block when it has not.
 * @param seq of the node
 * @throws DeviceError
 */
export function clearStaleBsets(
  device: BlockDevice,
  offset: number,
  {
    writtenBytes,
    nodeBytes,
    blockBytes,
    seq,
  }: { writtenBytes: number; nodeBytes: number; blockBytes: number; seq: bigint },
): void {
  const rest = new Uint8Array(nodeBytes - writtenBytes);
  device.read(offset + writtenBytes, rest);
  const view = viewOf(rest);
  for (let at = 0; at < rest.length; at += blockBytes) {
    if (view.getBigUint64(at + ENTRY_BSET_AT + Bset.offset.seq, true) !== seq) continue;
    device.write(offset + writtenBytes + at, new Uint8Array(blockBytes));
  }
}
