// What a crash may not leave half written, and what must not be taken for anything while it is.

import type { BlockDevice } from './block-device.ts';

/**
 * Writes bytes with their first sector last, which a device writes whole or not at all: wherever it is cut off, the first sector is that of
 * what was there before, or all is there. The caller flushes.
 * @throws DeviceError
 */
export function writeHeadLast(device: BlockDevice, offset: number, bytes: Uint8Array): void {
  writeHeadsLast(device, [{ offset, bytes }]);
}

/** The same for several places, none of which needs another: what follows the heads of all of them is flushed at once. */
export function writeHeadsLast(
  device: BlockDevice,
  pieces: readonly { readonly offset: number; readonly bytes: Uint8Array }[],
): void {
  const headBytes = device.logicalSectorBytes;
  const long = pieces.filter(({ bytes }) => bytes.length > headBytes);
  for (const { offset, bytes } of long) device.write(offset + headBytes, bytes.subarray(headBytes));
  if (long.length > 0) device.flush();
  for (const { offset, bytes } of pieces) device.write(offset, bytes.subarray(0, headBytes));
}
