// Damaged ext2, ext3 and ext4 filesystems as sources: each is read whole, or ends with an error of ours, soon and in bounded memory. What they are
// read from has nothing to write with.

import { loadChecksums } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { whyNoE2fsprogs } from '../support/ext4.ts';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { testSeed } from '../support/random.ts';
import { CASE_BYTES, CASE_MS, type Outcome, readWatched } from './watched.ts';

if (whyNoE2fsprogs !== undefined) console.warn(`damaged ext4 skipped: ${whyNoE2fsprogs}`);

describe.skipIf(whyNoE2fsprogs !== undefined)('damaged ext4 filesystems', () => {
  const seed = testSeed();
  const count = sized(120, 200, 5000);
  let outcome: Outcome;
  beforeAll(async () => {
    await loadChecksums();
    console.info(`${count} damaged ext4 filesystems (TEST_SEED=${seed})`);
    outcome = await readWatched(['ext4', `${seed}`, `${count}`]);
  }, patient(3_600_000));

  test('only errors of ours come out, soon, in bounded memory', () => {
    const { ends, broken } = outcome;
    expect(broken).toBeUndefined();
    expect(ends.length).toBe(count);
    expect(ends.filter(({ failure }) => failure !== undefined).map(({ nr, failure }) => `${nr}: ${failure}`)).toEqual(
      [],
    );
    expect(Math.max(...ends.map(({ ms = 0 }) => ms))).toBeLessThan(CASE_MS);
    expect(ends.at(-1)!.peakBytes! - ends[0]!.peakBytes!).toBeLessThan(CASE_BYTES);
  });

  test('damage is found', () => {
    const found = outcome.ends.filter(each => each.outcome === 'ext4_damaged').length;
    expect(found).toBeGreaterThan(count / 4);
  });
});
