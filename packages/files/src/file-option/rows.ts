// The options that files have of their own: those of the option table that inodes keep, at the version that is written.

import { type InodeOptionName, inodeOptions, isOptionKnownTo, type OptionRow, option } from '@bcachefs-ts/core';

/** The release whose inodes are written. */
export const RELEASE = '1.13';

export interface FileOptionRow {
  readonly name: InodeOptionName;
  readonly row: OptionRow;
}

/** In the order of the reference's table of inode options. */
export const fileOptionRows: readonly FileOptionRow[] = inodeOptions.rows
  .map(({ name }) => ({ name, row: option(name) }))
  // Inodes of 1.13 keep fewer than the filesystem's options would say.
  .filter(({ name, row }) => isOptionKnownTo(RELEASE, row) && inodeOptions.idOf(name) <= inodeOptions.idOf('nocow'));
