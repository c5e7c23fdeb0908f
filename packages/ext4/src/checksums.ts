// Checksums of ext4's metadata: CRC-32C without inversions, seeded by the filesystem (metadata_csum), and CRC-16 of group descriptors
// (uninit_bg, before that). Source: fs/ext4/super.c and lib/crc16.c of Linux 6.12.

import { crc32c } from '@bcachefs-ts/core/engine';

/** CRC-16/ARC, as the kernel's crc16(): a running value. */
export function crc16(crc: number, bytes: Uint8Array): number {
  let c = crc;
  for (const byte of bytes) {
    c ^= byte;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xa001 : c >>> 1;
  }
  return c;
}

const word = new Uint8Array(8);
const wordView = new DataView(word.buffer);

/** Carries a checksum over a little-endian u32. */
export function crc32cOfU32(crc: number, value: number): number {
  wordView.setUint32(0, value, true);
  return crc32c(crc, word.subarray(0, 4));
}

/** The same of a u64. @param value a whole number up to 2^53 */
export function crc32cOfU64(crc: number, value: number): number {
  wordView.setUint32(0, value % 2 ** 32, true);
  wordView.setUint32(4, Math.floor(value / 2 ** 32), true);
  return crc32c(crc, word);
}

export function u32Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
