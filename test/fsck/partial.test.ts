// Repairs of damage at random of which only a part is wanted: -p, and a person who says yes to some. They end without an error, and what they
// leave fsck -y repairs.

import {
  FilesystemWriter,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type MemoryDevice,
  type Policy,
  Reporter,
  recover,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { type Random, randomFrom, testSeed } from '../support/random.ts';
import {
  type Damaged,
  damageBases,
  isTyped,
  openedForRepair,
  randomlyDamaged,
  repair,
} from '../support/random-damage.ts';

const seed = testSeed();
console.info(`repairs in part: TEST_SEED=${seed}`);
/** Of each base so many have been tried. */
const FIRST = 6100;
const TRIED = 25;

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const policies: { readonly [name: string]: (random: Random) => Policy } = {
  '-p': () => ({ kind: 'preen' }),
  'most answers are yes': random => ({ kind: 'ask', ask: () => (random.below(10) < 7 ? 'yes' : 'no') }),
  'most answers are no': random => ({ kind: 'ask', ask: () => (random.below(10) < 3 ? 'yes' : 'no') }),
};

function repairInPart(devices: readonly MemoryDevice[], key: Uint8Array | undefined, policy: Policy): void {
  const { set, corrected } = openedForRepair(devices, key);
  const options = { random: seededRandom('repair'), now: () => 1_800_000_000n, key, isRepair: true };
  const reporter = new Reporter({ policy });
  recover(new FilesystemWriter(set, options), { reporter, corrected });
}

/** Where every copy of a superblock is hit, or the key in it, nothing can be repaired. */
function isReadable({ devices, key }: Damaged): boolean {
  try {
    openedForRepair(devices, key);
    return true;
  } catch (thrown) {
    if (!isTyped(thrown)) throw thrown;
    return false;
  }
}

describe.each(damageBases)('%s', base => {
  test.each(Object.entries(policies))('%s', { timeout: patient(sized(60_000, 120_000, 600_000)) }, (_, policyOf) => {
    const count = sized(1, 2, TRIED);
    const first = FIRST + randomFrom(seed).below(TRIED - count + 1);
    for (let nr = first; nr < first + count; nr++) {
      const damaged = randomlyDamaged(base, nr);
      if (!isReadable(damaged)) continue;
      const { devices, key, hits } = damaged;
      repairInPart(devices, key, policyOf(randomFrom(nr)));
      expect({ hits, left: repair(devices, key).left }).toEqual({ hits, left: [] });
    }
  });
});
