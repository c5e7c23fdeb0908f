// Looks for btree nodes where nothing says that they are: at every place of a device where one can begin, for those of a filesystem whose
// interior nodes or roots are lost. Only the superblock's map of where nodes may be is believed, unless the caller wants all of it.
//
// What is found claims to be a node: its magic is right, and its header makes sense. Whether its keys are sound is for NodeReader to say,
// with the pointer that is made here. Replicas have the same seq and become one. Nodes that were replaced are found too; which of two is
// the newer one, their generations say, then the journal entries that they depend on.
// Source: try_read_btree_node and read_btree_nodes_worker in btree_node_scan.c, v1.13.0.

import { chacha20 } from '../crypto/chacha20.ts';
import { btreeNonce } from '../crypto/nonce.ts';
import type { BlockDevice } from '../device/block-device.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import { Bset, bsetCsumType } from '../ondisk/bset.ts';
import {
  BtreeNodeHeader, btreeNodeGeneration, btreeNodeId, btreeNodeLevel, NODE_BSET_AT,
} from '../ondisk/btree-node.ts'; // biome-ignore format: one line of names
import { BTREE_ID_MAX, BTREE_MAX_DEPTH } from '../ondisk/btrees.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { DeviceError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { viewOf } from '../ondisk/layout.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { pointerToNode } from './node-store.ts';

/** A device to look at. */
export interface ScannedDevice {
  readonly index: number;
  readonly device: BlockDevice;
  readonly firstBucket: number;
  readonly bucketEnd: number;
  readonly bucketSizeSectors: number;
  /** See SuperblockNeeds: a bit for each `1 << shift` sectors; undefined to look everywhere. */
  readonly bitmap: { readonly shift: number; readonly bits: bigint } | undefined;
}

export interface ScanSettings {
  readonly magic: bigint;
  readonly nodeSectors: number;
  readonly key: Uint8Array | undefined;
  readonly onDamage?: (damage: DeviceError) => void;
  /** Called with how far the scan has come, from time to time. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

export interface FoundNode {
  readonly btree: number;
  readonly level: number;
  readonly min: Bpos;
  readonly max: Bpos;
  readonly generation: number;
  /** Of its first bset. */
  readonly journalSeq: bigint;
  /** Leads to all replicas that were found; it does not say how much was written. */
  readonly ptr: Key;
  readonly places: readonly ExtentPtr[];
}

/** Room for thousands of headers at a time, whatever size of buckets is claimed. */
const CHUNK_BYTES = 1 << 20;
/** Enough of a node to say what it is. */
const HEADER_BYTES = SECTOR_BYTES;

/** All that claims to be a node of the filesystem, in no order. One record of some hundred bytes each. */
export function scanForNodes(devices: readonly ScannedDevice[], settings: ScanSettings): readonly FoundNode[] {
  const byIdentity = new Map<string, FoundNode & { readonly seq: bigint; readonly places: ExtentPtr[] }>();
  const total = devices.reduce((sum, { bucketEnd, bucketSizeSectors }) => sum + bucketEnd * bucketSizeSectors, 0);
  let doneBefore = 0;
  for (const scanned of devices) {
    const { index: dev } = scanned;
    for (const { sector, header } of headersOn(scanned, settings)) {
      const found = identify(header, settings);
      if (found === undefined) continue;
      const place: ExtentPtr = { type: 'ptr', cached: false, unwritten: false, offset: sector, dev, gen: 0 };
      const { seq, btree, level, min, max } = found;
      const identity = `${seq}:${btree}:${level}:${min.join()}:${max.join()}`;
      const known = byIdentity.get(identity);
      if (known !== undefined) known.places.push(place);
      else byIdentity.set(identity, { ...found, places: [place], ptr: NO_KEY });
      settings.onProgress?.((doneBefore + sector) * SECTOR_BYTES, total * SECTOR_BYTES);
    }
    doneBefore += scanned.bucketEnd * scanned.bucketSizeSectors;
  }
  return [...byIdentity.values()].map(({ seq, places, ...node }) => ({
    ...node,
    places,
    // More than a kernel takes are of no use.
    ptr: pointerToNode({ minKey: node.min, maxKey: node.max }, places.slice(0, REPLICAS_MAX), seq, 0),
  }));
}

