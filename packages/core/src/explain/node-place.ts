// What of a btree node a byte is. One replica of it is read by itself, so that what is said is about these bytes and not about another copy.

import type { BsetSummary, BtreeNode } from '../btree/node.ts';
import { DELETED } from '../btree/node.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import { btreeNonce } from '../crypto/nonce.ts';
import { type BlockDevice, readBytes } from '../device/block-device.ts';
import { overlayIndex } from '../journal/overlay.ts';
import { BKEY_U64S, KEY_FORMAT_CURRENT, type Key } from '../ondisk/bkey.ts';
import { ROW, ROW_WORDS } from '../ondisk/bkey-format.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import { Bset, bsetCsumType } from '../ondisk/bset.ts';
import {
  BtreeNodeEntry,
  BtreeNodeHeader,
  btreeNodeId,
  btreeNodeLevel,
  btreeNodeMagic,
  ENTRY_BSET_AT,
  ENTRY_KEYS_AT,
  NODE_BSET_AT,
  NODE_KEYS_AT,
} from '../ondisk/btree-node.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { CorruptError, DeviceError, IncompatibleError } from '../ondisk/errors.ts';
import { type ExtentPtr, encodeExtentEntries } from '../ondisk/extent-entries.ts';
import { btreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { roundUp, SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { type Annotation, annotateLayout, annotationAt } from './annotate.ts';
import type { BsetPlace, FileReferences, KeyState, NodePart, NodePlace, Region } from './explanation.ts';
import { annotateNodeKey } from './key-annotations.ts';

const BTREE_PTR_V2 = keyTypes.idOf('btree_ptr_v2');

/** A node by the key that points to it, and one of its replicas. */
export interface NodeReplica {
  readonly btree: number;
  /** The node's own. */
  readonly level: number;
  readonly isRoot: boolean;
  readonly ptr: Key;
  readonly at: ExtentPtr;
  readonly nr: number;
  readonly count: number;
}

/** What a byte of a replica is. @param filesOf the files that a key of a leaf belongs to */
export function nodePlaceAt(
  source: Filesystem,
  device: BlockDevice,
  replica: NodeReplica,
  deviceOffset: number,
  filesOf: (btree: number, key: Key) => FileReferences,
): NodePlace {
  const { btree, level, ptr, at } = replica;
  const nodeAt = sectorsToBytes(at.offset);
  const offset = deviceOffset - nodeAt;
  const decoded = ptr.k.type === BTREE_PTR_V2 ? btreePtrV2.decode(ptr.value) : undefined;
  const common = {
    kind: 'btree_node',
    btree,
    level,
    isRoot: replica.isRoot,
    ptr,
    minKey: decoded?.min_key,
    replica: { nr: replica.nr, count: replica.count },
    sector: at.offset,
    offset,
  } as const;
  let node: BtreeNode;
  try {
    node = source.reader.read(btree, level, onlyReplica(ptr, at), { salvage: true });
  } catch (thrown) {
    const isExpected =
      thrown instanceof CorruptError || thrown instanceof DeviceError || thrown instanceof IncompatibleError;
    if (!isExpected) throw thrown;
    const region = rawRegion(source, device, nodeAt);
    const field =
      region === undefined ? undefined : annotationAt(region.annotations(deviceOffset, deviceOffset + 1), deviceOffset);
    return { ...common, problems: [thrown.detail], part: { type: 'unreadable' }, field, region };
  }
  const layout = new NodeLayout(node, source.sb.block_size);
  const region: Region = {
    at: nodeAt,
    bytes: node.bytes,
    isDecrypted: source.key !== undefined,
    annotations: (first, last) => layout.annotations(nodeAt, first, last),
  };
  return {
    ...common,
    problems: node.facts.damage.map(({ detail }) => detail),
    part: partAt(source, layout, offset, filesOf),
    field: annotationAt(region.annotations(deviceOffset, deviceOffset + 1), deviceOffset),
    region,
  };
}

/** A pointer to the same node with one replica. */
function onlyReplica({ k, value }: Key, at: ExtentPtr): Key {
  const entryBytes = encodeExtentEntries([at]);
  if (k.type !== BTREE_PTR_V2) return { k, value: entryBytes };
  return { k, value: btreePtrV2.encode({ ...btreePtrV2.decode(value), entries: [at], entryBytes }) };
}

/** A node that cannot be read: its header as it stands, which in an encrypted filesystem says little. */
function rawRegion({ reader }: Filesystem, device: BlockDevice, at: number): Region | undefined {
  const lengthBytes = Math.min(sectorsToBytes(reader.nodeSectors), device.sizeBytes - at);
  if (lengthBytes < NODE_KEYS_AT) return undefined;
  let bytes: Uint8Array;
  try {
    bytes = readBytes(device, at, lengthBytes);
  } catch (thrown) {
    if (!(thrown instanceof DeviceError)) throw thrown;
    return undefined;
  }
  return {
    at,
    bytes,
    isDecrypted: false,
    *annotations() {
      yield* annotateLayout(BtreeNodeHeader, viewOf(bytes), 0, at, 'node.');
      yield* annotateLayout(Bset, viewOf(bytes), NODE_BSET_AT, at + NODE_BSET_AT, 'bset 0.');
    },
  };
}

/** Where a bset lies in its node, in bytes. */
interface BsetRange {
  readonly nr: number;
  readonly summary: BsetSummary;
  readonly start: number;
  readonly keysAt: number;
  readonly keysEnd: number;
  /** Of its last block. */
  readonly end: number;
}

interface KeyRange {
  readonly nr: number;
  readonly start: number;
  readonly end: number;
}

/** Which bytes of a node are what. */
class NodeLayout {
  readonly bsets: readonly BsetRange[];

  constructor(
    readonly node: BtreeNode,
    blockSectors: number,
  ) {
    const view = viewOf(node.bytes);
    this.bsets = node.facts.bsets.map((summary, nr) => {
      const start = sectorsToBytes(summary.offsetSectors);
      const bsetAt = start + (start === 0 ? NODE_BSET_AT : ENTRY_BSET_AT);
      const keysAt = start + (start === 0 ? NODE_KEYS_AT : ENTRY_KEYS_AT);
      // A length that reaches out of the node was found and reported by the reader, which then took no keys.
      const keysEnd = Math.min(keysAt + 8 * view.getUint16(bsetAt + Bset.offset.u64s, true), node.bytes.length);
      const end = Math.min(start + roundUp(keysEnd - start, blockSectors * SECTOR_BYTES), node.bytes.length);
      return { nr, summary, start, keysAt, keysEnd, end };
    });
  }

  placeOf({ nr, summary }: BsetRange): BsetPlace {
    return {
      nr,
      count: this.bsets.length,
      offsetSectors: summary.offsetSectors,
      journalSeq: summary.journalSeq,
      isBlacklisted: summary.blacklisted,
    };
  }

  bsetAt(offset: number): BsetRange | undefined {
    return this.bsets.find(({ start, end }) => offset >= start && offset < end);
  }

  /** A key of a bset, by its number there. */
  keyRange({ summary }: BsetRange, nr: number): KeyRange {
    const { rows } = summary.keys;
    const header = rows[nr * ROW_WORDS]!;
    const valueAt = rows[nr * ROW_WORDS + ROW.valueAt]!;
    const isPacked = ((header >>> 8) & 0x7f) !== KEY_FORMAT_CURRENT;
    const headerU64s = isPacked ? this.node.facts.format.key_u64s : BKEY_U64S;
    return { nr, start: valueAt - 8 * headerU64s, end: valueAt + rows[nr * ROW_WORDS + ROW.valueBytes]! };
  }

  keyAt(bset: BsetRange, offset: number): KeyRange | undefined {
    for (let nr = 0; nr < bset.summary.keys.count; nr++) {
      const range = this.keyRange(bset, nr);
      if (offset >= range.start && offset < range.end) return range;
    }
    return undefined;
  }

  *annotations(base: number, first: number, last: number): Generator<Annotation> {
    const { node } = this;
    const view = viewOf(node.bytes);
    for (const bset of this.bsets) {
      if (base + bset.end <= first || base + bset.start >= last) continue;
      const name = `bset ${bset.nr}`;
      const { start } = bset;
      if (start === 0) {
        yield* annotateLayout(BtreeNodeHeader, view, 0, base, 'node.');
        yield* annotateLayout(Bset, view, NODE_BSET_AT, base + NODE_BSET_AT, `${name}.`);
      } else {
        yield* annotateLayout(BtreeNodeEntry, view, start, base + start, `${name}.`);
        yield* annotateLayout(Bset, view, start + ENTRY_BSET_AT, base + start + ENTRY_BSET_AT, `${name}.`);
      }
      for (let nr = 0; nr < bset.summary.keys.count; nr++) {
        const key = this.keyRange(bset, nr);
        if (base + key.end <= first || base + key.start >= last) continue;
        const bytes = node.bytes.subarray(key.start, key.end);
        yield* annotateNodeKey(bytes, node.facts.format, base + key.start, `${name}, key ${nr}: `);
      }
      if (bset.end > bset.keysEnd) {
        const lengthBytes = bset.end - bset.keysEnd;
        yield { at: base + bset.keysEnd, lengthBytes, name: `${name}, padding`, value: undefined };
      }
    }
  }
}

function partAt(
  source: Filesystem,
  layout: NodeLayout,
  offset: number,
  filesOf: (btree: number, key: Key) => FileReferences,
): NodePart {
  const range = layout.bsetAt(offset);
  if (range === undefined) return { type: 'unwritten' };
  const bset = layout.placeOf(range);
  if (offset < range.keysAt) return { type: 'header', bset };
  const found = layout.keyAt(range, offset);
  if (found === undefined) return { type: 'padding', bset };
  const { node } = layout;
  const { btree, level } = node.facts;
  const key = node.keyOf(range.summary.keys, found.nr);
  const { state, overwrittenBy } = stateOf(layout, range, key);
  const over = source.replay.overlay.keysOf(btree, level);
  const newer = over[overlayIndex(over, key.k.p)];
  const isReplaced = newer !== undefined && compareBpos(newer.key.k.p, key.k.p) === 0;
  return {
    type: 'key',
    bset,
    nr: found.nr,
    key,
    state,
    overwrittenBy,
    journalSeq: isReplaced ? newer.seq : undefined,
    files: level === 0 ? filesOf(btree, key) : { list: [], hasMore: false },
  };
}

/** Whether a key of a bset is what counts for its position. */
function stateOf(
  { node, bsets }: NodeLayout,
  range: BsetRange,
  key: Key,
): { readonly state: KeyState; readonly overwrittenBy: number | undefined } {
  if (range.summary.blacklisted) return { state: 'blacklisted', overwrittenBy: undefined };
  const own = key.value.byteOffset;
  const index = node.indexOf(key.k.p);
  const isThere = index < node.count && compareBpos(node.position(index), key.k.p) === 0;
  if (isThere && node.key(index).value.byteOffset === own) return { state: 'live', overwrittenBy: undefined };
  for (const later of bsets.slice(range.nr + 1).toReversed()) {
    if (!later.summary.blacklisted && hasPosition(later.summary, key.k.p)) {
      return { state: 'overwritten', overwrittenBy: later.nr };
    }
  }
  if (key.k.type === DELETED) return { state: 'deletion', overwrittenBy: undefined };
  // A deletion may stand in front of the key that replaces it, in one bset.
  return isThere ? { state: 'overwritten', overwrittenBy: range.nr } : { state: 'dropped', overwrittenBy: undefined };
}

function hasPosition({ keys }: BsetSummary, pos: Bpos): boolean {
  let low = 0;
  let high = keys.count;
  const order = (nr: number) => {
    const from = nr * ROW_WORDS + ROW.position;
    return compareBpos(keys.rows.subarray(from, from + pos.length), pos);
  };
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (order(middle) < 0) low = middle + 1;
    else high = middle;
  }
  return low < keys.count && order(low) === 0;
}

/**
 * A node that nothing points to any more, by what it says of itself.
 * @param sector where it would begin
 * @returns undefined when no node of this filesystem begins there
 */
export function forgottenNode(
  source: Filesystem,
  device: BlockDevice,
  dev: number,
  sector: number,
): NodeReplica | undefined {
  const at = sectorsToBytes(sector);
  if (at + NODE_KEYS_AT > device.sizeBytes) return undefined;
  const head = readBytes(device, at, NODE_KEYS_AT);
  const view = viewOf(head);
  if (view.getBigUint64(BtreeNodeHeader.offset.magic, true) !== btreeNodeMagic(source.sb.uuid)) return undefined;
  if (view.getUint32(NODE_BSET_AT + Bset.offset.journal_seq + 4, true) >= 2 ** 21) return undefined;
  const bset = Bset.get(view, NODE_BSET_AT);
  if (source.key !== undefined && checksumTypes.byId(bsetCsumType(bset))?.isEncryption) {
    chacha20(source.key, btreeNonce(bset, 0), head.subarray(BtreeNodeHeader.offset.flags, NODE_BSET_AT));
  }
  const node = BtreeNodeHeader.get(view, 0);
  const ptr: ExtentPtr = { type: 'ptr', cached: false, unwritten: false, offset: sector, dev, gen: 0 };
  const entryBytes = encodeExtentEntries([ptr]);
  const { min_key, max_key } = node;
  const value = { mem_ptr: 0n, seq: bset.seq, sectors_written: 0, flags: 0, min_key, entries: [ptr], entryBytes };
  const k = {
    u64s: 0,
    format: KEY_FORMAT_CURRENT,
    type: BTREE_PTR_V2,
    pad: 0,
    bversion_lo: 0n,
    bversion_hi: 0,
    size: 0,
  };
  return {
    btree: btreeNodeId(node),
    level: btreeNodeLevel(node),
    isRoot: false,
    ptr: { k: { ...k, p: max_key }, value: btreePtrV2.encode(value) },
    at: ptr,
    nr: 0,
    count: 1,
  };
}
