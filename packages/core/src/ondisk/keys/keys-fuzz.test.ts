// Every key type over random bytes: nothing that a disk holds may raise an error in a decoder, a validator or a printer, or make
// much text of a few bytes.

import { expect, test } from 'vitest';
import { type Random, randomFrom, testSeed } from '../../../../../test/support/random.ts';
import { toJson } from '../../util/json.ts';
import { PrintBuffer } from '../../util/print-buffer.ts';
import { BKEY_U64S, type Bkey } from '../bkey.ts';
import { keyProblems } from '../bkey-validate.ts';
import { btrees } from '../btrees.ts';
import { fsckErrors } from '../fsck-errors.ts';
import { keyJson, keyKind, keyText } from './index.ts';
import { keyTypes } from './key-types.ts';
import type { KeyTextContext } from './kind.ts';

const ROUNDS = 150;
/** BKEY_VAL_U64s_MAX. */
const VALUE_U64S_MAX = 255 - BKEY_U64S;
const VERSIONS = [undefined, (1 << 10) | 3, (1 << 10) | 13, (1 << 10) | 14, (1 << 10) | 36, (1 << 10) | 39];

const device = (index: number) =>
  index > 3
    ? undefined
    : { name: `dev${index}`, isOnline: true, bucketSizeSectors: 128 * index, durability: index, isEvacuating: false };
const validateDevice = (index: number) =>
  index > 3 ? undefined : { bucketSizeSectors: 128 * index, firstBucket: 1, bucketCount: 1000 };

/** Short values more often than long ones; bytes that are all random, mostly zero, mostly ones, or mostly small. */
function randomValue(random: Random): Uint8Array {
  const u64s = random.below(random.pick([3, 8, 20, VALUE_U64S_MAX + 1]));
  const shape = random.below(4);
  return Uint8Array.from({ length: 8 * u64s }, () => {
    if (shape === 0 || random.below(8) === 0) return random.below(256);
    return [0, 0, 255, random.below(20)][shape]!;
  });
}

const word = (random: Random): number => random.pick([0, 1, 4096, 0x7fff_ffff, 0xffff_ffff, random.below(2 ** 32)]);

const seed = testSeed();

test.each(keyTypes.rows.map(({ id, name }) => [name, id] as const))(`%s (TEST_SEED=${seed})`, (_name, type) => {
  const kind = keyKind(type);
  if (kind === undefined) return;
  const random = randomFrom(seed + type);
  for (let round = 0; round < ROUNDS; round++) {
    const value = randomValue(random);
    const k: Bkey = {
      u64s: BKEY_U64S + value.length / 8,
      format: 1,
      type,
      pad: 0,
      bversion_lo: BigInt(word(random)),
      bversion_hi: 0,
      size: word(random),
      p: Uint32Array.from({ length: 5 }, () => word(random)),
    };
    const version = random.pick(VERSIONS);
    const format = version === undefined ? {} : { version };
    const key = { k, value };

    const place = { btree: random.pick(btrees.rows).id, level: random.below(2) };
    const validate = { ...format, device: validateDevice, writing: random.below(2) === 0, btreeNodeSectors: 512 };
    const problems = keyProblems(key, place, validate);
    for (const { error } of problems) expect(fsckErrors.byName(error), error).toBeDefined();
    expect(problems.length).toBeLessThan(5 * VALUE_U64S_MAX);

    const context: KeyTextContext = {
      ...format,
      style: random.pick(['1.13', '1.36', '1.39']),
      device,
      label: group => `label${group}`,
      shardInodeNumbersBits: random.below(16),
    };
    const out = new PrintBuffer();
    keyText(out, key, context);
    expect(out.toString().length).toBeLessThan(4096 + 60 * value.length);
    expect(out.indent).toBe(0);

    const json = JSON.stringify(toJson(keyJson(key, format)));
    expect(json.length).toBeLessThan(4096 + 120 * value.length);

    if (value.length < kind.minBytes) continue;
    const decoded = kind.decode(value);
    const encoded = kind.encode(decoded);
    expect(encoded.length % 8).toBe(0);
    // What is sound and was written is read as the same thing.
    if (kind.validate(decoded, k, validate).length > 0) continue;
    expect(kind.encode(kind.decode(encoded))).toEqual(encoded);
  }
});
