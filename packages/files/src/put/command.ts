// put: copies files of the host into a filesystem that is not mounted, without root and without a kernel, in one commit.

import { realpathSync, statSync } from 'node:fs';
import {
  CommandLineError,
  type Context,
  countsText,
  defineCommand,
  hostIdentity,
  loadNativeCalls,
  lookUp,
  noCounts,
  type Owner,
  parseMode,
  parseOwner,
} from '@bcachefs-ts/command';
import {
  bytesOfWord,
  type FileNode,
  type FileTree,
  isDirectory,
  printableBytes,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { type ChangeArgs, changeFiles, changeJson, type Done, type FileChange, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions } from '../change/options.ts';
import { type NamePlace, placeOf, shownPath } from '../change/place.ts';
import { type HostFile, hostFile, hostWalk } from './host-files.ts';
import { Put } from './put.ts';

interface PutArgs extends ChangeArgs {
  readonly words: readonly string[];
  readonly recursive: boolean;
  readonly force: boolean;
  readonly owner: Owner | undefined;
  readonly mode: number | undefined;
  readonly xattrs: boolean;
}

/** `-`: standard input. */
const STDIN = '-';

export const putCommand = defineCommand({
  name: 'put',
  summary: 'Copy files of the host into a filesystem',
  description:
    'As cp: into PATH where it is a directory, else under the name PATH. `SRC/.` stands for what is in a directory. With -r directories are ' +
    'copied with all that is in them, into those that are there; symlinks are then copied, else they are followed. A file that is there is ' +
    'replaced with --force only. `-` is standard input.\n\n' +
    'Kept are owners, permissions, times in nanoseconds, extended attributes and ACLs, symlinks, hard links among the files that are put, ' +
    'device nodes, fifos and sockets; blocks of zeroes become holes. Compression, checksums, encryption and replicas are those of the ' +
    'directory that the files come into. Directories that were there keep their attributes.\n\n' +
    'All of it is one commit, however much it is: it happened or it did not, also when the command is killed or space runs out.\n\n' +
    'With --seed and SOURCE_DATE_EPOCH in the environment the result is the same byte for byte each time; files then are no newer than that, ' +
    'and were read when they were changed.',
  examples: [
    { command: 'bcachefs put disk.img fstab etc', does: 'Copies a file into the directory /etc, or to /etc' },
    { command: 'bcachefs put -r --owner=0:0 disk.img rootfs/. /', does: 'Copies what is in a directory into the root' },
    { command: 'hostname | bcachefs put --force disk.img - etc/hostname', does: 'Writes a file from standard input' },
  ],
  positionals: {
    ...changedFilesystemPositional,
    words: {
      count: 'some',
      usage: '<src>... <path>',
      inside: 'last',
      file: true,
      bytes: true,
      help: 'files of the host, - for standard input; then PATH in the filesystem',
    },
  },
  options: {
    recursive: { type: 'flag', alias: 'r', help: 'directories with all that is in them' },
    force: { type: 'flag', alias: 'f', help: 'replace files that are there' },
    owner: {
      type: 'string',
      value: 'UID:GID',
      parse: parseOwner,
      help: "owner and group of all files (default the host's)",
    },
    mode: {
      type: 'string',
      alias: 'm',
      value: 'MODE',
      parse: parseMode,
      help: 'permissions of what comes from standard input, in octal (default 0644, or as the default ACL of the directory says)',
    },
    xattrs: { type: 'boolean', default: true, help: 'take extended attributes and ACLs' },
    ...changeOptions,
  },
  run(context, args) {
    if (args.words.slice(0, -1).includes(STDIN)) context.prompt.claimInput('what is to be put');
    return changeFiles(context, args, change => put(context, args, change), { writesFiles: true });
  },
  text: printChange,
  json: changeJson,
});

async function put(context: Context, args: PutArgs, change: FileChange): Promise<Done> {
  const sources = args.words.slice(0, -1);
  const target = args.words.at(-1) ?? '';
  if (sources.length === 0)
    throw new CommandLineError(`${target}: expected files of the host, and then a path in the filesystem`);
  if (args.mode !== undefined && !sources.includes(STDIN))
    throw new UsageError('for standard input (-) only', '--mode');
  if (sources.filter(source => source === STDIN).length > 1)
    throw new CommandLineError('standard input (-) can be read once only');
  const excluded = new Set(change.members.map(name => hostIdentity(statSync(name, { bigint: true }))));
  const files = sources.map(source => (source === STDIN ? undefined : sourceFile(source, args.recursive)));
  const total = measure(context, files, excluded);
  const native = args.xattrs ? loadNativeCalls() : undefined;
  if (args.xattrs && native === undefined) {
    context.warn(
      'extended attributes and ACLs are not taken: the package koffi is not installed or does not fit this system',
    );
  }
  const counts = noCounts();
  const task = context.progress.start({ what: 'putting files', total, unit: 'bytes' });
  const { force, owner } = args;
  const writer = new Put({ change, counts, force, owner, native, excluded, onBytes: task.advance });
  const place = targetOf(change.tree(), target, sources);
  const isPlace = 'name' in place;
  for (const [nr, file] of files.entries()) {
    if (file === undefined) {
      if (!isPlace)
        throw new UsageError(
          `${shownPath(target)}: is a directory; standard input needs the path of a file`,
          undefined,
          'EISDIR',
        );
      const ours = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
      const bytes = await context.readStdin();
      writer.putBytes(bytes, place, { ...(owner ?? ours), ...(args.mode === undefined ? {} : { mode: args.mode }) });
      continue;
    }
    if (isPlace) {
      if (place.wantsDirectory && file.type !== 'dir')
        throw new UsageError(`${place.path}: no such directory`, undefined, 'ENOENT');
      writer.put(file, place.directory, place.name, place.path);
      continue;
    }
    const name = lastName(sources[nr]!);
    const path = shownPath(target);
    if (name === '.') writer.putInside(file, place, path);
    else writer.put(file, place, bytesOfWord(name), `${path === '/' ? '' : path}/${name}`);
  }
  task.end();
  const replaced = counts.replaced === 0 ? '' : `, ${counts.replaced} of them in place of others`;
  const count = counts.directories + counts.files + counts.links + counts.symlinks + counts.special;
  return {
    summary: `put ${countsText(counts)} into ${shownPath(target)}${replaced}`,
    counts,
    isUnchanged: count === 0,
  };
}

/** The directory to put into, or the name to put under. */
function targetOf(tree: FileTree, target: string, sources: readonly string[]): FileNode | NamePlace {
  if (/^\/*$/.test(target)) return tree.root();
  const isDots = /(^|\/)\.{1,2}\/*$/.test(target);
  const place = isDots ? undefined : placeOf(tree, target);
  if (place === undefined || place.node !== undefined) {
    const { node } = lookUp(tree, target);
    if (isDirectory(node.inode)) return node;
  }
  if (place === undefined || sources.length > 1)
    throw new UsageError(`${shownPath(target)}: not a directory`, undefined, 'ENOTDIR');
  return place;
}

function sourceFile(source: string, recursive: boolean): HostFile {
  const path = Buffer.from(bytesOfWord(source));
  const file = hostFile(path);
  if (recursive) return lastName(source) === '.' ? hostFile(Buffer.concat([path, Buffer.from('/.')])) : file;
  const isDir = statSync(path).isDirectory();
  if (isDir)
    throw new UsageError(
      `${printableBytes(path)}: is a directory; give -r to put it with all that is in it`,
      undefined,
      'EISDIR',
    );
  // As cp: without -r the file that a link leads to is meant.
  if (file.type !== 'lnk') return file;
  return hostFile(realpathSync(path, { encoding: 'buffer' }));
}

/** What a file is called inside of a directory; `.` for its contents. @throws UsageError for `..` */
function lastName(source: string): string {
  const trimmed = source.replace(/\/+$/, '');
  const name = trimmed.slice(trimmed.lastIndexOf('/') + 1);
  if (name === '..') throw new UsageError(`${source}: has no name of its own; add /. for what is in it`);
  return name === '' ? '.' : name;
}

/** @returns the bytes of all regular files */
function measure(context: Context, files: readonly (HostFile | undefined)[], excluded: ReadonlySet<string>): number {
  const task = context.progress.start({ what: 'looking at what there is to put', unit: 'files' });
  let bytes = 0;
  for (const start of files) {
    if (start === undefined) continue;
    for (const file of hostWalk(start)) {
      if (excluded.has(hostIdentity(file.stat))) {
        context.warn(`${printableBytes(file.path)}: left out, because it is the filesystem itself`);
        continue;
      }
      task.advance(1);
      if (file.type === 'reg') bytes += Number(file.stat.size);
    }
  }
  task.end();
  return bytes;
}
