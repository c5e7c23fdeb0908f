// Names that move: to where nothing is, in place of another, or in exchange with it. All is checked first, and changed then.
// Source: bch2_rename_trans in fs-common.c, bch2_dirent_rename in dirent.c, v1.13.0.

import { makeKey } from '../btree/transaction.ts';
import { type Bpos, bposOffset, inSnapshot } from '../ondisk/bpos.ts';
import { FILE_TYPE_SUBVOL } from '../ondisk/inode-tables.ts';
import { isDirectory } from '../ondisk/inode-unpack.ts';
import type { DirentTarget } from '../ondisk/keys/dirent.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { readSubvolume, writeSubvolume } from '../snapshots/create-nodes.ts';
import { deleteInSnapshot } from '../snapshots/whiteouts.ts';
import { areEqual, printableBytes } from '../util/byte-text.ts';
import { checkCase } from './case-edit.ts';
import { type EditState, type FileRef, isSubdirectory } from './edit-state.ts';
import { FileError } from './file-error.ts';
import type { CachedInode } from './inode-cache.ts';
import { differingOptions, type InodeOptionField, takeOptions } from './inode-options.ts';
import { dropLink } from './inode-removal.ts';
import {
  checkName,
  deleteName,
  direntValue,
  type FoundName,
  findKey,
  findName,
  isEmpty,
  leave,
  leaveLinks,
  putName,
  settleIn,
} from './names.ts';
import { moveOlderRoots } from './older-roots.ts';

export interface RenameOptions {
  /** Both names are there and change places. */
  readonly exchange?: boolean;
  /** The new one must not be there; else what has it is replaced. */
  readonly noReplace?: boolean;
}

export interface NameRef {
  readonly directory: FileRef;
  readonly name: Uint8Array;
}

interface Renaming {
  readonly from: FoundName;
  readonly toDir: CachedInode;
  readonly toName: Uint8Array;
  /** What has the new name. */
  readonly to: FoundName | undefined;
  readonly exchange: boolean;
  /** For messages. */
  readonly what: string;
}

const DIRENT = keyTypes.idOf('dirent');
/** Directories in each other; more are a loop. */
const DEPTH_MAX = 65_536;

export function rename(state: EditState, source: NameRef, target: NameRef, options: RenameOptions): void {
  const renaming = findBoth(state, source, target, options);
  const { from, toDir, toName, to, exchange } = renaming;
  if (to !== undefined && to.file === from.file) {
    if (to.key.k.p.join() === from.key.k.p.join()) respell(state, from, toName);
    return;
  }
  checkSubvolumes(renaming);
  checkLoops(state, renaming);
  if (to !== undefined && !exchange) checkReplaced(state, renaming, to);
  const { taken, takenBack } = checkOptions(state, renaming);

  takeOptions(from.file.inode, toDir.inode, taken);
  if (to !== undefined) takeOptions(to.file.inode, from.dir.inode, takenBack);
  if (to === undefined) moveToFree(state, from, toDir, toName);
  else if (exchange) exchangeNames(state, from, to);
  else replace(state, from, to);
  const now = state.time();
  for (const dir of [from.dir, toDir]) state.touchDirectory(dir, now);
  from.file.inode.bi_ctime = now;
  if (to !== undefined && exchange) to.file.inode.bi_ctime = now;
}

/** @throws FileError when a name is not there, or must not be */
function findBoth(state: EditState, source: NameRef, target: NameRef, options: RenameOptions): Renaming {
  const { exchange = false, noReplace = false } = options;
  const fromDir = state.writableDirectory(source.directory);
  const toDir = state.writableDirectory(target.directory);
  const from = findName(state, fromDir, source.name);
  const toName = target.name;
  checkName(toName);
  checkCase(state, toDir, toName);
  const isTaken = findKey(state, toDir, toName) !== undefined;
  if (!isTaken && exchange) throw new FileError('ENOENT', printableBytes(toName));
  if (isTaken && noReplace) throw new FileError('EEXIST', printableBytes(toName));
  const to = isTaken ? findName(state, toDir, toName) : undefined;
  return { from, toDir, toName, to, exchange, what: `${printableBytes(source.name)} to ${printableBytes(toName)}` };
}

/** Between subvolumes only subvolumes move. */
function checkSubvolumes({ from, toDir, to, what }: Renaming): void {
  if (from.dir.subvolume === toDir.subvolume) return;
  const areSubvolumes = isSubvolume(from) && (to === undefined || isSubvolume(to));
  if (!areSubvolumes) throw new FileError('EXDEV', what);
}

/** No directory may get into itself. */
function checkLoops(state: EditState, { from, toDir, to, exchange, what }: Renaming): void {
  const isLoop =
    isInside(state, toDir, from.file) || (exchange && to !== undefined && isInside(state, from.dir, to.file));
  if (isLoop) throw new FileError('EINVAL', what);
}

function checkReplaced(state: EditState, { from, toName, what }: Renaming, to: FoundName): void {
  if (isSubvolume(to)) throw new FileError('EISDIR', `${printableBytes(toName)} is a subvolume`);
  const isFromDirectory = isDirectory(from.file.inode);
  if (isFromDirectory !== isDirectory(to.file.inode)) throw new FileError(isFromDirectory ? 'ENOTDIR' : 'EISDIR', what);
  if (isFromDirectory && !isEmpty(state, to.file)) throw new FileError('ENOTEMPTY', printableBytes(toName));
}

