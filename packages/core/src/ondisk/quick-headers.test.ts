// Headers that are read member by member, against their layouts.

import { expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { Bkey, bkeyAt, decodeKeys } from './bkey.ts';
import { decodeJsetEntries, JsetEntryHeader } from './jset-entries.ts';
import { viewOf } from './layout.ts';

const seed = testSeed();

test(`a bkey is what its layout says (TEST_SEED=${seed})`, () => {
  const random = randomFrom(seed);
  for (let round = 0; round < 300; round++) {
    const source = Uint8Array.from({ length: 48 }, () => random.pick([0, 1, 255, random.below(256)]));
    if (random.below(3) === 0) source.fill(0, 12, 20);
    expect(bkeyAt(viewOf(source), 8)).toEqual(Bkey.get(viewOf(source), 8));
    source[0] = 6;
    expect(decodeKeys(source)).toEqual([{ k: Bkey.get(viewOf(source), 0), value: source.subarray(40) }]);
  }
});

test(`a sub-entry of the journal is what its layout says (TEST_SEED=${seed})`, () => {
  const random = randomFrom(seed);
  for (let round = 0; round < 300; round++) {
    const source = Uint8Array.from({ length: 16 + 8 * random.below(4) }, () => random.below(256));
    viewOf(source).setUint16(0, source.length / 8 - 1, true);
    const { entries, damage } = decodeJsetEntries(source);
    expect(damage).toBeUndefined();
    expect(entries).toEqual([{ ...JsetEntryHeader.get(viewOf(source), 0), payload: source.subarray(8) }]);
  }
});
