// Keys in a snapshot that nothing else knows, a few of them: not a snapshot was lost, but their positions were damaged. Each belongs to the
// snapshot in which the rest of its inode is.

import { makeKey } from '../../btree/transaction.ts';
import { inodeOfKey } from '../../fs/inode.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { bposInode, bposOffset, makeBpos } from '../../ondisk/bpos.ts';
import type { BtreeName } from '../../ondisk/btrees.ts';
import { atSnapshot } from '../../snapshots/visible.ts';
import type { PassContext } from '../pass.ts';
import { inodeIndex, isWhiteout, keysOf, rangeOfInode, reportedBefore } from './inode-index.ts';
import { VERSIONED } from './lost-trees.ts';
import type { SnapshotKeys } from './snapshot-keys.ts';

/** With more a snapshot was lost. */
const STRAYS_MAX = 16;

export interface Stray {
  readonly btree: BtreeName;
  readonly key: Key;
  /** The snapshot that it belongs to; undefined for one that only hides something, where nothing is to be hidden. */
  readonly to: number | undefined;
}

/** Of some snapshots that are not there those of which only strays are left. */
export function straysIn(
  context: PassContext,
  keys: SnapshotKeys,
  ids: ReadonlySet<number>,
): ReadonlyMap<number, readonly Stray[]> {
  const found = new Map<number, Stray[]>();
  const named = namedIn(keys);
  const lost = new Set([...ids].filter(id => named.has(id)));
  if (lost.size === ids.size) return found;
  for (const btree of VERSIONED) {
    for (const { k, value } of keysOf(context, btree)) {
      const id = k.p[0]!;
      if (!ids.has(id) || lost.has(id)) continue;
      const strays = found.get(id) ?? [];
      const stray = strays.length === STRAYS_MAX ? undefined : strayOf(context, keys, btree, { k, value });
      if (stray === undefined) {
        lost.add(id);
        found.delete(id);
      } else found.set(id, [...strays, stray]);
    }
  }
  return found;
}

/** @returns undefined where nothing shows where the key belongs */
function strayOf(context: PassContext, keys: SnapshotKeys, btree: BtreeName, { k, value }: Key): Stray | undefined {
  const key = { k: { ...k, p: k.p.slice() }, value: value.slice() };
  const isFree = (id: number) => context.change.tx.get(btree, atSnapshot(k.p, id)) === undefined;
  const to = snapshotsOf(context, keys, btree, key).find(isFree);
  return to === undefined && !isWhiteout(key) ? undefined : { btree, key, to };
}

export function bringBack({ change }: PassContext, strays: readonly Stray[]): void {
  for (const { btree, key, to } of strays) {
    change.tx.delete(btree, key.k.p);
    if (to !== undefined) change.tx.update(btree, makeKey(key.k.type, atSnapshot(key.k.p, to), key.value, key.k));
  }
}

/** The snapshots that nodes and subvolumes lead to. */
function namedIn({ nodes, subvolumes }: SnapshotKeys): ReadonlySet<number> {
  const named = new Set<number>();
  for (const { parent, children } of nodes.values()) for (const id of [parent, ...children]) named.add(id);
  for (const { snapshot } of subvolumes.values()) named.add(snapshot);
  return named;
}

/** The snapshots that the rest of its inode is in, the oldest first. */
function snapshotsOf(context: PassContext, keys: SnapshotKeys, btree: BtreeName, key: Key): readonly number[] {
  const inum = btree === 'inodes' ? bposOffset(key.k.p) : bposInode(key.k.p);
  const { rows } = inodeIndex(context);
  const [first, end] = rows.of(inum);
  const found = new Set(rows.columns.snapshot.subarray(first, end));
  if (btree === 'inodes') {
    for (const other of ['extents', 'dirents', 'xattrs'] as const)
      for (const { k } of keysOf(context, other, rangeOfInode(inum))) found.add(k.p[0]!);
    const inode = inodeOfKey(key, reportedBefore);
    // The name of a subvolume is in the snapshot of the one around it.
    if (inode !== undefined && inode.bi_dir !== 0n && inode.bi_subvol === 0) {
      const { bi_dir, bi_dir_offset } = inode;
      const range = { from: makeBpos(bi_dir, bi_dir_offset, 0), to: makeBpos(bi_dir, bi_dir_offset, 0xffff_ffff) };
      for (const { k } of keysOf(context, 'dirents', range)) found.add(k.p[0]!);
    }
  }
  return [...found].filter(id => keys.nodes.has(id)).sort((a, b) => b - a);
}
