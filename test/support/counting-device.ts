// Counts what is read from a device: for tests of what a change has to look at, whatever else is on the disk.

import { type BlockDevice, OverlayDevice } from '@bcachefs-ts/core/engine';

export class CountingDevice extends OverlayDevice {
  bytesRead = 0;

  constructor(base: BlockDevice) {
    super(base);
  }

  override read(offset: number, into: Uint8Array): void {
    this.bytesRead += into.length;
    super.read(offset, into);
  }
}
