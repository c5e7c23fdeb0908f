// Variable-length integers, there and back.

import { expect, test } from 'vitest';
import { toHex } from '../util/hex.ts';
import { encodeVarint, VarintReader } from './varint.ts';

const read = (bytes: readonly number[]) => {
  const reader = new VarintReader(Uint8Array.from(bytes), 0);
  if (!reader.next()) return undefined;
  return { value: (BigInt(reader.hi) << 32n) | BigInt(reader.lo), length: reader.at };
};

test.each<[bigint, string]>([
  [0n, '00'],
  [1n, '02'],
  [127n, 'fe'],
  [128n, '0102'],
  [0x3fffn, 'fdff'],
  [0x4000n, '030002'],
  [4096n, '0140'],
  [0x80_0011n, '17010008'], // the device number 8:17, source: reference
  [(1n << 28n) - 1n, 'f7ffffff'],
  [1n << 32n, '0f00000020'],
  [(1n << 56n) - 1n, '7fffffffffffffff'],
  [1n << 56n, 'ff0000000000000001'],
  [(1n << 64n) - 1n, 'ffffffffffffffffff'],
])('%d', (value, hex) => {
  const encoded = encodeVarint(value);
  expect(toHex(Uint8Array.from(encoded))).toBe(hex);
  expect(read(encoded)).toEqual({ value, length: encoded.length });
  // One byte less is none.
  expect(read(encoded.slice(0, -1))).toBeUndefined();
});

test('every power of two and its neighbours', () => {
  for (let bit = 0n; bit < 64n; bit++) {
    for (const value of [(1n << bit) - 1n, 1n << bit, (1n << bit) + 1n]) {
      const encoded = encodeVarint(value);
      expect(read(encoded)).toEqual({ value, length: encoded.length });
    }
  }
});

test('one after the other', () => {
  const reader = new VarintReader(Uint8Array.from([0xaa, ...encodeVarint(5), ...encodeVarint(1n << 60n), 0x01]), 1);
  expect([reader.next(), reader.lo, reader.hi]).toEqual([true, 5, 0]);
  expect([reader.next(), reader.lo, reader.hi]).toEqual([true, 0, 1 << 28]);
  // What is cut off leaves everything as it was.
  expect([reader.next(), reader.lo, reader.hi, reader.at]).toEqual([false, 0, 1 << 28, 11]);
});
