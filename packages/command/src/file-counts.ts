// How many files of each kind a command made, or took away.

import type { FileTypeName } from '@bcachefs-ts/core/engine';
import { bytesText } from './progress.ts';

export interface FileCounts {
  directories: number;
  files: number;
  /** Further names of files. */
  links: number;
  symlinks: number;
  /** Device nodes, fifos and sockets. */
  special: number;
  subvolumes: number;
  /** Files that were there before under the same name. */
  replaced: number;
  /** Of regular files, holes as well. */
  data_bytes: number;
}

export const noCounts = (): FileCounts => ({
  directories: 0,
  files: 0,
  links: 0,
  symlinks: 0,
  special: 0,
  subvolumes: 0,
  replaced: 0,
  data_bytes: 0,
});

export function countFile(counts: FileCounts, type: FileTypeName): void {
  if (type === 'dir') counts.directories++;
  else if (type === 'subvol') counts.subvolumes++;
  else if (type === 'lnk') counts.symlinks++;
  else if (type === 'reg') counts.files++;
  else counts.special++;
}

/** `2 directories, 7 files (1.2 MiB)` */
export function countsText(counts: FileCounts): string {
  const parts = [
    counted(counts.subvolumes, 'subvolume', 'subvolumes'),
    counted(counts.directories, 'directory', 'directories'),
    counted(counts.files, 'file', 'files'),
    counted(counts.links, 'hard link', 'hard links'),
    counted(counts.symlinks, 'symlink', 'symlinks'),
    counted(counts.special, 'special file', 'special files'),
  ].filter(part => part !== '');
  const bytes = counts.files > 0 ? ` (${bytesText(counts.data_bytes)})` : '';
  return `${parts.join(', ') || 'nothing'}${bytes}`;
}

const counted = (count: number, one: string, more: string): string =>
  count === 0 ? '' : `${count} ${count === 1 ? one : more}`;
