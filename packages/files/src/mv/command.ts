// mv: gives a file or directory of a filesystem that is not mounted another name, as rename(2) does.

import { defineCommand } from '@bcachefs-ts/command';
import { FileError, isDirectory, printableBytes, UsageError } from '@bcachefs-ts/core';
import { atPath, changeFiles, changeJson, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions } from '../change/options.ts';
import { existingPlace, placeOf } from '../change/place.ts';

export const mvCommand = defineCommand({
  name: 'mv',
  summary: 'Rename or move a file or directory',
  description:
    'As rename(2): TO is the new path itself, never a directory to move into. A file that has this path is replaced, and so is an ' +
    'empty directory by a directory. Files and directories stay in their subvolume; a subvolume may be moved anywhere.',
  examples: [
    { command: 'bcachefs mv disk.img etc/fstab etc/fstab.old', does: 'Renames a file' },
    {
      command: 'bcachefs mv --no_replace disk.img home/anna home/berta',
      does: 'Renames a directory, if the new name is free',
    },
  ],
  positionals: {
    ...changedFilesystemPositional,
    from: { count: 'one', help: 'what is moved, as a path from the root' },
    to: { count: 'one', help: 'the path that it gets' },
  },
  options: {
    no_replace: { type: 'flag', help: 'refuse when the new path is taken' },
    ...changeOptions,
  },
  run(context, args) {
    return changeFiles(context, args, change => {
      const tree = change.tree();
      const from = existingPlace(tree, args.from);
      const to = placeOf(tree, args.to);
      const isDir = isDirectory(from.node.inode);
      if (to.wantsDirectory && !isDir) throw new FileError('ENOTDIR', to.path);
      if (to.node !== undefined && args.no_replace) throw new FileError('EEXIST', to.path);
      if (to.node !== undefined && isDirectory(to.node.inode) && !isDir) {
        const inside = `${to.path}/${printableBytes(from.name)}`;
        throw new UsageError(
          `${to.path}: is a directory; to move into it, give the whole new path: ${inside}`,
          undefined,
          'EISDIR',
        );
      }
      const isSame = to.node?.inum === from.node.inum && to.node.subvolume === from.node.subvolume;
      atPath(`${from.path} to ${to.path}`, () =>
        change.edit.files.rename(from.directory, from.name, to.directory, to.name),
      );
      if (isSame) return { summary: `${from.path} and ${to.path} are the same file: nothing to do`, isUnchanged: true };
      const replaced = to.node === undefined ? '' : ', which replaced what was there';
      return { summary: `moved ${from.path} to ${to.path}${replaced}` };
    });
  },
  text: printChange,
  json: changeJson,
});
