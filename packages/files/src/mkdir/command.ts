// mkdir: makes directories in a filesystem that is not mounted, all of them or none.

import { countsText, defineCommand, noCounts, type Owner } from '@bcachefs-ts/command';
import {
  atPath,
  bytesOfWord,
  FileError,
  type FileRef,
  type FileTree,
  isDirectory,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { changeFiles, changeJson, type FileChange, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions, newDirectoryOptions, UMASK } from '../change/options.ts';
import { freePlace, shownPath } from '../change/place.ts';

const S_IFDIR = 0o040000;
const S_ISGID = 0o2000;

export const mkdirCommand = defineCommand({
  name: 'mkdir',
  summary: 'Make directories',
  description: 'All directories are made in one commit, or none. An unclean filesystem is brought up to date by it.',
  examples: [
    { command: 'bcachefs mkdir disk.img etc var', does: 'Makes two directories in the root' },
    {
      command: 'bcachefs mkdir -p --owner=1000:1000 disk.img home/anna/mail',
      does: 'Makes those of a path that are missing',
    },
  ],
  positionals: {
    ...changedFilesystemPositional,
    paths: { count: 'some', inside: 'all', bytes: true, help: 'the directories, as paths from the root' },
  },
  options: {
    parents: { type: 'flag', alias: 'p', help: 'also those above it; directories that are there are no error' },
    ...newDirectoryOptions,
    ...changeOptions,
  },
  run(context, args) {
    return changeFiles(context, args, change => {
      const counts = noCounts();
      const request = { mode: args.mode, owner: args.owner };
      for (const typed of args.paths) {
        counts.directories += args.parents ? makeWithParents(change, typed, request) : makeOne(change, typed, request);
      }
      return { summary: `made ${countsText(counts)}`, counts, isUnchanged: counts.directories === 0 };
    });
  },
  text: printChange,
  json: changeJson,
});

interface NewDirectory {
  /** Undefined: as the directory above hands it down. */
  readonly mode: number | undefined;
  readonly owner: Owner | undefined;
}

/** @returns how many were made */
function makeOne(change: FileChange, typed: string, request: NewDirectory): number {
  const { directory, name, path } = freePlace(change.tree(), typed);
  make(change, directory, name, path, request);
  return 1;
}

function makeWithParents(change: FileChange, typed: string, request: NewDirectory): number {
  const tree = change.tree();
  const parts = typed.split('/').filter(part => part !== '');
  const there = existingParts(tree, parts);
  let directory: FileRef = tree.lookup(bytesOfWord(parts.slice(0, there).join('/')));
  const missing = parts.slice(there);
  for (const part of missing) {
    if (part === '.' || part === '..') throw new UsageError(`${shownPath(typed)}: what is above ${part} is not there`);
    directory = make(change, directory, bytesOfWord(part), shownPath(typed), request);
  }
  return missing.length;
}

/** How many parts of the path lead to directories that are there. */
function existingParts(tree: FileTree, parts: readonly string[]): number {
  let directory = tree.root();
  for (const [nr, part] of parts.entries()) {
    const isDots = part === '.' || part === '..';
    if (!isDots && tree.find(directory, bytesOfWord(part)) === undefined) return nr;
    const path = parts.slice(0, nr + 1).join('/');
    directory = tree.lookup(bytesOfWord(path));
    if (!isDirectory(directory.inode)) throw new FileError('ENOTDIR', shownPath(path));
  }
  return parts.length;
}

function make(
  { edit }: FileChange,
  directory: FileRef,
  name: Uint8Array,
  path: string,
  { mode, owner }: NewDirectory,
): FileRef {
  return atPath(path, () => {
    const { files } = edit;
    const made = files.create(directory, name, { mode: S_IFDIR | 0o777, umask: UMASK, ...owner });
    // What was asked for counts more than the group and the ACL that the directory above hands down; its setgid bit stays.
    const asked = mode === undefined ? {} : { mode: mode | (files.inode(made).bi_mode & S_ISGID) };
    if (owner !== undefined || mode !== undefined) files.setAttributes(made, { ...owner, ...asked });
    return made;
  });
}
