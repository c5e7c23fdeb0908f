// Btrees by id, what kind of positions they use and which key types each allows. Ids above the table belong to newer
// releases: their roots are carried along, never refused. At most 63 ids can ever exist.
// Source: BCH_BTREE_IDS in bcachefs_format.h, v1.13.0 to v1.39.2.

import type { KeyTypeName } from './keys/key-types.ts';
import type { ReleasedRow } from './releases.ts';
import { type Table, table } from './table.ts';

/**
 * `extents`: keys have sizes and positions are their ends. `snapshots`: positions are versioned by snapshot and
 * filtered by ancestry. `snapshot_field`: the snapshot member is used, for something else or without filtering. `data`:
 * keys point to data. `write_buffer`: updated through the write buffer (1.36 and later; does not change the bytes).
 */
export type BtreeFlag = 'extents' | 'snapshots' | 'snapshot_field' | 'data' | 'write_buffer';

interface BtreeRow extends ReleasedRow {
  readonly flags: readonly BtreeFlag[];
  /** Key types allowed at level 0; `deleted` is allowed everywhere. Above level 0: btree_ptr and btree_ptr_v2. */
  readonly keys: readonly KeyTypeName[];
  /** Those of `keys` that the 1.13 format does not allow, in btrees that it has. */
  readonly keysSince: readonly KeyTypeName[];
  /** Holds allocation information, which can be rebuilt from the other btrees (btree_id_is_alloc of 1.39). */
  readonly isAlloc: boolean;
}

