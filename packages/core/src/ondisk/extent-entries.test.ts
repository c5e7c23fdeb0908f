// The decoder of extent entries against a plain one with bigints, over random words. What entries look like as text is in
// keys/keys.test.ts and keys/reference-keys.test.ts.

import { describe, expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { checksumTypes } from './checksum-types.ts';
import {
  decodeExtentEntries,
  decodeExtentPtr,
  encodeExtentEntries,
  narrowestCrc,
  type WritableExtentEntry,
} from './extent-entries.ts';
import { viewOf } from './layout.ts';

/** Bits `lo` (inclusive) to `hi` (exclusive). */
const bitsOf = (word: bigint, lo: number, hi: number): bigint => (word >> BigInt(lo)) & ((1n << BigInt(hi - lo)) - 1n);
const number = (word: bigint, lo: number, hi: number): number => Number(bitsOf(word, lo, hi));
const flag = (word: bigint, bit: number): boolean => bitsOf(word, bit, bit + 1) === 1n;
/** A mask out of single bits, in the order of reconcileOptions. */
const mask = (word: bigint, ...positions: readonly number[]): number =>
  positions.reduce((sum, bit, option) => sum | (flag(word, bit) ? 1 << option : 0), 0);

function plainPtr(word: bigint) {
  return {
    type: 'ptr',
    cached: flag(word, 1),
    unwritten: flag(word, 3),
    offset: number(word, 4, 48),
    dev: number(word, 48, 56),
    gen: number(word, 56, 64),
  };
}

/** The first entry of three words. */
function plain(first: bigint, second: bigint, third: bigint): unknown {
  switch ([...Array(64).keys()].find(bit => flag(first, bit))) {
    case 0:
      return plainPtr(first);
    case 1:
      return {
        type: 'crc32',
        compressed_size: number(first, 2, 9) + 1,
        uncompressed_size: number(first, 9, 16) + 1,
        offset: number(first, 16, 23),
        nonce: 0,
        csum_type: number(first, 24, 28),
        compression_type: number(first, 28, 32),
        csum_lo: bitsOf(first, 32, 64),
        csum_hi: 0n,
      };
    case 2:
      return {
        type: 'crc64',
        compressed_size: number(first, 3, 12) + 1,
        uncompressed_size: number(first, 12, 21) + 1,
        offset: number(first, 21, 30),
        nonce: number(first, 30, 40),
        csum_type: number(first, 40, 44),
        compression_type: number(first, 44, 48),
        csum_lo: second,
        csum_hi: bitsOf(first, 48, 64),
      };
    case 3:
      return {
        type: 'crc128',
        compressed_size: number(first, 4, 17) + 1,
        uncompressed_size: number(first, 17, 30) + 1,
        offset: number(first, 30, 43),
        nonce: number(first, 43, 56),
        csum_type: number(first, 56, 60),
        compression_type: number(first, 60, 64),
        csum_lo: second,
        csum_hi: third,
      };
    case 4:
      return {
        type: 'stripe_ptr',
        block: number(first, 5, 13),
        redundancy: number(first, 13, 17),
        idx: number(first, 17, 64),
      };
    case 5:
      return {
        type: 'rebalance_v1',
        need_rb: 0,
        hipri: false,
        pending: false,
        promote_target: number(first, 15, 31),
        erasure_code: number(first, 31, 32),
        data_checksum: number(first, 32, 36),
        data_replicas: number(first, 36, 40),
        background_compression: number(first, 40, 48),
        background_target: number(first, 48, 64),
        from_inode: mask(first, 13, 11, 10, 12, 14, 9),
      };
    case 6:
      return { type: 'flags', flags: first >> 7n };
    case 7:
      return {
        type: 'reconcile',
        hipri: flag(first, 15),
        pending: flag(first, 16),
        need_rb: number(first, 17, 22),
        from_inode: mask(first, 22, 23, 24, 25, 26, 27),
        data_replicas: number(first, 28, 31),
        data_checksum: number(first, 31, 35),
        erasure_code: number(first, 35, 36),
        background_compression: number(first, 36, 44),
        background_target: number(first, 44, 54),
        promote_target: number(first, 54, 64),
      };
    case 8:
      return { type: 'reconcile_bp', idx: first >> 9n };
    default:
      return { type: 'unknown', word: first };
  }
}

const seed = testSeed();

test(`entries of random words (TEST_SEED=${seed})`, () => {
  const random = randomFrom(seed);
  const u32 = () => random.pick([0, 0xffff_ffff, random.below(2 ** 32), random.below(2 ** 32)]);
  const source = new Uint8Array(24);
  const view = viewOf(source);
  for (let round = 0; round < 5000; round++) {
    for (let i = 0; i < 6; i++) view.setUint32(4 * i, u32(), true);
    // One type as often as another, and some that do not exist.
    const type = random.below(12);
    view.setUint32(0, ((view.getUint32(0, true) >>> (type + 1)) << (type + 1)) | (1 << type), true);
    const words = [0, 8, 16].map(at => view.getBigUint64(at, true));
    expect(decodeExtentEntries(source)[0]).toEqual(plain(words[0]!, words[1]!, words[2]!));
    expect(decodeExtentPtr(words[0]!)).toEqual(plainPtr(words[0]!));
  }
});

describe('encodeExtentEntries', () => {
  test('gives back what was decoded', () => {
    const entries: WritableExtentEntry[] = [
      { ...checksummed, type: 'crc32', csum_lo: 0xfedc_ba98n, csum_hi: 0n, nonce: 0 },
      { type: 'ptr', cached: true, unwritten: false, offset: 2 ** 44 - 1, dev: 255, gen: 17 },
      { ...checksummed, type: 'crc64', compressed_size: 512, csum_hi: 0xabcdn, nonce: 1023 },
      { type: 'stripe_ptr', block: 200, redundancy: 2, idx: 2 ** 47 - 1 },
      { type: 'ptr', cached: false, unwritten: true, offset: 0, dev: 0, gen: 0 },
      { ...checksummed, type: 'crc128', uncompressed_size: 8192, offset: 8191, nonce: 8191 },
      { type: 'ptr', cached: false, unwritten: false, offset: 2 ** 33 + 5, dev: 3, gen: 255 },
    ];
    expect(decodeExtentEntries(encodeExtentEntries(entries))).toEqual(entries);
  });

  test('gives back what an extent wishes for, each field at its place', () => {
    const nothing = {
      type: 'rebalance_v1',
      need_rb: 0,
      hipri: false,
      pending: false,
      data_replicas: 0,
      data_checksum: 0,
      erasure_code: 0,
      background_compression: 0,
      background_target: 0,
      promote_target: 0,
      from_inode: 0,
    } as const;
    const largest = {
      data_replicas: 15,
      data_checksum: 15,
      erasure_code: 1,
      background_compression: 255,
      background_target: 65_535,
      promote_target: 65_535,
      from_inode: 63,
    };
    for (const [name, value] of Object.entries(largest)) {
      const entry = { ...nothing, [name]: value };
      expect(decodeExtentEntries(encodeExtentEntries([entry]))).toEqual([entry]);
    }
    expect(decodeExtentEntries(encodeExtentEntries([{ ...nothing, ...largest }]))).toEqual([
      { ...nothing, ...largest },
    ]);
  });

  test('refuses what does not fit', () => {
    const crc = { ...checksummed, type: 'crc32', uncompressed_size: 129, csum_lo: 1n, csum_hi: 0n } as const;
    expect(() => encodeExtentEntries([crc])).toThrow('128 fits into 7 bits');
  });
});

describe('narrowestCrc', () => {
  test.each([
    ['crc32c', 128, 'crc32'],
    ['crc32c', 129, 'crc64'],
    ['crc64', 1, 'crc64'],
    ['chacha20_poly1305_80', 512, 'crc64'],
    ['chacha20_poly1305_80', 513, 'crc128'],
    ['chacha20_poly1305_128', 1, 'crc128'],
    ['none', 8192, 'crc128'],
  ] as const)('%s of %i sectors is a %s', (checksum, size, type) => {
    const crc = { ...checksummed, csum_type: checksumTypes.idOf(checksum), uncompressed_size: size, offset: 0 };
    const entry = narrowestCrc({ ...crc, csum_lo: 1n, csum_hi: 0n });
    expect(entry.type).toBe(type);
    expect(decodeExtentEntries(encodeExtentEntries([entry]))).toEqual([entry]);
  });
});

const checksummed = {
  compressed_size: 1,
  uncompressed_size: 128,
  offset: 127,
  nonce: 0,
  csum_type: 5,
  compression_type: 3,
  csum_lo: 2n ** 64n - 1n,
  csum_hi: 2n ** 64n - 2n,
} as const;
