// Arrays that are reshaped at random (test/support/reshaping.ts): what our checker and the model of their files say after each step.

import { loadChecksums, loadCompression, loadCompressors } from '@bcachefs-ts/core/engine';
import { beforeAll, test } from 'vitest';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { testSeed } from '../support/random.ts';
import { Reshaping } from '../support/reshaping.ts';

const seed = testSeed();
console.info(`arrays that are reshaped at random: TEST_SEED=${seed}`);
const COUNT = process.env.TEST_SEED === undefined ? sized(2, 3, 300) : 1;
const STEPS = 16;
/**
 * Found once: inodes of new snapshots with the flag of those above; members that joined where too few were left, and were never complete; what
 * waits for a target with a member that can be written to again since it was replaced.
 */
const FOUND = [
  { seed: 1013, steps: 4 },
  { seed: 205, steps: 5 },
  { seed: 3261, steps: 12 },
];

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const sequences = Array.from({ length: COUNT }, (_, nr) => ({ seed: (seed + nr) >>> 0, steps: STEPS }));
test.each([...FOUND, ...sequences])('seed $seed', { timeout: patient(120_000) }, each => {
  const run = new Reshaping(each.seed);
  run.change(20);
  for (let nr = 0; nr < each.steps; nr++) run.step();
});
