// The test vectors of SipHash's authors: key 00 01 … 0f, messages 00, 00 01, 00 01 02, …

import { describe, expect, test } from 'vitest';
import { siphash24 } from './siphash.ts';

const key = Uint32Array.of(0x0302_0100, 0x0706_0504, 0x0b0a_0908, 0x0f0e_0d0c);

const hex = (count: number): string => {
  const { lo, hi } = siphash24(
    key,
    Uint8Array.from({ length: count }, (_, i) => i),
  );
  return ((BigInt(hi) << 32n) | BigInt(lo)).toString(16).padStart(16, '0');
};

describe('siphash24', () => {
  // vectors_sip64 of the reference implementation, read as little-endian numbers.
  test.each([
    [0, '726fdb47dd0e0e31'],
    [1, '74f839c593dc67fd'],
    [2, '0d6c8009d9a94f5a'],
    [3, '85676696d7fb7e2d'],
    [7, 'ab0200f58b01d137'],
    [8, '93f5f5799a932462'],
    [15, 'a129ca6149be45e5'],
  ])('of %i bytes', (count, expected) => expect(hex(count)).toBe(expected));
});
