// Random bytes as keys about space, snapshots and quotas: whatever they are, every function gives an answer, and a bounded one.

import { expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../../test/support/random.ts';
import { toHex } from '../../util/hex.ts';
import { toJson } from '../../util/json.ts';
import { PrintBuffer } from '../../util/print-buffer.ts';
import { fsckErrors } from '../fsck-errors.ts';
import { keyJson, keyKind, keyText } from './index.ts';
import { type KeyTypeName, keyTypes } from './key-types.ts';

const TYPES: readonly KeyTypeName[] = [
  'alloc',
  'alloc_v2',
  'alloc_v3',
  'alloc_v4',
  'bucket_gens',
  'backpointer',
  'lru',
  'stripe',
  'quota',
  'subvolume',
  'snapshot',
  'snapshot_tree',
  'accounting',
];

const CASES_PER_TYPE = 2_000;
/** The longest value: u64s is a byte. */
const VALUE_BYTES_MAX = 8 * (255 - 5);
/** bucket_gens prints up to four characters a byte; a stripe has 255 blocks at most. */
const TEXT_MAX = 20_000;

/** A few for each of the 249 pointers that fit into a stripe. */
const PROBLEMS_MAX = 1_000;

const seed = testSeed();

test.each(TYPES)(`%s (seed ${seed})`, name => {
  const random = randomFrom(seed ^ keyTypes.idOf(name));
  const kind = keyKind(keyTypes.idOf(name))!;
  // Zeroes and ones are likelier than other bytes: they pass more checks.
  const byte = () => random.pick([0, 0, 255, 1, random.below(256), random.below(256)]);
  const word = () => ((byte() << 24) | (byte() << 16) | (byte() << 8) | byte()) >>> 0;
  for (let i = 0; i < CASES_PER_TYPE; i++) {
    const shortest = Math.ceil(kind.minBytes / 8);
    const u64s = random.pick([
      shortest,
      shortest + 1,
      shortest + random.below(8),
      random.below(VALUE_BYTES_MAX / 8 + 1),
    ]);
    const value = Uint8Array.from({ length: 8 * u64s }, byte);
    const k = {
      u64s: 5 + u64s,
      format: 1,
      type: keyTypes.idOf(name),
      pad: 0,
      bversion_lo: BigInt(byte()),
      bversion_hi: 0,
      size: 0,
      p: Uint32Array.from({ length: 5 }, word),
    };
    const format = { version: (1 << 10) | random.below(41), extentBpShift: byte() };
    const bucketSizeSectors = random.pick([0, 1, 256, 2 ** 32 - 1]);
    const context = {
      ...format,
      style: random.pick(['1.36', '1.39'] as const),
      device: (index: number) =>
        index % 2 === 0
          ? { name: 'd', isOnline: true, bucketSizeSectors, durability: 1, isEvacuating: false }
          : undefined,
      label: () => 'a.b',
    };
    const out = new PrintBuffer();
    keyText(out, { k, value }, context);
    expect(out.toString().length).toBeLessThan(TEXT_MAX);
    JSON.stringify(toJson(keyJson({ k, value }, format)));
    if (value.length < kind.minBytes) continue;
    const decoded = kind.decode(value);
    const device = (index: number) =>
      index % 2 === 0 ? { bucketSizeSectors, firstBucket: 1, bucketCount: 9 } : undefined;
    const problems = kind.validate(decoded, k, { ...format, device, writing: random.below(2) === 0 });
    const unnamed = problems.filter(problem => fsckErrors.byName(problem.error) === undefined);
    expect(unnamed).toEqual([]);
    expect(problems.length).toBeLessThan(PROBLEMS_MAX);
    const encoded = kind.encode(decoded);
    expect(toHex(encoded)).toBe(toHex(value.subarray(0, encoded.length)));
  }
});
