// Bytes are equal for toEqual when they are, wherever they stand, and their kind counts for toStrictEqual.

import { expect, test } from 'vitest';

test('arrays of bytes are compared by what they hold', () => {
  const large = new Uint8Array(2 ** 24).fill(3);
  expect({ in: [large.subarray(1)] }).toEqual({ in: [large.slice(1)] });
  expect(Buffer.from('ab')).toEqual(Buffer.from('ab'));
  expect([Uint8Array.of(1)]).not.toEqual([Uint8Array.of(2)]);
  expect(Uint8Array.of(1)).not.toEqual(Uint8Array.of(1, 0));
  expect(Uint8Array.of()).toEqual(Uint8Array.of());
  expect(Uint8Array.of(1)).toStrictEqual(Uint8Array.of(1));
  expect(Buffer.of(1)).not.toStrictEqual(Uint8Array.of(1));
});
