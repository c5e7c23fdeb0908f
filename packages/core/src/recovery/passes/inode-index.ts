// What passes over files look things up in: the snapshots, and all inodes in columns (check/inode-rows.ts: 88 bytes each). It is read once and
// kept from pass to pass for as long as no inode and no snapshot changes.

import type { WalkOptions } from '../../btree/iterate.ts';
import type { KeyMap } from '../../btree/key-map.ts';
import { keyRuns } from '../../btree/key-runs.ts';
import { InodeRows } from '../../check/inode-rows.ts';
import { entryOf } from '../../fs/dirents.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { type Bpos, bposInode, bposText, makeBpos } from '../../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../../ondisk/btrees.ts';
import type { Location } from '../../ondisk/errors.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import type { OnDamage } from '../../snapshots/damage.ts';
import { ROOT_SUBVOLUME, SnapshotTable } from '../../snapshots/snapshot-table.ts';
import { visibleKeyAt } from '../../snapshots/visible.ts';
import { printableBytes } from '../../util/byte-text.ts';
import type { PassContext } from '../pass.ts';

/** What nodes have lost is found by check_topology, before any pass: here it is only not there. */
export const reportedBefore: OnDamage = () => {};

const WHITEOUTS: readonly number[] = (['whiteout', 'extent_whiteout', 'hash_whiteout'] as const).map(name =>
  keyTypes.idOf(name),
);
const DIRENT = keyTypes.idOf('dirent');

export const isWhiteout = ({ k }: Key): boolean => WHITEOUTS.includes(k.type);

export interface InodeIndex {
  readonly table: SnapshotTable;
  readonly rows: InodeRows;
  /** The snapshots of all keys of inodes, those of none that could be read too. */
  readonly snapshots: ReadonlySet<number>;
}

/** What an index was made from. */
interface Kept extends InodeIndex {
  readonly stamp: readonly unknown[];
}

const kept = new WeakMap<object, Kept>();

/** The inodes and snapshots with everything that was repaired so far. */
export function inodeIndex(context: PassContext): InodeIndex {
  const stamp = stampOf(context);
  const known = kept.get(context.reporter);
  if (known?.stamp.every((part, i) => part === stamp[i]) === true) return known;
  const { tx } = context.change;
  const rows = new InodeRows();
  const snapshots = new Set<number>();
  let last = -1;
  for (const run of keyRuns(tx.btree('inodes'), { onDamage: reportedBefore })) {
    for (let i = run.first; i < run.end; i++) {
      const snapshot = run.rows[run.positionAt(i)]!;
      if (snapshot !== last) snapshots.add(snapshot);
      last = snapshot;
      rows.addKey(run, i, reportedBefore);
    }
  }
  const index = { table: SnapshotTable.read(tx, { onDamage: reportedBefore }), rows, snapshots, stamp };
  kept.set(context.reporter, index);
  return index;
}

function stampOf({ state, change }: PassContext): readonly unknown[] {
  return (['inodes', 'snapshots', 'subvolumes'] as const).flatMap(name => {
    const changed: KeyMap | undefined = change.tx.changesOf(btrees.idOf(name));
    // A transaction without changes shows what the one before it did.
    return [state.btree(name).root, changed, changed?.changes];
  });
}

/** The keys of a btree as they are now, with what was repaired. */
export function keysOf(context: PassContext, btree: BtreeName, options: WalkOptions = {}): Generator<Key> {
  return context.change.tx.btree(btree).keys({ ...options, onDamage: reportedBefore });
}

/** Keys of one inode and offset, in all snapshots. */
export function* groupsOf(
  context: PassContext,
  btree: BtreeName,
  options: WalkOptions = {},
): Generator<readonly [Key, ...Key[]]> {
  let group: [Key, ...Key[]] | undefined;
  for (const key of keysOf(context, btree, options)) {
    if (group !== undefined && isSamePlace(group[0].k.p, key.k.p)) group.push(key);
    else {
      if (group !== undefined) yield group;
      group = [key];
    }
  }
  if (group !== undefined) yield group;
}

const isSamePlace = (a: Bpos, b: Bpos): boolean => a[1] === b[1] && a[2] === b[2] && a[3] === b[3] && a[4] === b[4];

/** What a snapshot sees of a group: snapshots stand in ascending order, so the first ancestor is the nearest. */
export function nearest(group: readonly Key[], snapshot: number, table: SnapshotTable): Key | undefined {
  for (const key of group) if (table.isAncestor(snapshot, key.k.p[0]!)) return key;
  return undefined;
}

/** All keys of an inode in one of the btrees that have it first in their positions. */
export const rangeOfInode = (inum: bigint): { readonly from: Bpos; readonly to: Bpos } => ({
  from: makeBpos(inum, 0n, 0),
  to: makeBpos(inum, 0xffff_ffff_ffff_ffffn, 0xffff_ffff),
});

/** Above so many findings of an error the path is no longer looked for: it takes lookups. */
const PATHS_MAX = 100;
const DEPTH_MAX = 256;

/** Where a row is, with its path while there are not many findings. */
export function placeOf(context: PassContext, index: InodeIndex, row: number, counted = 0): Location {
  const { inum, snapshot } = index.rows.columns;
  const where = { btree: 'inodes', pos: bposText(makeBpos(0n, inum[row]!, snapshot[row]!)) };
  const path = counted < PATHS_MAX ? pathOf(context, index, row) : undefined;
  return path === undefined ? where : { ...where, path };
}

/** A key of an inode that has the inode first in its position. */
export function placeOfKey(
  context: PassContext,
  index: InodeIndex,
  btree: BtreeName,
  pos: Bpos,
  counted = 0,
): Location {
  const where = { btree, pos: bposText(pos) };
  const row = counted < PATHS_MAX ? index.rows.seenFrom(bposInode(pos), pos[0]!, index.table) : undefined;
  const path = row === undefined ? undefined : pathOf(context, index, row);
  return path === undefined ? where : { ...where, path };
}

/** Up by backpointers; undefined where they do not lead to the root. */
function pathOf(context: PassContext, { rows, table }: InodeIndex, start: number): string | undefined {
  const { columns } = rows;
  const dirents = context.change.tx.btree('dirents');
  const names: string[] = [];
  let row: number | undefined = start;
  for (let depth = 0; row !== undefined && depth < DEPTH_MAX; depth++) {
    const subvolume = columns.subvolume[row]!;
    if (subvolume === ROOT_SUBVOLUME) return `/${names.reverse().join('/')}`;
    const outer = subvolume === 0 ? undefined : table.subvolume(columns.parentSubvolume[row]!);
    const snapshot = subvolume === 0 ? columns.snapshot[row]! : outer?.snapshot;
    const dir = columns.dir[row]!;
    if (dir === 0n || snapshot === undefined) return undefined;
    const pos = makeBpos(dir, columns.dirOffset[row]!, snapshot);
    const key = visibleKeyAt(dirents, table, snapshot, pos, { onDamage: reportedBefore });
    const entry = key?.k.type === DIRENT ? entryOf(key, reportedBefore) : undefined;
    if (entry === undefined) return undefined;
    names.push(printableBytes(entry.name));
    row = rows.seenFrom(dir, snapshot, table);
  }
  return undefined;
}
