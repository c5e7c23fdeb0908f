// The options that files have of their own: those of the option table that inodes of any version keep.

import {
  type InodeOptionName,
  isOptionKnownTo,
  type OptionRow,
  option,
  type Release,
  rulesFor,
  rulesOf,
  type Superblock,
} from '@bcachefs-ts/core/engine';

const newest = rulesFor({});

/** The release whose values are offered. */
export const RELEASE: Release = newest.release;

export interface FileOptionRow {
  readonly name: InodeOptionName;
  readonly row: OptionRow;
}

/** In the order of the reference's table of inode options. */
export const fileOptionRows: readonly FileOptionRow[] = newest.inodeOptions
  .map(({ name }) => ({ name, row: option(name) }))
  .filter(({ row }) => isOptionKnownTo(RELEASE, row));

/** Those that inodes of this filesystem can have. */
export function fileOptionsOf(sb: Superblock): readonly FileOptionRow[] {
  const { inodeOptions } = rulesOf(sb);
  return fileOptionRows.filter(each => inodeOptions.some(({ name }) => name === each.name));
}
