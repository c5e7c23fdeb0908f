// Changes keys of a node in its bytes, bset by bset, for dumps: each bset is checked, decrypted, handed over, encrypted again under the
// same nonce and sealed. Keys keep their sizes, so that bsets stay where they are, and pointers stay right. Everything after the
// last sound bset becomes zeroes: what was not checked is not passed on.
// Source: bch2_btree_node_read_done in btree/read.c, v1.36.1, for where bsets are.

import { canChecksum, sealVstruct, verifyVstruct } from '../checksum/checksum.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import { btreeNonce, type Nonce, nonceAdd } from '../crypto/nonce.ts';
import { BKEY_U64S, Bkey, KEY_FORMAT_CURRENT } from '../ondisk/bkey.ts';
import { bkeyFormatProblem, KeyPacker, KeyUnpacker, ROW, ROW_WORDS } from '../ondisk/bkey-format.ts';
import { BPOS_WORDS } from '../ondisk/bpos.ts';
import { Bset, bsetCsumType, isBsetBigEndian } from '../ondisk/bset.ts';
import { BtreeNodeHeader, ENTRY_BSET_AT, ENTRY_KEYS_AT, NODE_BSET_AT, NODE_KEYS_AT } from '../ondisk/btree-node.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import { roundUp, SECTOR_BYTES } from '../util/sizes.ts';

export interface NodeEditContext {
  /** See btreeNodeMagic. */
  readonly magic: bigint;
  readonly blockSectors: number;
  /** The master key of an encrypted filesystem. */
  readonly key: Uint8Array | undefined;
  /** What it is encrypted with afterwards, where that is another key. */
  readonly newKey?: Uint8Array | undefined;
}

/** A key as it is stored in a bset. */
export interface StoredKey {
  readonly k: Bkey;
  /** The value inside of the node's bytes: to be changed there, at the same length. */
  readonly value: Uint8Array;
  /** Its header is in the node's format. */
  readonly isPacked: boolean;
}

/** A bset that can be changed. */
export interface EditableBset {
  readonly node: BtreeNodeHeader;
  readonly offsetSectors: number;
  /** In their order, deletions among them. */
  readonly keys: readonly StoredKey[];
}

/**
 * Changes values where they are. To change headers or the order, it gives back the keys as they are to be: the same number of bytes,
 * those that are packed still fitting the node's format.
 */
export type BsetEdit = (bset: EditableBset) => readonly StoredKey[] | undefined;

export interface NodeEdit {
  /** How much of the node is sound, in sectors: what follows is zeroes now. */
  readonly sectors: number;
  /** Why it ended early: something that looks like part of the node is damaged. */
  readonly damage: CorruptError | undefined;
}

/**
 * Changes a node in its bytes.
 * @param bytes of the node, from its start, as many as there are
 * @param limitSectors how much of it counts: sectors_written of the pointer; 0 where that is not known
 */
export function editNode(bytes: Uint8Array, limitSectors: number, context: NodeEditContext, edit: BsetEdit): NodeEdit {
  const blockBytes = context.blockSectors * SECTOR_BYTES;
  const end =
    limitSectors === 0 ? bytes.length : Math.min(bytes.length, roundUp(limitSectors * SECTOR_BYTES, blockBytes));
  let at = 0;
  let damage: CorruptError | undefined;
  try {
    const first = editFirst(bytes, end, context, edit);
    at = first.bytes;
    const seqAt = ENTRY_BSET_AT + Bset.offset.seq;
    const view = viewOf(bytes);
    while (at + ENTRY_KEYS_AT <= end && view.getBigUint64(at + seqAt, true) === first.seq) {
      at += editBset({ bytes, at, end, context, edit, node: first.node, unpacker: first.unpacker });
    }
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    damage = thrown;
  }
  bytes.fill(0, at);
  return { sectors: at / SECTOR_BYTES, damage };
}

/** What editing one bset needs. */
interface BsetWork {
  readonly bytes: Uint8Array;
  /** Where its block begins, in bytes. */
  readonly at: number;
  readonly end: number;
  readonly context: NodeEditContext;
  readonly edit: BsetEdit;
  readonly node: BtreeNodeHeader;
  readonly unpacker: KeyUnpacker;
}

