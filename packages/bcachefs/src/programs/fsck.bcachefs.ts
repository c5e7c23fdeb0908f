// `bcachefs fsck` and fsck.bcachefs, in a version that cannot check filesystems yet: boot scripts call fsck.bcachefs for
// every bcachefs filesystem in /etc/fstab, so it has to answer in fsck(8)'s terms, and it must not look like a pass.

import { CommandFailed, defineCommand, type SingleCommandProgram } from '@bcachefs-ts/command';
import { version } from '../version.ts';

const OPERATIONAL_ERROR = 8;
/** What fsck.bcachefs of the reference ends with after its help: nothing was checked. */
const FSCK_USAGE = 16;

export const fsckCommand = defineCommand({
  name: 'fsck',
  summary: 'Check and repair a filesystem (not in this version)',
  description: 'This version cannot check filesystems. Nothing is read or changed, whatever is asked.',
  positionals: {},
  options: {},
  takesAnything: true,
  exitCodes: [
    { code: OPERATIONAL_ERROR, means: 'operational error, as in fsck(8): always, in this version' },
    { code: FSCK_USAGE, means: 'this help was asked for: nothing was checked' },
  ],
  exitCodeOf: () => OPERATIONAL_ERROR,
  run(): object {
    throw new CommandFailed('this version cannot check filesystems yet; nothing was checked and nothing was changed');
  },
  text: () => {},
});

/** fsck.bcachefs, by the name that fsck(8) looks for. */
export const fsckBcachefs: SingleCommandProgram = {
  name: 'fsck.bcachefs',
  version,
  summary: fsckCommand.summary,
  helpExitCode: FSCK_USAGE,
  load: async () => fsckCommand,
};
