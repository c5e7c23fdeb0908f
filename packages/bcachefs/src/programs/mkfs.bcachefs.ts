// mkfs.bcachefs: `bcachefs format` by the name that mkfs(8) looks for.

import type { SingleCommandProgram } from '@bcachefs-ts/command';
import { version } from '../version.ts';
import { from } from './from.ts';

export const mkfsBcachefs: SingleCommandProgram = {
  name: 'mkfs.bcachefs',
  version,
  summary: 'make a new filesystem on one or more devices or image files',
  ...from(() => import('@bcachefs-ts/format'), 'formatCommand'),
};
