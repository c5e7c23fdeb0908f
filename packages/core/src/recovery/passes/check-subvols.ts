// check_subvols: each subvolume lives in a leaf, and its root directory knows that it is one.
//
// Needs: check_root, after which each has a root directory. Raises: subvol_unreachable (one that was unlinked and is still there after a clean
// shutdown), subvol_root_fs_path_parent_nonzero, subvol_root_wrong_bi_subvol, subvol_not_master_and_not_snapshot. Memory: the subvolumes.
// Repair: one that has a name stays, whatever its flag says; else the field is set, in a version of the root of the subvolume's own where it only sees an older one; what was unlinked goes, as the
// kernel would have taken it away.
// Source: check_subvol in subvolume.c, v1.13.0.

import { dirent } from '../../ondisk/keys/dirent.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import type { Subvolume } from '../../ondisk/keys/subvolume.ts';
import { finding } from '../../report/finding.ts';
import { deleteSubvolumeKeys } from '../../snapshots/delete-dead.ts';
import { ROOT_SUBVOLUME } from '../../snapshots/snapshot-table.ts';
import { visibleKeyAt } from '../../snapshots/visible.ts';
import { systemRandom } from '../../util/random.ts';
import type { Pass, PassContext } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import { inodeIndex, keysOf, placeOf, reportedBefore } from './inode-index.ts';
import { RepairQueue } from './repair-queue.ts';
import { IS_SNAPSHOT, IS_UNLINKED_SUBVOLUME, idPlace, SnapshotKeys } from './snapshot-keys.ts';

const DIRENT = keyTypes.idOf('dirent');

export const checkSubvols: Pass = {
  name: 'check_subvols',
  needs: ['check_snapshots', 'check_snapshot_trees', 'check_root'],
  run(context) {
    if (context.unreadable.has('subvolumes') || context.unreadable.has('snapshots')) return;
    const keys = new SnapshotKeys(context);
    const repairs = new RepairQueue(context);
    for (const [id, value] of [...keys.subvolumes]) {
      if (value.flags & IS_UNLINKED_SUBVOLUME) checkUnlinked(context, repairs, keys, id);
      else {
        checkKey(context, keys, id, value);
        checkRootInode(context, repairs, id, value);
      }
    }
    repairs.run();
  },
};

function checkUnlinked(context: PassContext, repairs: RepairQueue, keys: SnapshotKeys, id: number): void {
  const found = finding('subvol_unreachable', idPlace('subvolumes', id), {});
  // What has a name, or is the one that a mount shows, was not removed: the kernel would delete all that is in it.
  if (id === ROOT_SUBVOLUME || isNamed(context, id)) {
    if (context.reporter.found(found, { after: 'it stays, and is not unlinked' }) === 'fix')
      keys.editSubvolume(id, { flags: (keys.subvolumes.get(id)?.flags ?? 0) & ~IS_UNLINKED_SUBVOLUME });
    return;
  }
  // A mount after a crash takes it away.
  if (context.state.replay.from !== 'clean') return;
  if (context.reporter.found(found, { after: 'it is deleted' }) !== 'fix') return;
  repairs.add(() => deleteSubvolumeKeys(context.change.tx, systemRandom, id));
}

/** Whether the subvolume that is to have a name for it sees one: in its snapshots the key may be there still. */
function isNamed(context: PassContext, id: number): boolean {
  // Nothing is concluded from names that cannot be read.
  if (context.unreadable.has('dirents')) return true;
  const { table } = inodeIndex(context);
  const dirents = context.change.tx.btree('dirents');
  for (const { k, value } of keysOf(context, 'dirents')) {
    if (k.type !== DIRENT || value.length < dirent.minBytes) continue;
    const { target } = dirent.decode(value);
    if (!('child_subvol' in target) || target.child_subvol !== id) continue;
    const parent = table.subvolume(target.parent_subvol);
    if (parent === undefined) return true;
    const seen = visibleKeyAt(dirents, table, parent.snapshot, k.p, { onDamage: reportedBefore });
    if (seen?.k.p[0] === k.p[0]) return true;
  }
  return false;
}

function checkKey({ reporter }: PassContext, keys: SnapshotKeys, id: number, value: Subvolume): void {
  const where = idPlace('subvolumes', id);
  if (id === ROOT_SUBVOLUME && value.fs_path_parent !== 0) {
    const facts = { found: value.fs_path_parent, expected: 0 };
    if (reporter.found(finding('subvol_root_fs_path_parent_nonzero', where, facts)) === 'fix')
      keys.editSubvolume(id, { fs_path_parent: 0 });
  }
  const master = keys.trees.get(keys.nodes.get(value.snapshot)?.tree ?? 0)?.master_subvol ?? 0;
  if (value.flags & IS_SNAPSHOT || master === id) return;
  const found = finding('subvol_not_master_and_not_snapshot', where, { found: master, expected: id });
  if (reporter.found(found, { after: 'it is a snapshot' }) === 'fix')
    keys.editSubvolume(id, { flags: value.flags | IS_SNAPSHOT });
}

function checkRootInode(context: PassContext, repairs: RepairQueue, id: number, value: Subvolume): void {
  if (context.unreadable.has('inodes')) return;
  const index = inodeIndex(context);
  const row = index.rows.seenFrom(value.inode, value.snapshot, index.table);
  if (row === undefined || index.rows.columns.subvolume[row] === id) return;
  const facts = { found: index.rows.columns.subvolume[row]!, expected: id };
  const found = finding('subvol_root_wrong_bi_subvol', placeOf(context, index, row), facts);
  if (context.reporter.found(found) !== 'fix') return;
  const files = new FileRepairs(context);
  const seen = index.rows.columns.snapshot[row]!;
  const { inode: inum, snapshot, fs_path_parent } = value;
  repairs.add(() => {
    // In its own snapshot there may be a key of another type, which hides the older version.
    const own = files.inode(inum, snapshot) ?? files.versions(inum).find(({ keySnapshot }) => keySnapshot === seen);
    if (own === undefined) return;
    const parent = id === ROOT_SUBVOLUME ? 0 : own.inode.bi_parent_subvol || fs_path_parent;
    files.createInode(inum, snapshot, { ...own.inode, bi_subvol: id, bi_parent_subvol: parent });
  });
}
