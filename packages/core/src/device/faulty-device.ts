// A device that fails on purpose, from a script: unreadable places, short and torn writes, a full disk, a flush that fails.
// For tests of everything above.

import { DeviceError } from '../ondisk/errors.ts';
import { type BlockDevice, type ByteRange, checkWrite } from './block-device.ts';
import { DeviceWrapper } from './wrapper.ts';

/** When a fault strikes. */
interface Schedule {
  /** How often it would have struck and does not. */
  readonly skip?: number;
  /** How often it strikes before the place is well again; for ever when absent. */
  readonly times?: number;
}

/** Where it strikes: anywhere when left out. */
type FaultRange = Schedule & Partial<ByteRange>;

export type Fault =
  /** Reads that touch the range give EIO. */
  | ({ readonly kind: 'read-error' } & FaultRange)
  /** Writes that touch the range give EIO, or ENOSPC, and change nothing. */
  | ({ readonly kind: 'write-error'; readonly code?: 'EIO' | 'ENOSPC' } & FaultRange)
  /**
   * Of writes that touch the range only the first `writtenBytes` arrive. Reported as EIO, or `silent`: the disk says
   * that all is well, as one does that loses power.
   */
  | ({ readonly kind: 'torn-write'; readonly writtenBytes: number; readonly silent?: boolean } & FaultRange)
  /** After this many bytes written in all, ENOSPC; the write that crosses the line arrives in part. */
  | { readonly kind: 'full-after'; readonly bytes: number }
  | ({ readonly kind: 'flush-error' } & Schedule)
  /** The disk says that it has flushed, and has not. */
  | ({ readonly kind: 'lost-flush' } & Schedule);

export class FaultyDevice extends DeviceWrapper {
  readonly #script: { readonly fault: Fault; skip: number; left: number }[];
  #writtenBytes = 0;

  constructor(inner: BlockDevice, faults: readonly Fault[]) {
    super(inner);
    this.#script = faults.map(fault =>
      fault.kind === 'full-after'
        ? { fault, skip: 0, left: Infinity }
        : { fault, skip: fault.skip ?? 0, left: fault.times ?? Infinity },
    );
  }

  override read(offset: number, into: Uint8Array): void {
    if (this.#strikes('read-error', offset, into.length)) throw this.#failed('reading', offset, into.length);
    this.inner.read(offset, into);
  }

  override write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
    const failing = this.#strikes('write-error', offset, from.length);
    if (failing?.kind === 'write-error') {
      throw failing.code === 'ENOSPC' ? this.#full(offset, from.length) : this.#failed('writing', offset, from.length);
    }

    const torn = this.#strikes('torn-write', offset, from.length);
    if (torn?.kind === 'torn-write') {
      const arrived = from.subarray(0, torn.writtenBytes);
      this.inner.write(offset, arrived);
      this.#writtenBytes += arrived.length;
      if (torn.silent) return;
      throw this.#failed('writing', offset, from.length);
    }

    const room = this.#roomBytes();
    if (from.length > room) {
      this.inner.write(offset, from.subarray(0, room));
      this.#writtenBytes += room;
      throw this.#full(offset, from.length);
    }
    this.inner.write(offset, from);
    this.#writtenBytes += from.length;
  }

  override flush(): void {
    if (this.#strikes('flush-error', 0, 0)) throw new DeviceError('io', this.name, 'flushing failed: EIO');
    if (this.#strikes('lost-flush', 0, 0)) return;
    this.inner.flush();
  }

  #failed(doing: string, offset: number, length: number): DeviceError {
    return new DeviceError('io', this.name, `${doing} ${length} bytes at byte ${offset} failed: EIO`);
  }

  #full(offset: number, length: number): DeviceError {
    return new DeviceError(
      'full',
      this.name,
      `writing ${length} bytes at byte ${offset} failed: no space left (ENOSPC)`,
    );
  }

  /** The fault of this kind that strikes here, used up by one. */
  #strikes(kind: Fault['kind'], offset: number, length: number): Fault | undefined {
    for (const entry of this.#script) {
      if (entry.fault.kind !== kind || entry.left === 0 || !touches(entry.fault, offset, length)) continue;
      if (entry.skip > 0) {
        entry.skip--;
        continue;
      }
      entry.left--;
      return entry.fault;
    }
    return undefined;
  }

  #roomBytes(): number {
    let room = Infinity;
    for (const { fault } of this.#script) {
      if (fault.kind === 'full-after') room = Math.min(room, Math.max(0, fault.bytes - this.#writtenBytes));
    }
    return room;
  }
}

function touches(fault: Fault, offset: number, length: number): boolean {
  if (!('offset' in fault || 'length' in fault)) return true;
  const { offset: start = 0, length: size = Infinity } = fault;
  return start < offset + length && offset < start + size;
}
