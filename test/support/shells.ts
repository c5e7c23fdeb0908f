// The shells whose completions are tested. bash is everywhere; where a run must be complete (CI=true, --require-kernel), the others
// are installed, elsewhere their tests run if the shell is there.

import { spawnSync } from 'node:child_process';
import { installMissingCommands } from '../kernel/vm/apt.ts';

export function hasShell(name: string): boolean {
  return spawnSync(name, ['--version']).status === 0;
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
