// The options that commands share which look at files: which tree is meant, how the filesystem is opened, which paths are taken.

import { type RewindTarget, UsageError } from '@bcachefs-ts/core/engine';
import { filesystemOptions, filesystemPositional } from './filesystem-argument.ts';

/** One filesystem, before paths in it. */
export const filesystemWord = { filesystem: filesystemPositional } as const;

const whichTree = 'Which tree';

/** Which tree of the filesystem is meant, and how it is opened. */
export const treeOptions = {
  subvolume: {
    type: 'string',
    value: 'ID|PATH',
    parse: parseSubvolume,
    conflictsWith: ['snapshot'],
    heading: whichTree,
    help: 'the subvolume whose root is taken for /: its number, or its path from the root of the filesystem',
  },
  snapshot: {
    type: 'number',
    value: 'ID',
    min: 1,
    max: 0xffff_ffff,
    heading: whichTree,
    help: 'what the snapshot node of this number sees, also where no subvolume lives in it',
  },
  ...filesystemOptions,
} as const;

/** Back in the journal, for commands that only read: see rewoundFilesystem. */
export const atOption = {
  at: {
    type: 'string',
    value: 'SEQ|TIME',
    parse: parseMoment,
    heading: whichTree,
    help: 'as it was after this journal entry, or at this time (2026-11-30T12:00:00Z, or @ and seconds since 1970), as far as the journal reaches: see journal_rewind_info',
  },
} as const;

export function parseMoment(text: string): RewindTarget {
  if (/^\d{1,15}$/.test(text)) return { seq: Number(text) };
  const seconds = /^@\d{1,12}$/.test(text)
    ? Number(text.slice(1))
    : /^\d{4}-\d\d-\d\d/.test(text)
      ? Math.floor(Date.parse(text.replace(' ', 'T')) / 1000)
      : Number.NaN;
  if (!Number.isNaN(seconds)) return { seconds };
  const found = text === '' ? 'nothing' : JSON.stringify(text);
  throw new UsageError(
    `found ${found}, expected the number of a journal entry, a time such as 2026-11-30T12:00:00Z, or @SECONDS`,
  );
}

const whichPaths = 'Which paths';

/** Filters of paths: see PathFilter. */
export const filterOptions = {
  include: {
    type: 'string',
    value: 'GLOB',
    repeat: true,
    heading: whichPaths,
    help: 'only what matches, and what is below it; without a slash the name alone is compared',
  },
  exclude: {
    type: 'string',
    value: 'GLOB',
    repeat: true,
    heading: whichPaths,
    help: 'not what matches, nor what is below it; stronger than --include',
  },
} as const;

/** A number where it is one; a subvolume at the path `7` is `./7`. */
function parseSubvolume(text: string): number | string {
  if (text === '') throw new UsageError('found nothing, expected a number or a path');
  return /^\d{1,10}$/.test(text) ? Number(text) : text;
}
