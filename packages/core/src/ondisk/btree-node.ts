// struct btree_node, the header at the start of a btree node, and struct btree_node_entry, which heads every bset after the first.
// Source: bcachefs_format.h, v1.36.1.

import { BkeyFormat } from './bkey-format.ts';
import { bpos } from './bpos.ts';
import { Bset } from './bset.ts';
import { at, layout, type Struct, u64, uuidBytes, viewOf } from './layout.ts';
import { BchCsum } from './superblock.ts';

/** struct btree_node without the bset that ends it. */
export const BtreeNodeHeader = layout('btree_node', 136, {
  csum: at(0, BchCsum), // over everything after it, to the end of the first bset
  magic: at(16, u64), // see btreeNodeMagic
  flags: at(24, u64), // see below; from here to max_key and format encrypted, as the keys are
  min_key: at(32, bpos), // both ends belong to the node
  max_key: at(52, bpos),
  ptr: at(72, u64), // no longer used
  format: at(80, BkeyFormat),
});
export type BtreeNodeHeader = Struct<typeof BtreeNodeHeader>;

/** Where a node's first bset starts, and where its keys do. */
export const NODE_BSET_AT = BtreeNodeHeader.size;
export const NODE_KEYS_AT: number = NODE_BSET_AT + Bset.size;

/** struct btree_node_entry without its bset. */
export const BtreeNodeEntry = layout('btree_node_entry', 16, {
  csum: at(0, BchCsum), // over everything after it, to the end of its bset
});
export type BtreeNodeEntry = Struct<typeof BtreeNodeEntry>;

/** The same for a later bset, from the start of its block. */
export const ENTRY_BSET_AT = BtreeNodeEntry.size;
export const ENTRY_KEYS_AT: number = ENTRY_BSET_AT + Bset.size;

/** BTREE_NODE_ID, in two parts. */
export const btreeNodeId = (node: BtreeNodeHeader): number =>
  Number((node.flags & 0xfn) | (((node.flags >> 9n) & 0xffffn) << 4n));
/** BTREE_NODE_LEVEL: 0 for a leaf. */
export const btreeNodeLevel = (node: BtreeNodeHeader): number => Number((node.flags >> 4n) & 0xfn);
/** BTREE_NODE_NEW_EXTENT_OVERWRITE: extents are never cut in place; every leaf of an extents btree since 2020. */
export const hasNewExtentOverwrite = (node: BtreeNodeHeader): boolean => ((node.flags >> 8n) & 1n) === 1n;

/** BTREE_NODE_SEQ: how many nodes stood in this place before it; nothing depends on it when a node is read. */
export const btreeNodeGeneration = (node: BtreeNodeHeader): number => Number(node.flags >> 32n);

/** The flags of a node as it is written today. */
export function btreeNodeFlags(btree: number, level: number, generation: number): bigint {
  const id = BigInt(btree & 0xf) | (BigInt(btree >>> 4) << 9n);
  const NEW_EXTENT_OVERWRITE = 0x100n;
  return id | (BigInt(level) << 4n) | NEW_EXTENT_OVERWRITE | (BigInt(generation) << 32n);
}

const BSET_MAGIC = 0x9013_5c78_b99e_07f5n;

/** The magic of all btree nodes of a filesystem. @param uuid the superblock's internal uuid */
export function btreeNodeMagic(uuid: string): bigint {
  return viewOf(uuidBytes(uuid)).getBigUint64(0, true) ^ BSET_MAGIC;
}
