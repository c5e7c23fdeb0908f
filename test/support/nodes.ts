// Btree nodes made for tests: bsets of keys that are not packed, sealed with crc32c.

import {
  type Bkey,
  Bkey as BkeyLayout,
  type Bpos,
  Bset,
  BtreeNodeHeader,
  checksumTypes,
  ENTRY_BSET_AT,
  ENTRY_KEYS_AT,
  type Key,
  type KeyTypeName,
  keyTypes,
  makeBpos,
  NODE_BSET_AT,
  NODE_KEYS_AT,
  POS_MIN,
  SPOS_MAX,
  sealVstruct,
  versionOf,
  viewOf,
} from '@bcachefs-ts/core/engine';

export interface BsetSpec {
  readonly keys: readonly Key[];
  readonly journalSeq?: number;
  readonly version?: number;
  /** Besides the checksum type. */
  readonly flags?: number;
}

export interface NodeSpec {
  readonly magic: bigint;
  readonly btree: number;
  readonly level?: number;
  readonly min?: Bpos;
  readonly max?: Bpos;
  readonly seq?: bigint;
  readonly bsets: readonly BsetSpec[];
}

const CRC32C = checksumTypes.idOf('crc32c_nonzero');
export const TEST_SEQ = 0x1234_5678_9abc_def0n;
export const BLOCK_BYTES = 512;

/** A key of a type without a value, or with these bytes for one. */
export function testKey(
  type: KeyTypeName,
  pos: readonly [inode: number | bigint, offset: number | bigint, snapshot?: number],
  value: Uint8Array = new Uint8Array(0),
  size = 0,
): Key {
  const [inode, offset, snapshot = 0] = pos;
  const k: Bkey = {
    u64s: 5 + value.length / 8,
    format: 1,
    type: keyTypes.idOf(type),
    pad: 0,
    bversion_lo: 0n,
    bversion_hi: 0,
    size,
    p: makeBpos(BigInt(inode), BigInt(offset), snapshot),
  };
  return { k, value };
}

export function keyBytes(keys: readonly Key[]): Uint8Array {
  const bytes = new Uint8Array(keys.reduce((sum, key) => sum + 8 * key.k.u64s, 0));
  let at = 0;
  for (const { k, value } of keys) {
    BkeyLayout.put(viewOf(bytes), at, k);
    bytes.set(value, at + BkeyLayout.size);
    at += 8 * k.u64s;
  }
  return bytes;
}

/** The bytes of a node, as much of it as is written: whole blocks. */
export function buildNode(spec: NodeSpec): Uint8Array {
  const blocks = spec.bsets.map((bset, i) => bsetBlock(spec, bset, i === 0));
  const bytes = new Uint8Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    bytes.set(block, at);
    at += block.length;
  }
  return bytes;
}

function bsetBlock(spec: NodeSpec, bset: BsetSpec, isFirst: boolean): Uint8Array {
  const keys = keyBytes(bset.keys);
  const keysAt = isFirst ? NODE_KEYS_AT : ENTRY_KEYS_AT;
  const used = keysAt + keys.length;
  const bytes = new Uint8Array(Math.ceil(used / BLOCK_BYTES) * BLOCK_BYTES);
  const view = viewOf(bytes);
  if (isFirst) BtreeNodeHeader.put(view, 0, headerOf(spec));
  Bset.put(view, isFirst ? NODE_BSET_AT : ENTRY_BSET_AT, {
    seq: spec.seq ?? TEST_SEQ,
    journal_seq: bset.journalSeq ?? 1,
    flags: CRC32C | (bset.flags ?? 0),
    version: bset.version ?? versionOf('inode_has_child_snapshots'),
    u64s: keys.length / 8,
  });
  bytes.set(keys, keysAt);
  sealVstruct(CRC32C, bytes.subarray(0, used));
  return bytes;
}

function headerOf({ magic, btree, level = 0, min = POS_MIN, max = SPOS_MAX }: NodeSpec) {
  const NEW_EXTENT_OVERWRITE = 0x100n;
  return {
    csum: { lo: 0n, hi: 0n },
    magic,
    flags: BigInt(btree & 15) | (BigInt(level) << 4n) | NEW_EXTENT_OVERWRITE | (BigInt(btree >> 4) << 9n),
    min_key: min,
    max_key: max,
    ptr: 0n,
    format: {
      key_u64s: 3,
      nr_fields: 6,
      bits_per_field: [64, 64, 32, 0, 0, 0],
      field_offset: [0n, 0n, 0n, 0n, 0n, 0n],
    },
  };
}

export interface PtrSpec {
  readonly max?: Bpos;
  readonly min?: Bpos;
  readonly seq?: bigint;
  /** Sectors. */
  readonly written: number;
  readonly rangeUpdated?: boolean;
  readonly replicas: readonly { readonly dev: number; readonly sector: number }[];
}

/** A btree_ptr_v2. */
export function nodePtr({
  max = SPOS_MAX,
  min = POS_MIN,
  seq = TEST_SEQ,
  written,
  rangeUpdated,
  replicas,
}: PtrSpec): Key {
  const value = new Uint8Array(40 + 8 * replicas.length);
  const view = viewOf(value);
  view.setBigUint64(8, seq, true);
  view.setUint16(16, written, true);
  view.setUint16(18, rangeUpdated ? 1 : 0, true);
  for (let i = 0; i < 5; i++) view.setUint32(20 + 4 * i, min[i]!, true);
  for (const [i, { dev, sector }] of replicas.entries()) {
    view.setBigUint64(40 + 8 * i, 1n | (BigInt(sector) << 4n) | (BigInt(dev) << 48n), true);
  }
  const { k } = testKey('btree_ptr_v2', [0, 0], value);
  return { k: { ...k, p: max }, value };
}
