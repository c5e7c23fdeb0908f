// Units: sectors are always 512 bytes on disk, whatever the device's own sector size.

export const SECTOR_BYTES = 512;

export function sectorsToBytes(sectors: number): number {
  return sectors * SECTOR_BYTES;
}

/** Whole sectors; a rest is dropped. */
export function bytesToSectors(bytes: number): number {
  return Math.floor(bytes / SECTOR_BYTES);
}

export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

export function roundDown(value: number, step: number): number {
  return Math.floor(value / step) * step;
}

export function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}
