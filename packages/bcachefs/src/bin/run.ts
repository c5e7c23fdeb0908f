// What the built programs run: one bundle has all of them, and each entry (entry.cjs) names its own.

import { main } from '@bcachefs-ts/command';
import { bcachefs } from '../programs/bcachefs.ts';
import { fsckBcachefs } from '../programs/fsck.bcachefs.ts';
import { mkfsBcachefs } from '../programs/mkfs.bcachefs.ts';
import { mountBcachefs } from '../programs/mount.bcachefs.ts';

const programs = {
  bcachefs,
  'mkfs.bcachefs': mkfsBcachefs,
  'fsck.bcachefs': fsckBcachefs,
  'mount.bcachefs': mountBcachefs,
} as const;

export const run = (name: keyof typeof programs): Promise<void> => main(programs[name]);