function editFirst(bytes: Uint8Array, end: number, context: NodeEditContext, edit: BsetEdit) {
  const view = viewOf(bytes);
  if (end < NODE_KEYS_AT || view.getBigUint64(BtreeNodeHeader.offset.magic, true) !== context.magic) {
    throw new CorruptError('btree_node_bad_magic', {}, 'not the start of a node');
  }
  const seal = unseal(bytes, 0, end, NODE_BSET_AT, context);
  const header = bytes.subarray(BtreeNodeHeader.offset.flags, NODE_BSET_AT);
  const { nonce } = seal;
  const keysNonce = nonce === undefined ? undefined : nonceAdd(nonce, roundUp(header.length, 64));
  cipher(context, nonce, header);
  const node = BtreeNodeHeader.get(view, 0);
  const problem = bkeyFormatProblem(node.format);
  if (problem !== undefined) throw new CorruptError('btree_node_bad_format', {}, `bkey format: ${problem}`);
  const unpacker = new KeyUnpacker(node.format);
  editKeys({ bytes, at: 0, end, context, edit, node, unpacker }, NODE_KEYS_AT, seal, keysNonce);
  cipher(resealing(context), nonce, header);
  reseal(bytes, 0, seal, resealing(context));
  return { node, unpacker, seq: seal.bset.seq, bytes: seal.blocksBytes };
}

/** A later bset. @returns its length in bytes, whole blocks */
function editBset(work: BsetWork): number {
  const { bytes, at, end, context } = work;
  const seal = unseal(bytes, at, end, ENTRY_BSET_AT, context);
  editKeys(work, at + ENTRY_KEYS_AT, seal, seal.nonce);
  reseal(bytes, at, seal, resealing(context));
  return seal.blocksBytes;
}

interface Seal {
  readonly bset: Bset;
  readonly csumType: number;
  /** Undefined for what is not encrypted. */
  readonly nonce: Nonce | undefined;
  /** From the start of its block to its last key. */
  readonly usedBytes: number;
  readonly blocksBytes: number;
}

/** Checks a bset's length and checksum. */
function unseal(bytes: Uint8Array, at: number, end: number, bsetAt: number, context: NodeEditContext): Seal {
  const bset = bsetOf(bytes, at + bsetAt);
  if (isBsetBigEndian(bset)) throw new CorruptError('btree_node_unsupported_version', {}, 'a big-endian bset');
  const usedBytes = bsetAt + Bset.size + 8 * bset.u64s;
  const blocksBytes = roundUp(usedBytes, context.blockSectors * SECTOR_BYTES);
  if (at + blocksBytes > end) {
    throw new CorruptError('bset_past_end_of_btree_node', {}, `a bset of ${usedBytes} bytes, ${end - at} are left`);
  }
  const csumType = bsetCsumType(bset);
  const mac = context.key === undefined ? undefined : { key: context.key, nonce: btreeNonce(bset, at) };
  if (!canChecksum(csumType, mac)) throw new CorruptError('bset_unknown_csum', {}, `checksum type ${csumType}`);
  if (!verifyVstruct(csumType, bytes.subarray(at, at + usedBytes), mac).good) {
    throw new CorruptError('bset_bad_csum', {}, `the bset at sector ${at / SECTOR_BYTES} has a wrong checksum`);
  }
  const nonce = checksumTypes.byId(csumType)?.isEncryption ? mac?.nonce : undefined;
  return { bset, csumType, nonce, usedBytes, blocksBytes };
}

function bsetOf(bytes: Uint8Array, at: number): Bset {
  return Bset.get(viewOf(bytes), at);
}

function reseal(
  bytes: Uint8Array,
  at: number,
  { csumType, bset, usedBytes, blocksBytes }: Seal,
  context: NodeEditContext,
) {
  const mac = context.key === undefined ? undefined : { key: context.key, nonce: btreeNonce(bset, at) };
  sealVstruct(csumType, bytes.subarray(at, at + usedBytes), mac);
  bytes.fill(0, at + usedBytes, at + blocksBytes);
}

