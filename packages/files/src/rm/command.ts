// rm: takes files out of a filesystem that is not mounted, all that were named or none. Subvolumes are never taken with a tree: they may be
// what snapshots are of, and have a command of their own.

import { countFile, countsText, defineCommand, type FileCounts, noCounts } from '@bcachefs-ts/command';
import { type FileRef, type FileTree, type FileTypeName, isDirectory, pathText, UsageError } from '@bcachefs-ts/core';
import { atPath, type Change, changeFiles, changeJson, ENTRIES_MAX, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions } from '../change/options.ts';
import { existingPlace, type Place, placeOf } from '../change/place.ts';
import { typeOf } from '../entry-text.ts';

export const rmCommand = defineCommand({
  name: 'rm',
  summary: 'Remove files and directories',
  description:
    'Everything that is named goes in one commit, or nothing; how many files these were is printed. A file that has other names keeps its ' +
    'contents. Subvolumes, also somewhere below a directory, are refused: `subvolume delete` removes them.\n\n' +
    `Up to ${ENTRIES_MAX} files go at once.`,
  examples: [
    { command: 'bcachefs rm disk.img etc/machine-id', does: 'Removes a file' },
    { command: 'bcachefs rm -r disk.img var/cache tmp', does: 'Removes two directories with all that is in them' },
    { command: 'bcachefs rm -r --dry_run disk.img home', does: 'Says how many files would be removed' },
  ],
  positionals: {
    ...changedFilesystemPositional,
    paths: { count: 'some', help: 'what is removed, as paths from the root' },
  },
  options: {
    recursive: { type: 'flag', alias: 'r', help: 'directories too, with all that is in them' },
    force: { type: 'flag', alias: 'f', help: 'paths that are not there are no error' },
    ...changeOptions,
  },
  run(context, args) {
    const remove = (change: Change) => {
      const counts = noCounts();
      let removed = 0;
      for (const typed of args.paths) {
        const tree = change.tree();
        if (args.force && placeOf(tree, typed).node === undefined) continue;
        removed += removePath(change, tree, existingPlace(tree, typed), {
          ...args,
          counts,
          room: ENTRIES_MAX - removed,
        });
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
  /** So many more may be removed. */
  readonly room: number;
}

interface Named {
  readonly directory: FileRef;
  readonly name: Uint8Array;
  readonly path: Uint8Array;
  readonly type: FileTypeName;
  readonly sizeBytes: number;
}

/** @returns how many names went */
function removePath(change: Change, tree: FileTree, place: Place, { recursive, counts, room }: Removal): number {
  const { directory, name, node, path, isSubvolume } = place;
  if (node === undefined) return 0;
  if (isSubvolume) throw new UsageError(`${path}: is a subvolume; remove it with \`subvolume delete\``);
  if (isDirectory(node.inode) && !recursive)
    throw new UsageError(`${path}: is a directory; give -r to remove it with all that is in it`, undefined, 'EISDIR');
  const found: Named[] = [];
  for (const item of tree.walk({ from: node, path: new TextEncoder().encode(path) })) {
    const { entry, node: file } = item;
    const type = file === undefined ? 'unknown' : tree.stat(file).type;
    if (entry !== undefined && typeOf(entry.type) === 'subvol') {
      throw new UsageError(`${pathText(item.path)}: is a subvolume; remove it with \`subvolume delete\` first`);
    }
    const at = entry ?? { directory, name };
    const sizeBytes = file === undefined || type !== 'reg' ? 0 : Number(file.inode.bi_size);
    // The path is a view into what the walk goes on to use.
    found.push({ directory: at.directory, name: at.name.slice(), path: item.path.slice(), type, sizeBytes });
    if (found.length > room) throw new UsageError(`${path}: more than ${ENTRIES_MAX} files; remove them in parts`);
  }
  // What is in a directory comes after it.
  for (const { directory: above, name: last, path: at, type, sizeBytes } of found.toReversed()) {
    const file = change.edit.files.lookup(above, last);
    const isLast = type === 'dir' || file === undefined || change.edit.files.inode(file).bi_nlink === 0;
    atPath(pathText(at), () => change.edit.files.remove(above, last));
    if (!isLast) counts.links++;
    else {
      countFile(counts, type);
      counts.data_bytes += sizeBytes;
    }
  }
  return found.length;
}
