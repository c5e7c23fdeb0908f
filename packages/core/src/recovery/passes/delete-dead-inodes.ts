// delete_dead_inodes: files that were deleted while they were open go, and the list of them holds nothing else.
//
// Checks: each position in deleted_inodes has an inode, of a file or an empty directory, that is unlinked and has no version in a younger
// snapshot. Needs: all checks of names, after which an inode that is unlinked has none. Raises: deleted_inode_missing,
// deleted_inode_is_dir, deleted_inode_not_unlinked, deleted_inode_has_child_snapshots, deleted_inode_but_clean. Memory: the list.
// Repair: the key of the list goes; after a clean shutdown, when no program has it open any more, also the inode with all that it has.
// Source: may_delete_deleted_inode and bch2_delete_dead_inodes in inode.c, v1.13.0.

import { inodeOfKey } from '../../fs/inode.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { type Bpos, bposOffset, bposText } from '../../ondisk/bpos.ts';
import type { FaultName } from '../../ondisk/faults.ts';
import { hasInodeFlag, isDirectory } from '../../ondisk/inode-unpack.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { finding } from '../../report/finding.ts';
import type { Pass, PassContext } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import { keysOf, reportedBefore } from './inode-index.ts';
import { RepairQueue } from './repair-queue.ts';

const SET = keyTypes.idOf('set');

export const deleteDeadInodes: Pass = {
  name: 'delete_dead_inodes',
  needs: ['check_inodes', 'check_dirents', 'check_nlinks'],
  run(context) {
    if (context.unreadable.has('inodes') || context.unreadable.has('deleted_inodes')) return;
    const files = new FileRepairs(context);
    const repairs = new RepairQueue(context);
    const isClean = context.state.replay.from === 'clean';
    for (const key of keysOf(context, 'deleted_inodes')) {
      if (key.k.type !== SET) continue;
      const { p } = key.k;
      const where = { btree: 'deleted_inodes', pos: bposText(p) };
      const wrong = whyNotDead(context, files, p);
      if (wrong !== undefined) {
        const facts = wrong.error === 'deleted_inode_not_unlinked' ? {} : { detail: wrong.detail };
        if (context.reporter.found(finding<FaultName>(wrong.error, where, facts as { detail: string })) === 'fix')
          repairs.add(() => context.change.tx.delete('deleted_inodes', p));
      } else if (isClean) {
        const detail = 'an unlinked inode after a clean shutdown, expected none';
        if (context.reporter.found(finding('deleted_inode_but_clean', where, { detail })) === 'fix')
          repairs.add(() => files.deleteInode(bposOffset(p), p[0]!));
      }
    }
    repairs.run();
  },
};

interface NotDead {
  readonly error: FaultName;
  readonly detail: string;
}

function whyNotDead({ change }: PassContext, files: FileRepairs, pos: Bpos): NotDead | undefined {
  const key: Key | undefined = change.tx.get('inodes', pos);
  const inode = key === undefined ? undefined : inodeOfKey(key, reportedBefore);
  if (inode === undefined) return { error: 'deleted_inode_missing', detail: 'no inode there' };
  if (isDirectory(inode) && !files.isEmptyDirectory(bposOffset(pos), pos[0]!))
    return { error: 'deleted_inode_is_dir', detail: 'a directory with entries' };
  if (!hasInodeFlag(inode, 'unlinked')) {
    return isDirectory(inode)
      ? { error: 'deleted_inode_is_dir', detail: 'a directory that is not unlinked' }
      : { error: 'deleted_inode_not_unlinked', detail: 'an inode that is not unlinked' };
  }
  if (hasInodeFlag(inode, 'has_child_snapshot'))
    return { error: 'deleted_inode_has_child_snapshots', detail: 'an inode with a version in a younger snapshot' };
  return undefined;
}
