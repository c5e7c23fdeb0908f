// damage clear: takes the record of damage away. Only kernels from 1.39 on keep one, and filesystems that new are not written here: the command
// says which of the two it is, and changes nothing.

import {
  type Context,
  DamageLog,
  defineCommand,
  filesystemWord,
  lookUp,
  openTree,
  treeOptions,
} from '@bcachefs-ts/command';
import { assert, checkWritable, pathText, printable } from '@bcachefs-ts/core/engine';
import { noRecordText } from './no-record.ts';

export const damageClearCommand = defineCommand({
  name: 'clear',
  summary: 'Clear what a kernel has recorded as damage',
  description:
    'Filesystems of Linux 6.12, which are all that can be written here, keep no record of damage: it says that there is nothing to clear. ' +
    'Newer ones, whose record `damage ls` lists, are only read: they are refused with exit code 4. The bcachefs-tools of their kernel clear ' +
    'the record of a mounted filesystem.',
  examples: [
    {
      command: 'bcachefs damage clear disk.img file',
      does: 'Says that there is nothing to clear, or that a newer kernel has to do it',
    },
  ],
  positionals: {
    ...filesystemWord,
    path: { count: 'one', inside: 'all', bytes: true, help: 'a file or directory, as a path from the root' },
  },
  options: {
    recursive: { type: 'flag', alias: 'R', help: 'also what is below a directory' },
    ...treeOptions,
  },
  async run(context: Context, { path: typed, recursive: _, ...args }) {
    const log = new DamageLog(context);
    const opened = await openTree(context, args, log.onDamage);
    try {
      const { filesystem, tree } = opened;
      const { path } = lookUp(tree, typed);
      const none = noRecordText(filesystem);
      if (none === undefined) checkWritable(filesystem.sb);
      assert(none !== undefined, 'what is written here has no record of damage');
      return { path, none };
    } finally {
      opened.close();
      log.finish();
    }
  },
  text({ path, none }, out) {
    out.line(`${printable(pathText(path))}: ${none}`);
  },
  json: ({ path }) => ({ path: pathText(path), cleared: 0 }),
});
