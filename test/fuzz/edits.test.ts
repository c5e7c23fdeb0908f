// Changes to filesystems that open although something in them is not as it should be: see edit-mutants.ts for what may come of them. In a
// process of their own, which is watched.

import { loadChecksums, loadCompression, loadCompressors } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { testSeed } from '../support/random.ts';
import { changeOriginals } from './edit-mutants.ts';
import { CASE_BYTES, CASE_MS, readWatched } from './watched.ts';

const MUTANTS = Number(process.env.FUZZ_CASES ?? sized(32, 40, 300));

describe('changes to what is not as it should be', () => {
  const seed = testSeed();
  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    await loadCompressors();
  });

  test.each(['superblocks', 'contents'] as const)(
    `${MUTANTS} mutants of %s are changed, or are as they were (TEST_SEED=${seed})`,
    async kind => {
      const { ends, broken } = await readWatched([kind, `${seed}`, `${MUTANTS}`]);
      expect(ends.flatMap(({ nr, failure }) => (failure === undefined ? [] : [`case ${nr}: ${failure}`]))).toEqual([]);
      expect(broken).toBeUndefined();
      expect(ends).toHaveLength(MUTANTS);
      for (const { nr, ms } of ends) expect(ms, `case ${nr}`).toBeLessThan(CASE_MS);
      for (const { nr, peakBytes } of ends)
        expect(peakBytes! - ends[0]!.peakBytes!, `case ${nr}`).toBeLessThan(CASE_BYTES);
    },
    patient(1_800_000),
  );

  test(
    'every kind of change can be made where nothing is wrong',
    () => {
      for (const { name, findings } of changeOriginals('basic')) expect(findings, name).toEqual([]);
    },
    patient(120_000),
  );
});
