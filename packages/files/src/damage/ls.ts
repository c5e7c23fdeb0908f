// damage ls: what a filesystem has recorded as damaged, file by file. Nothing is checked for it: fsck looks for what is wrong now.

import {
  bytesFields,
  CommandFailed,
  type Context,
  DamageLog,
  defineStreamCommand,
  filesystemWord,
  lookUp,
  openTree,
  treeOptions,
} from '@bcachefs-ts/command';
import {
  dateTimeText,
  type ErrorCount,
  errorCountText,
  type FileNode,
  fsckErrorText,
  isDirectory,
  pathText,
  printable,
  RecordedDamage,
} from '@bcachefs-ts/core/engine';
import { sortedWalk } from '../sorted-walk.ts';
import { noRecordText } from './no-record.ts';

interface DamagedFile {
  /** From the root. */
  readonly path: Uint8Array;
  readonly inum: bigint;
  readonly errors: readonly ErrorCount[];
  readonly isLong: boolean;
}

export const damageLsCommand = defineStreamCommand({
  name: 'ls',
  summary: 'List files that a kernel has recorded as damaged',
  description:
    'Since 1.39 kernels record which errors, and which repairs, have damaged a file. This lists the files of a directory with such a record, or ' +
    'a single file, with the names of the errors. A snapshot has what was recorded before it was made.\n\n' +
    'Older filesystems keep no record, so nothing is listed. What is wrong now is found by fsck.',
  examples: [
    { command: 'bcachefs damage ls disk.img', does: 'Lists damaged files of the root directory' },
    {
      command: 'bcachefs damage ls -R --long disk.img home',
      does: 'Lists all below a directory, a line for each error with its times',
    },
  ],
  positionals: {
    ...filesystemWord,
    path: {
      count: 'optional',
      inside: 'all',
      bytes: true,
      help: 'a directory or file, as a path from the root: the root when left out',
    },
  },
  options: {
    recursive: { type: 'flag', alias: 'R', help: 'also files in directories below' },
    long: { type: 'flag', alias: 'l', help: 'a line for each error: how often it was met, first and last' },
    ...treeOptions,
  },
  async *run(context: Context, { path: typed = '/', recursive, long: isLong, ...args }): AsyncGenerator<DamagedFile> {
    const log = new DamageLog(context);
    const opened = await openTree(context, args, log.onDamage);
    try {
      const { filesystem, tree } = opened;
      const { node: start, path } = lookUp(tree, typed);
      const recorded = new RecordedDamage(filesystem, tree.table);
      const none = noRecordText(filesystem);
      if (none !== undefined) context.warn(none);
      else {
        const of = (at: Uint8Array, node: FileNode): readonly DamagedFile[] => {
          const errors = recorded.of(node);
          return errors.length === 0 ? [] : [{ path: at, inum: node.inum, errors, isLong }];
        };
        if (!isDirectory(start.inode)) yield* of(path, start);
        else if (!recorded.isEmpty) {
          const depthMax = recursive ? {} : { depthMax: 1 };
          for (const item of sortedWalk(tree, start, path, depthMax))
            if (item.node !== undefined && !item.isRepeated) yield* of(item.path, item.node);
        }
      }
    } finally {
      opened.close();
    }
    log.finish();
    if (log.count > 0) throw new CommandFailed('there may be more, because parts of the filesystem are lost');
  },
  text({ path, errors, isLong }, out) {
    const name = printable(pathText(path));
    if (!isLong) out.line(`${name}: ${errors.map(({ id }) => fsckErrorText(id)).join(' ')}`);
    else {
      out.line(name);
      for (const { id, count, first = 0, last } of errors) {
        const times = `first ${dateTimeText(first)}  last ${dateTimeText(last)}`;
        out.line(`  ${fsckErrorText(id).padEnd(48)} nr ${errorCountText(count).padEnd(8)} ${times}`);
      }
    }
  },
  json: ({ path, inum, errors }) => ({
    ...bytesFields('path', path),
    inode: inum,
    errors: errors.map(({ id, count, first, last }) => ({
      error: fsckErrorText(id),
      id,
      count,
      first_time: first ?? null,
      last_time: last,
    })),
  }),
});
