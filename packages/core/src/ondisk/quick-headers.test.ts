// Headers that are read member by member, against their layouts.

import { expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { PrintBuffer } from '../util/print-buffer.ts';
import { Bkey, bkeyAt, decodeKeys } from './bkey.ts';
import { decodeJsetEntries, JsetEntryHeader, jsetEntryText, quickJsetKeysText } from './jset-entries.ts';
import { keyTypes } from './keys/key-types.ts';
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

test(`the keys of a sub-entry are printed as jsetEntryText prints them (TEST_SEED=${seed})`, () => {
  const random = randomFrom(seed);
  const context = { style: '1.36', device: () => undefined, label: () => '', dateTime: () => '' } as const;
  let quick = 0;
  for (let round = 0; round < 400; round++) {
    const keys = Array.from({ length: random.below(4) }, () => {
      const source = new Uint8Array(8 * random.pick([5, 5, 11, 16]));
      const type = keyTypes.idOf(random.pick(['deleted', 'set', 'inode_v3', 'inode_v3', 'dirent', 'xattr'] as const));
      source.set([source.length / 8, 1, type]);
      for (let at = 16; at < source.length; at++) source[at] = random.pick([0, 0, 97, random.below(256)]);
      return source;
    });
    const payload = Uint8Array.from(keys.flatMap(bytes => [...bytes]));
    // One that ends too early.
    if (random.below(10) === 0 && payload.length > 0) payload[0] = 255;
    const type = random.below(12);
    const head = {
      u64s: payload.length / 8,
      btree_id: random.below(30),
      level: random.below(2),
      pad: new Uint8Array(3),
    };
    const entry = { ...head, type, payload };
    const indent = random.pick([0, 2, 4]);
    const text = quickJsetKeysText(entry, context, indent);
    if (text === undefined) continue;
    quick++;
    const out = new PrintBuffer().addIndent(indent);
    jsetEntryText(out, entry, context);
    expect(text).toBe(out.newline().removeIndent(indent).toString());
  }
  expect(quick).toBeGreaterThan(10);
});
