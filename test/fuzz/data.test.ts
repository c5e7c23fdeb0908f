// Random damage to nodes, journals and data: whatever is on the devices, reading everything (see read-everything.ts) ends in time, with
// bounded memory, and with nothing thrown but errors that are thrown on purpose. The mutants are read in a process of their own, which is
// watched: one that neither ends nor throws is ended and named.

import { describe, expect, test } from 'vitest';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { testSeed } from '../support/random.ts';
import { CASE_BYTES, CASE_MS, readWatched } from './watched.ts';

const MUTANTS = Number(process.env.FUZZ_CASES ?? sized(300, 300, 5_000));
describe('damaged filesystems', () => {
  const seed = testSeed();

  test(`${MUTANTS} mutants of nodes, journals and data are read to their ends (TEST_SEED=${seed})`, {
    timeout: patient(1_800_000),
  }, async () => {
    const { ends, broken } = await readWatched(['mutants', `${seed}`, `${MUTANTS}`]);
    expect(broken).toBeUndefined();
    const sound = ends.filter(({ nr }) => nr === -1);
    const mutants = ends.filter(({ nr }) => nr >= 0);
    expect(ends.flatMap(({ nr, failure }) => (failure === undefined ? [] : [`case ${nr}: ${failure}`]))).toEqual([]);
    expect(mutants).toHaveLength(MUTANTS);
    for (const { nr, ms } of mutants) expect(ms, `case ${nr}`).toBeLessThan(CASE_MS);
    const usual = sound.at(-1)!.peakBytes!;
    for (const { nr, peakBytes } of mutants)
      expect(peakBytes! - usual, `memory at case ${nr}`).toBeLessThan(CASE_BYTES);

    // Sound images are read without a loss; of the mutants' contents most is reached, and much of it is found wanting.
    expect(sound.map(({ reached }) => reached!.losses)).toEqual(sound.map(() => 0));
    for (const part of ['keys', 'paths', 'counters'] as const) {
      expect(mutants.filter(({ reached }) => reached![part] > 0).length / MUTANTS, part).toBeGreaterThan(0.5);
    }
    expect(mutants.filter(({ reached }) => reached!.losses > 0).length / MUTANTS).toBeGreaterThan(0.3);
  });
});
