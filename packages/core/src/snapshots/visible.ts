// What one snapshot sees of a versioned btree: at each position (inode and offset) the key of the nearest ancestor, and nothing where
// that one is a whiteout. Snapshots at one position stand in ascending order and parents are above their children, so the first
// that is an ancestor is the nearest. In extents too only keys at the very same position hide each other: an overwrite in a
// snapshot leaves whiteouts at the positions of what it replaced. hash_whiteout is given like any key: it hides its ancestors, and a
// search by hash goes on after it.
// Source: bch2_btree_iter_peek_upto with BTREE_ITER_filter_snapshots in btree_iter.c, v1.13.0; btree/iter.c, v1.39.2.

import type { WalkOptions } from '../btree/iterate.ts';
import type { KeyReader } from '../btree/source.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText } from '../ondisk/bpos.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { OnDamage } from './damage.ts';
import type { SnapshotTable } from './snapshot-table.ts';

const WHITEOUT = keyTypes.idOf('whiteout');
const EXTENT_WHITEOUT = keyTypes.idOf('extent_whiteout');

export type VisibleOptions = Pick<WalkOptions, 'from' | 'to' | 'backward' | 'onDamage'>;

/**
 * The keys of a versioned btree as a snapshot sees them, in the order of positions.
 * @param options as KeyReader.keys takes them; the snapshots of `from` and `to` do not matter. `onDamage` is also called once for each
 * snapshot that keys carry and that is missing from the table
 * @throws as KeyReader.keys does
 */
export function* visibleKeys(
  view: KeyReader,
  table: SnapshotTable,
  snapshot: number,
  { from, to, backward = false, onDamage }: VisibleOptions = {},
): Generator<Key> {
  const seen = table.ancestry(snapshot);
  const missing = onDamage === undefined ? undefined : new MissingSnapshots(view.name, table, onDamage);
  // One after the other: for each inode of many this is asked, and objects that are spread take half a microsecond each.
  const walk: { -readonly [name in keyof VisibleOptions]: VisibleOptions[name] } = { backward };
  if (from !== undefined) walk.from = atSnapshot(from, 0);
  if (to !== undefined) walk.to = atSnapshot(to, 0xffff_ffff);
  if (onDamage !== undefined) walk.onDamage = onDamage;
  if (backward) {
    // Ancestors come first: the last one at a position is the nearest.
    let nearest: Key | undefined;
    for (const key of view.keys(walk)) {
      if (nearest !== undefined && !isSamePlace(key.k.p, nearest.k.p)) {
        if (!isWhiteout(nearest)) yield nearest;
        nearest = undefined;
      }
      if (seen.has(key.k.p[0]!)) nearest = key;
      else missing?.check(key.k.p);
    }
    if (nearest !== undefined && !isWhiteout(nearest)) yield nearest;
    return;
  }
  let settled: Bpos | undefined;
  for (const key of view.keys(walk)) {
    const { p } = key.k;
    if (settled !== undefined && isSamePlace(p, settled)) continue;
    if (!seen.has(p[0]!)) {
      missing?.check(p);
      continue;
    }
    settled = p;
    if (!isWhiteout(key)) yield key;
  }
}

/** The key that a snapshot sees at a position, whose own snapshot does not matter. */
export function visibleKeyAt(
  view: KeyReader,
  table: SnapshotTable,
  snapshot: number,
  pos: Bpos,
  options: { readonly onDamage?: OnDamage | undefined } = {},
): Key | undefined {
  const { onDamage } = options;
  const to = atSnapshot(pos, 0xffff_ffff);
  const seen = table.ancestry(snapshot);
  const lookup = onDamage === undefined ? {} : { onDamage };
  let from = atSnapshot(pos, snapshot);
  // Nearly always the first is it, in filesystems without snapshots the only one.
  for (;;) {
    const key = view.first(from, to, lookup);
    if (key === undefined) return undefined;
    const found = key.k.p[0]!;
    if (seen.has(found)) return isWhiteout(key) ? undefined : key;
    if (found === 0xffff_ffff) return undefined;
    from = atSnapshot(pos, found + 1);
  }
}

const isWhiteout = ({ k }: Key): boolean => k.type === WHITEOUT || k.type === EXTENT_WHITEOUT;

/** The same inode and offset. */
function isSamePlace(a: Bpos, b: Bpos): boolean {
  return a[1] === b[1] && a[2] === b[2] && a[3] === b[3] && a[4] === b[4];
}

/** A copy of a position with another snapshot. */
export function atSnapshot(pos: Bpos, snapshot: number): Bpos {
  const copy = pos.slice();
  copy[0] = snapshot;
  return copy;
}

/** Reports once each snapshot that keys carry and that the table does not have: no snapshot sees such keys. */
class MissingSnapshots {
  readonly #btree: string;
  readonly #table: SnapshotTable;
  readonly #onDamage: OnDamage;
  readonly #reported = new Set<number>();
  /** Keys of one snapshot often come one after the other. */
  #last = 0;

  constructor(btree: string, table: SnapshotTable, onDamage: OnDamage) {
    this.#btree = btree;
    this.#table = table;
    this.#onDamage = onDamage;
  }

  check(pos: Bpos): void {
    const id = pos[0]!;
    if (id === this.#last) return;
    this.#last = id;
    if (this.#table.node(id) !== undefined || this.#reported.has(id) || this.#reported.size >= TOLD_MAX) return;
    this.#reported.add(id);
    const where = { btree: this.#btree, pos: bposText(pos) };
    this.#onDamage(new CorruptError('bkey_in_missing_snapshot', where, `a key of snapshot ${id}, which is missing`));
  }
}

/** A btree full of random snapshots is one loss, not a million. */
const TOLD_MAX = 100;
