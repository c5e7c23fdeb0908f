// GF(2^8): the fast loops against the definition, bit by bit.

import { describe, expect, it } from 'vitest';
import { seededRandom } from '../util/random.ts';
import { addInto, doubleAndAddInto, gfInverse, gfMultiply, gfPowerOfTwo, multiplyBlock } from './gf256.ts';

const seed = process.env.TEST_SEED ?? String(Date.now());

/** Multiplication as polynomials are multiplied, reduced by x^8 + x^4 + x^3 + x^2 + 1. */
function plainMultiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0; bit < 8; bit++) if ((b >> bit) & 1) product ^= a << bit;
  for (let bit = 14; bit >= 8; bit--) if ((product >> bit) & 1) product ^= 0x11d << (bit - 8);
  return product;
}

describe('GF(2^8)', () => {
  it('multiplies all pairs as the definition does', () => {
    for (let a = 0; a < 256; a++) {
      for (let b = 0; b < 256; b++) {
        if (gfMultiply(a, b) !== plainMultiply(a, b)) expect.fail(`${a} · ${b}`);
      }
    }
  });

  it('inverts, and raises 2 to powers', () => {
    for (let a = 1; a < 256; a++) expect(plainMultiply(a, gfInverse(a))).toBe(1);
    let power = 1;
    for (let i = 0; i < 300; i++) {
      expect(gfPowerOfTwo(i)).toBe(power);
      power = plainMultiply(power, 2);
    }
    expect(() => gfInverse(0)).toThrow('no inverse');
  });

  it(`works on blocks as on bytes (TEST_SEED=${seed})`, () => {
    const random = seededRandom(seed);
    const [a, b] = [random.bytes(1024), random.bytes(1024)];
    const sum = a.slice();
    addInto(sum, b);
    expect(sum).toEqual(a.map((byte, i) => byte ^ b[i]!));
    const stepped = a.slice();
    doubleAndAddInto(stepped, b);
    expect(stepped).toEqual(a.map((byte, i) => plainMultiply(byte, 2) ^ b[i]!));
    const doubled = a.slice();
    doubleAndAddInto(doubled);
    expect(doubled).toEqual(a.map(byte => plainMultiply(byte, 2)));
    for (const factor of [0, 1, 2, 0x1d, 255]) {
      const scaled = a.slice();
      multiplyBlock(scaled, factor);
      expect(scaled).toEqual(a.map(byte => plainMultiply(byte, factor)));
    }
  });
});