const resealing = (context: NodeEditContext): NodeEditContext => ({ ...context, key: context.newKey ?? context.key });

/** Encrypts or decrypts. */
function cipher({ key }: NodeEditContext, nonce: Nonce | undefined, bytes: Uint8Array): void {
  if (key !== undefined && nonce !== undefined) chacha20(key, nonce, bytes);
}

function editKeys(work: BsetWork, keysAt: number, seal: Seal, nonce: Nonce | undefined): void {
  const { bytes, at, context, edit, node, unpacker } = work;
  const region = bytes.subarray(keysAt, at + seal.usedBytes);
  cipher(context, nonce, region);
  const keys = storedKeys(region, unpacker);
  const changed = edit({ node, offsetSectors: at / SECTOR_BYTES, keys });
  if (changed !== undefined) region.set(storeKeys(changed, node, region.length));
  cipher(resealing(context), nonce, region);
}

/** @throws CorruptError when lengths or formats are wrong */
function storedKeys(region: Uint8Array, unpacker: KeyUnpacker): StoredKey[] {
  const view = viewOf(region);
  const words = new Uint32Array(2 * BKEY_U64S);
  const row = new Uint32Array(ROW_WORDS);
  const keys: StoredKey[] = [];
  for (let at = 0; at < region.length; ) {
    const u64s = view.getUint8(at);
    const format = view.getUint8(at + 1) & 0x7f;
    const headerU64s = unpacker.keyU64s(format);
    const end = at + 8 * u64s;
    const isLonger = u64s - headerU64s > 0xff - BKEY_U64S;
    if (format > KEY_FORMAT_CURRENT || u64s < headerU64s || isLonger || end > region.length) {
      const detail = `a key of format ${format} and ${u64s} u64s, ${region.length - at} bytes are left`;
      throw new CorruptError('btree_node_bkey_bad_u64s', {}, detail);
    }
    for (let i = 0; i < 2 * headerU64s; i++) words[i] = view.getUint32(at + 4 * i, true);
    unpacker.unpack(words, 0, row, 0);
    const k: Bkey = {
      ...{ u64s: row[0]! & 0xff, format: KEY_FORMAT_CURRENT, type: (row[0]! >>> 16) & 0xff, pad: 0 },
      bversion_lo: (BigInt(row[ROW.versionLo + 1]!) << 32n) | BigInt(row[ROW.versionLo]!),
      bversion_hi: row[ROW.versionHi]!,
      size: row[ROW.size]!,
      p: row.slice(ROW.position, ROW.position + BPOS_WORDS),
    };
    keys.push({ k, value: region.subarray(at + 8 * headerU64s, end), isPacked: format !== KEY_FORMAT_CURRENT });
    at = end;
  }
  return keys;
}

/** @throws CorruptError when they do not take the same room */
function storeKeys(keys: readonly StoredKey[], node: BtreeNodeHeader, length: number): Uint8Array {
  const target = new Uint8Array(length);
  const view = viewOf(target);
  const packer = new KeyPacker(node.format);
  const words = new Uint32Array(2 * packer.keyU64s);
  let at = 0;
  for (const { k, value, isPacked } of keys) {
    const headerBytes = 8 * (isPacked ? packer.keyU64s : BKEY_U64S);
    const isGood = at + headerBytes + value.length <= length && (!isPacked || packer.pack(k, words.fill(0), 0));
    if (!isGood) throw new CorruptError('btree_node_bkey_bad_format', {}, 'a changed key does not fit where it was');
    if (isPacked) for (let i = 0; i < words.length; i++) view.setUint32(at + 4 * i, words[i]!, true);
    else Bkey.put(view, at, k);
    target.set(value, at + headerBytes);
    at += headerBytes + value.length;
  }
  if (at !== length) throw new CorruptError('btree_node_bkey_bad_u64s', {}, 'keys are missing from a changed bset');
  return target;
}
