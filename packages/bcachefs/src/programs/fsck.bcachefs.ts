// fsck.bcachefs, by the name that fsck(8) looks for: boot scripts call it for every bcachefs filesystem in /etc/fstab.

import type { SingleCommandProgram } from '@bcachefs-ts/command';
import { version } from '../version.ts';
import { from } from './from.ts';

/** What fsck.bcachefs of the reference ends with after its help: nothing was checked. */
const FSCK_USAGE = 16;

export const fsckBcachefs: SingleCommandProgram = {
  name: 'fsck.bcachefs',
  version,
  summary: 'Check a filesystem, and repair it',
  helpExitCode: FSCK_USAGE,
  ...from(() => import('@bcachefs-ts/fsck'), 'fsckCommand'),
};
