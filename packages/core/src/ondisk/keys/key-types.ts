// Key types by number: names only. What each type's value looks like is in its own file of this folder, and
// keys/index.ts joins them.
// Source: BCH_BKEY_TYPES in bcachefs_format.h, v1.13.0 to v1.39.2.

import type { ReleasedRow } from '../releases.ts';
import { type Table, table } from '../table.ts';

interface KeyTypeRow extends ReleasedRow {
  /**
   * Since 1.36 a key of this type that is read from disk is invalid in a btree that does not list it. The other types,
   * and all types at 1.13, are held to the btrees' lists only when they are written.
   */
  readonly strictBtree: boolean;
}

const rows = [
  { id: 0, name: 'deleted', since: '1.13', strictBtree: false },
  { id: 1, name: 'whiteout', since: '1.13', strictBtree: false },
  { id: 2, name: 'error', since: '1.13', strictBtree: false },
  { id: 3, name: 'cookie', since: '1.13', strictBtree: false },
  { id: 4, name: 'hash_whiteout', since: '1.13', strictBtree: true },
  { id: 5, name: 'btree_ptr', since: '1.13', strictBtree: true },
  { id: 6, name: 'extent', since: '1.13', strictBtree: true },
  { id: 7, name: 'reservation', since: '1.13', strictBtree: true },
  { id: 8, name: 'inode', since: '1.13', strictBtree: true },
  { id: 9, name: 'inode_generation', since: '1.13', strictBtree: true },
  { id: 10, name: 'dirent', since: '1.13', strictBtree: true },
  { id: 11, name: 'xattr', since: '1.13', strictBtree: true },
  { id: 12, name: 'alloc', since: '1.13', strictBtree: true },
  { id: 13, name: 'quota', since: '1.13', strictBtree: true },
  { id: 14, name: 'stripe', since: '1.13', strictBtree: true },
  { id: 15, name: 'reflink_p', since: '1.13', strictBtree: true },
  { id: 16, name: 'reflink_v', since: '1.13', strictBtree: true },
  { id: 17, name: 'inline_data', since: '1.13', strictBtree: true },
  { id: 18, name: 'btree_ptr_v2', since: '1.13', strictBtree: true },
  { id: 19, name: 'indirect_inline_data', since: '1.13', strictBtree: true },
  { id: 20, name: 'alloc_v2', since: '1.13', strictBtree: true },
  { id: 21, name: 'subvolume', since: '1.13', strictBtree: true },
  { id: 22, name: 'snapshot', since: '1.13', strictBtree: true },
  { id: 23, name: 'inode_v2', since: '1.13', strictBtree: true },
  { id: 24, name: 'alloc_v3', since: '1.13', strictBtree: true },
  { id: 25, name: 'set', since: '1.13', strictBtree: false },
  { id: 26, name: 'lru', since: '1.13', strictBtree: true },
  { id: 27, name: 'alloc_v4', since: '1.13', strictBtree: true },
  { id: 28, name: 'backpointer', since: '1.13', strictBtree: true },
  { id: 29, name: 'inode_v3', since: '1.13', strictBtree: true },
  { id: 30, name: 'bucket_gens', since: '1.13', strictBtree: true },
  { id: 31, name: 'snapshot_tree', since: '1.13', strictBtree: true },
  { id: 32, name: 'logged_op_truncate', since: '1.13', strictBtree: true },
  { id: 33, name: 'logged_op_finsert', since: '1.13', strictBtree: true },
  { id: 34, name: 'accounting', since: '1.13', strictBtree: true },
  { id: 35, name: 'inode_alloc_cursor', since: '1.36', strictBtree: true },
  { id: 36, name: 'extent_whiteout', since: '1.36', strictBtree: true },
  { id: 37, name: 'logged_op_stripe_update', since: '1.39', strictBtree: true },
  { id: 38, name: 'damage', since: '1.39', strictBtree: true },
] as const satisfies readonly KeyTypeRow[];

export type KeyTypeName = (typeof rows)[number]['name'];
export type KeyType = KeyTypeRow & { readonly name: KeyTypeName };

export const keyTypes: Table<KeyType> = table<KeyType>('key type', rows);