const REPLICAS_MAX = 4;
const NO_KEY = pointerToNode({ minKey: new Uint32Array(5), maxKey: new Uint32Array(5) }, [], 0n, 0);

type Identity = Omit<FoundNode, 'ptr' | 'places'> & { readonly seq: bigint };

/** The first sectors of what has the magic of a node. */
export function* headersOn(
  { device, firstBucket, bucketEnd, bucketSizeSectors, bitmap }: ScannedDevice,
  { magic, nodeSectors, onDamage }: Omit<ScanSettings, 'key'>,
): Generator<{ readonly sector: number; readonly header: Uint8Array }> {
  /** Whether a node may be anywhere in a range: on a small device the range has several bits. */
  const isMarked = (sector: number, end: number) => {
    if (bitmap === undefined) return true;
    const last = Math.min(63, Math.floor((end - 1) / 2 ** bitmap.shift));
    for (let bit = Math.floor(sector / 2 ** bitmap.shift); bit <= last; bit++)
      if ((bitmap.bits >> BigInt(bit)) & 1n) return true;
    return false;
  };
  const slots = Math.floor(bucketSizeSectors / nodeSectors);
  const chunkSlots = Math.max(1, Math.floor(CHUNK_BYTES / (nodeSectors * SECTOR_BYTES)));
  for (let bucket = firstBucket; bucket < bucketEnd; bucket++) {
    const start = bucket * bucketSizeSectors;
    for (let slot = 0; slot < slots; slot += chunkSlots) {
      const sector = start + slot * nodeSectors;
      const sectors = Math.min(chunkSlots, slots - slot) * nodeSectors;
      if ((sector + sectors) * SECTOR_BYTES > device.sizeBytes) return;
      if (!isMarked(sector, sector + sectors)) continue;
      yield* headersIn(device, sector, sectors, magic, nodeSectors, onDamage);
    }
  }
}

function* headersIn(
  device: BlockDevice,
  from: number,
  sectors: number,
  magic: bigint,
  nodeSectors: number,
  onDamage: ScanSettings['onDamage'],
): Generator<{ readonly sector: number; readonly header: Uint8Array }> {
  // Large nodes are not read whole to look at their first sectors.
  const isDense = nodeSectors * SECTOR_BYTES <= 16 * HEADER_BYTES;
  const bytes = new Uint8Array(isDense ? sectors * SECTOR_BYTES : HEADER_BYTES);
  try {
    if (isDense) device.read(from * SECTOR_BYTES, bytes);
    for (let at = 0; at < sectors; at += nodeSectors) {
      const start = isDense ? at * SECTOR_BYTES : 0;
      if (!isDense) device.read((from + at) * SECTOR_BYTES, bytes);
      const header = bytes.subarray(start, start + HEADER_BYTES);
      if (viewOf(header).getBigUint64(BtreeNodeHeader.offset.magic, true) === magic)
        yield { sector: from + at, header };
    }
  } catch (thrown) {
    if (!(thrown instanceof DeviceError)) throw thrown;
    onDamage?.(thrown);
  }
}

function identify(header: Uint8Array, { key }: ScanSettings): Identity | undefined {
  const bytes = header.slice();
  const view = viewOf(bytes);
  const seq = view.getBigUint64(NODE_BSET_AT + Bset.offset.seq, true);
  const journalSeq = view.getBigUint64(NODE_BSET_AT + Bset.offset.journal_seq, true);
  // A number that no journal has: not a header that can be read any further.
  if (seq === 0n || journalSeq >> 53n !== 0n) return undefined;
  const bset = Bset.get(view, NODE_BSET_AT);
  const csumType = checksumTypes.byId(bsetCsumType(bset));
  if (csumType === undefined) return undefined;
  if (csumType.isEncryption) {
    if (key === undefined) return undefined;
    chacha20(key, btreeNonce(bset, 0), bytes.subarray(BtreeNodeHeader.offset.flags, NODE_BSET_AT));
  }
  const node = BtreeNodeHeader.get(view, 0);
  const [btree, level] = [btreeNodeId(node), btreeNodeLevel(node)];
  if (btree >= BTREE_ID_MAX || level >= BTREE_MAX_DEPTH || compareBpos(node.min_key, node.max_key) > 0)
    return undefined;
  const generation = btreeNodeGeneration(node);
  return { btree, level, min: node.min_key.slice(), max: node.max_key.slice(), generation, journalSeq, seq };
}
