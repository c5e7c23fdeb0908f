// check_directory_structure: every directory is below a root, and none below itself.
//
// Needs: check_unreachable_inodes, after which every directory has a name that it has noted. Raises: dir_loop. Memory: the inode index.
// Repair: of the directories in a loop the one that was made first leaves it and goes to lost+found, under the name that it had.
// Source: check_path_loop in fsck.c, v1.13.0.

import { type InodeRows, IS_DIRECTORY } from '../../check/inode-rows.ts';
import { entryOf } from '../../fs/dirents.ts';
import { makeBpos } from '../../ondisk/bpos.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { finding } from '../../report/finding.ts';
import { visibleKeyAt } from '../../snapshots/visible.ts';
import type { Pass } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import { type InodeIndex, inodeIndex, placeOf, reportedBefore } from './inode-index.ts';
import { RepairQueue } from './repair-queue.ts';

const DIRENT = keyTypes.idOf('dirent');

export const checkDirectoryStructure: Pass = {
  name: 'check_directory_structure',
  needs: ['check_unreachable_inodes', 'check_subvolume_structure'],
  run(context) {
    if (context.unreadable.has('dirents') || context.unreadable.has('inodes')) return;
    const index = inodeIndex(context);
    const repairs = new RepairQueue(context);
    const files = new FileRepairs(context);
    const ended = new Set<number>();
    for (let row = 0; row < index.rows.count; row++) {
      if (!index.rows.has(row, IS_DIRECTORY)) continue;
      const loop = loopAbove(index, row, ended);
      if (loop.length === 0) continue;
      const first = firstMade(index.rows, loop);
      const where = placeOf(context, index, first);
      const found = finding('dir_loop', where, { directories: loop.length });
      if (context.reporter.found(found, { after: 'a name in lost+found' }) !== 'fix') continue;
      const { inum, snapshot } = index.rows.columns;
      const [number, version] = [inum[first]!, snapshot[first]!];
      repairs.add(() => leaveLoop(files, number, version));
    }
    repairs.run();
  },
};

/** Up through the directories; the rows of the loop that it ends in, if it does. */
function loopAbove({ rows, table }: InodeIndex, start: number, ended: Set<number>): readonly number[] {
  const { columns } = rows;
  const path: number[] = [];
  const onPath = new Set<number>();
  let loop: readonly number[] = [];
  let current: number | undefined = start;
  while (current !== undefined && !ended.has(current)) {
    if (onPath.has(current)) {
      loop = path.slice(path.indexOf(current));
      break;
    }
    onPath.add(current);
    path.push(current);
    if (columns.subvolume[current] !== 0 || columns.dir[current] === 0n) break;
    current = rows.seenFrom(columns.dir[current]!, columns.snapshot[current]!, table);
  }
  for (const row of path) ended.add(row);
  return loop;
}

/** Numbers are given upwards, for the most part. */
function firstMade({ columns }: InodeRows, loop: readonly number[]): number {
  let first = loop[0]!;
  for (const row of loop) if (columns.inum[row]! < columns.inum[first]!) first = row;
  return first;
}

function leaveLoop(files: FileRepairs, inum: bigint, snapshot: number): void {
  const own = files.inode(inum, snapshot);
  if (own === undefined) return;
  const { bi_dir, bi_dir_offset } = own.inode;
  const pos = makeBpos(bi_dir, bi_dir_offset, snapshot);
  const key = visibleKeyAt(files.tx.btree('dirents'), files.table, snapshot, pos, { onDamage: reportedBefore });
  const entry = key?.k.type === DIRENT ? entryOf(key, reportedBefore) : undefined;
  if (key !== undefined && entry !== undefined) {
    files.removeName(key);
    const above = files.inode(bi_dir, snapshot);
    if (above !== undefined)
      files.editInode(bi_dir, above.keySnapshot, inode => {
        if (inode.bi_nlink > 0) inode.bi_nlink--;
      });
  }
  files.reattach(inum, snapshot, entry?.name);
}
