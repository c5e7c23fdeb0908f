// Names in directories as they are changed: looked up, made for new and for old files, taken away. What has the last name of a file goes
// with it (inode-removal.ts). Moving names is rename.ts's; what a name of a subvolume stands for is subvolumes.ts's.
// Source: bch2_create_trans, bch2_link_trans and bch2_unlink_trans in fs-common.c, dirent.c, v1.13.0.

import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposOffset, inSnapshot } from '../ondisk/bpos.ts';
import { FILE_TYPE_SUBVOL } from '../ondisk/inode-tables.ts';
import { isDirectory, modeType } from '../ondisk/inode-unpack.ts';
import { type Dirent, type DirentTarget, dirent } from '../ondisk/keys/dirent.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { visibleKeys } from '../snapshots/visible.ts';
import { printableBytes } from '../util/byte-text.ts';
import { checkCase, foldedName, markAbove } from './case-edit.ts';
import { type EditState, type FileRef, isSubdirectory } from './edit-state.ts';
import { FileError } from './file-error.ts';
import { direntTable, type HashTable, hashDelete, hashFind, hashSet, isDirentOf } from './hash-insert.ts';
import { type CachedInode, hashOf } from './inode-cache.ts';
import { differingOptions } from './inode-options.ts';
import type { EditableInode } from './inode-pack.ts';
import { dropLink } from './inode-removal.ts';
import { inherit, type NewInode, newInode } from './new-inodes.ts';
import { putAcls } from './xattr-edit.ts';

export interface RemovedName {
  readonly inode: Readonly<EditableInode>;
  /** It was the last name. */
  readonly isGone: boolean;
}

/** A name with what it leads to. */
export interface FoundName {
  readonly dir: CachedInode;
  readonly key: Key;
  readonly entry: Dirent;
  readonly file: CachedInode;
}

const DIRENT = keyTypes.idOf('dirent');
/** BCH_NAME_MAX is more, Linux allows 255. */
const NAME_MAX = 255;
const NLINK_MAX = 0xffff_ffff;

/** What a name in a directory leads to; into a subvolume, its root. */
export function lookup(state: EditState, directory: FileRef, name: Uint8Array): FileRef | undefined {
  const dir = state.directory(directory);
  const key = findKey(state, dir, name);
  return key === undefined ? undefined : targetOf(state, dir, dirent.decode(key.value).target);
}

/** @returns the new file */
export function create(state: EditState, directory: FileRef, name: Uint8Array, request: NewInode): FileRef {
  const dir = state.writableDirectory(directory);
  checkNew(state, dir, name);
  const { mode, acls } = inherit(state, dir, request);
  const file = newInode(state, dir, dir, { ...request, mode });
  putAcls(state, file, acls);
  enter(state, dir, name, file, { inum: file.inum });
  return { subvolume: file.subvolume, inum: file.inum };
}

/** @throws FileError EXDEV where the file would have to be in two subvolumes, or to have the options of two directories */
export function link(state: EditState, directory: FileRef, name: Uint8Array, target: FileRef): void {
  const dir = state.writableDirectory(directory);
  const file = state.cached(target);
  const what = printableBytes(name);
  if (directory.subvolume !== target.subvolume) throw new FileError('EXDEV', what);
  if (isDirectory(file.inode)) throw new FileError('EISDIR', what);
  checkNew(state, dir, name);
  if (differingOptions(state, file.inode, dir.inode).length > 0) throw new FileError('EXDEV', what);
  if (file.inode.bi_nlink === NLINK_MAX) throw new FileError('EMLINK', what);
  file.inode.bi_nlink++;
  file.inode.bi_ctime = state.time();
  enter(state, dir, name, file, { inum: file.inum });
}

/**
 * Takes a name away: of a file, or of an empty directory; not of a subvolume. The file goes with its last name.
 * @returns the inode that had it, and whether it is gone
 */
export function remove(state: EditState, directory: FileRef, name: Uint8Array): RemovedName {
  const dir = state.writableDirectory(directory);
  const { key, file, entry } = findName(state, dir, name);
  if (entry.type === FILE_TYPE_SUBVOL) throw new FileError('EISDIR', `${printableBytes(name)} is a subvolume`);
  if (isDirectory(file.inode) && !isEmpty(state, file)) throw new FileError('ENOTEMPTY', printableBytes(name));
  deleteName(state, dir, key, false);
  leave(state, dir, file, key.k.p);
  return { inode: file.inode, isGone: dropLink(state, file) };
}

// ---- what the neighbours need: rename.ts, subvolumes.ts

function direntsOf(cached: CachedInode): HashTable {
  const { words: inum, snapshot, subvolume, isNew } = cached;
  return direntTable({ inum, snapshot, subvolume, isNew, hash: hashOf(cached) });
}

export function findKey(state: EditState, dir: CachedInode, name: Uint8Array): Key | undefined {
  const compared = foldedName(state, dir, name) ?? name;
  return hashFind(state.tx, state.table, direntsOf(dir), hashOf(dir).dirent(compared), isDirentOf(compared));
}

