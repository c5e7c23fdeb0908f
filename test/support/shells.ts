// The shells whose completions are tested. bash is everywhere; where a run must be complete (CI=true, --require-kernel), the others
// are installed, elsewhere their tests run if the shell is there.

import { spawnSync } from 'node:child_process';
import { installMissingCommands } from '../kernel/vm/apt.ts';

/** Why tests of a shell cannot run, for their title; empty when they can. */
export function whyNot(shell: string): string {
  return spawnSync(shell, ['--version']).status === 0
    ? ''
    : ` (skipped: ${shell} is not installed; with CI=true it is)`;
}

if (process.env.CI === 'true' || process.env.BCACHEFS_REQUIRE_KERNEL === '1') {
  await installMissingCommands(
    line => process.stderr.write(`completions: ${line}\n`),
    [
      { command: 'fish', package: 'fish' },
      { command: 'zsh', package: 'zsh' },
    ],
  );
}
