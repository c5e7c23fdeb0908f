// mount.bcachefs, by the name that mount(8) looks for: it is called for every bcachefs filesystem that is mounted by hand or from /etc/fstab.

import type { SingleCommandProgram } from '@bcachefs-ts/command';
import { version } from '../version.ts';
import { from } from './from.ts';

export const mountBcachefs: SingleCommandProgram = {
  name: 'mount.bcachefs',
  version,
  summary: 'Mount a filesystem with the driver of the running kernel',
  ...from(() => import('@bcachefs-ts/device'), 'mountHelper'),
};
