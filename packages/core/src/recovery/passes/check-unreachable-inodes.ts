// check_unreachable_inodes: what no name leads to gets one in the lost+found of its subvolume.
//
// Checks: every version of an inode has a name that its own snapshot sees, is the root, or is unlinked. Needs: check_dirents, after which an
// inode that has noted a name has it. Raises: inode_unreachable, subvol_unreachable. Memory: the inode index, 4 bytes for each row, and what is unreachable.
// Repair: a name in lost+found, `#NUMBER`, in the snapshot of the version, so that all that see it see its name. What is below a directory
// stays there.
// Source: check_unreachable_inode and reattach_inode in fsck.c, v1.13.0.

import { type InodeRows, IS_DIRECTORY, IS_UNLINKED } from '../../check/inode-rows.ts';
import { makeBpos } from '../../ondisk/bpos.ts';
import { ROOT_INODE } from '../../ondisk/inode-unpack.ts';
import { finding } from '../../report/finding.ts';
import { ROOT_SUBVOLUME } from '../../snapshots/snapshot-table.ts';
import { visibleKeyAt } from '../../snapshots/visible.ts';
import type { Pass } from '../pass.ts';
import { countLinks } from './check-nlinks.ts';
import { FileRepairs } from './file-repairs.ts';
import { inodeIndex, placeOf, reportedBefore } from './inode-index.ts';
import { RepairQueue } from './repair-queue.ts';

export const checkUnreachableInodes: Pass = {
  name: 'check_unreachable_inodes',
  needs: ['check_inodes', 'check_dirents', 'check_root'],
  run(context) {
    if (context.unreadable.has('dirents') || context.unreadable.has('inodes')) return;
    const index = inodeIndex(context);
    const candidates = nameless(index.rows);
    if (candidates.length === 0) return;
    // A file of several names need not have noted any.
    const links = candidates.some(row => !index.rows.has(row, IS_DIRECTORY)) ? countLinks(context, index) : undefined;
    const repairs = new RepairQueue(context);
    const files = new FileRepairs(context);
    const { inum, snapshot } = index.rows.columns;
    for (const row of candidates) {
      if (!index.rows.has(row, IS_DIRECTORY) && links?.[row] !== 0) continue;
      const [number, version] = [inum[row]!, snapshot[row]!];
      const canBe = files.subvolumeShowing(version) !== undefined;
      const where = placeOf(context, index, row);
      const id = index.rows.columns.subvolume[row]!;
      const found =
        index.table.subvolume(id) === undefined
          ? finding('inode_unreachable', where, {})
          : finding('subvol_unreachable', where, { detail: `subvolume ${id} without a name, expected one` });
      const proposal = { isRepairable: canBe, after: 'a name in lost+found' };
      if (context.reporter.found(found, proposal) === 'fix') repairs.add(() => attach(files, number, version));
    }
    repairs.run();
  },
};

/** Versions in older snapshots first: what younger ones see of their names, and of the lost+found that these are in, serves both. */
function nameless(rows: InodeRows): readonly number[] {
  const { dir, inum, snapshot, subvolume } = rows.columns;
  const found: number[] = [];
  for (let row = rows.count - 1; row >= 0; row--) {
    const isRoot = inum[row] === ROOT_INODE && subvolume[row] === ROOT_SUBVOLUME;
    if (dir[row] === 0n && !isRoot && !rows.has(row, IS_UNLINKED)) found.push(row);
  }
  return found.sort((a, b) => snapshot[b]! - snapshot[a]! || b - a);
}

function attach(files: FileRepairs, inum: bigint, snapshot: number): void {
  // All versions of a subvolume's root get its name at once.
  if (files.versions(inum).some(({ inode, keySnapshot }) => keySnapshot === snapshot && inode.bi_dir !== 0n)) return;
  // An older version got a name in the meantime, which this snapshot sees too.
  for (const { inode, keySnapshot } of files.versions(inum)) {
    if (inode.bi_dir === 0n || !files.table.isAncestor(snapshot, keySnapshot)) continue;
    const { bi_dir, bi_dir_offset } = inode;
    const pos = makeBpos(bi_dir, bi_dir_offset, snapshot);
    const options = { onDamage: reportedBefore };
    const name = visibleKeyAt(files.tx.btree('dirents'), files.table, snapshot, pos, options);
    if (name?.k.p[0] !== keySnapshot) continue;
    files.editInode(inum, snapshot, own => {
      own.bi_dir = bi_dir;
      own.bi_dir_offset = bi_dir_offset;
    });
    return;
  }
  files.reattach(inum, snapshot);
}
