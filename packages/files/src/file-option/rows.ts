// The options that files have of their own: those of the option table that inodes keep, at the version that is written.

import { type InodeOptionName, isOptionKnownTo, type OptionRow, option, RULES_WRITTEN } from '@bcachefs-ts/core/engine';

/** The release whose inodes are written. */
export const RELEASE = RULES_WRITTEN.release;

export interface FileOptionRow {
  readonly name: InodeOptionName;
  readonly row: OptionRow;
}

/** In the order of the reference's table of inode options. */
export const fileOptionRows: readonly FileOptionRow[] = RULES_WRITTEN.inodeOptions
  .map(({ name }) => ({ name, row: option(name) }))
  .filter(({ row }) => isOptionKnownTo(RELEASE, row));
