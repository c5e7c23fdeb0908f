// THE table of explanations: what each error means, what its repair does, and what is lost. An error of Linux 6.12, or of our own, that has
// none does not compile. Only docs and `fsck --explain` read it: it is loaded when it is asked for.

import type { FaultName } from '../../ondisk/faults.ts';
import type { Name612 } from '../../ondisk/fsck-errors.ts';
import { type OwnFaultName, ownFaults } from '../../ondisk/own-faults.ts';
import type { ErrorExplanation, ErrorExplanations, NeverRaised } from './explanation.ts';
import { fileErrors } from './files.ts';
import { journalErrors } from './journal.ts';
import { keyErrors } from './keys.ts';
import { nodeErrors } from './nodes.ts';
import { spaceErrors } from './space.ts';
import { superblockErrors } from './superblock.ts';

type Complete = { readonly [N in Name612]: ErrorExplanation | NeverRaised } & {
  readonly [N in OwnFaultName]: Omit<ErrorExplanation, 'means'>;
};

const table: Complete & ErrorExplanations = {
  ...journalErrors,
  ...nodeErrors,
  ...keyErrors,
  ...spaceErrors,
  ...fileErrors,
  ...superblockErrors,
};

/** Undefined for errors that only later kernels have and nothing here raises. */
export function explanationOf(name: FaultName): ErrorExplanation | NeverRaised | undefined {
  const own = ownFaults.byName(name);
  const row: ErrorExplanation | NeverRaised | Omit<ErrorExplanation, 'means'> | undefined = table[name];
  if (row === undefined || 'means' in row) return row;
  return own === undefined ? undefined : { means: own.means, ...row };
}
