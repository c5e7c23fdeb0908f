// CRC-32C: published vectors, then the table and native loops against the bit-by-bit definition over random input.

import { describe, expect, it, vi } from 'vitest';
import { seededRandom } from '../util/random.ts';
import { crc32c, crc32cOverZeros, crc32cPortable, loadNativeCrc32c } from './crc32c.ts';

const seed = process.env.TEST_SEED ?? String(Date.now());

/** The definition, one bit at a time: the plain twin. */
function bitwise(crc: number, bytes: Uint8Array): number {
  let c = crc;
  for (const byte of bytes) {
    c ^= byte;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f6_3b78 : c >>> 1;
  }
  return c >>> 0;
}

/** The usual form of the checksum: all ones at the start, inverted at the end. */
const usual = (bytes: Uint8Array, loop = crc32c) => ~loop(0xffff_ffff, bytes) >>> 0;

/** RFC 3720 B.4, and the check value of the CRC catalogue. */
const published: readonly (readonly [string, Uint8Array, number])[] = [
  ['123456789', new TextEncoder().encode('123456789'), 0xe306_9283],
  ['32 bytes of zeroes', new Uint8Array(32), 0x8a91_36aa],
  ['32 bytes of ones', new Uint8Array(32).fill(0xff), 0x62a8_ab43],
  ['32 incrementing bytes', Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd_794e],
  ['32 decrementing bytes', Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113f_db5c],
  [
    'an iSCSI read command',
    Uint8Array.from(
      '01c000000000000000000000000000001400000000000400000000140000001828000000000000000200000000000000'
        .match(/../g)!
        .map(hex => Number.parseInt(hex, 16)),
    ),
    0xd996_3a56,
  ],
];

describe('crc32c', () => {
  it.each(published)('%s', (_, bytes, expected) => {
    expect(usual(bytes, bitwise)).toBe(expected);
    expect(usual(bytes, crc32cPortable)).toBe(expected);
    expect(usual(bytes)).toBe(expected);
  });

  it(`agrees with the bitwise definition at every length and alignment (TEST_SEED=${seed})`, () => {
    const random = seededRandom(seed);
    const buffer = random.bytes(4096);
    const cases = Array.from({ length: 300 }, (_, length) => [length % 7, length] as const);
    cases.push([1, 1000], [3, 4000], [0, 4096]);
    const expected = cases.map(([from, length]) => bitwise(0x1234_5678, buffer.subarray(from, from + length)));
    const all = (loop: typeof crc32c) =>
      cases.map(([from, length]) => loop(0x1234_5678, buffer.subarray(from, from + length)));

    expect(all(crc32cPortable)).toEqual(expected);
    expect(all(crc32c)).toEqual(expected);
    loadNativeCrc32c();
    expect(all(crc32c)).toEqual(expected);
  });

  it('is the same when the native loop takes over in the middle', async () => {
    // Anew, since what was loaded stays.
    vi.resetModules();
    const fresh: typeof import('./crc32c.ts') = await import('./crc32c.ts');
    fresh.expectMuchCrc32c();
    const bytes = seededRandom(seed).bytes(3 << 20);
    const expected = crc32cPortable(0, bytes);
    for (let passed = 0; passed < 24 << 20; passed += bytes.length) expect(fresh.crc32c(0, bytes)).toBe(expected);
  });

  it('takes shared memory', () => {
    loadNativeCrc32c();
    const shared = new Uint8Array(new SharedArrayBuffer(1000)).fill(7);
    expect(crc32c(0, shared)).toBe(bitwise(0, shared));
  });

  it.each([0, 1, 2, 3, 511, 512, 4096, 1_000_003])('advances over %i zeroes', count => {
    expect(crc32cOverZeros(0xdead_beef, count)).toBe(crc32cPortable(0xdead_beef, new Uint8Array(count)));
  });

  it('advances over more zeroes than 32 bits count', () => {
    const half = crc32cOverZeros(0xdead_beef, 2 ** 39);
    expect(crc32cOverZeros(half, 2 ** 39)).toBe(crc32cOverZeros(0xdead_beef, 2 ** 40));
  });
});
