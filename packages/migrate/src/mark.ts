// The mark in ext4's own superblock that keeps others from writing to it while bcachefs lies in its free blocks.
//
// It has two steps. `closing` is ext4's own feature `read-only`: kernels mount it for reading only, e2fsck has nothing against it, and it is set
// before the commit. `closed` is an incompatible feature that no program knows: no kernel mounts it, not even for reading, so that nothing trims its
// free blocks, which are no longer free. It is set after the commit. Rollback takes them away in the opposite order. So a power cut
// anywhere leaves a filesystem that mounts: ADR 36.
//
// Each step is one sector, which a disk writes wholly or not at all. With metadata_csum the superblock has a checksum in its other sector, which
// must stay right: four bytes that are not used (s_algorithm_usage_bitmap) are chosen so that the checksum does not change. A CRC is linear, so
// there is exactly one such value. Without checksums they hold a number of our own. Either way the mark is known by them.
// Source: the layout of struct ext4_super_block in Documentation/filesystems/ext4/super.rst.

import { type BlockDevice, checksum, checksumTypes, DeviceWrapper, readBytes } from '@bcachefs-ts/core/engine';

/** Where ext4's superblock is, in bytes; it has 1024. */
export const EXT4_SUPERBLOCK_AT = 1024;
export const EXT4_SUPERBLOCK_BYTES = 1024;
const MAGIC_AT = 0x38;
const MAGIC = 0xef53;
const INCOMPAT_AT = 0x60;
const RO_COMPAT_AT = 0x64;
/** s_algorithm_usage_bitmap: "for compression, not used". */
const SPARE_AT = 0xc8;
const CSUM_AT = 0x3fc;
const METADATA_CSUM = 0x400;
/** RO_COMPAT_READONLY */
const READ_ONLY = 0x1000;
/** No feature of any ext4 has this bit: e2fsck calls it FEATURE_I31. */
const CLOSED = 0x8000_0000;
/** "bcfs" */
const OWN_NUMBER = 0x7366_6362;
const SECTOR = 512;

export type Mark = 'none' | 'closing' | 'closed';

/**
 * How a superblock is marked; undefined when it is none.
 * @param sb 1024 bytes
 */
export function markOf(sb: Uint8Array): Mark | undefined {
  const view = viewOf(sb);
  if (view.getUint16(MAGIC_AT, true) !== MAGIC) return undefined;
  const isReadOnly = (view.getUint32(RO_COMPAT_AT, true) & READ_ONLY) !== 0;
  const isClosed = (view.getUint32(INCOMPAT_AT, true) & CLOSED) !== 0;
  if (!isReadOnly || view.getUint32(SPARE_AT, true) === 0) return 'none';
  const plain = sb.slice();
  setMark(plain, 'none');
  if (hasChecksum(plain) ? checksumOf(plain) !== checksumOf(sb) : view.getUint32(SPARE_AT, true) !== OWN_NUMBER)
    return 'none';
  return isClosed ? 'closed' : 'closing';
}

/** What stands against marking it: features that the mark would be taken for. */
export function isMarkable(sb: Uint8Array): boolean {
  const view = viewOf(sb);
  return view.getUint32(SPARE_AT, true) === 0 && (view.getUint32(RO_COMPAT_AT, true) & READ_ONLY) === 0;
}

/** The same superblock with another mark; its checksum stays what it is. Changes nothing outside of its first sector. */
export function withMark(sb: Uint8Array, mark: Mark): Uint8Array {
  const marked = sb.slice();
  setMark(marked, mark);
  if (mark === 'none') return marked;
  if (hasChecksum(marked)) solveSpare(marked, checksumOf(sb));
  else viewOf(marked).setUint32(SPARE_AT, OWN_NUMBER, true);
  return marked;
}

