// A device in memory, for tests and for images that are made before they are written out. Sparse: only pages that were
// written take memory, so 8 TiB is as good as 8 MiB. Copies are cheap (pages are shared until written).

import { assertSize, type BlockDevice, type ByteRange, checkRange, checkWrite, readBytes } from './block-device.ts';
import { SparsePages, zeroes } from './sparse-pages.ts';

export interface MemoryDeviceOptions {
  readonly name?: string;
  readonly logicalSectorBytes?: number;
  readonly physicalSectorBytes?: number;
  readonly rotational?: boolean;
  readonly writable?: boolean;
}

export class MemoryDevice implements BlockDevice {
  readonly name: string;
  readonly logicalSectorBytes: number;
  readonly physicalSectorBytes: number;
  readonly rotational: boolean | undefined;
  readonly writable: boolean;
  #sizeBytes: number;
  #pages = new SparsePages();

  constructor(sizeBytes: number, options: MemoryDeviceOptions = {}) {
    assertSize(sizeBytes);
    this.#sizeBytes = sizeBytes;
    this.name = options.name ?? 'memory';
    this.logicalSectorBytes = options.logicalSectorBytes ?? 512;
    this.physicalSectorBytes = options.physicalSectorBytes ?? 0;
    this.rotational = options.rotational;
    this.writable = options.writable ?? true;
  }

  /** A device that holds a copy of these bytes. */
  static from(contents: Uint8Array, options: MemoryDeviceOptions = {}): MemoryDevice {
    const device = new MemoryDevice(contents.length, options);
    device.#pages.write(0, contents, zeroes);
    return device;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Memory that the contents take. */
  get allocatedBytes(): number {
    return this.#pages.allocatedBytes;
  }

  read(offset: number, into: Uint8Array): void {
    checkRange(this, 'read', offset, into.length);
    this.#pages.read(offset, into, zeroes);
  }

  write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
    this.#pages.write(offset, from, zeroes);
  }

  flush(): void {}

  close(): void {}

  /** Grows (with zeroes) or cuts. */
  setSize(sizeBytes: number): void {
    assertSize(sizeBytes);
    if (sizeBytes < this.#sizeBytes) this.#pages.truncate(sizeBytes);
    this.#sizeBytes = sizeBytes;
  }

  /** An independent device with the same contents. */
  clone(options: MemoryDeviceOptions = {}): MemoryDevice {
    const copy = new MemoryDevice(this.#sizeBytes, {
      name: this.name,
      logicalSectorBytes: this.logicalSectorBytes,
      physicalSectorBytes: this.physicalSectorBytes,
      ...(this.rotational === undefined ? {} : { rotational: this.rotational }),
      writable: this.writable,
      ...options,
    });
    copy.#pages = this.#pages.clone();
    return copy;
  }

  /** Where something was written (in whole 4 KiB pages, cut at the end of the device); everything else is zero. */
  writtenRanges(): ByteRange[] {
    return this.#pages.ranges().map(({ offset, length }) => ({
      offset,
      length: Math.min(length, this.#sizeBytes - offset),
    }));
  }

  /** All of it in one array; for small devices. */
  toBytes(): Uint8Array {
    return readBytes(this, 0, this.#sizeBytes);
  }
}
