// Putting extents into a file, and taking ranges out of it, as one snapshot sees them. What was there before is cut to what is not
// covered. Keys of an ancestor are never taken away, since other snapshots see them: where this snapshot covers only a part of one, it is
// split into pieces in its own snapshot, and the piece that is covered is hidden here by what takes its place, or by a whiteout, at
// exactly its position. Descendants that have hidden the whole have to hide the pieces too.
// Source: bch2_trans_update_extent and bch2_trans_update_extent_overwrite in btree_update.c, bch2_sum_sector_overwrites in io_write.c,
// v1.13.0.

import { makeKey, type Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, makeBpos } from '../ondisk/bpos.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import { assert } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeys } from '../snapshots/visible.ts';
import { hideInDescendants, needsWhiteout } from '../snapshots/whiteouts.ts';
import { atOffset, cutBack, cutFront, extentEnd, extentStart } from './extent-cut.ts';

const WHITEOUT = keyTypes.idOf('whiteout');
/** What a file's bi_sectors adds up. Mirrors bkey_extent_is_allocation. */
const ALLOCATIONS: readonly number[] = (
  ['extent', 'reservation', 'reflink_p', 'reflink_v', 'inline_data', 'indirect_inline_data', 'error'] as const
).map(name => keyTypes.idOf(name));

const NO_VALUE = new Uint8Array(0);

export interface ExtentChange {
  /** What the file's bi_sectors changes by, in the snapshot of the change. */
  readonly sectors: number;
}

/** Which sectors of which file, in which snapshot. */
export interface ExtentRange {
  readonly inum: bigint;
  readonly snapshot: number;
  readonly start: number;
  readonly end: number;
}

/**
 * Puts an extent where its position says, in place of what its snapshot sees there.
 * @param key of an extent type, with a size; in the btree of extents its snapshot is one that nothing descends from
 * @throws CorruptError, DeviceError when a node that is needed cannot be read; NoSpaceError never
 */
export function insertExtent(
  tx: Transaction,
  table: SnapshotTable,
  key: Key,
  which: BtreeName = 'extents',
): ExtentChange {
  assert(key.k.size > 0, 'an extent has a size');
  const { p } = key.k;
  const range = { pos: p, start: extentStart(key), end: extentEnd(key) };
  const gone = clearRange(tx, table, which, range);
  tx.update(which, key);
  return { sectors: (ALLOCATIONS.includes(key.k.type) ? key.k.size : 0) - gone };
}

/** As insertExtent, into a file that has nothing yet, in any snapshot: that need not be looked for. */
export function insertFirstExtent(tx: Transaction, key: Key): ExtentChange {
  tx.update('extents', key);
  return { sectors: ALLOCATIONS.includes(key.k.type) ? key.k.size : 0 };
}

/** Takes everything out of a range of a file: a hole, as the snapshot sees it. */
export function deleteExtents(
  tx: Transaction,
  table: SnapshotTable,
  { inum, snapshot, start, end }: ExtentRange,
  which: BtreeName = 'extents',
): ExtentChange {
  assert(start <= end, 'a range ends after its start');
  if (start === end) return { sectors: 0 };
  return { sectors: 0 - clearRange(tx, table, which, { pos: makeBpos(inum, 0n, snapshot), start, end }) };
}

interface Cleared {
  /** Inode and snapshot. */
  readonly pos: Bpos;
  readonly start: number;
  readonly end: number;
}

/** @returns how many sectors of allocations were there */
function clearRange(tx: Transaction, table: SnapshotTable, which: BtreeName, range: Cleared): number {
  const { start, end } = range;
  const overlapping: Key[] = [];
  // Keys stand at their ends: the first that ends after the start may overlap.
  for (const key of visibleIn(tx, table, which, range)) {
    if (extentStart(key) >= end) break;
    if (key.k.size > 0) overlapping.push(key);
  }
  let sectors = 0;
  for (const old of overlapping) {
    if (ALLOCATIONS.includes(old.k.type)) {
      sectors += Math.min(end, extentEnd(old)) - Math.max(start, extentStart(old));
    }
    overwrite(tx, table, which, old, range);
  }
  return sectors;
}

function visibleIn(tx: Transaction, table: SnapshotTable, which: BtreeName, { pos, start }: Cleared) {
  const from = atOffset(pos, start + 1);
  const to = Uint32Array.of(0xffff_ffff, 0xffff_ffff, 0xffff_ffff, pos[3]!, pos[4]!);
  const view = tx.btree(which);
  if (pos[0] === 0) return view.keys({ from, to });
  return visibleKeys(view, table, pos[0]!, { from, to });
}

/** Leaves of an old extent what lies outside of the range. */
function overwrite(
  tx: Transaction,
  table: SnapshotTable,
  which: BtreeName,
  old: Key,
  { pos, start, end }: Cleared,
): void {
  const snapshot = pos[0]!;
  const oldPos = old.k.p;
  const [oldStart, oldEnd] = [extentStart(old), extentEnd(old)];
  const hasFront = oldStart < start;
  const hasBack = oldEnd > end;
  const isAncestors = oldPos[0] !== snapshot;
  const split = (piece: Key) => {
    hideInDescendants(tx, which, table, oldPos, piece.k.p);
    tx.update(which, piece);
  };
  if (hasFront) split(cutBack(old, start - oldStart));
  if (isAncestors && (hasFront || hasBack)) {
    const front = hasFront ? cutFront(old, start - oldStart) : old;
    split(hasBack ? cutBack(front, end - Math.max(start, oldStart)) : front);
  }
  if (!hasBack) hide(tx, table, which, oldPos, snapshot);
  else {
    if (isAncestors) hide(tx, table, which, atOffset(oldPos, end), snapshot);
    tx.update(which, cutFront(old, end - oldStart));
  }
}

/** Nothing is seen at this position any more. */
function hide(tx: Transaction, table: SnapshotTable, which: BtreeName, at: Bpos, snapshot: number): void {
  const pos = at.slice();
  pos[0] = snapshot;
  if (at[0] !== snapshot || (snapshot !== 0 && needsWhiteout(tx, which, table, pos))) {
    tx.update(which, makeKey(WHITEOUT, pos, NO_VALUE));
  } else tx.delete(which, pos);
}
