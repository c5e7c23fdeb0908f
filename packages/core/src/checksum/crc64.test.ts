// CRC-64 ECMA-182: published check values, then the tables against the bit-by-bit definition over random input.

import { describe, expect, it } from 'vitest';
import { seededRandom } from '../util/random.ts';
import { crc64, crc64FromBigInt, crc64OverZeros, crc64ToBigInt } from './crc64.ts';

const seed = process.env.TEST_SEED ?? String(Date.now());

/** The definition, one bit at a time: the plain twin. */
function bitwise(crc: bigint, bytes: Uint8Array): bigint {
  let c = crc;
  for (const byte of bytes) {
    c ^= BigInt(byte) << 56n;
    for (let bit = 0; bit < 8; bit++) {
      c = c >> 63n ? BigInt.asUintN(64, c << 1n) ^ 0x42f0_e1eb_a9ea_3693n : c << 1n;
    }
  }
  return c;
}

function fast(crc: bigint, bytes: Uint8Array): bigint {
  const state = crc64FromBigInt(crc);
  crc64(state, bytes);
  return crc64ToBigInt(state);
}

describe('crc64', () => {
  const digits = new TextEncoder().encode('123456789');

  it('has the check value of CRC-64/ECMA-182', () => {
    expect(fast(0n, digits).toString(16)).toBe('6c40df5f0b497347');
  });

  it('has the check value of CRC-64/WE when it starts from all ones and ends inverted', () => {
    const ones = 0xffff_ffff_ffff_ffffn;
    expect((fast(ones, digits) ^ ones).toString(16)).toBe('62ec59e3f1a4f00a');
  });

  it(`agrees with the bitwise definition at every length and alignment (TEST_SEED=${seed})`, () => {
    const buffer = seededRandom(seed).bytes(512);
    for (let length = 0; length < 200; length++) {
      const bytes = buffer.subarray(length % 7, (length % 7) + length);
      expect(fast(0x0123_4567_89ab_cdefn, bytes)).toBe(bitwise(0x0123_4567_89ab_cdefn, bytes));
    }
  });

  it.each([0, 1, 2, 3, 511, 512, 4096, 1_000_003])('advances over %i zeroes', count => {
    const state = crc64FromBigInt(0xfedc_ba98_7654_3210n);
    crc64OverZeros(state, count);
    expect(crc64ToBigInt(state)).toBe(fast(0xfedc_ba98_7654_3210n, new Uint8Array(count)));
  });
});
