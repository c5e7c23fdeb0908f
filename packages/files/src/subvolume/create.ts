// subvolume create: an empty subvolume, in a filesystem that is not mounted.

import { defineCommand } from '@bcachefs-ts/command';
import { createSubvolume, FileError } from '@bcachefs-ts/core';
import { noCounts } from '../change/counts.ts';
import { atPath, changeFiles, changeJson, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions, DIRECTORY_MODE, newDirectoryOptions } from '../change/options.ts';
import { placeOf } from '../change/place.ts';

export const subvolumeCreateCommand = defineCommand({
  name: 'create',
  summary: 'Make an empty subvolume',
  examples: [{ command: 'bcachefs subvolume create disk.img home', does: 'Makes the subvolume /home' }],
  positionals: {
    ...changedFilesystemPositional,
    path: { count: 'one', help: 'its path from the root; the directory above has to be there' },
  },
  options: { ...newDirectoryOptions, ...changeOptions },
  run(context, args) {
    return changeFiles(context, args, ({ tree, edit }) => {
      const { directory, name, node, path } = placeOf(tree(), args.path);
      if (node !== undefined) throw new FileError('EEXIST', path);
      const mode = args.mode ?? DIRECTORY_MODE;
      const made = atPath(path, () => createSubvolume(edit.files, directory, name, { mode, ...args.owner }));
      if (args.owner !== undefined) edit.files.setAttributes(made, args.owner);
      return { summary: `made subvolume ${made.subvolume} at ${path}`, counts: { ...noCounts(), subvolumes: 1 } };
    });
  },
  text: printChange,
  json: changeJson,
});
