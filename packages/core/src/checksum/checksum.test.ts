// The types of checksum together: what starts and ends how, streams, merging, vstructs, and what is refused.

import { describe, expect, it } from 'vitest';
import { NULL_NONCE } from '../crypto/nonce.ts';
import type { MacKey } from '../crypto/poly1305.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { IncompatibleError } from '../ondisk/errors.ts';
import { seededRandom } from '../util/random.ts';
import {
  canChecksum,
  checksum,
  checksumStream,
  isMergeable,
  loadChecksums,
  mergeChecksums,
  sealVstruct,
  verifyVstruct,
} from './checksum.ts';
import { csumBytes, csumEquals, csumText } from './csum.ts';

const seed = process.env.TEST_SEED ?? String(Date.now());
const digits = new TextEncoder().encode('123456789');
const mac: MacKey = { key: new Uint8Array(32).fill(1), nonce: [0, 2, 3, 4] };
const typeIds = checksumTypes.rows.map(row => row.id);

/** What is stored, as text, for the usual check string. The plain crc types start from zero and do not invert. */
const expectedText: Readonly<Record<string, string>> = {
  none: '',
  crc32c_nonzero: '839206e3', // CRC-32C, little-endian
  crc32c: '20fae358', // CRC-32C whose register starts at 0 and is not inverted: 58e3fa20
  crc64_nonzero: '0af0a4f1e359ec62', // CRC-64/WE
  crc64: '4773490b5fdf406c', // CRC-64/ECMA-182
  xxhash: '83aee640db41b88c',
};

describe('checksum', () => {
  it.each(Object.entries(expectedText))('%s', (name, expected) => {
    const type = checksumTypes.byName(name)!.id;
    expect(csumText(type, checksum(type, digits))).toBe(expected);
  });

  it('keeps ten bytes of a MAC in the 80-bit type', () => {
    const short = csumBytes(checksum(3, digits, mac));
    const long = csumBytes(checksum(4, digits, mac));
    expect(short.subarray(0, 10)).toEqual(long.subarray(0, 10));
    expect(short.subarray(10)).toEqual(new Uint8Array(6));
    expect(csumText(3, checksum(3, digits, mac))).toHaveLength(20);
    expect(csumText(4, checksum(4, digits, mac))).toHaveLength(32);
  });

  it('never gives a nonzero flavour 0 for zeroes, and the plain ones always', () => {
    for (const type of [1, 2]) expect(checksum(type, new Uint8Array(64)).lo).not.toBe(0n);
    for (const type of [5, 6]) expect(checksum(type, new Uint8Array(64)).lo).toBe(0n);
  });

  it(`is the same before and after loading, whole and in pieces (TEST_SEED=${seed})`, async () => {
    const random = seededRandom(seed);
    const inputs = [0, 1, 15, 64, 300, 2000, 9001].map(length => random.bytes(length));
    const whole = () => typeIds.map(type => inputs.map(bytes => checksum(type, bytes, mac)));
    const inPieces = () =>
      typeIds.map(type =>
        inputs.map(bytes => {
          const stream = checksumStream(type, mac);
          for (let i = 0; i < bytes.length; i += 77) stream.update(bytes.subarray(i, i + 77));
          return stream.finish();
        }),
      );

    const before = whole();
    expect(inPieces()).toEqual(before);
    await loadChecksums();
    expect(whole()).toEqual(before);
    expect(inPieces()).toEqual(before);
  });
});

describe('mergeChecksums', () => {
  it.each(typeIds.filter(isMergeable))('type %i: two neighbours', type => {
    const random = seededRandom(seed);
    for (const [aBytes, bBytes] of [
      [512, 4096],
      [0, 512],
      [512, 0],
      [131_072, 1536],
    ] as const) {
      const bytes = random.bytes(aBytes + bBytes);
      const a = checksum(type, bytes.subarray(0, aBytes));
      const b = checksum(type, bytes.subarray(aBytes));
      expect(mergeChecksums(type, a, b, bBytes), `TEST_SEED=${seed}`).toEqual(checksum(type, bytes));
    }
  });

  it('is for three types only', () => {
    expect(typeIds.filter(isMergeable)).toEqual([0, 5, 6]);
  });
});

describe('vstructs', () => {
  it.each(typeIds)('type %i: a sealed one verifies, a changed one does not', type => {
    const vstruct = seededRandom(seed).bytes(1000);
    sealVstruct(type, vstruct, mac);
    expect(verifyVstruct(type, vstruct, mac).good).toBe(true);

    vstruct[999]! ^= 1;
    const { good, stored, computed } = verifyVstruct(type, vstruct, mac);
    expect(good).toBe(type === 0);
    expect(csumEquals(stored, computed)).toBe(good);
  });

  it('compares all 16 bytes, also those that the type does not use', () => {
    const vstruct = new Uint8Array(100);
    sealVstruct(1, vstruct);
    vstruct[15] = 1;
    expect(verifyVstruct(1, vstruct).good).toBe(false);
  });
});

describe('what cannot be computed', () => {
  it('is reported by canChecksum', () => {
    expect(typeIds.filter(type => canChecksum(type))).toEqual([0, 1, 2, 5, 6, 7]);
    expect(typeIds.filter(type => canChecksum(type, mac))).toEqual(typeIds);
    for (const type of [-1, 8, 15, 63, 1.5, Number.NaN]) expect(canChecksum(type, mac)).toBe(false);
  });

  it('is an IncompatibleError', () => {
    expect(() => checksum(8, digits)).toThrow(IncompatibleError);
    expect(() => checksumStream(8)).toThrow('checksum type 8, this version knows 0 to 7');
    expect(() => checksum(4, digits)).toThrow('a MAC cannot be checked without the key');
    expect(() => checksumStream(3)).toThrow(IncompatibleError);
    expect(() => mergeChecksums(1, { lo: 0n, hi: 0n }, { lo: 0n, hi: 0n }, 1)).toThrow('cannot be merged');
  });

  it('takes the null nonce', () => {
    expect(canChecksum(4, { key: new Uint8Array(32), nonce: NULL_NONCE })).toBe(true);
  });
});

describe('csumText', () => {
  it('shows all bytes for an unknown type', () => {
    expect(csumText(9, { lo: 1n, hi: 2n })).toBe('01000000000000000200000000000000');
  });
});
