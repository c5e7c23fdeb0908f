// subvolume delete: a subvolume or snapshot with all that is in it, from a filesystem that is not mounted.

import { defineCommand, noCounts } from '@bcachefs-ts/command';
import { atPath, UsageError } from '@bcachefs-ts/core/engine';
import { changeFiles, changeJson, type FileChange, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions } from '../change/options.ts';
import { existingPlace } from '../change/place.ts';

export const subvolumeDeleteCommand = defineCommand({
  name: 'delete',
  summary: 'Delete a subvolume or snapshot with all that is in it',
  description: 'Snapshots that were made of it stay as they are. Subvolumes below it have to be deleted first.',
  examples: [{ command: 'bcachefs subvolume delete disk.img snapshots/monday', does: 'Deletes a snapshot' }],
  positionals: {
    ...changedFilesystemPositional,
    path: { count: 'one', inside: 'all', bytes: true, help: 'its path from the root' },
  },
  options: changeOptions,
  run(context, args) {
    const remove = ({ tree: open, edit }: FileChange) => {
      const tree = open();
      const { directory, name, node, path, isSubvolume } = existingPlace(tree, args.path);
      if (!isSubvolume) throw new UsageError(`${path}: is not a subvolume`);
      const below = tree.table.subvolumes().filter(({ fsPathParent }) => fsPathParent === node.subvolume);
      if (below.length > 0) {
        const ids = below.map(({ id }) => id).join(', ');
        throw new UsageError(
          `${path}: has subvolumes below it, which have to be deleted first: ${ids} (see \`subvolume list\`)`,
        );
      }
      atPath(path, () => edit.files.deleteSubvolume(directory, name));
      return { summary: `deleted subvolume ${node.subvolume} at ${path}`, counts: { ...noCounts(), subvolumes: 1 } };
    };
    return changeFiles(context, args, remove, { makesRoom: true });
  },
  text: printChange,
  json: changeJson,
});