const rows = [
  {
    id: 0,
    name: 'extents',
    since: '1.13',
    flags: ['extents', 'snapshots', 'data'],
    keys: ['whiteout', 'extent_whiteout', 'error', 'cookie', 'extent', 'reservation', 'reflink_p', 'inline_data'],
    keysSince: ['extent_whiteout'],
    isAlloc: false,
  },
  {
    id: 1,
    name: 'inodes',
    since: '1.13',
    flags: ['snapshots'],
    keys: ['whiteout', 'inode', 'inode_v2', 'inode_v3', 'inode_generation'],
    keysSince: [],
    isAlloc: false,
  },
  {
    id: 2,
    name: 'dirents',
    since: '1.13',
    flags: ['snapshots'],
    keys: ['whiteout', 'hash_whiteout', 'dirent'],
    keysSince: [],
    isAlloc: false,
  },
  {
    id: 3,
    name: 'xattrs',
    since: '1.13',
    flags: ['snapshots'],
    keys: ['whiteout', 'cookie', 'hash_whiteout', 'xattr'],
    keysSince: [],
    isAlloc: false,
  },
  {
    id: 4,
    name: 'alloc',
    since: '1.13',
    flags: [],
    keys: ['alloc', 'alloc_v2', 'alloc_v3', 'alloc_v4'],
    keysSince: [],
    isAlloc: true,
  },
  { id: 5, name: 'quotas', since: '1.13', flags: [], keys: ['quota'], keysSince: [], isAlloc: false },
  { id: 6, name: 'stripes', since: '1.13', flags: ['data'], keys: ['stripe'], keysSince: [], isAlloc: false },
  {
    id: 7,
    name: 'reflink',
    since: '1.13',
    flags: ['extents', 'data'],
    keys: ['reflink_v', 'indirect_inline_data', 'error'],
    keysSince: [],
    isAlloc: false,
  },
  { id: 8, name: 'subvolumes', since: '1.13', flags: [], keys: ['subvolume'], keysSince: [], isAlloc: false },
  { id: 9, name: 'snapshots', since: '1.13', flags: [], keys: ['snapshot'], keysSince: [], isAlloc: false },
  { id: 10, name: 'lru', since: '1.13', flags: ['write_buffer'], keys: ['set'], keysSince: [], isAlloc: true },
  { id: 11, name: 'freespace', since: '1.13', flags: ['extents'], keys: ['set'], keysSince: [], isAlloc: true },
  { id: 12, name: 'need_discard', since: '1.13', flags: ['write_buffer'], keys: ['set'], keysSince: [], isAlloc: true },
  {
    id: 13,
    name: 'backpointers',
    since: '1.13',
    flags: ['write_buffer'],
    keys: ['backpointer'],
    keysSince: [],
    isAlloc: true,
  },
  { id: 14, name: 'bucket_gens', since: '1.13', flags: [], keys: ['bucket_gens'], keysSince: [], isAlloc: true },
  { id: 15, name: 'snapshot_trees', since: '1.13', flags: [], keys: ['snapshot_tree'], keysSince: [], isAlloc: false },
  {
    id: 16,
    name: 'deleted_inodes',
    since: '1.13',
    flags: ['snapshot_field', 'write_buffer'],
    keys: ['set'],
    keysSince: [],
    isAlloc: false,
  },
  {
    id: 17,
    name: 'logged_ops',
    since: '1.13',
    flags: [],
    keys: ['logged_op_truncate', 'logged_op_finsert', 'logged_op_stripe_update', 'inode_alloc_cursor'],
    keysSince: ['logged_op_stripe_update', 'inode_alloc_cursor'],
    isAlloc: false,
  },
  {
    id: 18,
    name: 'reconcile_work',
    since: '1.13',
    names: { '1.13': 'rebalance_work' },
    flags: ['snapshot_field', 'write_buffer'],
    keys: ['set', 'cookie'],
    keysSince: [],
    isAlloc: true,
  },
  { id: 19, name: 'subvolume_children', since: '1.13', flags: [], keys: ['set'], keysSince: [], isAlloc: false },
  {
    id: 20,
    name: 'accounting',
    since: '1.13',
    flags: ['snapshot_field', 'write_buffer'],
    keys: ['accounting'],
    keysSince: [],
    isAlloc: true,
  },
  {
    id: 21,
    name: 'reconcile_hipri',
    since: '1.36',
    flags: ['snapshot_field', 'write_buffer'],
    keys: ['set'],
    keysSince: [],
    isAlloc: true,
  },
  {
    id: 22,
    name: 'reconcile_pending',
    since: '1.36',
    flags: ['snapshot_field', 'write_buffer'],
    keys: ['set'],
    keysSince: [],
    isAlloc: true,
  },
  {
    id: 23,
    name: 'reconcile_scan',
    since: '1.36',
    flags: [],
    keys: ['cookie', 'backpointer'],
    keysSince: [],
    isAlloc: true,
  },
  {
    id: 24,
    name: 'reconcile_work_phys',
    since: '1.36',
    flags: ['write_buffer'],
    keys: ['set'],
    keysSince: [],
    isAlloc: false,
  },
  {
    id: 25,
    name: 'reconcile_hipri_phys',
    since: '1.36',
    flags: ['write_buffer'],
    keys: ['set'],
    keysSince: [],
    isAlloc: false,
  },
  { id: 26, name: 'bucket_to_stripe', since: '1.36', flags: [], keys: ['set'], keysSince: [], isAlloc: false },
  {
    id: 27,
    name: 'stripe_backpointers',
    since: '1.39',
    flags: ['write_buffer'],
    keys: ['backpointer'],
    keysSince: [],
    isAlloc: true,
  },
  {
    id: 28,
    name: 'damage',
    since: '1.39',
    flags: ['snapshots'],
    keys: ['whiteout', 'damage'],
    keysSince: [],
    isAlloc: false,
  },
] as const satisfies readonly BtreeRow[];

export type BtreeName = (typeof rows)[number]['name'];
export type Btree = BtreeRow & { readonly name: BtreeName };

/** All btrees; `names` holds what earlier releases called them. */
export const btrees: Table<Btree> = table<Btree>('btree', rows);

/** BTREE_ID_NR_MAX: ids are also bits of 64-bit masks, one of which stands for interior nodes. */
export const BTREE_ID_MAX = 63;

/** BTREE_MAX_DEPTH: a root is at most at level 3. */
export const BTREE_MAX_DEPTH = 4;
