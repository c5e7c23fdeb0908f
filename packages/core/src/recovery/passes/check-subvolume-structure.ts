// check_subvolume_structure: every subvolume is inside another one, up to the first.
//
// Needs: check_dirents, after which what a subvolume says of its parent is what its name says. Raises: subvol_unreachable, subvol_loop.
// Memory: the subvolumes.
// Repair: a name `subvol-NUMBER` in lost+found of the root; of a loop the subvolume that was made first leaves it.
// Source: check_subvol_path in fsck.c, v1.13.0.

import { makeBpos } from '../../ondisk/bpos.ts';
import { dirent } from '../../ondisk/keys/dirent.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { finding } from '../../report/finding.ts';
import { ROOT_SUBVOLUME, type SnapshotTable } from '../../snapshots/snapshot-table.ts';
import type { Pass } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import { inodeIndex, reportedBefore } from './inode-index.ts';
import { RepairQueue } from './repair-queue.ts';

const DIRENT = keyTypes.idOf('dirent');

export const checkSubvolumeStructure: Pass = {
  name: 'check_subvolume_structure',
  needs: ['check_subvols', 'check_inodes', 'check_dirents', 'check_unreachable_inodes'],
  run(context) {
    if (context.unreadable.has('subvolumes') || context.unreadable.has('dirents')) return;
    const { table } = inodeIndex(context);
    const repairs = new RepairQueue(context);
    const files = new FileRepairs(context);
    const judged = new Set<number>();
    for (const { id, state } of table.subvolumes()) {
      if (id === ROOT_SUBVOLUME || state !== 'live' || judged.has(id)) continue;
      const end = wayUp(table, id);
      if (end === 'root') continue;
      if (end.kind === 'loop') for (const one of end.subvolumes) judged.add(one);
      const which = end.kind === 'loop' ? end.subvolumes.reduce((least, one) => Math.min(least, one)) : id;
      const where = { btree: 'subvolumes', pos: `0:${which}:0` };
      const found =
        end.kind === 'loop'
          ? finding('subvol_loop', where, { detail: `subvolumes ${end.subvolumes.join(', ')} are inside each other` })
          : finding('subvol_unreachable', where, { detail: `it is in subvolume ${end.at}, which is not there` });
      if (context.reporter.found(found, { after: 'a name in lost+found' }) !== 'fix') continue;
      repairs.add(() => {
        leaveParent(files, which);
        files.reattachSubvolume(which, true);
      });
    }
    repairs.run();
  },
};

type WayUp =
  | 'root'
  | { readonly kind: 'loop'; readonly subvolumes: readonly number[] }
  | { readonly kind: 'end'; readonly at: number };

/** Only the subvolume whose own parent is missing is at an end; what is inside of it goes with it. */
function wayUp(table: SnapshotTable, start: number): WayUp {
  const path: number[] = [];
  for (let id = start; ; ) {
    if (id === ROOT_SUBVOLUME) return 'root';
    if (path.includes(id)) return { kind: 'loop', subvolumes: path.slice(path.indexOf(id)) };
    const parent = table.subvolume(id)?.fsPathParent ?? 0;
    if (table.subvolume(parent) === undefined) return path.length === 0 ? { kind: 'end', at: parent } : 'root';
    path.push(id);
    id = parent;
  }
}

/** The names that it has. */
function leaveParent(files: FileRepairs, id: number): void {
  const own = files.table.subvolume(id);
  const root = own === undefined ? undefined : files.inode(own.rootInode, own.snapshot)?.inode;
  if (root === undefined || root.bi_dir === 0n) return;
  const from = makeBpos(root.bi_dir, root.bi_dir_offset, 0);
  const to = makeBpos(root.bi_dir, root.bi_dir_offset, 0xffff_ffff);
  for (const key of [...files.tx.btree('dirents').keys({ from, to, onDamage: reportedBefore })]) {
    if (key.k.type !== DIRENT) continue;
    const { target } = dirent.decode(key.value);
    if ('child_subvol' in target && target.child_subvol === id) files.removeName(key);
  }
}
