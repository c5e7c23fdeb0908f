// rm: takes files out of a filesystem that is not mounted, all that were named or none. Subvolumes are never taken with a tree: they may be
// what snapshots are of, and have a command of their own.

import { countFile, countsText, defineCommand, type FileCounts, noCounts } from '@bcachefs-ts/command';
import {
  atPath,
  type FileEntry,
  FileError,
  type FileNode,
  type FileRef,
  type FileTree,
  fileTypes,
  isDirectory,
  joinPath,
  modeType,
  pathText,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { changeFiles, changeJson, type FileChange, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions } from '../change/options.ts';
import { existingPlace, type NamePlace, placeOf } from '../change/place.ts';
import { typeOf } from '../entry-text.ts';

export const rmCommand = defineCommand({
  name: 'rm',
  summary: 'Remove files and directories',
  description:
    'Everything that is named goes in one commit, or nothing; how many files these were is printed. A file that has other names keeps its ' +
    'contents. Subvolumes, also somewhere below a directory, are refused: `subvolume delete` removes them.',
  examples: [
    { command: 'bcachefs rm disk.img etc/machine-id', does: 'Removes a file' },
    { command: 'bcachefs rm -r disk.img var/cache tmp', does: 'Removes two directories with all that is in them' },
    { command: 'bcachefs rm -r --dry_run disk.img home', does: 'Says how many files would be removed' },
  ],
  positionals: {
    ...changedFilesystemPositional,
    paths: { count: 'some', inside: 'all', bytes: true, help: 'what is removed, as paths from the root' },
  },
  options: {
    recursive: { type: 'flag', alias: 'r', help: 'directories too, with all that is in them' },
    force: { type: 'flag', alias: 'f', help: 'ignore missing paths' },
    ...changeOptions,
  },
  run(context, args) {
    const remove = (change: FileChange) => {
      const counts = noCounts();
      let removed = 0;
      for (const typed of args.paths) {
        const tree = change.tree();
        if (args.force && placeOf(tree, typed).node === undefined) continue;
        removed += removePath(change, tree, existingPlace(tree, typed), { ...args, counts });
      }
      return { summary: `removed ${countsText(counts)}`, counts, isUnchanged: removed === 0 };
    };
    return changeFiles(context, args, remove, { makesRoom: true });
  },
  text: printChange,
  json: changeJson,
});

interface Removal {
  readonly recursive: boolean;
  readonly counts: FileCounts;
}

interface Directory {
  readonly node: FileNode;
  /** Its name in the directory that it is in; undefined for the one that was named. */
  readonly from: { readonly above: Directory; readonly entry: FileEntry } | undefined;
}

/** @returns how many names went */
function removePath(change: FileChange, tree: FileTree, place: NamePlace, { recursive, counts }: Removal): number {
  const { directory, name, node, path, isSubvolume } = place;
  if (node === undefined) return 0;
  if (isSubvolume) throw new UsageError(`${path}: is a subvolume; remove it with \`subvolume delete\``);
  if (isDirectory(node.inode) && !recursive)
    throw new UsageError(`${path}: is a directory; give -r to remove it with all that is in it`, undefined, 'EISDIR');
  const topPath = new TextEncoder().encode(path);
  const directories = isDirectory(node.inode) ? directoriesFrom(tree, node, topPath) : [];
  let removed = 0;
  const remove = (above: FileRef, last: Uint8Array) => {
    const { inode, isGone } = change.edit.files.remove(above, last);
    const type = fileTypes.byId(modeType(inode.bi_mode))?.name ?? 'unknown';
    if (!isGone) counts.links++;
    else {
      countFile(counts, type);
      if (type === 'reg') counts.data_bytes += Number(inode.bi_size);
    }
    removed++;
    change.step();
  };
  const removeEntry = (above: FileRef, entry: FileEntry, entryPath: Uint8Array) => {
    try {
      remove(above, entry.name);
    } catch (thrown) {
      if (!(thrown instanceof FileError)) throw thrown;
      // A name that leads nowhere is damage, which this reports.
      if (thrown.code === 'ENOENT') change.tree().open(entry, { path: entryPath });
      throw new FileError(thrown.code, pathText(entryPath));
    }
  };
  // What is in a directory goes before it, and it goes at once: its number is near those of its files.
  for (const directory of directories.toReversed()) {
    const { node: above, from } = directory;
    const at = pathOf(directory, topPath);
    for (const entry of byNumber(change.tree().entries(above, { path: at }))) {
      removeEntry(above, entry, joinPath([at, entry.name]));
    }
    if (from !== undefined) removeEntry(from.above.node, from.entry, at);
  }
  atPath(path, () => remove(directory, name));
  return removed;
}

/** Inodes and extents lie in the order of numbers, and there is more to change than names, which lie in that of their hashes. */
const byNumber = (entries: Iterable<FileEntry>): readonly FileEntry[] =>
  [...entries].sort((a, b) => Number(numberOf(a) - numberOf(b)));

const numberOf = ({ target }: FileEntry): bigint => ('inum' in target ? target.inum : 0n);

/**
 * A directory and those below it, each before those that are in it, and otherwise in the order of their numbers: what was made together has
 * numbers near each other, and where it lies near each other, a part of the change has few nodes. Files are not looked at.
 * @throws UsageError when the name of a subvolume is among what is in them: before anything is changed
 */
function directoriesFrom(tree: FileTree, top: FileNode, topPath: Uint8Array): readonly Directory[] {
  const found: Directory[] = [];
  const entered = new Set([top.inum]);
  const waiting: Directory[] = [{ node: top, from: undefined }];
  for (let above = waiting.pop(); above !== undefined; above = waiting.pop()) {
    found.push(above);
    const inside: Directory[] = [];
    const at = pathOf(above, topPath);
    for (const entry of tree.entries(above.node, { path: at })) {
      const type = typeOf(entry.type);
      if (type !== 'dir' && type !== 'subvol') continue;
      const path = joinPath([at, entry.name]);
      if (type === 'subvol')
        throw new UsageError(`${pathText(path)}: is a subvolume; remove it with \`subvolume delete\` first`);
      const node = tree.open(entry, { path });
      if (node === undefined || entered.has(node.inum)) continue;
      entered.add(node.inum);
      inside.push({ node, from: { above, entry } });
    }
    // The last one that waits is the next.
    waiting.push(...inside.sort((a, b) => Number(b.node.inum - a.node.inum)));
  }
  return found;
}

/** Not kept for each: in a deep tree, all paths together would be much longer than what is there. */
function pathOf({ from }: Directory, topPath: Uint8Array): Uint8Array {
  const names: Uint8Array[] = [];
  for (let at = from; at !== undefined; at = at.above.from) names.push(at.entry.name);
  return joinPath([topPath, ...names.reverse()]);
}
