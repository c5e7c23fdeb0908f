// Filesystems with up to three hits anywhere, in keys, nodes, journal entries and superblocks: fsck -y either repairs them, so that a second
// check finds nothing, or says in one line why it cannot, and has not changed a byte. Nothing throws what is not an error of ours, and
// nothing keeps a processor busy for long.

import { loadChecksums, loadCompression, loadCompressors } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { isSoak, sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import {
  type DamageBaseName,
  damageBases,
  type RepairOutcome,
  randomlyDamaged,
  repairEnd,
} from '../support/random-damage.ts';

/** Seeds of each base, all of which have been tried. The soak takes all of them, which makes 20,000; other runs a part that begins anywhere. */
const SOAK: { readonly [N in DamageBaseName]: number } = {
  small: 4500,
  deep: 1500,
  basic: 3000,
  multi: 3000,
  encrypted: 4000,
  unclean: 4000,
};
const PART = sized(1 / 1000, 1 / 200, 1);
/** Where every copy of the superblock is hit nothing leads to anything; never that many, and of few never all. */
const UNREPAIRED_MAX = 0.2;
const FEW = 50;

const seed = testSeed();
console.info(`damage at random: TEST_SEED=${seed}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

describe(`damage at random (seed ${seed})`, () => {
  test.each(damageBases)('%s', { timeout: patient(sized(60_000, 120_000, 7_200_000)) }, name => {
    const count = Math.ceil(SOAK[name] * PART);
    const first = isSoak ? 0 : randomFrom(seed).below(SOAK[name] - count + 1);
    const wrong: string[] = [];
    const tally: Partial<Record<RepairOutcome, number>> = {};
    for (let nr = first; nr < first + count; nr++) {
      const { how, text } = repairEnd(name, nr, randomlyDamaged(name, nr));
      tally[how] = (tally[how] ?? 0) + 1;
      if (how === 'left' || how === 'untyped' || how === 'slow') wrong.push(text);
    }
    expect(wrong).toEqual([]);
    const least = count < FEW ? 1 : Math.floor(count * (1 - UNREPAIRED_MAX));
    expect(tally.repaired ?? 0, JSON.stringify(tally)).toBeGreaterThanOrEqual(least);
  });
});
