// The hash tables of dirents and xattrs as they are changed: a name is at its hash, or at the next position after it that is free,
// in the snapshot of its subvolume. What is taken away leaves a hash_whiteout where a later name of the same row would not be found any
// more; what only an ancestor has is hidden. Of dirents to subvolumes only those are seen that the subvolume itself made.
//
// Most positions are free and most trees have one snapshot, so a question is first asked of the exact key; inodes that are new in the
// transaction have nothing on disk.
// Source: bch2_hash_lookup_in_snapshot, bch2_hash_set_in_snapshot, bch2_hash_needs_whiteout and bch2_hash_delete_at in str_hash.h, v1.13.0.

import { makeKey, type Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { dirent } from '../ondisk/keys/dirent.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { xattr } from '../ondisk/keys/xattr.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeyAt } from '../snapshots/visible.ts';
import { deleteInSnapshot } from '../snapshots/whiteouts.ts';
import { areEqual } from '../util/byte-text.ts';
import type { Words64 } from './siphash.ts';
import type { StrHash } from './str-hash.ts';

const DIRENT = keyTypes.idOf('dirent');
const XATTR = keyTypes.idOf('xattr');
const HASH_WHITEOUT = keyTypes.idOf('hash_whiteout');
const WHITEOUT = keyTypes.idOf('whiteout');
const NO_VALUE = new Uint8Array(0);
/** Above this many ancestors they are not asked one by one. */
const FEW_ANCESTORS = 4;

/** One inode's table. */
export interface HashTable {
  readonly btree: number;
  readonly keyType: number;
  readonly inum: Words64;
  readonly snapshot: number;
  /** Nothing of the inode is on disk yet. */
  readonly isNew: boolean;
  hashOf(key: Key): Words64;
  /** Whether a key of the type counts. */
  isVisible(key: Key): boolean;
}

const DIRENTS = btrees.idOf('dirents');
const XATTRS = btrees.idOf('xattrs');

export interface TableOwner {
  readonly inum: Words64;
  readonly snapshot: number;
  readonly subvolume: number;
  readonly isNew: boolean;
  readonly hash: StrHash;
}

export const direntTable = ({ inum, snapshot, subvolume, isNew, hash }: TableOwner): HashTable => ({
  btree: DIRENTS,
  keyType: DIRENT,
  inum,
  snapshot,
  isNew,
  hashOf: ({ value }) => hash.dirent(comparedName(value)),
  isVisible({ value }) {
    const { target } = dirent.decode(value);
    return 'inum' in target || target.parent_subvol === subvolume;
  },
});

export const xattrTable = ({ inum, snapshot, isNew, hash }: TableOwner): HashTable => ({
  btree: XATTRS,
  keyType: XATTR,
  inum,
  snapshot,
  isNew,
  hashOf({ value }) {
    const { type, name } = xattr.decode(value);
    return hash.xattr(type, name);
  },
  isVisible: () => true,
});

/** What was hashed, and is compared: the folded name where there is one. */
export function comparedName(value: Uint8Array): Uint8Array {
  const { name, casefoldedName } = dirent.decode(value);
  return casefoldedName ?? name;
}

/** @param name folded where the directory compares names without regard to case */
export const isDirentOf =
  (name: Uint8Array) =>
  ({ value }: Key): boolean =>
    areEqual(comparedName(value), name);

export const isXattrOf =
  (type: number, name: Uint8Array) =>
  ({ value }: Key): boolean => {
    const found = xattr.decode(value);
    return found.type === type && areEqual(found.name, name);
  };