/**
 * Files take on the options of their new directory; a directory would have to hand them on to all that is in it.
 * @returns what each of the two takes on
 */
function checkOptions(
  state: EditState,
  { from, toDir, to, exchange, what }: Renaming,
): { readonly taken: readonly InodeOptionField[]; readonly takenBack: readonly InodeOptionField[] } {
  const taken = differingOptions(state, from.file.inode, toDir.inode);
  const takenBack = exchange && to !== undefined ? differingOptions(state, to.file.inode, from.dir.inode) : [];
  if (taken.length > 0 && isDirectory(from.file.inode)) throw new FileError('EXDEV', what);
  if (takenBack.length > 0 && to !== undefined && isDirectory(to.file.inode)) throw new FileError('EXDEV', what);
  return { taken, takenBack };
}

function moveToFree(state: EditState, from: FoundName, toDir: CachedInode, toName: Uint8Array): void {
  deleteName(state, from.dir, from.key, isSubvolume(from));
  leaveLinks(from.dir, from.file);
  const pos = putName(state, toDir, toName, from.entry.type, targetIn(toDir, from.entry.target));
  arrive(state, from.file, toDir, pos);
}

function exchangeNames(state: EditState, from: FoundName, to: FoundName): void {
  const [fromPos, toPos] = [retarget(state, from, to), retarget(state, to, from)];
  leaveLinks(from.dir, from.file);
  leaveLinks(to.dir, to.file);
  arrive(state, from.file, to.dir, toPos);
  arrive(state, to.file, from.dir, fromPos);
}

function replace(state: EditState, from: FoundName, to: FoundName): void {
  const pos = retarget(state, to, from);
  deleteName(state, from.dir, from.key, isSubvolume(from));
  leaveLinks(from.dir, from.file);
  leave(state, to.dir, to.file, to.key.k.p);
  arrive(state, from.file, to.dir, pos);
  dropLink(state, to.file);
}

/** A name leads to what another does. @returns where it stands */
function retarget({ tx, table }: EditState, { dir, key, entry }: FoundName, to: FoundName): Bpos {
  const pos = inSnapshot(key.k.p, dir.snapshot);
  const names = { name: entry.name.slice(), casefoldedName: entry.casefoldedName?.slice() };
  const value = direntValue(names, to.entry.type, targetIn(dir, to.entry.target));
  const isOldSubvolume = entry.type === FILE_TYPE_SUBVOL && key.k.p[0] !== dir.snapshot;
  tx.update('dirents', makeKey(DIRENT, pos, value));
  if (isOldSubvolume) deleteInSnapshot(tx, 'dirents', table, key.k.p);
  return pos;
}

/** The same name in other letters, where a directory does not regard them. */
function respell(state: EditState, { dir, file, key, entry }: FoundName, name: Uint8Array): void {
  if (areEqual(entry.name, name)) return;
  const isSubvolumeName = entry.type === FILE_TYPE_SUBVOL;
  const target = targetIn(dir, entry.target);
  deleteName(state, dir, key, isSubvolumeName);
  const pos = putName(state, dir, name, entry.type, target);
  const now = state.time();
  state.touchDirectory(dir, now);
  file.inode.bi_dir = dir.inum;
  file.inode.bi_dir_offset = bposOffset(pos);
  file.inode.bi_ctime = now;
  file.isDirty = true;
}

const targetIn = (dir: CachedInode, target: DirentTarget): DirentTarget =>
  'inum' in target ? target : { ...target, parent_subvol: dir.subvolume };

/** The file has its name in this directory from now on. */
function arrive(state: EditState, file: CachedInode, dir: CachedInode, pos: Bpos): void {
  const { inode } = file;
  if (isSubdirectory(file)) dir.inode.bi_nlink++;
  inode.bi_dir = dir.inum;
  inode.bi_dir_offset = bposOffset(pos);
  if (inode.bi_parent_subvol !== 0 && inode.bi_parent_subvol !== dir.subvolume) {
    inode.bi_parent_subvol = dir.subvolume;
    writeSubvolume(state.tx, inode.bi_subvol, {
      ...readSubvolume(state.tx, inode.bi_subvol),
      fs_path_parent: dir.subvolume,
    });
    // Readers of what is inside of a subvolume notice the move.
    state.rereadSubvolumes();
  }
  if (inode.bi_subvol !== 0) moveOlderRoots(state.tx, file.inum, file.snapshot, inode);
  file.isDirty = true;
  settleIn(state, dir, file);
}

const isSubvolume = ({ entry }: FoundName): boolean => entry.type === FILE_TYPE_SUBVOL;

/** Whether a directory is `above` or below it. */
function isInside(state: EditState, dir: CachedInode, above: CachedInode): boolean {
  let at: CachedInode | undefined = dir;
  for (let depth = 0; at !== undefined && depth < DEPTH_MAX; depth++) {
    if (at.inum === above.inum && at.subvolume === above.subvolume) return true;
    at = state.parentOf(at);
  }
  return false;
}
