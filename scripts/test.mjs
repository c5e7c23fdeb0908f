// npm test: installs what is missing, then runs the tests: unit, golden, short fuzz, and the kernel suite; some of the longest are left to
// --long, and a few of those have their turn each time (test/support/whole-run.ts).
//
//   npm test -- NAME…              only test files whose path contains NAME
//   npm test -- --require-kernel   a kernel suite that cannot run is a failure (CI=true means the same)
//   npm test -- --long             longer runs of what is random (bounded; CI sets this too)
//   npm run soak                   the longest: an hour and more
//
// Time limits follow the speed that the machine has just now (test/support/patience.ts). Ctrl-C ends the test processes and
// the kernels that they run. The end says what was skipped, and why (test/support/summary-reporter.ts).

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants } from 'node:os';
import { join } from 'node:path';
import { ensureInstalled, root } from './bootstrap.mjs';

const own = {
  '--require-kernel': 'BCACHEFS_REQUIRE_KERNEL',
  '--long': 'BCACHEFS_LONG_TESTS',
  '--soak': 'BCACHEFS_SOAK',
};

/** Tests themselves keep all processors busy, which is why limits are never those of an idle machine. */
const LEAST_PATIENCE = 2;
const MOST_PATIENCE = 40;
/** What an idle machine of the kind that the limits were chosen on takes for the work below. */
const NOMINAL_MS = 150;

/** How many times as long as on an idle machine tests may take. */
function measuredPatience() {
  const block = Buffer.alloc(1 << 20, 'patience');
  const startMs = performance.now();
  let mixed = 1;
  for (let round = 0; round < 64; round++) {
    createHash('sha256').update(block).digest();
    for (let i = 0; i < 1_000_000; i++) mixed = (Math.imul(mixed, 31) + i) | 0;
  }
  const slowness = (performance.now() - startMs + (mixed & 1)) / NOMINAL_MS;
  return Math.min(MOST_PATIENCE, Math.max(LEAST_PATIENCE, Math.ceil(2 * slowness)));
}

const args = process.argv.slice(2);
const env = { ...process.env };
for (const [flag, variable] of Object.entries(own)) if (args.includes(flag)) env[variable] = '1';

if (args.every(arg => arg in own)) env.BCACHEFS_TEST_WHOLE = '1';

ensureInstalled();
if (env.BCACHEFS_TEST_PATIENCE === undefined) {
  const patience = measuredPatience();
  env.BCACHEFS_TEST_PATIENCE = String(patience);
  if (patience > LEAST_PATIENCE) {
    process.stderr.write(`npm test: the machine is slow or busy, so time limits are ${patience} times as long\n`);
  }
}

const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
// A process group of its own, so that workers and kernels can be ended with it, whatever they are doing.
const isGroup = process.platform !== 'win32';
const run = spawn(process.execPath, [vitest, 'run', ...args.filter(arg => !(arg in own))], {
  cwd: root,
  stdio: 'inherit',
  env,
  detached: isGroup,
});

function endAll(signal) {
  if (run.pid === undefined) return;
  try {
    process.kill(isGroup ? -run.pid : run.pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    endAll('SIGTERM');
    setTimeout(() => endAll('SIGKILL'), 2000).unref();
    run.once('exit', () => {
      endAll('SIGKILL');
      process.exit(128 + constants.signals[signal]);
    });
  });
}
run.on('error', error => {
  process.stderr.write(`npm test: ${error.message}\n`);
  process.exit(1);
});
run.on('exit', status => {
  process.exitCode = status ?? 1;
});
