// Filesystems in memory, to be changed, cut off and thrown away: what a kernel made, and what our format makes.

import { closeSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import {
  type DeviceRequest,
  encryptionOf,
  type FormatRequest,
  MemoryDevice,
  masterKey,
  openMembers,
  option,
  parseOptionValue,
  planContents,
  planFormat,
  readBytes,
  seededRandom,
  VERSION_CURRENT_WRITTEN,
  writeFormat,
} from '@bcachefs-ts/core/engine';
import { fixture } from './fixtures.ts';
import { testImageContents, testImages } from './images.ts';
import { writeSparse } from './sparse.ts';

export const MIB: number = 2 ** 20;
const PIECE_BYTES = 64 * 1024;
const ZEROES = Buffer.alloc(PIECE_BYTES);
export const PASSPHRASE = 'correct horse';

/** The devices of one filesystem, and its master key where it is encrypted. */
export interface MemoryImage {
  readonly devices: readonly MemoryDevice[];
  readonly key: Uint8Array | undefined;
}

function imageOf(devices: readonly MemoryDevice[], passphrase: string | null | undefined): MemoryImage {
  const { sb } = openMembers(devices).newest;
  if (encryptionOf(sb) === 'none' || passphrase == null) return { devices, key: undefined };
  return { devices, key: masterKey(sb, new TextEncoder().encode(passphrase)) };
}

/** A reference image. */
export function fixtureImage(name: string): MemoryImage {
  const { images, json } = fixture(name);
  return imageOf(images.map(loadImage), json.passphrase);
}

/** One of the project's own images. */
export function testImage(name: string): MemoryImage {
  const devices = testImageContents(name).map((bytes, nr) => MemoryDevice.from(bytes, { name: `${name}.${nr}` }));
  return imageOf(devices, testImages.find(one => one.name === name)?.passphrase);
}

export interface FormattedOptions {
  readonly members?: number;
  readonly sizeBytes?: number;
  readonly bucketBytes?: number;
  readonly options?: Readonly<Record<string, string>>;
  /** Labels that data goes to. */
  readonly targets?: FormatRequest['targets'];
  /** What single members have otherwise. */
  readonly each?: (nr: number) => Partial<DeviceRequest>;
  readonly isEncrypted?: boolean;
  /** The metadata version. */
  readonly version?: number;
}

/** What our format makes. */
export function formattedImage({
  members = 1,
  sizeBytes = 64 * MIB,
  bucketBytes,
  options = {},
  targets = {},
  each = () => ({}),
  isEncrypted = false,
  version = VERSION_CURRENT_WRITTEN,
}: FormattedOptions): MemoryImage {
  const request: FormatRequest = {
    devices: Array.from({ length: members }, (_, nr) => ({
      name: `dev${nr}`,
      sizeBytes,
      bucketBytes,
      physicalSectorBytes: 0,
      logicalSectorBytes: 512,
      durability: 1,
      discard: false,
      dataAllowed: 0b11100,
      ...each(nr),
    })),
    options: new Map(
      Object.entries(options).map(([name, text]) => {
        const row = option(name as Parameters<typeof option>[0]);
        return [row.name, Number(parseOptionValue(row, text, '1.13'))];
      }),
    ),
    targets,
    version,
    encryption: isEncrypted ? { passphrase: new TextEncoder().encode(PASSPHRASE) } : undefined,
    now: 1_700_000_000_000_000_000n,
    random: seededRandom('formatted'),
  };
  const devices = request.devices.map(({ name, sizeBytes: size }) => new MemoryDevice(size, { name }));
  const plan = planFormat(request);
  writeFormat(
    plan,
    devices.map(device => ({ device, signatures: [] })),
    planContents(plan, devices, request),
  );
  return imageOf(devices, PASSPHRASE);
}

/** Writes a device out as a sparse image file. */
export function saveImage(device: MemoryDevice, path: string): void {
  const fd = openSync(path, 'w', 0o644);
  try {
    ftruncateSync(fd, device.sizeBytes);
    for (const { offset, length } of device.writtenRanges()) writeSparse(fd, readBytes(device, offset, length), offset);
  } finally {
    closeSync(fd);
  }
}

/** An image file in memory, its zeroes left out. */
export function loadImage(path: string): MemoryDevice {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const device = new MemoryDevice(size, { name: path });
    const buffer = Buffer.alloc(4 * MIB);
    for (let at = 0; at < size; ) {
      const count = readSync(fd, buffer, 0, buffer.length, at);
      if (count === 0) break;
      for (let from = 0; from < count; from += PIECE_BYTES) {
        const piece = buffer.subarray(from, Math.min(count, from + PIECE_BYTES));
        if (ZEROES.compare(piece, 0, piece.length, 0, piece.length) !== 0) device.write(at + from, piece);
      }
      at += count;
    }
    return device;
  } finally {
    closeSync(fd);
  }
}
