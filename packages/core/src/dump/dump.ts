// Writes the metadata of one member into a qcow2 file: the ranges of metadata.ts in the order of their places, everything else left out.
// What follows the last bset of a node or the last entry of a journal bucket is left from an earlier use, perhaps from files, and is left
// out as well. Nodes are looked at on the way: damaged ones are dumped as they are, and reported.

import { canChecksum, verifyVstruct } from '../checksum/checksum.ts';
import { btreeNonce } from '../crypto/nonce.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { Qcow2Writer } from '../device/qcow2-writer.ts';
import { Bset, bsetCsumType } from '../ondisk/bset.ts';
import {
  BtreeNodeHeader,
  btreeNodeMagic,
  ENTRY_BSET_AT,
  ENTRY_KEYS_AT,
  NODE_BSET_AT,
  NODE_KEYS_AT,
} from '../ondisk/btree-node.ts';
import { btrees } from '../ondisk/btrees.ts';
import { assert, CorruptError, DeviceError } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { Jset, jsetBytes, jsetMagic } from '../ondisk/jset.ts';
import { viewOf } from '../ondisk/layout.ts';
import { bytesToSectors, roundUp, sectorsToBytes } from '../util/sizes.ts';
import type { MetadataMap } from './metadata.ts';
import type { DumpedNode, DumpSource, DumpTransform, MetadataRange } from './ranges.ts';

export interface DumpOptions {
  /** Applied to each range, one after another. */
  readonly transforms?: readonly DumpTransform[];
  /** A node is damaged, and dumped as it is. */
  readonly onDamage?: (damage: CorruptError) => void;
  /** Part of a range cannot be read, and is zeroes in the dump. */
  readonly onLoss?: (loss: DeviceError) => void;
}

/** Where a dump goes: a file that is new. */
export interface DumpOutput {
  write(offset: number, from: Uint8Array): void;
}

/**
 * Dumps one member. Yields the number of bytes of metadata done, range by range.
 * @param index of the member, which is open
 * @returns the length of the qcow2 file in bytes
 */
export function* dumpMember(
  filesystem: DumpSource,
  map: MetadataMap,
  index: number,
  out: DumpOutput,
  options: DumpOptions = {},
): Generator<number, number, void> {
  const device = filesystem.device(index);
  if (device === undefined) throw new DeviceError('missing', `member ${index}`, 'it is not open');
  const writer = new Qcow2Writer(out, device.sizeBytes);
  const check = new NodeCheck(filesystem, device.name);
  let doneBytes = 0;
  for (const range of map.ranges(index)) {
    let bytes: Uint8Array = readRange(device, range, options);
    if (range.kind === 'btree_node') {
      const fault = range.node === undefined ? undefined : check.faultOf(bytes, range, range.node);
      if (fault !== undefined) options.onDamage?.(fault);
      bytes.fill(0, check.usedBytes(bytes));
    } else if (range.kind === 'journal') {
      bytes.fill(0, usedJournalBytes(bytes, filesystem));
    }
    for (const step of options.transforms ?? []) bytes = step.transform(range, bytes);
    assert(bytes.length === range.lengthBytes, 'what is changed keeps its length');
    writer.write(range.offsetBytes, bytes);
    doneBytes += range.lengthBytes;
    yield doneBytes;
  }
  return writer.finish();
}

/** What is tried again when a range cannot be read as a whole. */
const RETRY_BYTES = 4096;

/** The bytes of a range; zeroes where the device fails. */
function readRange(device: BlockDevice, { offsetBytes, lengthBytes }: MetadataRange, { onLoss }: DumpOptions) {
  const bytes = new Uint8Array(lengthBytes);
  try {
    device.read(offsetBytes, bytes);
    return bytes;
  } catch (thrown) {
    if (!(thrown instanceof DeviceError && thrown.kind === 'io')) throw thrown;
    onLoss?.(thrown);
  }
  bytes.fill(0);
  for (let at = 0; at < lengthBytes; at += RETRY_BYTES) {
    const piece = bytes.subarray(at, at + RETRY_BYTES);
    try {
      device.read(offsetBytes + at, piece);
    } catch (thrown) {
      if (!(thrown instanceof DeviceError && thrown.kind === 'io')) throw thrown;
      piece.fill(0); // Reported already.
    }
  }
  return bytes;
}

/** Looks at nodes as they are on disk: what of them is in use, and whether it is what was written. */
class NodeCheck {
  readonly #magic: bigint;
  readonly #blockBytes: number;
  readonly #key: Uint8Array | undefined;
  readonly #device: string;

  constructor({ sb, key }: DumpSource, device: string) {
    this.#magic = btreeNodeMagic(sb.uuid);
    this.#blockBytes = sectorsToBytes(Math.max(1, sb.block_size));
    this.#key = key;
    this.#device = device;
  }

