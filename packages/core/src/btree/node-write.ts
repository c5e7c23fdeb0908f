// Makes the bytes of a btree node: its header, a format that fits its keys, and one bset with all of them, packed where the format
// allows it, encrypted where the filesystem is, and sealed. The same as the kernel writes for a new node, which is the only
// kind there is here: bsets are not added to nodes that exist. Where the bytes go, and the key that points there, is the caller's.
//
// No key loses anything: one that the format cannot hold is stored unpacked, and the order, versions and values stay as they are.
// Source: __bch2_btree_node_write in btree_io.c, bset_encrypt in btree_io.h, bch2_btree_calc_format and
// bch2_btree_node_alloc in btree_update_interior.c, v1.13.0.

import { sealVstruct } from '../checksum/checksum.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import { btreeNonce, nonceAdd } from '../crypto/nonce.ts';
import { BKEY_U64S, Bkey, KEY_FORMAT_CURRENT, type Key } from '../ondisk/bkey.ts';
import { type BkeyFormat, BkeyFormatBuilder, bkeyFormatProblem, KeyPacker } from '../ondisk/bkey-format.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import { Bset } from '../ondisk/bset.ts';
import { BtreeNodeHeader, btreeNodeFlags, NODE_BSET_AT, NODE_KEYS_AT } from '../ondisk/btree-node.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { assert } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import { roundUp, SECTOR_BYTES } from '../util/sizes.ts';

/** What a node is to be. */
export interface NodeContents {
  readonly btree: number;
  readonly level: number;
  /** Both ends belong to the node. */
  readonly minKey: Bpos;
  readonly maxKey: Bpos;
  /** In order, one a position, none deleted. Above level 0: pointers. */
  readonly keys: readonly Key[];
  /** Random, and never twice in a filesystem: it distinguishes this node from an old one in the same bucket. */
  readonly seq: bigint;
  /** See btreeNodeGeneration. */
  readonly generation?: number;
  /** The newest journal entry that the keys are in. 0: they are in none, and count always. */
  readonly journalSeq: number;
  /** formatFor's when it is not given. */
  readonly format?: BkeyFormat;
}

/** What is the same for all nodes of a filesystem. */
export interface NodeTarget {
  /** See btreeNodeMagic. */
  readonly magic: bigint;
  /** The metadata version that the keys are written in: the superblock's. */
  readonly version: number;
  readonly csumType: number;
  /** The master key, for checksum types that encrypt. */
  readonly key: Uint8Array | undefined;
  readonly blockSectors: number;
  readonly nodeSectors: number;
  /** Where the bytes are made: a caller that is done with one node before it makes the next saves memory. A new one when left out. */
  readonly scratch?: NodeScratch;
}

export class NodeScratch {
  #bytes = new Uint8Array(0);

