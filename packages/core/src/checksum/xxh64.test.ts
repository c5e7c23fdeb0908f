// xxHash64: published values, then the portable version against the WebAssembly one, whole and in pieces.

import { describe, expect, it } from 'vitest';
import { seededRandom } from '../util/random.ts';
import { loadXxh64, PortableXxh64, xxh64, xxh64Stream } from './xxh64.ts';

const seed = process.env.TEST_SEED ?? String(Date.now());

function portable(bytes: Uint8Array): bigint {
  const hash = new PortableXxh64();
  hash.update(bytes);
  return hash.digest();
}

describe('xxh64', () => {
  it.each([
    ['', 'ef46db3751d8e999'],
    ['a', 'd24ec4f1a98c6e5b'],
    ['abc', '44bc2cf5ad770999'],
    ['xxhash', '32dd38952c4bc720'],
    ['Nobody inspects the spammish repetition', 'fbcea83c8a378bf1'],
  ])('%j', async (text, expected) => {
    const bytes = new TextEncoder().encode(text);
    expect(portable(bytes).toString(16)).toBe(expected);
    await loadXxh64();
    expect(xxh64(bytes).toString(16)).toBe(expected);
  });

  it(`is the same in both versions, whole and in pieces (TEST_SEED=${seed})`, async () => {
    await loadXxh64();
    const random = seededRandom(seed);
    for (let length = 0; length < 200; length++) {
      const bytes = random.bytes(length);
      const expected = portable(bytes);
      expect(xxh64(bytes)).toBe(expected);

      for (const pieces of [new PortableXxh64(), xxh64Stream()]) {
        const step = 1 + (length % 41);
        for (let i = 0; i < length; i += step) pieces.update(bytes.subarray(i, i + step));
        expect(pieces.digest()).toBe(expected);
      }
    }
  });
});
