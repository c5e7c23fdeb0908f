import { crc32c } from '@bcachefs-ts/core/engine';
import { expect, test } from 'vitest';
import { crc16, crc32cOfU32, crc32cOfU64 } from './checksums.ts';

test('CRC-16/ARC has the check value of the catalogue', () => {
  expect(crc16(0, new TextEncoder().encode('123456789'))).toBe(0xbb3d);
});

test('numbers go in with their lowest byte first', () => {
  const of = (...bytes: number[]) => crc32c(7, Uint8Array.from(bytes));
  expect(crc32cOfU32(7, 0x8000_0201)).toBe(of(0x01, 0x02, 0, 0x80));
  expect(crc32cOfU64(7, 2 ** 40 + 3)).toBe(of(3, 0, 0, 0, 0, 1, 0, 0));
});
