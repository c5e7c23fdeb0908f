// Stores a node in the room that it got: its bytes on the device of each replica, and the key that points to it. Who flushes the devices,
// and what the pointer means for alloc and the rest, is for others to say.

import type { BlockDevice } from '../device/block-device.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { assert } from '../ondisk/errors.ts';
import { type ExtentPtr, encodeExtentPtr } from '../ondisk/extent-entries.ts';
import { BchBtreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { encodeNode, type NodeContents, type NodeTarget } from './node-write.ts';
import { clearStaleBsets } from './stale-bsets.ts';
import { makeKey } from './transaction.ts';

/** Where the room for nodes comes from: the socket that the alloc room plugs in. */
export interface NodeAllocator {
  /**
   * Room for one node, on as many devices as it shall have replicas. What it means for alloc and the rest is the triggers'.
   * @throws NoSpaceError when there is none
   */
  allocate(): readonly ExtentPtr[];
  /** Room that was allocated since the last commit is not needed after all. */
  release(pointers: readonly ExtentPtr[]): void;
}

/** How the nodes of a filesystem are made, and where they go. */
export interface NodeStoreSettings extends NodeTarget {
  device(index: number): BlockDevice | undefined;
  /** A random u64, for the seq of a node. */
  readonly randomU64: () => bigint;
  /** The numbers may be those of nodes that were in the same places before: what is past a node's end is looked at. */
  readonly mayRepeatSeqs: boolean;
}

export interface StoredNode {
  /** The pointer to it. */
  readonly key: Key;
  /** All replicas together. */
  readonly writtenBytes: number;
}

const BTREE_PTR_V2 = keyTypes.idOf('btree_ptr_v2');

/**
 * Writes a new node to all its replicas.
 * @throws DeviceError
 */
export function storeNode(
  node: Omit<NodeContents, 'seq' | 'journalSeq'>,
  pointers: readonly ExtentPtr[],
  settings: NodeStoreSettings,
): StoredNode {
  const seq = settings.randomU64();
  const encoded = encodeNode({ ...node, seq, journalSeq: 0 }, settings);
  for (const { dev, offset } of pointers) {
    const device = settings.device(dev);
    assert(device !== undefined, 'room is allocated on devices that are there');
    device.write(sectorsToBytes(offset), encoded.bytes);
    if (!settings.mayRepeatSeqs) continue;
    clearStaleBsets(device, sectorsToBytes(offset), {
      writtenBytes: encoded.bytes.length,
      nodeBytes: sectorsToBytes(settings.nodeSectors),
      blockBytes: sectorsToBytes(settings.blockSectors),
      seq,
    });
  }
  const key = pointerToNode(node, pointers, seq, encoded.sectorsWritten);
  return { key, writtenBytes: pointers.length * encoded.bytes.length };
}

/** The key that points to a node. */
export function pointerToNode(
  { minKey: min_key, maxKey }: { readonly minKey: Bpos; readonly maxKey: Bpos },
  pointers: readonly ExtentPtr[],
  seq: bigint,
  sectorsWritten: number,
): Key {
  const value = new Uint8Array(BchBtreePtrV2.size + 8 * pointers.length);
  const view = viewOf(value);
  BchBtreePtrV2.put(view, 0, { mem_ptr: 0n, seq, sectors_written: sectorsWritten, flags: 0, min_key });
  for (const [i, pointer] of pointers.entries()) {
    view.setBigUint64(BchBtreePtrV2.size + 8 * i, encodeExtentPtr(pointer), true);
  }
  return makeKey(BTREE_PTR_V2, maxKey, value);
}
