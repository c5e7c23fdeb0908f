// The options that commands share which look at files: which tree is meant, how the filesystem is opened, which paths are taken.

import { UsageError } from '@bcachefs-ts/core/engine';
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
