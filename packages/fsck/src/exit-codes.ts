// The exit codes of fsck(8), which are OR-ed: what boot scripts and fstests look at.

import { CommandLineError, describeError } from '@bcachefs-ts/command';
import { UsageError } from '@bcachefs-ts/core/engine';

export const FSCK = {
  clean: 0,
  corrected: 1,
  uncorrected: 4,
  operational: 8,
  usage: 16,
  cancelled: 32,
  bug: 128,
} as const;

export const fsckExitCodes = [
  { code: FSCK.clean, means: 'nothing is wrong, or only a journal has to be replayed' },
  { code: FSCK.corrected, means: 'errors were corrected' },
  { code: FSCK.uncorrected, means: 'errors were left uncorrected: with -n all that are found' },
  { code: FSCK.operational, means: 'it could not be checked, or not be repaired: a device, a version, no room' },
  { code: FSCK.usage, means: 'the command line is wrong, or help was asked for' },
  { code: FSCK.cancelled, means: 'stopped by the user' },
  { code: FSCK.bug, means: 'a bug in bcachefs-ts; the stack trace is on stderr' },
];

export function fsckExitCodeOf(error: unknown): number {
  const { kind } = describeError(error);
  if (kind === 'bug') return FSCK.bug;
  if (kind === 'interrupted') return FSCK.cancelled;
  return error instanceof CommandLineError || error instanceof UsageError ? FSCK.usage : FSCK.operational;
}
