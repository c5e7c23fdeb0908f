// A repair that is cut off anywhere, and the undo of one: what is left is repaired to the same end as if nothing had happened, and what is
// left of an undo is undone to the last byte. The repairs are of damage at random, so that what is cut off is what fsck has to write.

import { loadChecksums, loadCompression, loadCompressors } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { cutText } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { isSameEnd, recordedUndo, repairedAfter, someOf, someRepairs } from '../support/repair-cuts.ts';
import { areEqual, undo } from '../support/undo.ts';

const seed = testSeed();
console.info(`power cuts over repairs: TEST_SEED=${seed}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const REPAIRS = sized(2, 2, 40);
/** So many points of each are looked at. */
const POINTS = sized(20, 24, 2000);

describe(`power cuts and repairs (seed ${seed})`, () => {
  test('fsck -y is cut off', { timeout: patient(sized(60_000, 120_000, 3_600_000)) }, () => {
    const random = randomFrom(seed);
    const wrong: string[] = [];
    let [before, after] = [0, 0];
    for (const recorded of someRepairs(random, REPAIRS)) {
      for (const cut of someOf(recorded.cuts.points(random), POINTS)) {
        const { end, wasRepaired } = repairedAfter(recorded, cut);
        if (!isSameEnd(recorded, end))
          wrong.push(`${recorded.name}, ${cutText(cut)}: ${end}, expected ${recorded.end}`);
        if (wasRepaired) after++;
        else before++;
      }
    }
    expect(wrong).toEqual([]);
    expect(Math.min(before, after)).toBeGreaterThan(0);
  });

  test('the undo of fsck -y is cut off', { timeout: patient(sized(60_000, 120_000, 3_600_000)) }, () => {
    const random = randomFrom(seed);
    const wrong: string[] = [];
    for (const recorded of someRepairs(random, REPAIRS)) {
      const { cuts, file } = recordedUndo(recorded);
      for (const cut of someOf(cuts.points(random), POINTS)) {
        const left = cuts.after(cut);
        undo(file, left);
        if (!areEqual(left, recorded.damaged)) wrong.push(`${recorded.name}, ${cutText(cut)}: not undone`);
      }
    }
    expect(wrong).toEqual([]);
  });
});
