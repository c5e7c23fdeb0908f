// The files that would be lost with some members, in words and as JSON.

import { bytesText } from '@bcachefs-ts/command';
import { type DependentFile, type Filesystem, filesDependingOn, pathText } from '@bcachefs-ts/core/engine';

export function lostFilesOf(
  filesystem: Filesystem,
  gone: Iterable<number>,
  warn: (message: string) => void,
): readonly DependentFile[] {
  return [...filesDependingOn(filesystem, new Set(gone), damage => warn(damage.message))];
}

/** Files that are named in a plan. */
const FILES_MAX = 1000;

/** Of what is lost. */
export interface LostFiles {
  readonly names: readonly string[];
  /** There are no others. */
  readonly isAll: boolean;
}

export const NOTHING_LOST: LostFiles = { names: [], isAll: true };

/** Paths of the files that would be lost with a member, each once; a file without one is called by its number. */
export function lostNames(filesystem: Filesystem, dev: number, warn: (message: string) => void): LostFiles {
  const names = new Set<string>();
  for (const { inum, references } of filesDependingOn(filesystem, new Set([dev]), damage => warn(damage.message))) {
    if (names.size >= FILES_MAX) return { names: [...names], isAll: false };
    const paths = pathsIn(references);
    for (const name of paths.length === 0 ? [`inode ${inum}, to which no path leads`] : paths) names.add(name);
  }
  return { names: [...names], isAll: true };
}

/** A line for each path; a file without one is called by its number. */
export function lostFileLines(files: readonly DependentFile[]): readonly string[] {
  return files.flatMap(({ inum, bytes, references }) => {
    const names = pathsIn(references);
    const what = `${bytesText(bytes)} of`;
    return names.length === 0
      ? [`${what} inode ${inum}, to which no path leads`]
      : names.map(name => `${what} ${name}`);
  });
}

export const lostFileJson = ({ inum, snapshot, bytes, references }: DependentFile): object => ({
  inum,
  snapshot,
  bytes,
  paths: pathsIn(references),
});

const pathsIn = (references: DependentFile['references']): readonly string[] => [
  ...new Set(
    references.flatMap(({ paths }) => paths.flatMap(({ path, isWhole }) => (isWhole ? [pathText(path)] : []))),
  ),
];
