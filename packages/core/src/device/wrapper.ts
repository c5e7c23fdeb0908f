// A device over another: it is like the one underneath but for what it does otherwise. What wraps a device says only that.

import type { BlockDevice } from './block-device.ts';

export abstract class DeviceWrapper implements BlockDevice {
  readonly name: string;
  protected readonly inner: BlockDevice;

  constructor(inner: BlockDevice) {
    this.inner = inner;
    this.name = inner.name;
  }

  get sizeBytes(): number {
    return this.inner.sizeBytes;
  }
  get logicalSectorBytes(): number {
    return this.inner.logicalSectorBytes;
  }
  get physicalSectorBytes(): number {
    return this.inner.physicalSectorBytes;
  }
  get rotational(): boolean | undefined {
    return this.inner.rotational;
  }
  get writable(): boolean {
    return this.inner.writable;
  }

  read(offset: number, into: Uint8Array): void {
    this.inner.read(offset, into);
  }

  write(offset: number, from: Uint8Array): void {
    this.inner.write(offset, from);
  }

  flush(): void {
    this.inner.flush();
  }

  close(): void {
    this.inner.close();
  }
}
