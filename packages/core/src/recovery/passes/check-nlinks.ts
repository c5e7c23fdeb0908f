// check_nlinks: link counts are how many names there are.
//
// Checks: files have as many names as they count, in the snapshot of each version; directories count their subdirectories (the kernel does
// that one in check_dirents, before it moves directories about; here it is last). Needs: names that lead to inodes, and nothing unreachable.
// Raises: inode_wrong_nlink, inode_multiple_links_but_nlink_0, inode_dir_wrong_nlink. Memory: the inode index, and four bytes for each row.
// Repair: the count is set. Nothing can be lost.
// Source: check_nlinks_find_hardlinks and check_subdir_count in fsck.c, v1.13.0.

import { type InodeRows, IS_DIRECTORY, IS_UNLINKED } from '../../check/inode-rows.ts';
import { bposInode } from '../../ondisk/bpos.ts';
import { FILE_TYPE_DIR } from '../../ondisk/inode-tables.ts';
import { dirent } from '../../ondisk/keys/dirent.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { finding } from '../../report/finding.ts';
import type { Pass, PassContext } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import { groupsOf, type InodeIndex, inodeIndex, nearest, placeOf } from './inode-index.ts';
import { RepairQueue } from './repair-queue.ts';

const DIRENT = keyTypes.idOf('dirent');

export const checkNlinks: Pass = {
  name: 'check_nlinks',
  needs: ['check_inodes', 'check_dirents', 'check_unreachable_inodes', 'check_directory_structure'],
  run(context) {
    if (context.unreadable.has('dirents') || context.unreadable.has('inodes')) return;
    const index = inodeIndex(context);
    const links = countLinks(context, index);
    const repairs = new RepairQueue(context);
    const files = new FileRepairs(context);
    for (let row = 0; row < index.rows.count; row++) {
      const nlink = wantedLinks(index.rows, row, links[row]!);
      if (nlink === undefined || !isToBeFixed(context, index, row, links[row]!, nlink)) continue;
      const { inum, snapshot } = index.rows.columns;
      const [number, version] = [inum[row]!, snapshot[row]!];
      repairs.add(() =>
        files.editInode(number, version, inode => {
          inode.bi_nlink = nlink;
        }),
      );
    }
    repairs.run();
  },
};

/** What the inode should say; undefined where it does, or where names are not what it goes by. */
function wantedLinks(rows: InodeRows, row: number, links: number): number | undefined {
  const stored = rows.columns.nlink[row]!;
  if (!rows.has(row, IS_DIRECTORY) && (rows.has(row, IS_UNLINKED) || links === 0)) return undefined;
  // What every file has is not counted.
  const wanted = rows.has(row, IS_DIRECTORY) ? links : links - 1;
  return stored === wanted ? undefined : wanted;
}

function isToBeFixed(context: PassContext, index: InodeIndex, row: number, links: number, nlink: number): boolean {
  const { reporter } = context;
  const stored = index.rows.columns.nlink[row]!;
  const proposal = { before: `bi_nlink ${stored}`, after: `bi_nlink ${nlink}` };
  if (index.rows.has(row, IS_DIRECTORY)) {
    const where = placeOf(context, index, row, reporter.countOf('inode_dir_wrong_nlink'));
    const facts = { found: stored, expected: nlink };
    return reporter.found(finding('inode_dir_wrong_nlink', where, facts), proposal) === 'fix';
  }
  if (stored === 0) {
    const where = placeOf(context, index, row, reporter.countOf('inode_multiple_links_but_nlink_0'));
    return reporter.found(finding('inode_multiple_links_but_nlink_0', where, { links }), proposal) === 'fix';
  }
  const where = placeOf(context, index, row, reporter.countOf('inode_wrong_nlink'));
  const facts = { found: stored + 1, expected: links };
  return reporter.found(finding('inode_wrong_nlink', where, facts), proposal) === 'fix';
}

/** Names of each version of a file, subdirectories of each version of a directory. */
export function countLinks(context: PassContext, { rows, table }: InodeIndex): Uint32Array {
  const { columns } = rows;
  const links = new Uint32Array(rows.count);
  for (const group of groupsOf(context, 'dirents')) {
    for (const key of group) {
      if (key.k.type !== DIRENT || key.value.length < dirent.minBytes) continue;
      const { type, target } = dirent.decode(key.value);
      if (type === FILE_TYPE_DIR) {
        const [first, end] = rows.of(bposInode(key.k.p));
        for (let row = first; row < end; row++) {
          if (nearest(group, columns.snapshot[row]!, table) === key) links[row] = links[row]! + 1;
        }
      }
      if (!('inum' in target)) continue;
      const own = key.k.p[0]!;
      const [first, end] = rows.of(target.inum);
      for (let row = first; row < end; row++) {
        const snapshot = columns.snapshot[row]!;
        const isSeen = snapshot <= own ? nearest(group, snapshot, table) === key : table.isAncestor(own, snapshot);
        if (!isSeen) continue;
        if (!rows.has(row, IS_DIRECTORY)) links[row] = links[row]! + 1;
        // What is above it sees another name.
        if (snapshot >= own) break;
      }
    }
  }
  return links;
}
