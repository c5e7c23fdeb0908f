// Subvolumes and snapshots of them, as names in a tree of state. Deleting one does all that a kernel would do later: see delete-dead.ts.
// Source: bch2_create_trans and bch2_unlink_trans in fs-common.c, subvolume.c, v1.13.0.

import { CorruptError } from '../ondisk/errors.ts';
import { FILE_TYPE_SUBVOL } from '../ondisk/inode-tables.ts';
import { createSubvolumeKeys, setReadOnly } from '../snapshots/create-nodes.ts';
import { deleteSubvolumeKeys } from '../snapshots/delete-dead.ts';
import { ROOT_SUBVOLUME } from '../snapshots/snapshot-table.ts';
import { printableBytes } from '../util/byte-text.ts';
import type { EditState, FileRef } from './edit-state.ts';
import { FileError } from './file-error.ts';
import { checkNew, deleteName, enter, findName } from './names.ts';
import { inherit, type NewInode, newInode } from './new-inodes.ts';
import { handOnOlderRoots } from './older-roots.ts';
import { putAcls } from './xattr-edit.ts';

const S_IFDIR = 0o040000;

/** Without a mode it is 0755. */
export type NewSubvolumeOptions = Partial<NewInode> & { readonly isReadOnly?: boolean };

/** An empty subvolume; its permissions are 0755 where neither the request nor a default ACL says otherwise. @returns its root */
export function createSubvolume(
  state: EditState,
  directory: FileRef,
  name: Uint8Array,
  { mode, ...request }: NewSubvolumeOptions,
): FileRef {
  const dir = state.writableDirectory(directory);
  checkNew(state, dir, name);
  // The number first: it is the new subvolume's root's, in a snapshot that is not there yet.
  const permissions =
    mode === undefined ? { mode: S_IFDIR | 0o777, umask: 0o022 } : { mode: S_IFDIR | (mode & 0o7777) };
  const inherited = inherit(state, dir, { ...request, ...permissions });
  const root = newInode(state, dir, dir, { ...request, mode: inherited.mode });
  state.cache.forget(root);
  const { id, snapshot } = createSubvolumeKeys(state.tx, state.random, {
    inode: root.inum,
    parent: dir.subvolume,
    source: 0,
    isReadOnly: request.isReadOnly ?? false,
    time: state.time(),
  });
  root.inode.bi_subvol = id;
  root.inode.bi_parent_subvol = dir.subvolume;
  const placed = state.cache.add(id, snapshot, root.inum, root.inode);
  putAcls(state, placed, inherited.acls);
  enter(state, dir, name, placed, { child_subvol: id, parent_subvol: dir.subvolume });
  state.rereadSnapshots();
  return { subvolume: id, inum: root.inum };
}

/** A snapshot of a subvolume, with all that is in it now; subvolumes below it are not part of it. @returns its root */
export function createSnapshot(
  state: EditState,
  directory: FileRef,
  name: Uint8Array,
  source: number,
  { isReadOnly = false }: { readonly isReadOnly?: boolean },
): FileRef {
  checkNew(state, state.writableDirectory(directory), name);
  const sourceRoot = state.cached(state.root(source));
  if (sourceRoot.inode.bi_subvol !== source) {
    const where = { btree: 'inodes', pos: `0:${sourceRoot.inum}` };
    const detail = `the root of subvolume ${source} says that it is that of ${sourceRoot.inode.bi_subvol}`;
    throw new CorruptError('inode_bi_subvol_wrong', where, detail);
  }
  const inode = { ...sourceRoot.inode };
  // What is changed so far belongs to both.
  state.cache.flush();
  const { id, snapshot } = createSubvolumeKeys(state.tx, state.random, {
    inode: sourceRoot.inum,
    parent: directory.subvolume,
    source,
    isReadOnly,
    time: state.time(),
  });
  state.rereadSnapshots();
  inode.bi_subvol = id;
  inode.bi_parent_subvol = directory.subvolume;
  const dir = state.writableDirectory(directory);
  const root = state.cache.add(id, snapshot, sourceRoot.inum, inode);
  enter(state, dir, name, root, { child_subvol: id, parent_subvol: directory.subvolume });
  state.cache.clear();
  return { subvolume: id, inum: sourceRoot.inum };
}

/** Whether a subvolume may be changed. What was changed in it so far stays. */
export function setSubvolumeReadOnly(state: EditState, subvolume: number, isReadOnly: boolean): void {
  if (state.table.subvolume(subvolume) === undefined) throw new FileError('ENOENT', `subvolume ${subvolume}`);
  setReadOnly(state.tx, subvolume, isReadOnly);
  state.rereadSnapshots();
}

/**
 * A subvolume with all that is in it. Subvolumes below it have to be deleted first; snapshots that were made of it stay.
 * @throws FileError ENOTEMPTY, EINVAL when it is none
 */
export function deleteSubvolume(state: EditState, directory: FileRef, name: Uint8Array): void {
  const what = printableBytes(name);
  const dir = state.writableDirectory(directory);
  const { key, entry, file } = findName(state, dir, name);
  const { target } = entry;
  if (entry.type !== FILE_TYPE_SUBVOL || 'inum' in target) throw new FileError('EINVAL', `${what} is not a subvolume`);
  const id = target.child_subvol;
  if (id === ROOT_SUBVOLUME) {
    throw new CorruptError(
      'inode_bi_parent_wrong',
      { btree: 'dirents' },
      `${what} leads to the root of the filesystem`,
    );
  }
  if (state.table.subvolumes().some(({ fsPathParent }) => fsPathParent === id)) throw new FileError('ENOTEMPTY', what);
  const now = state.time();
  dir.inode.bi_mtime = now;
  state.touchChanged(dir);
  deleteName(state, dir, key, true);
  // Of its root nothing is to be written: it goes with the rest.
  state.cache.forget(file);
  state.cache.clear();
  deleteSubvolumeKeys(state.tx, state.random, id);
  state.rereadSnapshots();
  handOnOlderRoots(state.tx, state.table, file.inum, id);
}
