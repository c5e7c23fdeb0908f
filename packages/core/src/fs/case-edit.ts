// Directories without regard to case as they are changed: names in their folded form, which stands beside the real one; and the mark that all
// directories above one have, for overlayfs, which cannot be stacked on them.
// Source: bch2_casefold in dirent.c, bch2_maybe_propagate_has_case_insensitive in namei.c, v1.25.3.

import { inodeFlags } from '../ondisk/inode-tables.ts';
import { isDirectory } from '../ondisk/inode-unpack.ts';
import { printableBytes, utf8Text } from '../util/byte-text.ts';
import { isCasefolded } from './case.ts';
import { foldName } from './casefold.ts';
import type { EditState } from './edit-state.ts';
import { FileError } from './file-error.ts';
import type { CachedInode } from './inode-cache.ts';
import type { EditableInode } from './inode-pack.ts';

const HAS_CASE_INSENSITIVE = 1 << inodeFlags.idOf('has_case_insensitive');
/** Directories in each other; more are a loop. */
const DEPTH_MAX = 65_536;

const isCasefoldedDirectory = (state: EditState, inode: Readonly<EditableInode>): boolean =>
  isDirectory(inode) && isCasefolded(inode, state.isCasefolded);

/** How a directory compares a name; undefined where that is the name itself. */
export const foldedName = (state: EditState, dir: CachedInode, name: Uint8Array): Uint8Array | undefined =>
  isCasefoldedDirectory(state, dir.inode) ? foldName(name) : undefined;

/** @throws FileError for a new name that cannot be folded */
export function checkCase(state: EditState, dir: CachedInode, name: Uint8Array): void {
  if (!isCasefoldedDirectory(state, dir.inode) || utf8Text(name) !== undefined) return;
  throw new FileError('EINVAL', `${printableBytes(name)}: not UTF-8, as names without regard to case have to be`);
}

/** The flag of a new directory. */
export const caseFlag = (state: EditState, inode: Readonly<EditableInode>): number =>
  state.rules.marksCaseInsensitive && isCasefoldedDirectory(state, inode) ? HAS_CASE_INSENSITIVE : 0;

/** The flag of a directory whose option was set, and of all above it. */
export function markCase(state: EditState, cached: CachedInode): void {
  cached.inode.bi_flags |= caseFlag(state, cached.inode);
  const parent = state.parentOf(cached);
  if (parent !== undefined) markAbove(state, parent, cached);
}

/** What is above a directory with the flag gets it too, up to the first that has it. */
export function markAbove(state: EditState, dir: CachedInode, { inode }: CachedInode): void {
  if (!isDirectory(inode) || (inode.bi_flags & HAS_CASE_INSENSITIVE) === 0) return;
  let at: CachedInode | undefined = dir;
  for (let depth = 0; at !== undefined && depth < DEPTH_MAX; depth++) {
    if (at.inode.bi_flags & HAS_CASE_INSENSITIVE) return;
    at.inode.bi_flags |= HAS_CASE_INSENSITIVE;
    at.isDirty = true;
    at = state.parentOf(at);
  }
}
