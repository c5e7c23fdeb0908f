// Changing versioned btrees so that each snapshot goes on to see what it saw. A key of an ancestor shows through in a snapshot; taking it
// away there leaves a whiteout at its position. And what is moved or split in a snapshot that others descend from must stay hidden
// in those of them that have hidden it.
// Source: need_whiteout_for_snapshot, __bch2_insert_snapshot_whiteouts and bch2_trans_update in btree_update.c, v1.13.0.

import { makeKey, type Transaction } from '../btree/transaction.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { SnapshotTable } from './snapshot-table.ts';
import { atSnapshot } from './visible.ts';

const WHITEOUT = keyTypes.idOf('whiteout');
const NO_VALUE = new Uint8Array(0);

/** Whether a key of an ancestor would show through at a position where none is any more. */
export function needsWhiteout(tx: Transaction, which: BtreeName | number, table: SnapshotTable, pos: Bpos): boolean {
  const snapshot = pos[0]!;
  if ((table.node(snapshot)?.parent ?? 0) === 0 || snapshot === 0xffff_ffff) return false;
  const range = { from: atSnapshot(pos, snapshot + 1), to: atSnapshot(pos, 0xffff_ffff) };
  for (const { k } of tx.btree(which).keys(range)) {
    if (table.isAncestor(snapshot, k.p[0]!)) return k.type !== WHITEOUT;
  }
  return false;
}

/** Takes a key away in one snapshot: what an ancestor has there does not come to light. */
export function deleteInSnapshot(tx: Transaction, which: BtreeName | number, table: SnapshotTable, pos: Bpos): void {
  if (needsWhiteout(tx, which, table, pos)) tx.update(which, makeKey(WHITEOUT, pos, NO_VALUE));
  else tx.delete(which, pos);
}

/**
 * A key of `oldPos` is to be put at `newPos`, in the same snapshot: descendants that have something else at the old position, or
 * nothing, do not see it at the new one either.
 */
export function hideInDescendants(
  tx: Transaction,
  which: BtreeName | number,
  table: SnapshotTable,
  oldPos: Bpos,
  newPos: Bpos,
): void {
  const snapshot = oldPos[0]!;
  if (snapshot === 0 || (table.node(snapshot)?.children.length ?? 0) === 0) return;
  const range = { from: atSnapshot(oldPos, 0), to: atSnapshot(oldPos, snapshot - 1) };
  const overwriters = [...tx.btree(which).keys(range)].map(({ k }) => k.p[0]!).reverse();
  const done: number[] = [];
  for (const id of overwriters) {
    if (!table.isAncestor(id, snapshot) || done.some(ancestor => table.isAncestor(id, ancestor))) continue;
    const pos = atSnapshot(newPos, id);
    if (tx.get(which, pos) === undefined) tx.update(which, makeKey(WHITEOUT, pos, NO_VALUE));
    done.push(id);
  }
}