  /**
   * Where nothing of the node can follow any more: after the last block that begins like one of its bsets. All of it when it does not
   * begin like a node.
   */
  usedBytes(bytes: Uint8Array): number {
    const view = viewOf(bytes);
    const length = bytes.length;
    if (length < NODE_KEYS_AT || view.getBigUint64(BtreeNodeHeader.offset.magic, true) !== this.#magic) return length;
    const seqLow = view.getUint32(NODE_BSET_AT + Bset.offset.seq, true);
    const seqHigh = view.getUint32(NODE_BSET_AT + Bset.offset.seq + 4, true);
    for (let at = length - this.#blockBytes; at > 0; at -= this.#blockBytes) {
      const seqAt = at + ENTRY_BSET_AT + Bset.offset.seq;
      if (view.getUint32(seqAt, true) !== seqLow || view.getUint32(seqAt + 4, true) !== seqHigh) continue;
      // What lies inside of a bset can look like the start of one: then it is the longer of the two that counts.
      return Math.max(
        this.#bsetEnd(view, at, ENTRY_BSET_AT, ENTRY_KEYS_AT),
        this.#bsetEnd(view, 0, NODE_BSET_AT, NODE_KEYS_AT),
      );
    }
    return this.#bsetEnd(view, 0, NODE_BSET_AT, NODE_KEYS_AT);
  }

  #bsetEnd(view: DataView, at: number, bsetAt: number, keysAt: number): number {
    const u64s = view.getUint16(at + bsetAt + Bset.offset.u64s, true);
    return Math.min(view.byteLength, at + roundUp(keysAt + 8 * u64s, this.#blockBytes));
  }

  /** The first thing that is wrong with a replica of a node; keys are not looked at. */
  faultOf(bytes: Uint8Array, range: MetadataRange, node: DumpedNode): CorruptError | undefined {
    const where = {
      btree: btrees.nameOf(node.btree),
      level: node.level,
      device: this.#device,
      sector: bytesToSectors(range.offsetBytes),
    };
    const fault = this.#fault(bytes, node);
    return fault === undefined ? undefined : new CorruptError(fault.error, where, fault.detail);
  }

  #fault(bytes: Uint8Array, node: DumpedNode): { readonly error: FaultName; readonly detail: string } | undefined {
    const view = viewOf(bytes);
    const magic = view.getBigUint64(BtreeNodeHeader.offset.magic, true);
    if (magic !== this.#magic) return { error: 'btree_node_bad_magic', detail: `magic ${magic.toString(16)}` };
    const seq = view.getBigUint64(NODE_BSET_AT + Bset.offset.seq, true);
    if (node.seq !== undefined && node.seq !== seq) {
      return { error: 'btree_node_bad_seq', detail: `seq ${seq.toString(16)}, expected ${node.seq.toString(16)}` };
    }
    const limit =
      node.sectorsWritten === 0 ? bytes.length : Math.min(bytes.length, sectorsToBytes(node.sectorsWritten));
    for (let at = 0; at < limit; ) {
      const [bsetAt, keysAt] = at === 0 ? [NODE_BSET_AT, NODE_KEYS_AT] : [ENTRY_BSET_AT, ENTRY_KEYS_AT];
      if (at + keysAt > bytes.length) break;
      if (view.getBigUint64(at + bsetAt + Bset.offset.seq, true) !== seq) {
        if (node.sectorsWritten === 0) break;
        const detail = `${bytesToSectors(at)} sectors of bsets found, expected ${node.sectorsWritten}`;
        return { error: 'btree_node_data_missing', detail };
      }
      const lengthBytes = keysAt + 8 * view.getUint16(at + bsetAt + Bset.offset.u64s, true);
      const sector = bytesToSectors(at);
      if (at + lengthBytes > bytes.length) {
        return {
          error: 'bset_past_end_of_btree_node',
          detail: `a bset of ${lengthBytes} bytes at sector ${sector} of it`,
        };
      }
      if (!this.#isWhole(bytes.subarray(at, at + lengthBytes), view, at, bsetAt)) {
        return { error: 'bset_bad_csum', detail: `the bset at sector ${sector} of it has a wrong checksum` };
      }
      at += roundUp(lengthBytes, this.#blockBytes);
    }
    return undefined;
  }

  #isWhole(vstruct: Uint8Array, view: DataView, at: number, bsetAt: number): boolean {
    // Counts above 2^53 belong to no bset that a kernel wrote.
    if (view.getUint32(at + bsetAt + Bset.offset.journal_seq + 4, true) >= 2 ** 21) return false;
    const bset = Bset.get(view, at + bsetAt);
    const type = bsetCsumType(bset);
    const mac = this.#key === undefined ? undefined : { key: this.#key, nonce: btreeNonce(bset, at) };
    return canChecksum(type, mac) && verifyVstruct(type, vstruct, mac).good;
  }
}

/** Where no entry can follow any more: after the last block that begins like one. */
function usedJournalBytes(bytes: Uint8Array, { sb }: DumpSource): number {
  const view = viewOf(bytes);
  const magic = jsetMagic(sb.uuid);
  const [low, high] = [Number(magic & 0xffff_ffffn), Number(magic >> 32n)];
  const blockBytes = sectorsToBytes(Math.max(1, sb.block_size));
  let used = 0;
  for (let at = 0; at + Jset.size <= bytes.length; at += blockBytes) {
    if (view.getUint32(at + Jset.offset.magic, true) !== low) continue;
    if (view.getUint32(at + Jset.offset.magic + 4, true) !== high) continue;
    const end = at + roundUp(jsetBytes({ u64s: view.getUint32(at + Jset.offset.u64s, true) }), blockBytes);
    used = Math.max(used, Math.min(end, bytes.length));
  }
  return used;
}
