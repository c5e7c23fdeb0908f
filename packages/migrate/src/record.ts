// What was in the sectors that migrate takes, so that rollback can put it back: the first 4096 bytes of the device as they were. It is kept
// twice, at the end of the room that each copy of the new superblock has, where nothing else ever gets to; with blocks of less than 4096 bytes
// ext4 has group descriptors there.

import {
  type BchSbLayout,
  type BlockDevice,
  checksum,
  checksumTypes,
  readBytes,
  type Superblock,
  sectorsToBytes,
} from '@bcachefs-ts/core/engine';

/** Of the start of the device. */
export const KEPT_BYTES = 4096;
const HEADER_BYTES = 512;
export const RECORD_BYTES = HEADER_BYTES + KEPT_BYTES;
/** "bcachefs-migrated" */
const MAGIC = new TextEncoder().encode('bcachefs-migrated');
const UUID_AT = 32;
const CSUM_AT = 96;
const CRC64 = checksumTypes.idOf('crc64_nonzero');

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** @param start the first KEPT_BYTES of the device @param uuid the internal one of the new filesystem */
export function recordBytes(start: Uint8Array, uuid: string): Uint8Array {
  const bytes = new Uint8Array(RECORD_BYTES);
  bytes.set(MAGIC);
  bytes.set(new TextEncoder().encode(uuid).subarray(0, CSUM_AT - UUID_AT), UUID_AT);
  bytes.set(start.subarray(0, KEPT_BYTES), HEADER_BYTES);
  viewOf(bytes).setBigUint64(CSUM_AT, checksum(CRC64, bytes).lo, true);
  return bytes;
}

/** Where a layout's records are, in bytes: of copies whose room reaches that far. */
export function recordPlaces({ sb_offset, nr_superblocks, sb_max_size_bits }: BchSbLayout): readonly number[] {
  const room = sectorsToBytes(2 ** sb_max_size_bits);
  return sb_offset.slice(0, nr_superblocks).map(sector => sectorsToBytes(Number(sector)) + room - RECORD_BYTES);
}

/** The first bytes of the device as they were before migrate; undefined where no record of this filesystem is whole. */
export function readRecord(
  device: BlockDevice,
  { layout, uuid }: Pick<Superblock, 'layout' | 'uuid'>,
): Uint8Array | undefined {
  for (const place of recordPlaces(layout)) {
    if (place < 0 || place + RECORD_BYTES > device.sizeBytes) continue;
    const bytes = readBytes(device, place, RECORD_BYTES);
    const start = bytes.slice(HEADER_BYTES);
    const expected = recordBytes(start, uuid);
    if (expected.every((byte, at) => byte === bytes[at])) return start;
  }
  return undefined;
}

export function writeRecords(
  device: BlockDevice,
  { layout, uuid }: Pick<Superblock, 'layout' | 'uuid'>,
  start: Uint8Array,
): void {
  for (const place of recordPlaces(layout)) device.write(place, recordBytes(start, uuid));
}