/** What a snapshot sees at a position; whiteouts are nothing. */
function slotAt(tx: Transaction, snapshots: SnapshotTable, table: HashTable, pos: Bpos): Key | undefined {
  if (table.isNew) {
    const key = tx.changesOf(table.btree)?.get(pos);
    return key === undefined || key.k.type === 0 || key.k.type === WHITEOUT ? undefined : key;
  }
  const asked = pos.slice();
  let count = 0;
  for (const id of snapshots.pathToRoot(table.snapshot)) {
    if (++count > FEW_ANCESTORS) return visibleKeyAt(tx.btree(table.btree), snapshots, table.snapshot, pos);
    asked[0] = id;
    const key = tx.get(table.btree, asked);
    if (key !== undefined) return key.k.type === WHITEOUT ? undefined : key;
  }
  return undefined;
}

const posAt = ({ inum, snapshot }: HashTable, { lo, hi }: Words64): Bpos =>
  Uint32Array.of(snapshot, lo, hi, inum.lo, inum.hi);

/** The next position of the same table. */
function nextPos(pos: Bpos): Bpos {
  const next = Uint32Array.of(pos[0]!, pos[1]! + 1, pos[2]!, pos[3]!, pos[4]!);
  if (next[1] === 0) next[2]!++;
  if (next[1] === 0 && next[2] === 0) {
    throw new CorruptError('hash_table_key_wrong_offset', { pos: bposText(pos) }, 'hashes have 63 bits');
  }
  return next;
}

/** @param isWanted asked about visible keys of the row */
export function hashFind(
  tx: Transaction,
  snapshots: SnapshotTable,
  table: HashTable,
  hash: Words64,
  isWanted: (key: Key) => boolean,
): Key | undefined {
  for (let pos = posAt(table, hash); ; pos = nextPos(pos)) {
    const key = slotAt(tx, snapshots, table, pos);
    if (key === undefined) return undefined;
    if (key.k.type === HASH_WHITEOUT) continue;
    if (key.k.type !== table.keyType || !table.isVisible(key)) return undefined;
    if (isWanted(key)) return key;
  }
}

/**
 * Puts a value at its hash: in place of the one that is wanted, else at the first free position.
 * @returns where it stands, and what it replaced
 */
export function hashSet(
  tx: Transaction,
  snapshots: SnapshotTable,
  table: HashTable,
  hash: Words64,
  isWanted: (key: Key) => boolean,
  value: Uint8Array,
): { readonly pos: Bpos; readonly replaced: Key | undefined } {
  let slot: Bpos | undefined;
  let replaced: Key | undefined;
  for (let pos = posAt(table, hash); ; pos = nextPos(pos)) {
    const key = slotAt(tx, snapshots, table, pos);
    if (key !== undefined && key.k.type === table.keyType && table.isVisible(key)) {
      if (!isWanted(key)) continue;
      slot = pos;
      replaced = key;
      break;
    }
    slot ??= pos;
    if (key === undefined || key.k.type !== HASH_WHITEOUT) break;
  }
  tx.update(table.btree, makeKey(table.keyType, slot, value));
  return { pos: slot, replaced };
}

/** Takes a key of the table away. @param pos in the table's snapshot */
export function hashDelete(tx: Transaction, snapshots: SnapshotTable, table: HashTable, pos: Bpos): void {
  const at = pos.slice();
  if (needsWhiteout(tx, snapshots, table, at)) tx.update(table.btree, makeKey(HASH_WHITEOUT, at, NO_VALUE));
  else deleteInSnapshot(tx, table.btree, snapshots, at);
}

/** Whether a name after it, in the same row, would not be found without it. */
function needsWhiteout(tx: Transaction, snapshots: SnapshotTable, table: HashTable, at: Bpos): boolean {
  for (let pos = nextPos(at); ; pos = nextPos(pos)) {
    const key = slotAt(tx, snapshots, table, pos);
    if (key === undefined || (key.k.type !== table.keyType && key.k.type !== HASH_WHITEOUT)) return false;
    if (key.k.type !== table.keyType) continue;
    const { lo, hi } = table.hashOf(key);
    if (hi < at[2]! || (hi === at[2] && lo <= at[1]!)) return true;
  }
}
