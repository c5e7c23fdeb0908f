// Nonces: the words, as the C functions of the same names fill them.

import { describe, expect, it } from 'vitest';
import { btreeNonce, extentNonce, journalNonce, nonceAdd, polyNonce, sbKeyNonce } from './nonce.ts';

describe('nonces', () => {
  it('counts blocks of 64 bytes', () => {
    expect(nonceAdd([1, 2, 3, 4], 128)).toEqual([3, 2, 3, 4]);
    expect(nonceAdd([0xffff_ffff, 2, 3, 4], 64)).toEqual([0, 2, 3, 4]);
    expect(() => nonceAdd([0, 0, 0, 0], 65)).toThrow('offset 65 is not in whole blocks');
  });

  it('keeps one-time keys apart by the top bit', () => {
    expect(polyNonce([1, 2, 3, 0x3000_0000])).toEqual([1, 2, 3, 0xb000_0000]);
  });

  it('of a bset: offset, seq, and the low half of the journal sequence number', () => {
    const bset = { seq: 0x1122_3344_5566_7788n, journal_seq: 0x5_0000_0007 };
    expect(btreeNonce(bset, 4096)).toEqual([4096, 0x5566_7788, 0x1122_3344, 0x2000_0007]);
  });

  it('of a journal entry: its sequence number', () => {
    expect(journalNonce(0x7_0000_0009)).toEqual([0, 9, 7, 0x3000_0000]);
  });

  it('of an extent: the version, and how it is compressed', () => {
    const version = { hi: 0x12, lo: 0xaabb_ccdd_0011_2233n };
    const plain = { compressionType: 0, uncompressedSectors: 128, nonceSectors: 0 };
    expect(extentNonce(version, plain)).toEqual([0, 0x0011_2233, 0xaabb_ccdd, 0x1000_0012]);
    expect(extentNonce(version, { ...plain, nonceSectors: 3 })).toEqual([24, 0x0011_2233, 0xaabb_ccdd, 0x1000_0012]);
    expect(extentNonce(version, { ...plain, compressionType: 3 })).toEqual([
      (128 << 22) >>> 0,
      0x0011_2233,
      0xaabb_ccdd,
      0x1300_0012,
    ]);
  });

  it('of an incompressible extent is that of a plain one', () => {
    const version = { hi: 1, lo: 1n };
    const plain = { compressionType: 0, uncompressedSectors: 8, nonceSectors: 0 };
    expect(extentNonce(version, { ...plain, compressionType: 5 })).toEqual(extentNonce(version, plain));
  });

  it('loses sizes from 1024 sectors on, as the shift in the C code does', () => {
    const crc = { compressionType: 4, uncompressedSectors: 1024 + 512, nonceSectors: 0 };
    expect(extentNonce({ hi: 0, lo: 0n }, crc)[0]).toBe(0x8000_0000);
  });

  it('of the key in the superblock: the first half of the internal uuid', () => {
    const uuid = Uint8Array.from({ length: 16 }, (_, i) => i);
    expect(sbKeyNonce(uuid)).toEqual([0, 0, 0x0302_0100, 0x0706_0504]);
    expect(() => sbKeyNonce(uuid.subarray(1))).toThrow('a uuid has 16 bytes, not 15');
  });
});
