// The trigger of inodes: how many there are, which of them are to be deleted, which have a newer version in a snapshot below theirs, so
// that they must not be deleted yet, and what their options need of a kernel.
// Source: bch2_trigger_inode, update_parent_inode_has_children and update_inode_has_children in inode.c, bch2_opt_check_may_set in opts.c,
// v1.13.0.

import type { TriggerContext } from '../alloc/trigger-context.ts';
import { deletedKey, type KeyChange, makeKey, type Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { btrees } from '../ondisk/btrees.ts';
import { compressionOptions, decodeCompression } from '../ondisk/compression-types.ts';
import { inodeFlags } from '../ondisk/inode-tables.ts';
import { BchInode, BchInodeV2, BchInodeV3, inodeOption, unpackInodeV3 } from '../ondisk/inode-unpack.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { atSnapshot } from '../snapshots/visible.ts';
import { inodeOfKey } from './inode.ts';
import { packInode } from './inode-pack.ts';

export interface InodeTriggerContext extends Pick<TriggerContext, 'counters' | 'time' | 'needs'> {
  /** As they are now. */
  snapshots(): SnapshotTable;
}

const INODES = btrees.idOf('inodes');
const DELETED_INODES = btrees.idOf('deleted_inodes');
const SET = keyTypes.idOf('set');
const INODE_V3 = keyTypes.idOf('inode_v3');
/** Where the flags of each type are. */
const FLAGS_AT: ReadonlyMap<number, number> = new Map([
  [keyTypes.idOf('inode'), BchInode.offset.bi_flags],
  [keyTypes.idOf('inode_v2'), BchInodeV2.offset.bi_flags],
  [INODE_V3, BchInodeV3.offset.bi_flags],
]);
const UNLINKED = 1 << inodeFlags.idOf('unlinked');
const HAS_CHILD_SNAPSHOT = 1 << inodeFlags.idOf('has_child_snapshot');
const NO_VALUE = new Uint8Array(0);

export function inodeTrigger(context: InodeTriggerContext, tx: Transaction, change: KeyChange): Key | undefined {
  const { before, after } = change;
  const { p } = (after ?? before)!.k;
  const difference = Number(isInode(after)) - Number(isInode(before));
  let completed = after === undefined ? undefined : withJournalSeq(after, context.time.journalSeq);
  if (difference !== 0) {
    context.counters.addInodes(difference);
    const table = context.snapshots();
    if ((table.node(p[0]!)?.parent ?? 0) !== 0) updateParent(tx, table, p, difference > 0);
    if (difference > 0 && completed !== undefined) {
      completed = withFlag(completed, HAS_CHILD_SNAPSHOT, hasVersionBelow(tx, table, p));
    }
  }
  if (completed?.k.type === INODE_V3) needFeatures(context, completed);
  const [waited, waits] = [isToBeDeleted(before), isToBeDeleted(completed)];
  if (waited !== waits) tx.store(DELETED_INODES, waits ? makeKey(SET, p, NO_VALUE) : deletedKey(p));
  return completed;
}

const isInode = (key: Key | undefined): boolean => key !== undefined && FLAGS_AT.has(key.k.type);

/** The flags that the file has; 0 for what is not an inode. */
function flagsOf(key: Key | undefined): number {
  const at = key === undefined ? undefined : FLAGS_AT.get(key.k.type);
  return key === undefined || at === undefined || at + 4 > key.value.length ? 0 : viewOf(key.value).getUint32(at, true);
}

const isToBeDeleted = (key: Key | undefined): boolean => (flagsOf(key) & (UNLINKED | HAS_CHILD_SNAPSHOT)) === UNLINKED;

/** A kernel that does not know of them at the mount stops with a BUG when it comes to compress the file's data. */
function needFeatures({ needs }: InodeTriggerContext, { value }: Key): void {
  if (value.length < BchInodeV3.size) return;
  const inode = unpackInodeV3(value);
  for (const name of ['compression', 'background_compression'] as const) {
    const type = decodeCompression(inodeOption(inode, name) ?? 0).type;
    const feature = compressionOptions.byId(type)?.feature;
    if (feature != null) needs.addFeature(feature);
  }
  if ((inodeOption(inode, 'erasure_code') ?? 0) !== 0) needs.addFeature('ec');
}

/** Nothing of it is in any journal entry before the one that commits. */
function withJournalSeq(key: Key, journalSeq: number): Key {
  if (key.k.type !== INODE_V3 || key.value.length < BchInodeV3.size) return key;
  const value = key.value.slice();
  const view = viewOf(value);
  view.setUint32(BchInodeV3.offset.bi_journal_seq, journalSeq >>> 0, true);
  view.setUint32(BchInodeV3.offset.bi_journal_seq + 4, Math.floor(journalSeq / 2 ** 32), true);
  return makeKey(key.k.type, key.k.p, value, key.k);
}

/**
 * Inodes of older types become inode_v3, as everywhere when something in them changes. Linux 6.12 keeps the type here and damages inodes of
 * the first one: its trigger writes the number of the journal entry where inode_v3 has it, over the hash seed.
 */
function withFlag(key: Key, flag: number, isSet: boolean): Key {
  const at = FLAGS_AT.get(key.k.type);
  const flags = flagsOf(key);
  if (at === undefined || ((flags & flag) !== 0) === isSet) return key;
  const inode = key.k.type === INODE_V3 ? undefined : inodeOfKey(key, undefined);
  if (inode !== undefined && inode.unpack_error === undefined)
    return makeKey(INODE_V3, key.k.p, packInode({ ...inode, bi_flags: inode.bi_flags ^ flag }), key.k);
  const value = key.value.slice();
  viewOf(value).setUint32(at, (flags ^ flag) >>> 0, true);
  return makeKey(key.k.type, key.k.p, value, key.k);
}

/** The version that the snapshot above saw, when one comes or goes below it. */
function updateParent(tx: Transaction, table: SnapshotTable, pos: Uint32Array, hasChild: boolean): void {
  const snapshot = pos[0]!;
  if (snapshot === 0xffff_ffff) return;
  const range = { from: atSnapshot(pos, snapshot + 1), to: atSnapshot(pos, 0xffff_ffff) };
  for (const key of tx.btree(INODES).keys(range)) {
    // Past whiteouts too: what is above them waits for what is below.
    if (!table.isAncestor(snapshot, key.k.p[0]!) || !isInode(key)) continue;
    const isAbove = hasChild || hasVersionBelow(tx, table, key.k.p, snapshot);
    const changed = withFlag(key, HAS_CHILD_SNAPSHOT, isAbove);
    if (changed !== key) tx.update(INODES, changed);
    return;
  }
}

/** Whether a descendant has a version of its own. @param except the snapshot of one that is about to go */
function hasVersionBelow(tx: Transaction, table: SnapshotTable, pos: Uint32Array, except = 0): boolean {
  const snapshot = pos[0]!;
  if (snapshot === 0 || (table.node(snapshot)?.children.length ?? 0) === 0) return false;
  const range = { from: atSnapshot(pos, 0), to: atSnapshot(pos, snapshot - 1) };
  for (const key of tx.btree(INODES).keys(range)) {
    if (key.k.p[0] !== except && isInode(key) && table.isAncestor(key.k.p[0]!, snapshot)) return true;
  }
  return false;
}
