// check_root: every subvolume has a root directory, the first of all the one that a mount shows.
//
// The kernel looks after names and files, and cannot go on without a root; here it comes before everything that leans on it. Needs: snapshots
// and subvolumes. Raises: root_dir_missing, root_inode_not_dir, subvol_to_missing_root, subvol_root_wrong_bi_subvol. Memory: the inode index.
// Repair: a directory that takes itself for the root is the root. Where there is none, it is made again, in the snapshot that its entries are
// in; check_dirents then finds them where they are.
// Source: check_root in fsck.c, check_subvol in subvolume.c, v1.13.0.

import { IS_DIRECTORY } from '../../check/inode-rows.ts';
import { FILE_TYPE_DIR } from '../../ondisk/inode-tables.ts';
import { ROOT_INODE } from '../../ondisk/inode-unpack.ts';
import { finding } from '../../report/finding.ts';
import type { Proposal } from '../../report/reporter.ts';
import { ROOT_SUBVOLUME, type SubvolumeEntry } from '../../snapshots/snapshot-table.ts';
import type { Pass, PassContext } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import { type InodeIndex, inodeIndex, placeOf } from './inode-index.ts';
import { homeOf, makeVersions } from './owners.ts';
import { RepairQueue } from './repair-queue.ts';
import { SnapshotKeys } from './snapshot-keys.ts';

export const checkRoot: Pass = {
  name: 'check_root',
  needs: ['check_snapshots', 'check_snapshot_trees'],
  run(context) {
    if (context.unreadable.has('inodes') || context.unreadable.has('subvolumes')) return;
    const index = inodeIndex(context);
    const repairs = new RepairQueue(context);
    const files = new FileRepairs(context);
    const roots = rootsOf(index);
    for (const subvolume of index.table.subvolumes()) {
      if (subvolume.state !== 'live') continue;
      const { id, rootInode, snapshot } = subvolume;
      const row = index.rows.seenFrom(rootInode, snapshot, index.table);
      if (row !== undefined && files.inode(rootInode, snapshot) === undefined) {
        const version = index.rows.columns.snapshot[row]!;
        const proposal = { after: 'as the snapshot above has it' };
        if (isMissingFixed(context, subvolume, proposal)) repairs.add(() => uncoverRoot(files, subvolume, version));
        continue;
      }
      const right = rightNumber(index, subvolume, row, roots);
      if (right !== rootInode) {
        if (!isNumberFixed(context, index, row, subvolume, right)) continue;
        repairs.add(() => {
          new SnapshotKeys(context).editSubvolume(id, { inode: right });
          makeRoot(files, { ...subvolume, rootInode: right });
        });
      } else if (row === undefined) {
        if (isMissingFixed(context, subvolume)) repairs.add(() => makeRoot(files, subvolume));
      } else if (!index.rows.has(row, IS_DIRECTORY) && isTypeFixed(context, index, row)) {
        const version = index.rows.columns.snapshot[row]!;
        repairs.add(() =>
          files.editInode(rootInode, version, inode => {
            inode.bi_mode = (FILE_TYPE_DIR << 12) | (inode.bi_mode & 0o7777);
            inode.bi_subvol = id;
            inode.bi_size = 0n;
          }),
        );
      }
    }
    repairs.run();
  },
};

interface Root {
  readonly inum: bigint;
  /** Of the version that says so. */
  readonly snapshot: number;
}

/** The directories that take themselves for the roots of subvolumes. */
function rootsOf({ rows }: InodeIndex): ReadonlyMap<number, readonly Root[]> {
  const { inum, snapshot, subvolume } = rows.columns;
  const roots = new Map<number, Root[]>();
  for (let row = 0; row < rows.count; row++) {
    const id = subvolume[row]!;
    if (id === 0 || !rows.has(row, IS_DIRECTORY)) continue;
    roots.set(id, [...(roots.get(id) ?? []), { inum: inum[row]!, snapshot: snapshot[row]! }]);
  }
  return roots;
}

/** Of what a mount shows the root has a number of its own; of others the directory that takes itself for the root, where there is one. */
function rightNumber(
  { rows, table }: InodeIndex,
  { id, rootInode, snapshot }: SubvolumeEntry,
  row: number | undefined,
  roots: ReadonlyMap<number, readonly Root[]>,
): bigint {
  if (id === ROOT_SUBVOLUME) return ROOT_INODE;
  if (row !== undefined && rows.columns.subvolume[row] === id) return rootInode;
  return roots.get(id)?.find(one => table.isAncestor(snapshot, one.snapshot))?.inum ?? rootInode;
}

/** The subvolume names another inode. */
function isNumberFixed(
  context: PassContext,
  index: InodeIndex,
  row: number | undefined,
  { id, rootInode }: SubvolumeEntry,
  right: bigint,
): boolean {
  const proposal = { after: `the directory ${right} is its root` };
  if (row === undefined || id === ROOT_SUBVOLUME) return isMissingFixed(context, { id, rootInode }, proposal);
  const facts = { found: index.rows.columns.subvolume[row]!, expected: id };
  const where = placeOf(context, index, row);
  return context.reporter.found(finding('subvol_root_wrong_bi_subvol', where, facts), proposal) === 'fix';
}

function isMissingFixed(
  { reporter }: PassContext,
  { id, rootInode }: Pick<SubvolumeEntry, 'id' | 'rootInode'>,
  proposal: Proposal = { after: `the directory ${rootInode} is made anew` },
): boolean {
  const where = { btree: 'subvolumes', pos: `0:${id}:0` };
  if (id !== ROOT_SUBVOLUME)
    return reporter.found(finding('subvol_to_missing_root', where, { inum: rootInode }), proposal) === 'fix';
  const isRight = rootInode === ROOT_INODE;
  const detail = `inode ${rootInode}${isRight ? ', which is missing' : ''}, expected the root directory${isRight ? '' : `, ${ROOT_INODE}`}`;
  return reporter.found(finding('root_dir_missing', where, { detail }), proposal) === 'fix';
}

function isTypeFixed(context: PassContext, index: InodeIndex, row: number): boolean {
  const detail = `mode ${index.rows.columns.mode[row]!.toString(8)} of the root of a subvolume, expected a directory`;
  const where = placeOf(context, index, row);
  return context.reporter.found(finding('root_inode_not_dir', where, { detail })) === 'fix';
}

/** A key of another type hides the version that the subvolume would see. */
function uncoverRoot(files: FileRepairs, { id, rootInode, snapshot }: SubvolumeEntry, version: number): void {
  const seen = files.versions(rootInode).find(({ keySnapshot }) => keySnapshot === version);
  if (seen === undefined || files.inode(rootInode, snapshot) !== undefined) return;
  files.makeOwn(rootInode, seen, snapshot);
  files.editInode(rootInode, snapshot, inode => {
    inode.bi_subvol = id;
  });
}

function makeRoot(files: FileRepairs, { id, rootInode, snapshot, fsPathParent }: SubvolumeEntry): void {
  // One that was made for the subvolume that it is a snapshot of may do.
  if (files.inode(rootInode, snapshot) !== undefined) return;
  files.createInode(rootInode, homeOf(files, rootInode, snapshot), {
    bi_mode: (FILE_TYPE_DIR << 12) | 0o755,
    bi_subvol: id,
    bi_parent_subvol: id === ROOT_SUBVOLUME ? 0 : fsPathParent,
  });
  makeVersions(files, rootInode);
}
