// mv: gives files and directories of a filesystem that is not mounted other names, as mv(1) does: into a directory, or to a new path.

import { defineCommand, lookUp } from '@bcachefs-ts/command';
import {
  atPath,
  FileError,
  type FileNode,
  type FileTree,
  isDirectory,
  printableBytes,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { changeFiles, changeJson, type Done, type FileChange, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions } from '../change/options.ts';
import { existingPlace, type NamePlace, placeOf, shownPath } from '../change/place.ts';

interface MoveArgs {
  readonly words: readonly string[];
  readonly no_replace: boolean;
  readonly no_target_directory: boolean;
}

interface FoundDirectory {
  readonly node: FileNode;
  readonly path: Uint8Array;
}

export const mvCommand = defineCommand({
  name: 'mv',
  summary: 'Rename or move a file or directory',
  description:
    'As mv(1): into TO where it is a directory, else TO is the new path. A file that has this path is replaced, and so is an empty ' +
    'directory by a directory. With --no_target_directory TO is the new path itself, as for rename(2). ' +
    'Files and directories stay in their subvolume; a subvolume may be moved anywhere. All of it is one commit.',
  examples: [
    { command: 'bcachefs mv disk.img etc/fstab etc/fstab.old', does: 'Renames a file' },
    { command: 'bcachefs mv disk.img a b c old', does: 'Moves three files into the directory /old' },
    {
      command: 'bcachefs mv --no_replace disk.img home/anna home/berta',
      does: 'Renames a directory, if the new name is free',
    },
  ],
  positionals: {
    ...changedFilesystemPositional,
    words: {
      count: 'some',
      usage: '<from>... <to>',
      inside: 'all',
      bytes: true,
      help: 'what is moved, as paths from the root; then TO, a new name or a directory',
    },
  },
  options: {
    no_replace: { type: 'flag', help: 'refuse when a new path is taken' },
    no_target_directory: { type: 'flag', alias: 'T', help: 'TO is the new path, not a directory to move into' },
    ...changeOptions,
  },
  run: (context, args) => changeFiles(context, args, change => move(change, args)),
  text: printChange,
  json: changeJson,
});

function move(change: FileChange, { words, no_replace, no_target_directory }: MoveArgs): Done {
  const sources = words.slice(0, -1);
  const target = words.at(-1) ?? '';
  if (sources.length === 0) throw new UsageError(`${target}: expected what is moved, and then the path that it gets`);
  const directory = no_target_directory ? undefined : directoryAt(change.tree(), target);
  if (directory === undefined && sources.length > 1)
    throw new UsageError(`${shownPath(target)}: not a directory`, undefined, 'ENOTDIR');
  const summaries: string[] = [];
  let isUnchanged = true;
  for (const source of sources) {
    // What was moved before may be on the way.
    const tree = change.tree();
    const from = existingPlace(tree, source);
    const to = directory === undefined ? placeOf(tree, target) : placeIn(tree, directory, from.name);
    const done = moveOne(change, from, to, no_replace);
    summaries.push(done.summary);
    isUnchanged &&= done.isUnchanged === true;
  }
  const summary = summaries.length === 1 ? summaries[0]! : `moved ${summaries.length} files into ${shownPath(target)}`;
  return { summary, isUnchanged };
}

/** The directory that TO leads to, if it does, also by a symlink. */
function directoryAt(tree: FileTree, target: string): FoundDirectory | undefined {
  const isDots = /(^|\/)\.{0,2}\/*$/.test(target);
  if (!isDots && placeOf(tree, target).node === undefined) return undefined;
  const { node, path } = lookUp(tree, target);
  return isDirectory(node.inode) ? { node, path } : undefined;
}

function placeIn(tree: FileTree, { node: directory, path }: FoundDirectory, name: Uint8Array): NamePlace {
  const entry = tree.find(directory, name);
  const shown = `${path.length === 0 ? '' : '/'}${printableBytes(path)}/${printableBytes(name)}`;
  return {
    directory,
    name,
    node: entry === undefined ? undefined : tree.open(entry),
    isSubvolume: entry !== undefined && !('inum' in entry.target),
    path: shown,
    wantsDirectory: false,
  };
}

function moveOne(
  change: FileChange,
  from: NamePlace & { readonly node: FileNode },
  to: NamePlace,
  noReplace: boolean,
): Done {
  const isDir = isDirectory(from.node.inode);
  if (to.wantsDirectory && !isDir) throw new FileError('ENOTDIR', to.path);
  const isSame = to.node?.inum === from.node.inum && to.node.subvolume === from.node.subvolume;
  if (isSame) return { summary: `${from.path} and ${to.path} are the same file: nothing to do`, isUnchanged: true };
  if (to.node !== undefined && noReplace) throw new FileError('EEXIST', to.path);
  if (to.node !== undefined && isDirectory(to.node.inode) && !isDir)
    throw new UsageError(`${to.path}: is a directory, which no file replaces`, undefined, 'EISDIR');
  atPath(`${from.path} to ${to.path}`, () =>
    change.edit.files.rename(from.directory, from.name, to.directory, to.name),
  );
  const replaced = to.node === undefined ? '' : ', which replaced what was there';
  return { summary: `moved ${from.path} to ${to.path}${replaced}` };
}
