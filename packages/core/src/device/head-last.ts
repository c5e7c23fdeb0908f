// What a crash may not leave half written, and what must not be taken for anything while it is.

import type { BlockDevice } from './block-device.ts';

/**
 * Writes bytes with their first sector last, which a device writes whole or not at all: wherever it is cut off, the first sector is that of
 * what was there before, or all is there. The caller flushes.
 * @throws DeviceError
 */
export function writeHeadLast(device: BlockDevice, offset: number, bytes: Uint8Array): void {
  const head = bytes.subarray(0, device.logicalSectorBytes);
  if (head.length < bytes.length) {
    device.write(offset + head.length, bytes.subarray(head.length));
    device.flush();
  }
  device.write(offset, head);
}