function setMark(sb: Uint8Array, mark: Mark): void {
  const view = viewOf(sb);
  const put = (at: number, bit: number, on: boolean) => {
    const word = view.getUint32(at, true);
    view.setUint32(at, (on ? word | bit : word & ~bit) >>> 0, true);
  };
  put(RO_COMPAT_AT, READ_ONLY, mark !== 'none');
  put(INCOMPAT_AT, CLOSED, mark === 'closed');
  view.setUint32(SPARE_AT, 0, true);
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const hasChecksum = (sb: Uint8Array): boolean => (viewOf(sb).getUint32(RO_COMPAT_AT, true) & METADATA_CSUM) !== 0;

const CRC32C = checksumTypes.idOf('crc32c_nonzero');
/** Of all but the checksum itself, up to inversions at both ends. */
const checksumOf = (sb: Uint8Array): number => Number(checksum(CRC32C, sb.subarray(0, CSUM_AT)).lo);

/** Gives the four spare bytes, which are zero, the value with which the checksum is as wanted. */
function solveSpare(sb: Uint8Array, wanted: number): void {
  const view = viewOf(sb);
  const base = checksumOf(sb);
  // Gauss over GF(2): each bit of the value flips some bits of the checksum, whatever the others are.
  const rows: { effect: number; value: number }[] = [];
  for (let bit = 0; bit < 32; bit++) {
    view.setUint32(SPARE_AT, 2 ** bit, true);
    let [effect, value] = [(checksumOf(sb) ^ base) >>> 0, 2 ** bit];
    for (const row of rows) {
      if (Math.clz32(row.effect ^ effect) > Math.clz32(row.effect)) {
        effect = (effect ^ row.effect) >>> 0;
        value = (value ^ row.value) >>> 0;
      }
    }
    if (effect !== 0) rows.push({ effect, value });
    rows.sort((a, b) => b.effect - a.effect);
  }
  let missing = (wanted ^ base) >>> 0;
  let answer = 0;
  for (const { effect, value } of rows) {
    if (missing === 0 || Math.clz32(effect) !== Math.clz32(missing)) continue;
    missing = (missing ^ effect) >>> 0;
    answer = (answer ^ value) >>> 0;
  }
  view.setUint32(SPARE_AT, answer, true);
}

/** ext4's superblock as it is on the device. */
export const readExt4Superblock = (device: Pick<BlockDevice, 'read' | 'name' | 'sizeBytes'>): Uint8Array =>
  readBytes(device as BlockDevice, EXT4_SUPERBLOCK_AT, EXT4_SUPERBLOCK_BYTES);

/** Sets a mark with one write of one sector, and flushes. */
export function writeMark(device: BlockDevice, mark: Mark): void {
  const sb = withMark(readExt4Superblock(device), mark);
  device.write(EXT4_SUPERBLOCK_AT, sb.subarray(0, SECTOR));
  device.flush();
}

/** Some bytes that lie at a place of a device. */
export interface LaidBytes {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** A device to be read with other bytes in some places. */
export class LaidDevice extends DeviceWrapper {
  readonly #laid: readonly LaidBytes[];

  constructor(inner: BlockDevice, laid: readonly LaidBytes[]) {
    super(inner);
    this.#laid = laid;
  }

  override get writable(): boolean {
    return false;
  }

  override read(offset: number, into: Uint8Array): void {
    this.inner.read(offset, into);
    for (const { at, bytes } of this.#laid) lay(into, offset, at, bytes);
  }

  override close(): void {}
}

/** ext4's superblock without the mark: what its reader is given of a device that is marked. */
export const unmarkedSuperblock = (device: BlockDevice): LaidBytes => ({
  at: EXT4_SUPERBLOCK_AT,
  bytes: withMark(readExt4Superblock(device), 'none'),
});

/** Puts what is at one place of a device over what was read from another. */
function lay(into: Uint8Array, offset: number, at: number, bytes: Uint8Array): void {
  const start = Math.max(offset, at);
  const end = Math.min(offset + into.length, at + bytes.length);
  if (start < end) into.set(bytes.subarray(start - at, end - at), start - offset);
}
