// subvolume create: an empty subvolume, in a filesystem that is not mounted.

import { defineCommand, noCounts } from '@bcachefs-ts/command';
import { atPath } from '@bcachefs-ts/core/engine';
import { changeFiles, changeJson, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions, newDirectoryOptions } from '../change/options.ts';
import { freePlace } from '../change/place.ts';

export const subvolumeCreateCommand = defineCommand({
  name: 'create',
  summary: 'Make an empty subvolume',
  examples: [{ command: 'bcachefs subvolume create disk.img home', does: 'Makes the subvolume /home' }],
  positionals: {
    ...changedFilesystemPositional,
    path: {
      count: 'one',
      inside: 'all',
      bytes: true,
      help: 'its path from the root; the directory above has to be there',
    },
  },
  options: { ...newDirectoryOptions, ...changeOptions },
  run(context, args) {
    return changeFiles(context, args, ({ tree, edit }) => {
      const { directory, name, path } = freePlace(tree(), args.path);
      const { mode, owner } = args;
      const asked = mode === undefined ? {} : { mode };
      const made = atPath(path, () => edit.files.createSubvolume(directory, name, { ...asked, ...owner }));
      if (owner !== undefined) edit.files.setAttributes(made, owner);
      return { summary: `made subvolume ${made.subvolume} at ${path}`, counts: { ...noCounts(), subvolumes: 1 } };
    });
  },
  text: printChange,
  json: changeJson,
});