  /** Zeroes, until the next call. */
  take(length: number): Uint8Array {
    if (this.#bytes.length < length) this.#bytes = new Uint8Array(length);
    return this.#bytes.subarray(0, length).fill(0);
  }
}

export interface EncodedNode {
  /** Whole blocks; what lies after them in the node's bucket is not looked at. */
  readonly bytes: Uint8Array;
  /** For the pointer. */
  readonly sectorsWritten: number;
  /** Of the keys. */
  readonly u64s: number;
  readonly format: BkeyFormat;
  /** How many keys are stored unpacked, since the format cannot hold them. */
  readonly unpacked: number;
}

/** The length of a bset is 16 bits wide. */
const BSET_U64S_MAX = 0xffff;

/** How many u64s of keys a node can hold. Mirrors btree_max_u64s. */
export function nodeCapacityU64s(nodeSectors: number): number {
  return Math.min(BSET_U64S_MAX, (nodeSectors * SECTOR_BYTES - NODE_KEYS_AT) / 8);
}

/** The format that the kernel chooses for a new node with these keys. Mirrors bch2_btree_calc_format. */
export function formatFor(keys: readonly Key[], minKey: Bpos, maxKey: Bpos): BkeyFormat {
  const builder = new BkeyFormatBuilder();
  builder.addPosition(minKey);
  builder.addPosition(maxKey);
  for (const { k } of keys) builder.addKey(k);
  return builder.finish();
}

/**
 * The room that keys take in a node of this format, in u64s.
 * @param format by default the one that is chosen for them: it holds all of them
 */
export function keysU64s(keys: readonly Key[], minKey: Bpos, maxKey: Bpos, format?: BkeyFormat): number {
  const packer = new KeyPacker(format ?? formatFor(keys, minKey, maxKey));
  let u64s = 0;
  for (const { k } of keys) {
    u64s += k.u64s - BKEY_U64S + (format === undefined || packer.fits(k) ? packer.keyU64s : BKEY_U64S);
  }
  return u64s;
}

/** The bytes of a node. Its keys fit: see keysU64s and nodeCapacityU64s. */
export function encodeNode(contents: NodeContents, target: NodeTarget): EncodedNode {
  const { btree, level, minKey, maxKey, keys, seq, generation = 0, journalSeq } = contents;
  const { magic, version, csumType, key, blockSectors, nodeSectors, scratch } = target;
  const format = contents.format ?? formatFor(keys, minKey, maxKey);
  const problem = bkeyFormatProblem(format);
  assert(problem === undefined, `a format that can be used: ${problem}`);
  assertOrder(keys, minKey, maxKey);

  const capacity = nodeCapacityU64s(nodeSectors);
  const room = Math.min(
    capacity,
    keys.reduce((sum, { k }) => sum + Math.max(k.u64s, k.u64s - BKEY_U64S + format.key_u64s), 0),
  );
  const length = roundUp(NODE_KEYS_AT + 8 * room, blockSectors * SECTOR_BYTES);
  const bytes = scratch === undefined ? new Uint8Array(length) : scratch.take(length);
  const { u64s, unpacked } = putKeys(bytes, keys, format, NODE_KEYS_AT + 8 * room);

  const view = viewOf(bytes);
  const header = { csum: { lo: 0n, hi: 0n }, magic, min_key: minKey, max_key: maxKey, ptr: 0n, format };
  BtreeNodeHeader.put(view, 0, { ...header, flags: btreeNodeFlags(btree, level, generation) });
  // BSET_OFFSET, the upper half of the flags, is 0: the start of the node.
  const bset = { seq, journal_seq: journalSeq, flags: csumType, version, u64s };
  Bset.put(view, NODE_BSET_AT, bset);

  const usedBytes = NODE_KEYS_AT + 8 * u64s;
  sealNode(bytes.subarray(0, usedBytes), bset, csumType, key);
  const sectorsWritten = roundUp(usedBytes, blockSectors * SECTOR_BYTES) / SECTOR_BYTES;
  return { bytes: bytes.subarray(0, sectorsWritten * SECTOR_BYTES), sectorsWritten, u64s, format, unpacked };
}

/** Encrypts where the type is an encrypting one, then seals. @param node header and first bset, nothing after them */
function sealNode(node: Uint8Array, bset: Bset, csumType: number, key: Uint8Array | undefined): void {
  const isEncrypted = checksumTypes.byId(csumType)?.isEncryption === true;
  assert(!isEncrypted || key !== undefined, 'there is a key for an encrypted node');
  if (key === undefined || !isEncrypted) {
    sealVstruct(csumType, node);
    return;
  }
  const nonce = btreeNonce(bset, 0);
  const header = node.subarray(BtreeNodeHeader.offset.flags, NODE_BSET_AT);
  chacha20(key, nonce, header);
  chacha20(key, nonceAdd(nonce, roundUp(header.length, 64)), node.subarray(NODE_KEYS_AT));
  sealVstruct(csumType, node, { key, nonce });
}

/** One key after the other from NODE_KEYS_AT on. */
function putKeys(bytes: Uint8Array, keys: readonly Key[], format: BkeyFormat, end: number) {
  const packer = new KeyPacker(format);
  const view = viewOf(bytes);
  const words = new Uint32Array(2 * packer.keyU64s);
  let at = NODE_KEYS_AT;
  let unpacked = 0;
  for (const { k, value } of keys) {
    assert(value.length === 8 * (k.u64s - BKEY_U64S), `a value of ${value.length} bytes in a key of ${k.u64s} u64s`);
    const isPacked = packer.pack(k, words.fill(0), 0);
    const headerBytes = 8 * (isPacked ? packer.keyU64s : BKEY_U64S);
    assert(at + headerBytes + value.length <= end, 'the keys fit into the node');
    if (isPacked) {
      for (let i = 0; i < words.length; i++) view.setUint32(at + 4 * i, words[i]!, true);
    } else {
      Bkey.put(view, at, { ...k, format: KEY_FORMAT_CURRENT });
      unpacked++;
    }
    bytes.set(value, at + headerBytes);
    at += headerBytes + value.length;
  }
  return { u64s: (at - NODE_KEYS_AT) / 8, unpacked };
}

function assertOrder(keys: readonly Key[], minKey: Bpos, maxKey: Bpos): void {
  for (let i = 1; i < keys.length; i++) {
    assert(compareBpos(keys[i - 1]!.k.p, keys[i]!.k.p) < 0, 'the keys of a node are in order');
  }
  const first = keys[0];
  const last = keys.at(-1);
  if (first === undefined || last === undefined) return;
  assert(compareBpos(first.k.p, minKey) >= 0, 'the first key lies in the node');
  assert(compareBpos(last.k.p, maxKey) <= 0, 'the last key lies in the node');
}
