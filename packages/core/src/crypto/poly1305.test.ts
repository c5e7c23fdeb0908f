// Poly1305: the library against RFC 8439 and against the definition over big integers; then the MAC as bcachefs keys it.

import { poly1305 } from '@noble/ciphers/_poly1305.js';
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../util/random.ts';
import { loadMacs, macOf, macStream, oneTimeKey } from './poly1305.ts';

const seed = process.env.TEST_SEED ?? String(Date.now());
const hex = (bytes: Uint8Array) => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
const fromHex = (text: string) => Uint8Array.from(text.match(/../g)!, byte => Number.parseInt(byte, 16));

/** The definition: the plain twin. */
function plainPoly1305(bytes: Uint8Array, key: Uint8Array): Uint8Array {
  const number = (from: Uint8Array) => from.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const r = number(key.subarray(0, 16)) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffffn;
  let sum = 0n;
  for (let i = 0; i < bytes.length; i += 16) {
    sum = ((sum + number(Uint8Array.of(...bytes.subarray(i, i + 16), 1))) * r) % (2n ** 130n - 5n);
  }
  sum += number(key.subarray(16));
  return Uint8Array.from({ length: 16 }, (_, i) => Number((sum >> BigInt(8 * i)) & 255n));
}

describe('poly1305', () => {
  const key = fromHex('85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b');
  const text = new TextEncoder().encode('Cryptographic Forum Research Group');

  it('gives the tag of RFC 8439, 2.5.2', () => {
    expect(hex(poly1305(text, key))).toBe('a8061dc1305136c6c22b8baf0c0127a9');
    expect(hex(plainPoly1305(text, key))).toBe('a8061dc1305136c6c22b8baf0c0127a9');
  });

  function compare(lengths: readonly number[]): void {
    const random = seededRandom(seed);
    for (const length of lengths) {
      const bytes = random.bytes(length);
      const mac = { key: random.bytes(32), nonce: [length, 1, 2, 0x2000_0003] as const };
      const expected = plainPoly1305(bytes, oneTimeKey(mac));
      expect(macOf(mac, bytes)).toEqual(expected);

      const stream = macStream(mac);
      for (let i = 0; i < length; i += 13) stream.update(bytes.subarray(i, i + 13));
      expect(stream.digest()).toEqual(expected);
    }
  }
  const lengths = [0, 1, 15, 16, 17, 63, 64, 1000, 4096];

  it(`agrees with the definition, whole and in pieces (TEST_SEED=${seed})`, () => compare(lengths));

  // All ones carry through every limb.
  it('and so does the faster one', async () => {
    expect(await loadMacs()).toBe(true);
    compare([...lengths, 70_000]);
    const mac = { key: new Uint8Array(32).fill(255), nonce: [1, 2, 3, 4] as const };
    const ones = new Uint8Array(4096).fill(255);
    expect(macOf(mac, ones)).toEqual(plainPoly1305(ones, oneTimeKey(mac)));
  });
});