/** @throws FileError when there is no such name, or it leads nowhere */
export function findName(state: EditState, dir: CachedInode, name: Uint8Array): FoundName {
  const key = findKey(state, dir, name);
  if (key === undefined) throw new FileError('ENOENT', printableBytes(name));
  const entry = dirent.decode(key.value);
  return { dir, key, entry, file: state.cached(targetOf(state, dir, entry.target)) };
}

function targetOf(state: EditState, dir: CachedInode, target: DirentTarget): FileRef {
  return 'inum' in target ? { subvolume: dir.subvolume, inum: target.inum } : state.root(target.child_subvol);
}

/** Nothing but names of subvolumes that are not seen here. */
export function isEmpty({ tx, table }: EditState, dir: CachedInode): boolean {
  const { words } = dir;
  const from = Uint32Array.of(0, 0, 0, words.lo, words.hi);
  const to = Uint32Array.of(0xffff_ffff, 0xffff_ffff, 0xffff_ffff, words.lo, words.hi);
  const dirents = direntsOf(dir);
  for (const key of visibleKeys(tx.btree('dirents'), table, dir.snapshot, { from, to })) {
    if (key.k.type === DIRENT && dirents.isVisible(key)) return false;
  }
  return true;
}

/** @throws FileError for a name that is not valid */
export function checkName(name: Uint8Array): void {
  const what = printableBytes(name);
  if (name.length > NAME_MAX) throw new FileError('ENAMETOOLONG', what);
  const isDots = name.length <= 2 && name.every(byte => byte === 0x2e);
  if (isDots || name.includes(0) || name.includes(0x2f)) throw new FileError('EINVAL', what);
}

/** @throws FileError for a name that is not valid, or taken */
export function checkNew(state: EditState, dir: CachedInode, name: Uint8Array): void {
  checkName(name);
  checkCase(state, dir, name);
  if (findKey(state, dir, name) !== undefined) throw new FileError('EEXIST', printableBytes(name));
}

/** Makes a name for a file in a directory, where it was not before. */
export function enter(
  state: EditState,
  dir: CachedInode,
  name: Uint8Array,
  file: CachedInode,
  target: DirentTarget,
): void {
  const type = 'inum' in target ? modeType(file.inode.bi_mode) : FILE_TYPE_SUBVOL;
  const pos = putName(state, dir, name, type, target);
  if (isSubdirectory(file)) dir.inode.bi_nlink++;
  state.touchDirectory(dir, state.time());
  file.inode.bi_dir = dir.inum;
  file.inode.bi_dir_offset = bposOffset(pos);
  file.isDirty = true;
  settleIn(state, dir, file);
}

/** What a directory says of where it is. */
export function settleIn(state: EditState, dir: CachedInode, file: CachedInode): void {
  if (state.rules.hasInodeDepth && isSubdirectory(file)) file.inode.bi_depth = dir.inode.bi_depth + 1;
  markAbove(state, dir, file);
}

/** Only the dirent. @returns where it stands */
export function putName(
  state: EditState,
  dir: CachedInode,
  name: Uint8Array,
  type: number,
  target: DirentTarget,
): Bpos {
  const { tx, table } = state;
  const casefoldedName = foldedName(state, dir, name);
  const compared = casefoldedName ?? name;
  const value = direntValue({ name, casefoldedName }, type, target);
  return hashSet(tx, table, direntsOf(dir), hashOf(dir).dirent(compared), isDirentOf(compared), value).pos;
}

/** Only the dirent. One to a subvolume has one version only, which goes from the snapshot that it is in. */
export function deleteName({ tx, table }: EditState, dir: CachedInode, { k }: Key, isSubvolume: boolean): void {
  const snapshot = isSubvolume ? k.p[0]! : dir.snapshot;
  hashDelete(tx, table, { ...direntsOf(dir), snapshot }, inSnapshot(k.p, snapshot));
}

/** The directory and the file after a name between them went. @param pos where the name was */
export function leave(state: EditState, dir: CachedInode, file: CachedInode, pos: Bpos): void {
  const now = state.time();
  leaveLinks(dir, file);
  if (file.inode.bi_dir === dir.inum && file.inode.bi_dir_offset === bposOffset(pos)) {
    file.inode.bi_dir = 0n;
    file.inode.bi_dir_offset = 0n;
  }
  state.touchDirectory(dir, now);
  file.inode.bi_ctime = now;
  file.isDirty = true;
}

/** Only the links of the directory. */
export function leaveLinks(dir: CachedInode, file: CachedInode): void {
  if (isSubdirectory(file) && dir.inode.bi_nlink > 0) dir.inode.bi_nlink--;
}

export const direntValue = (
  { name, casefoldedName }: Pick<Dirent, 'name' | 'casefoldedName'>,
  type: number,
  target: DirentTarget,
): Uint8Array => {
  const namesLength = name.length + (casefoldedName?.length ?? 0);
  return dirent.encode({ target, type, name, casefoldedName, namesLength, namesLengthMax: namesLength });
};
