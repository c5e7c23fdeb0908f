// subvolume snapshot: a snapshot of a subvolume, in a filesystem that is not mounted.

import { defineCommand, lookUp, noCounts } from '@bcachefs-ts/command';
import { atPath, UsageError } from '@bcachefs-ts/core/engine';
import { changeFiles, changeJson, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions } from '../change/options.ts';
import { freePlace, isSubvolumeRoot, shownPath } from '../change/place.ts';

export const subvolumeSnapshotCommand = defineCommand({
  name: 'snapshot',
  summary: 'Make a snapshot of a subvolume',
  description:
    'The snapshot holds all that is in the subvolume now, and can be written to unless -r is given. Subvolumes below it are not part of it.',
  examples: [
    {
      command: 'bcachefs subvolume snapshot disk.img home home-before',
      does: 'Makes a snapshot of the subvolume /home',
    },
    { command: 'bcachefs subvolume snapshot -r disk.img / monday', does: 'Makes a read-only snapshot of the root' },
  ],
  positionals: {
    ...changedFilesystemPositional,
    from: { count: 'one', inside: 'all', bytes: true, help: 'the path of a subvolume; / for the root' },
    to: {
      count: 'one',
      inside: 'all',
      bytes: true,
      help: 'the path of the snapshot; the directory above has to be there',
    },
  },
  options: {
    read_only: { type: 'flag', alias: 'r', help: 'nothing in it can be changed' },
    ...changeOptions,
  },
  run(context, args) {
    return changeFiles(context, args, ({ tree: open, edit }) => {
      const tree = open();
      const { node: source } = lookUp(tree, args.from);
      const from = shownPath(args.from);
      if (!isSubvolumeRoot(tree, source)) throw new UsageError(`${from}: is not a subvolume`);
      const { directory, name, path } = freePlace(tree, args.to);
      const isReadOnly = args.read_only;
      const made = atPath(path, () => edit.files.createSnapshot(directory, name, source.subvolume, { isReadOnly }));
      const kind = isReadOnly ? 'read-only snapshot' : 'snapshot';
      return {
        summary: `made ${kind} ${made.subvolume} of ${from} at ${path}`,
        counts: { ...noCounts(), subvolumes: 1 },
      };
    });
  },
  text: printChange,
  json: changeJson,
});
