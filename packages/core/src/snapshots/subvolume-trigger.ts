// The trigger of subvolumes: each is listed below the one whose directory it is in.
// Source: bch2_subvolume_trigger in subvolume.c, v1.13.0. Snapshots have a trigger in the reference too (bch2_mark_snapshot), which only
// keeps a table in memory: nothing on disk follows from their keys.

import { deletedKey, type KeyChange, makeKey, type Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { subvolume } from '../ondisk/keys/subvolume.ts';

const SUBVOLUME_CHILDREN = btrees.idOf('subvolume_children');
const SUBVOLUME = keyTypes.idOf('subvolume');
const SET = keyTypes.idOf('set');

export function subvolumeTrigger(_context: unknown, tx: Transaction, { before, after }: KeyChange): Key | undefined {
  const [from, to] = [parentOf(before), parentOf(after)];
  if (from === to) return after;
  const { p } = (after ?? before)!.k;
  if (from !== 0) tx.store(SUBVOLUME_CHILDREN, deletedKey(childPos(from, p)));
  if (to !== 0) tx.store(SUBVOLUME_CHILDREN, makeKey(SET, childPos(to, p), new Uint8Array(0)));
  return after;
}

/** The subvolume of the directory that it is in; 0 for none. */
function parentOf(key: Key | undefined): number {
  if (key === undefined || key.k.type !== SUBVOLUME || key.value.length < subvolume.minBytes) return 0;
  return subvolume.decode(key.value).fs_path_parent;
}

/** parent:child:0. */
const childPos = (parent: number, child: Bpos): Bpos => Uint32Array.of(0, child[1]!, child[2]!, parent, 0);
