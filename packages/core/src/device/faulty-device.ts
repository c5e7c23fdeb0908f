// A device that fails on purpose, from a script: unreadable places, short and torn writes, a full disk, a flush that fails.
// For tests of everything above.

import { DeviceError } from '../ondisk/errors.ts';
import { type BlockDevice, type ByteRange, checkWrite } from './block-device.ts';

/** `times` is how often it strikes before the place is well again; for ever when absent. */
export type Fault =
  /** Reads that touch the range give EIO. */
  | ({ readonly kind: 'read-error'; readonly times?: number } & ByteRange)
  /** Writes that touch the range give EIO and change nothing. */
  | ({ readonly kind: 'write-error'; readonly times?: number } & ByteRange)
  /**
   * Of writes that touch the range only the first `writtenBytes` arrive. Reported as EIO, or `silent`: the disk says
   * that all is well, as one does that loses power.
   */
  | ({
      readonly kind: 'torn-write';
      readonly writtenBytes: number;
      readonly silent?: boolean;
      readonly times?: number;
    } & ByteRange)
  /** After this many bytes written in all, ENOSPC; the write that crosses the line arrives in part. */
  | { readonly kind: 'full-after'; readonly bytes: number }
  | { readonly kind: 'flush-error'; readonly times?: number };

export class FaultyDevice implements BlockDevice {
  readonly name: string;
  readonly #inner: BlockDevice;
  readonly #script: { readonly fault: Fault; left: number }[];
  #writtenBytes = 0;

  constructor(inner: BlockDevice, faults: readonly Fault[]) {
    this.#inner = inner;
    this.name = inner.name;
    this.#script = faults.map(fault => ({ fault, left: 'times' in fault ? (fault.times ?? Infinity) : Infinity }));
  }

  get sizeBytes(): number {
    return this.#inner.sizeBytes;
  }
  get logicalSectorBytes(): number {
    return this.#inner.logicalSectorBytes;
  }
  get physicalSectorBytes(): number {
    return this.#inner.physicalSectorBytes;
  }
  get rotational(): boolean | undefined {
    return this.#inner.rotational;
  }
  get writable(): boolean {
    return this.#inner.writable;
  }

  read(offset: number, into: Uint8Array): void {
    if (this.#strikes('read-error', offset, into.length)) throw this.#failed('reading', offset, into.length);
    this.#inner.read(offset, into);
  }

  write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
    if (this.#strikes('write-error', offset, from.length)) throw this.#failed('writing', offset, from.length);

    const torn = this.#strikes('torn-write', offset, from.length);
    if (torn?.kind === 'torn-write') {
      const arrived = from.subarray(0, torn.writtenBytes);
      this.#inner.write(offset, arrived);
      this.#writtenBytes += arrived.length;
      if (torn.silent) return;
      throw this.#failed('writing', offset, from.length);
    }

    const room = this.#roomBytes();
    if (from.length > room) {
      this.#inner.write(offset, from.subarray(0, room));
      this.#writtenBytes += room;
      throw new DeviceError(
        'full',
        this.name,
        `writing ${from.length} bytes at byte ${offset} failed: no space left (ENOSPC)`,
      );
    }
    this.#inner.write(offset, from);
    this.#writtenBytes += from.length;
  }

  flush(): void {
    if (this.#strikes('flush-error', 0, 0)) throw new DeviceError('io', this.name, 'flushing failed: EIO');
    this.#inner.flush();
  }

  close(): void {
    this.#inner.close();
  }

  #failed(doing: string, offset: number, length: number): DeviceError {
    return new DeviceError('io', this.name, `${doing} ${length} bytes at byte ${offset} failed: EIO`);
  }

  /** The fault of this kind that strikes here, used up by one. */
  #strikes(kind: Fault['kind'], offset: number, length: number): Fault | undefined {
    const hit = this.#script.find(
      ({ fault, left }) =>
        fault.kind === kind &&
        left > 0 &&
        (!('offset' in fault) || (fault.offset < offset + length && offset < fault.offset + fault.length)),
    );
    if (hit === undefined) return undefined;
    hit.left--;
    return hit.fault;
  }

  #roomBytes(): number {
    let room = Infinity;
    for (const { fault } of this.#script) {
      if (fault.kind === 'full-after') room = Math.min(room, Math.max(0, fault.bytes - this.#writtenBytes));
    }
    return room;
  }
}
