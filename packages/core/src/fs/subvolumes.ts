// Subvolumes and snapshots of them, as names in a tree of files. Deleting one does all that a kernel would do later: see delete-dead.ts.
// Source: bch2_create_trans and bch2_unlink_trans in fs-common.c, subvolume.c, v1.13.0.

import { CorruptError } from '../ondisk/errors.ts';
import { FILE_TYPE_SUBVOL } from '../ondisk/inode-tables.ts';
import { createSubvolumeKeys, setReadOnly } from '../snapshots/create-nodes.ts';
import { deleteSubvolumeKeys } from '../snapshots/delete-dead.ts';
import { ROOT_SUBVOLUME } from '../snapshots/snapshot-table.ts';
import { printableBytes } from '../util/byte-text.ts';
import { FileError } from './file-error.ts';
import type { FileRef, FileWriter, NewInode } from './file-writer.ts';
import { handOnOlderRoots } from './older-roots.ts';

const S_IFDIR = 0o040000;

/** An empty subvolume; its permissions are 0755 where neither the request nor a default ACL says otherwise. @returns its root */
export function createSubvolume(
  files: FileWriter,
  directory: FileRef,
  name: Uint8Array,
  { mode, ...request }: Partial<NewInode> & { readonly isReadOnly?: boolean } = {},
): FileRef {
  const dir = files.writableDirectory(directory);
  files.checkNew(dir, name);
  // The number first: it is the new subvolume's root's, in a snapshot that is not there yet.
  const permissions =
    mode === undefined ? { mode: S_IFDIR | 0o777, umask: 0o022 } : { mode: S_IFDIR | (mode & 0o7777) };
  const inherited = files.inherit(dir, { ...request, ...permissions });
  const root = files.newInode(dir, dir.subvolume, dir.snapshot, { ...request, mode: inherited.mode });
  files.cache.forget(root);
  const { id, snapshot } = createSubvolumeKeys(files.tx, files.random, {
    inode: root.inum,
    parent: dir.subvolume,
    source: 0,
    isReadOnly: request.isReadOnly ?? false,
    time: files.time(),
  });
  root.inode.bi_subvol = id;
  root.inode.bi_parent_subvol = dir.subvolume;
  const placed = files.cache.add(id, snapshot, root.inum, root.inode);
  files.putAcls(placed, inherited.acls);
  files.enter(dir, name, placed, { child_subvol: id, parent_subvol: dir.subvolume });
  files.rereadSnapshots();
  return { subvolume: id, inum: root.inum };
}

/** A snapshot of a subvolume, with all that is in it now; subvolumes below it are not part of it. @returns its root */
export function createSnapshot(
  files: FileWriter,
  directory: FileRef,
  name: Uint8Array,
  source: number,
  { isReadOnly = false }: { readonly isReadOnly?: boolean } = {},
): FileRef {
  files.checkNew(files.writableDirectory(directory), name);
  const sourceRoot = files.cached(files.root(source));
  if (sourceRoot.inode.bi_subvol !== source) {
    const where = { btree: 'inodes', pos: `0:${sourceRoot.inum}` };
    const detail = `the root of subvolume ${source} says that it is that of ${sourceRoot.inode.bi_subvol}`;
    throw new CorruptError('inode_bi_subvol_wrong', where, detail);
  }
  const inode = { ...sourceRoot.inode };
  // What is changed so far belongs to both.
  files.flush();
  const { id, snapshot } = createSubvolumeKeys(files.tx, files.random, {
    inode: sourceRoot.inum,
    parent: directory.subvolume,
    source,
    isReadOnly,
    time: files.time(),
  });
  files.rereadSnapshots();
  inode.bi_subvol = id;
  inode.bi_parent_subvol = directory.subvolume;
  const dir = files.writableDirectory(directory);
  const root = files.cache.add(id, snapshot, sourceRoot.inum, inode);
  files.enter(dir, name, root, { child_subvol: id, parent_subvol: directory.subvolume });
  files.cache.clear();
  return { subvolume: id, inum: sourceRoot.inum };
}

/** Whether a subvolume may be changed. What was changed in it so far stays. */
export function setSubvolumeReadOnly(files: FileWriter, subvolume: number, isReadOnly: boolean): void {
  if (files.table.subvolume(subvolume) === undefined) throw new FileError('ENOENT', `subvolume ${subvolume}`);
  setReadOnly(files.tx, subvolume, isReadOnly);
  files.rereadSnapshots();
}

/**
 * A subvolume with all that is in it. Subvolumes below it have to be deleted first; snapshots that were made of it stay.
 * @throws FileError ENOTEMPTY, EINVAL when it is none
 */
export function deleteSubvolume(files: FileWriter, directory: FileRef, name: Uint8Array): void {
  const what = printableBytes(name);
  const dir = files.writableDirectory(directory);
  const { key, entry, file } = files.entry(dir, name);
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
  if (files.table.subvolumes().some(({ fsPathParent }) => fsPathParent === id)) throw new FileError('ENOTEMPTY', what);
  const now = files.time();
  dir.inode.bi_mtime = now;
  files.touchChanged(dir);
  files.deleteName(dir, key, true);
  // Of its root nothing is to be written: it goes with the rest.
  files.cache.forget(file);
  files.cache.clear();
  deleteSubvolumeKeys(files.tx, files.random, id);
  files.rereadSnapshots();
  handOnOlderRoots(files.tx, files.table, file.inum, id);
}
