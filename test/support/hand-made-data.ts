// Filesystems made for tests of data: keys in lists instead of btrees, over devices in memory.

import { BtreeView } from '../../packages/core/src/btree/iterate.ts';
import { NodeReader } from '../../packages/core/src/btree/node-read.ts';
import type { FilesystemSource } from '../../packages/core/src/btree/source.ts';
import { checksum } from '../../packages/core/src/checksum/checksum.ts';
import type { BlockDevice } from '../../packages/core/src/device/block-device.ts';
import { MemoryDevice } from '../../packages/core/src/device/memory-device.ts';
import { OverlayBuilder } from '../../packages/core/src/journal/overlay.ts';
import type { Key } from '../../packages/core/src/ondisk/bkey.ts';
import { type BtreeName, btrees } from '../../packages/core/src/ondisk/btrees.ts';
import { members } from '../../packages/core/src/ondisk/sb-fields/members.ts';
import { readSuperblock } from '../../packages/core/src/superblock/read.ts';
import { testImageContents } from './images.ts';
import { testKey } from './nodes.ts';

const superblock = () => readSuperblock(MemoryDevice.from(testImageContents('multi')[0]!)).sb;

/** The bucket of a sector of the first member. */
export const bucketOf = (sector: number): number => Math.floor(sector / members(superblock())[0]!.bucket_size);

/** A filesystem of two members of 16 MiB with these keys in it. */
export function handMade(
  keys: Partial<Record<BtreeName, readonly Key[]>>,
  devices: readonly (BlockDevice | undefined)[],
): FilesystemSource {
  const builder = new OverlayBuilder();
  for (const [name, list] of Object.entries(keys)) for (const key of list) builder.add(idOf(name), 0, 1, key);
  const overlay = builder.finish();
  const sb = superblock();
  const reader = new NodeReader({
    magic: 0n,
    nodeSectors: 512,
    blockSectors: 1,
    version: sb.version,
    versionMin: sb.version_min,
    key: undefined,
    device: () => undefined,
    isBlacklisted: () => false,
    values: undefined,
  });
  return {
    sb,
    key: undefined,
    btree: which => new BtreeView(typeof which === 'number' ? which : idOf(which), undefined, reader, overlay),
    device: index => devices[index],
  };
}

const idOf = (name: string): number => btrees.rows.find(row => row.name === name)!.id;

/** 64-bit words, little-endian. */
export function words(...values: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(8 * values.length);
  values.forEach((value, i) => void new DataView(bytes.buffer).setBigUint64(8 * i, value, true));
  return bytes;
}

export interface PtrFields {
  readonly dev?: number;
  readonly sector: number;
  readonly gen?: number;
  readonly cached?: boolean;
  readonly unwritten?: boolean;
}

export const ptr = ({ dev = 0, sector, gen = 0, cached, unwritten }: PtrFields): bigint =>
  1n |
  (cached ? 2n : 0n) |
  (unwritten ? 8n : 0n) |
  (BigInt(sector) << 4n) |
  (BigInt(dev) << 48n) |
  (BigInt(gen) << 56n);

const CRC32C = 5;

/** A crc32 entry for bytes that are stored as they are. */
export const crc32 = (
  stored: Uint8Array,
  { offset = 0, compression = 0, uncompressedSectors = stored.length / 512 } = {},
): bigint =>
  2n |
  (BigInt(stored.length / 512 - 1) << 2n) |
  (BigInt(uncompressedSectors - 1) << 9n) |
  (BigInt(offset) << 16n) |
  (BigInt(CRC32C) << 24n) |
  (BigInt(compression) << 28n) |
  (checksum(CRC32C, stored).lo << 32n);

export const stripePtr = (idx: number, block: number): bigint => 16n | (BigInt(block) << 5n) | (BigInt(idx) << 17n);
export const POISONED = 64n | (1n << 7n);

/** An extent of inode 4096 that ends at sector `end`. */
export const extentKey = (end: number, size: number, entries: readonly bigint[], snapshot = 0xffff_ffff): Key =>
  testKey('extent', [4096, end, snapshot], words(...entries), size);

/** Bytes that say where they came from. */
export const pattern = (sectors: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: 512 * sectors }, (_, i) => (i * 7 + seed * 31 + (i >> 9)) & 255);

/** A device of 8 MiB with bytes at sectors. */
export function deviceWith(
  contents: readonly (readonly [sector: number, bytes: Uint8Array])[],
  name = 'a',
): MemoryDevice {
  const device = new MemoryDevice(2 ** 23, { name });
  for (const [sector, bytes] of contents) device.write(sector * 512, bytes);
  return device;
}
