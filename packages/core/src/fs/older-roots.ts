// Older versions of the root directory of a subvolume, in snapshots in which no subvolume lives any more. They are not seen, but they say which
// subvolume they are the root of and where its name is, and fsck wants that to be true of every version: so they follow when the name
// moves, and are handed on to a snapshot of it when the subvolume goes. A kernel of 6.12 leaves them, and its fsck complains.
// Source: check_inode and check_inode_dirent_inode in fsck.c, v1.13.0.

import { makeKey, type Transaction } from '../btree/transaction.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { inodeOfKey, readInode } from './inode.ts';
import { type EditableInode, packInode } from './inode-pack.ts';

const INODE_V3 = keyTypes.idOf('inode_v3');

type RootPlace = Pick<EditableInode, 'bi_subvol' | 'bi_parent_subvol' | 'bi_dir' | 'bi_dir_offset'>;

/** All versions but the one that the subvolume itself sees. @param place of each: undefined to leave it */
function rewrite(
  tx: Transaction,
  inum: bigint,
  subvolume: number,
  placeOf: (snapshot: number) => RootPlace | undefined,
): void {
  const range = { from: makeBpos(0n, inum, 0), to: makeBpos(0n, inum, 0xffff_ffff) };
  for (const key of [...tx.btree('inodes').keys(range)]) {
    const inode = inodeOfKey(key, undefined);
    if (inode === undefined || inode.bi_subvol !== subvolume) continue;
    const place = placeOf(key.k.p[0]!);
    if (place === undefined) continue;
    const { bi_subvol, bi_parent_subvol, bi_dir, bi_dir_offset } = place;
    const changed = { ...inode, bi_subvol, bi_parent_subvol, bi_dir, bi_dir_offset };
    tx.update('inodes', makeKey(INODE_V3, key.k.p, packInode(changed)));
  }
}

/** The name of a subvolume stands somewhere else now. @param snapshot its own, whose version is written with the others */
export function moveOlderRoots(tx: Transaction, inum: bigint, snapshot: number, root: RootPlace): void {
  rewrite(tx, inum, root.bi_subvol, id => (id === snapshot ? undefined : root));
}

/** A subvolume is gone: a version that is left belongs to one of those that descend from it. */
export function handOnOlderRoots(tx: Transaction, table: SnapshotTable, inum: bigint, subvolume: number): void {
  rewrite(tx, inum, subvolume, id => {
    const heir = table.subvolumes().find(one => one.rootInode === inum && table.isAncestor(one.snapshot, id));
    return heir === undefined ? undefined : readInode(tx, table, heir.snapshot, inum)?.inode;
  });
}
