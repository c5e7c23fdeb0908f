// The checks of rows against the checks of keys: random headers in every btree, at both kinds of levels.

import { describe, expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { ROW, ROW_WORDS } from '../ondisk/bkey-format.ts';
import { bkeyProblems } from '../ondisk/bkey-validate.ts';
import { btrees } from '../ondisk/btrees.ts';
import { KeyChecks } from './key-checks.ts';
import { keyOfRow } from './node.ts';

const seed = testSeed();
const MAX = 0xffff_ffff;

describe('checks of rows', () => {
  test(`find what checks of keys find first (TEST_SEED=${seed})`, () => {
    const random = randomFrom(seed);
    const found = new Set<string>();
    for (let round = 0; round < 20_000; round++) {
      const btree = random.below(btrees.rows.length + 2);
      const level = random.pick([0, 0, 0, 1]);
      const rows = new Uint32Array(ROW_WORDS);
      rows[ROW.header] = 5 | (1 << 8) | (random.below(45) << 16);
      rows[ROW.size] = random.pick([0, 1, 8, 100]);
      const far = random.below(10) === 0;
      for (let i = 0; i < 5; i++) rows[ROW.position + i] = far ? MAX : random.pick([0, 0, 1, 8, 50]);
      const expected = bkeyProblems(keyOfRow(rows, 0, new Uint8Array(0)).k, { btree, level })[0];
      const problem = new KeyChecks(btree, level).problem(rows, 0);
      expect(problem?.error, `btree ${btree} level ${level}`).toBe(expected?.error);
      found.add(problem?.error ?? 'none');
    }
    expect(found.size).toBe(8);
  });
});
