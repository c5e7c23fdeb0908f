import { loadChecksums } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { EXT4_SUPERBLOCK_BYTES, isMarkable, markOf, withMark } from './mark.ts';

beforeAll(loadChecksums);

/** CRC-32C of the kernel's crc32c_le, as ext4 stores it of its superblock. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f6_3b78 : 0);
  }
  return crc >>> 0;
}

function superblock(hasChecksum: boolean): Uint8Array {
  const sb = Uint8Array.from({ length: EXT4_SUPERBLOCK_BYTES }, (_, at) => (at * 37 + (at >> 3)) & 0xff);
  const view = new DataView(sb.buffer);
  view.setUint16(0x38, 0xef53, true);
  view.setUint32(0x60, 0x2c2, true);
  view.setUint32(0x64, hasChecksum ? 0x46b : 0x6b, true);
  view.setUint32(0xc8, 0, true);
  view.setUint32(0x3fc, crc32c(sb.subarray(0, 0x3fc)), true);
  return sb;
}

describe.each([true, false])('a superblock with checksum %s', hasChecksum => {
  const sb = superblock(hasChecksum);

  test.each(['closing', 'closed'] as const)('marked as %s', mark => {
    expect(markOf(sb)).toBe('none');
    expect(isMarkable(sb)).toBe(true);
    const marked = withMark(sb, mark);
    const view = new DataView(marked.buffer);
    expect(markOf(marked)).toBe(mark);
    expect(isMarkable(marked)).toBe(false);
    expect(view.getUint32(0x64, true) & 0x1000).toBe(0x1000);
    expect(view.getUint32(0x60, true) >>> 31).toBe(mark === 'closed' ? 1 : 0);
    // One sector only, with a checksum that is right.
    expect(marked.subarray(512)).toEqual(sb.subarray(512));
    if (hasChecksum) expect(crc32c(marked.subarray(0, 0x3fc))).toBe(view.getUint32(0x3fc, true));
    expect(withMark(marked, 'none')).toEqual(sb);
    expect(withMark(withMark(marked, 'closing'), 'none')).toEqual(sb);
  });

  test('the feature read-only that somebody else has set', () => {
    const theirs = sb.slice();
    theirs[0x65]! |= 0x10;
    expect(markOf(theirs)).toBe('none');
    expect(isMarkable(theirs)).toBe(false);
  });
});

test('zeroes', () => {
  expect(markOf(new Uint8Array(EXT4_SUPERBLOCK_BYTES))).toBe(undefined);
});
