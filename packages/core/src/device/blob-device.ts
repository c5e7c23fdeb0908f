// A Blob as a device, for reading: an image that was dragged into a page or chosen there. Nothing is copied: what is asked for is read, so that
// an image of any size opens at once. Core is synchronous, and only a worker can read a Blob so.

import { DeviceError, UsageError } from '../ondisk/errors.ts';
import { type BlockDevice, checkRange, checkWrite } from './block-device.ts';

/** The web's, as far as it is used here. */
interface SyncReader {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}

declare const FileReaderSync: (new () => SyncReader) | undefined;

export class BlobDevice implements BlockDevice {
  readonly name: string;
  readonly logicalSectorBytes = 512;
  readonly physicalSectorBytes = 0;
  readonly rotational = undefined;
  readonly writable = false;
  readonly #blob: Blob;
  readonly #reader: SyncReader;

  /**
   * @param name for messages; a File has one
   * @throws UsageError outside of a worker
   */
  constructor(blob: Blob, name: string = 'name' in blob && typeof blob.name === 'string' ? blob.name : 'blob') {
    if (typeof FileReaderSync === 'undefined') throw new UsageError('a Blob can be read as a device in a worker only');
    this.#blob = blob;
    this.#reader = new FileReaderSync();
    this.name = name;
  }

  get sizeBytes(): number {
    return this.#blob.size;
  }

  read(offset: number, into: Uint8Array): void {
    checkRange(this, 'read', offset, into.length);
    let bytes: ArrayBuffer;
    try {
      bytes = this.#reader.readAsArrayBuffer(this.#blob.slice(offset, offset + into.length));
    } catch (cause) {
      // NotReadableError also for a file that has changed since it was chosen.
      const words = cause instanceof Error ? cause.message : String(cause);
      const detail = `reading ${into.length} bytes at byte ${offset} failed: ${words}; if the file has changed, choose it again`;
      throw new DeviceError('io', this.name, detail, { cause });
    }
    if (bytes.byteLength !== into.length) {
      const detail = `reading at byte ${offset} gave ${bytes.byteLength} of ${into.length} bytes`;
      throw new DeviceError('io', this.name, detail);
    }
    into.set(new Uint8Array(bytes));
  }

  write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
  }

  flush(): void {}

  close(): void {}
}
