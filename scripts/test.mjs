// npm test: installs what is missing, then runs every test: unit, golden, short fuzz, and the kernel suite.
//
//   npm test -- NAME…              only test files whose path contains NAME
//   npm test -- --require-kernel   a kernel suite that cannot run is a failure (CI=true means the same)
//   npm test -- --long             longer fuzz runs (bounded; CI sets this too)

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ensureInstalled, root } from './bootstrap.mjs';

const own = { '--require-kernel': 'BCACHEFS_REQUIRE_KERNEL', '--long': 'BCACHEFS_LONG_TESTS' };
const args = process.argv.slice(2);
const env = { ...process.env };
for (const [flag, variable] of Object.entries(own)) if (args.includes(flag)) env[variable] = '1';

ensureInstalled();
const run = spawnSync(
  process.execPath,
  [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...args.filter(arg => !(arg in own))],
  { cwd: root, stdio: 'inherit', env },
);
process.exit(run.status ?? 1);
