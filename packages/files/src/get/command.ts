// get: copies files out of a filesystem that is not mounted to where the user wants them, as cp does: `put` the other way round. What is written,
// and how safely, is `restore`'s doing; only the names are other ones.

import { lstatSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  atOption,
  CommandLineError,
  type Context,
  defineCommand,
  filesystemWord,
  lookUp,
  openTree,
  type TreeArgs,
  treeOptions,
} from '@bcachefs-ts/command';
import {
  bytesOfWord,
  type Damage,
  type FileNode,
  isDirectory,
  joinPath,
  UsageError,
  wordOfBytes,
} from '@bcachefs-ts/core/engine';
import { PathFilter } from '../filter.ts';
import {
  countFiles,
  printRestored,
  type RestoreResult,
  restoredJson,
  restoreExitCode,
  writeFiles,
} from '../restore/command.ts';
import { Report, unkeptKinds } from '../restore/report.ts';
import { type RestoreSource, sourceOf } from '../restore/source.ts';

interface GetArgs extends TreeArgs {
  readonly words: readonly string[];
  readonly recursive: boolean;
  readonly force: boolean;
  readonly ignore_errors: boolean;
  readonly verbose: boolean;
}

export const getCommand = defineCommand({
  name: 'get',
  summary: 'Copy files out of a filesystem to where they are wanted',
  description:
    'As cp: into DEST where it is a folder, else under the name DEST. With -r folders are copied with all that is in them, into those that ' +
    'are there; symlinks are then copied, else they are followed inside of the filesystem. A file that is there is replaced with --force ' +
    'only. `restore` copies whole trees under the paths that they have, and goes on after an interruption.\n\n' +
    'Every byte is checked against its checksum; what is kept, what is reported and what --ignore_errors does are as in `restore`. Folders ' +
    'that were there keep their attributes. While it works, the folder that DEST is in holds a folder .bcachefs-restore.',
  examples: [
    { command: 'bcachefs get disk.img etc/fstab .', does: 'Copies a file into this folder' },
    { command: 'bcachefs get disk.img etc/fstab fstab.old', does: 'Copies it under another name' },
    {
      command: 'bcachefs get -r sda:sdb home/anna var/log /tmp',
      does: 'Copies two folders, as /tmp/anna and /tmp/log',
    },
  ],
  positionals: {
    ...filesystemWord,
    words: {
      count: 'some',
      usage: '<path>... <dest>',
      inside: 'all_but_last',
      file: true,
      bytes: true,
      help: 'paths in the filesystem; then DEST, a folder or a new name on the host',
    },
  },
  options: {
    recursive: { type: 'flag', alias: 'r', help: 'folders with all that is in them' },
    force: { type: 'flag', alias: 'f', help: 'replace files that are there' },
    ignore_errors: {
      type: 'flag',
      help: 'keep damaged files too: with holes for what is lost, and bytes that fail their checksum',
    },
    verbose: { type: 'flag', alias: 'v', help: 'list every file, and everything that could not be kept' },
    ...treeOptions,
    ...atOption,
  },
  run: get,
  text: printRestored,
  json: restoredJson,
  exitCode: restoreExitCode,
});

/** A file of the filesystem, and the name that it gets. */
interface Wanted {
  readonly node: FileNode;
  readonly name: string;
}

async function get(context: Context, args: GetArgs): Promise<RestoreResult> {
  const paths = args.words.slice(0, -1);
  const destination = args.words.at(-1) ?? '';
  if (paths.length === 0)
    throw new CommandLineError(`${destination}: expected paths in the filesystem, and then where they are copied to`);
  const isFolder = statSync(destination, { throwIfNoEntry: false })?.isDirectory() ?? false;
  if (!isFolder && (paths.length > 1 || destination.endsWith('/')))
    throw new UsageError(
      `${destination}: is not a folder, and ${paths.length > 1 ? 'several files need one' : 'a name cannot end so'}`,
      undefined,
      'ENOTDIR',
    );
  const folder = isFolder ? destination : dirname(destination);
  const report = new Report({
    listsAll: args.verbose,
    onUnkept: args.verbose
      ? (kind, path, reason) => context.warn(`${path}: ${unkeptKinds[kind]} not kept: ${reason}`)
      : undefined,
  });
  const opened = await openTree(context, args, (damage: Damage) => report.damage(damage), true);
  try {
    const wanted = paths.map((typed): Wanted => {
      const { node, path } = lookUp(opened.tree, typed, { followLinks: !args.recursive });
      if (isDirectory(node.inode) && !args.recursive)
        throw new UsageError(`${typed}: is a directory; -r copies it with all that is in it`, undefined, 'EISDIR');
      const own = wordOfBytes(path).split('/').at(-1) ?? '';
      if (isFolder && (own === '' || own === '..'))
        throw new UsageError(`${typed}: has no name of its own; give the new one as DEST`);
      return { node, name: isFolder ? own : basename(destination) };
    });
    refuseTaken(wanted, folder, args.force);
    const source = underNames(sourceOf(opened), opened.tree.root(), wanted);
    const names = wanted.map(({ name }) => name);
    const filter = new PathFilter({ paths: names, include: [], exclude: [] });
    const expected = countFiles(context, source, filter, names);
    const writing = { opened, source, filter, paths: names, destination: folder, expected, report };
    const { ignore_errors } = args;
    const isResumed = await writeFiles(
      context,
      { include: [], exclude: [], orphans: false, merge: true, ignore_errors },
      writing,
    );
    return { destination, isDryRun: false, isResumed, isTopCounted: false, expected, report };
  } finally {
    opened.close();
  }
}

/** Before anything is written. @throws UsageError for a name that is taken, or is that of two */
function refuseTaken(wanted: readonly Wanted[], folder: string, force: boolean): void {
  const seen = new Set<string>();
  for (const { node, name } of wanted) {
    const path = join(folder, name);
    if (seen.has(name)) throw new UsageError(`${path}: two files would get this name`);
    seen.add(name);
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (there === undefined) continue;
    if (there.isDirectory() !== isDirectory(node.inode))
      throw new UsageError(
        `${path}: is there already, and is ${there.isDirectory() ? 'a' : 'no'} folder`,
        undefined,
        'EEXIST',
      );
    if (!there.isDirectory() && !force)
      throw new UsageError(`${path}: is there already; --force replaces it`, undefined, 'EEXIST');
  }
}

/** A tree whose root has just the files that are wanted, under their new names. */
function underNames(source: RestoreSource, root: FileNode, wanted: readonly Wanted[]): RestoreSource {
  return {
    ...source,
    *walk({ descend }) {
      yield { path: new Uint8Array(0), depth: 0, entry: undefined, node: root };
      for (const { node, name } of wanted) {
        const top = bytesOfWord(name);
        for (const item of source.walk({ from: node, descend })) {
          const { path, depth, entry } = item;
          yield {
            path: path.length === 0 ? top : joinPath([top, path]),
            depth: depth + 1,
            entry: entry ?? { name: top },
            node: item.node,
          };
        }
      }
    },
  };
}
