// Merges the bsets of a node into one run of keys: of the keys at one position the newest counts (a later bset, or a later place in
// the same bset), and when that one is deleted, none does. Whiteouts of the snapshots btrees are keys like others here: they hide
// keys of ancestors, which snapshot filtering sees to. Extents are not cut: since `new_extent_overwrite` every change of an extent
// writes whole keys, with a deletion at the old position where it is not replaced.
// Source: bch2_key_sort_fix_overlapping in btree/sort.c, v1.36.1.

import { ROW, ROW_WORDS } from '../ondisk/bkey-format.ts';
import { BPOS_WORDS } from '../ondisk/bpos.ts';
import { DELETED, type KeyRows } from './node.ts';

/** @param runs oldest first; each in order of positions */
export function mergeRuns(runs: readonly KeyRows[]): KeyRows {
  let merged: KeyRows = { rows: new Uint32Array(0), count: 0 };
  // The first run is by far the longest, and later ones are short: merging two at a time, the shortest first, copies little.
  const left = [...runs];
  while (left.length > 1) {
    const newer = left.pop()!;
    const older = left.pop()!;
    left.push(mergeTwo(older, newer));
  }
  if (left[0] !== undefined) merged = withoutDeleted(left[0]);
  return merged;
}

/** Both with deletions, which still have to hide keys of older runs. */
function mergeTwo(older: KeyRows, newer: KeyRows): KeyRows {
  if (newer.count === 0) return older;
  if (older.count === 0) return newer;
  const rows = new Uint32Array((older.count + newer.count) * ROW_WORDS);
  let count = 0;
  let i = 0;
  let j = 0;
  while (i < older.count || j < newer.count) {
    const order = i === older.count ? 1 : j === newer.count ? -1 : compareRows(older.rows, i, newer.rows, j);
    if (order < 0) {
      copyRow(older.rows, i++, rows, count++);
    } else if (order > 0) {
      copyRow(newer.rows, j++, rows, count++);
    } else {
      i++; // hidden by the newer one, which is looked at again
    }
  }
  return { rows, count };
}

/** Also where one run has two keys at the same position: a deletion and what came after it. */
function withoutDeleted({ rows, count }: KeyRows): KeyRows {
  let kept = 0;
  for (let i = 0; i < count; i++) {
    if (((rows[i * ROW_WORDS]! >>> 16) & 0xff) === DELETED) continue;
    if (kept !== i) copyRow(rows, i, rows, kept);
    kept++;
  }
  return { rows, count: kept };
}

function copyRow(from: Uint32Array, i: number, to: Uint32Array, j: number): void {
  const source = i * ROW_WORDS;
  const target = j * ROW_WORDS;
  for (let word = 0; word < ROW_WORDS; word++) to[target + word] = from[source + word]!;
}

/** In the order of positions. */
export function compareRows(a: Uint32Array, i: number, b: Uint32Array, j: number): number {
  const left = i * ROW_WORDS + ROW.position;
  const right = j * ROW_WORDS + ROW.position;
  for (let word = BPOS_WORDS - 1; word >= 0; word--) {
    const difference = a[left + word]! - b[right + word]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
