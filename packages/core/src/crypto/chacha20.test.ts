// ChaCha20: the vectors of RFC 8439, then the two implementations against each other.

import { describe, expect, it } from 'vitest';
import { seededRandom } from '../util/random.ts';
import { chacha20, chacha20Noble } from './chacha20.ts';
import type { Nonce } from './nonce.ts';
import { oneTimeKey } from './poly1305.ts';

const seed = process.env.TEST_SEED ?? String(Date.now());
const hex = (bytes: Uint8Array) => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
const countingFrom = (first: number) => Uint8Array.from({ length: 32 }, (_, i) => first + i);

describe('chacha20', () => {
  it('gives the key stream of RFC 8439, 2.3.2', () => {
    const block = new Uint8Array(64);
    chacha20(countingFrom(0), [1, 0x0900_0000, 0x4a00_0000, 0], block);
    expect(hex(block)).toBe(
      '10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4ed2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e',
    );
  });

  it.each([114, 5000])('encrypts the text of RFC 8439, 2.4.2, as part of %i bytes', length => {
    const text =
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    const bytes = new Uint8Array(length);
    bytes.set(new TextEncoder().encode(text));
    chacha20(countingFrom(0), [1, 0, 0x4a00_0000, 0], bytes);
    expect(hex(bytes.subarray(0, 114))).toBe(
      '6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab77937365af90bbf74a35be6b40b8eedf2785e42874d',
    );
  });

  it('makes the one-time key of RFC 8439, 2.6.2, once the bit that bcachefs adds is taken away', () => {
    const nonce: Nonce = [0, 0, 0x0302_0100, (0x0706_0504 ^ 0x8000_0000) >>> 0];
    expect(hex(oneTimeKey({ key: countingFrom(0x80), nonce }))).toBe(
      '8ad5a08b905f81cc815040274ab29471a833b637e3fd0da508dbb8e2fdd1a646',
    );
  });

  it(`is the same in both implementations, and undoes itself (TEST_SEED=${seed})`, () => {
    const random = seededRandom(seed);
    const key = random.bytes(32);
    for (const [from, length] of [
      [0, 0],
      [1, 63],
      [0, 1023],
      [0, 1024],
      [3, 1025],
      [1, 4096],
      [2, 70_000],
    ] as const) {
      const plain = random.bytes(from + length).subarray(from);
      const nonce: Nonce = [0x7fff_ff00 + length, 0xffff_ffff, length, 0x9000_0000];
      const [ours, noble] = [plain.slice(), plain.slice()];
      chacha20(key, nonce, ours);
      chacha20Noble(key, nonce, noble);
      expect(ours).toEqual(noble);
      chacha20(key, nonce, ours);
      expect(ours).toEqual(plain);
    }
  });

  it('refuses what would run past the end of the counter, where implementations differ', () => {
    expect(() => chacha20(new Uint8Array(32), [0xffff_ffff, 0, 0, 0], new Uint8Array(64))).toThrow('block counter');
    expect(() => chacha20(new Uint8Array(31), [0, 0, 0, 0], new Uint8Array(64))).toThrow('has 32 bytes, not 31');
  });
});
