// Remembers every write and flush on the way to a device, in order, and replays a part of them onto another: what a crash at
// any point leaves behind. A disk may lose or reorder writes after the last flush and may tear the last one at a sector; what
// was flushed stays. (The model of crash tests in test/crash.)

import { assert } from '../ondisk/errors.ts';
import type { BlockDevice } from './block-device.ts';
import { DeviceWrapper } from './wrapper.ts';

export type RecordedEvent =
  /** `bytes` is our own copy. */
  { readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array } | { readonly kind: 'flush' };

export interface Crash {
  /** How many events happened; all of them when absent. */
  readonly events?: number;
  /** How many whole sectors of the last write arrived, when the last event is a write. All when absent. */
  readonly lastWriteSectors?: number;
  /**
   * Says of each write that no flush followed whether it was lost in the disk's cache.
   * @param index the event's place in `events`
   */
  readonly lost?: (index: number) => boolean;
}

export class RecordingDevice extends DeviceWrapper {
  readonly #events: RecordedEvent[] = [];

  constructor(inner: BlockDevice) {
    super(inner);
  }

  /** In the order in which they succeeded. */
  get events(): readonly RecordedEvent[] {
    return this.#events;
  }

  override write(offset: number, from: Uint8Array): void {
    this.inner.write(offset, from);
    this.#events.push({ kind: 'write', offset, bytes: from.slice() });
  }

  override flush(): void {
    this.inner.flush();
    this.#events.push({ kind: 'flush' });
  }

  /**
   * Writes onto `device` (which holds what was there before the recording) what a crash left.
   * @param crash where it happened; without it, everything is replayed
   */
  replay(device: BlockDevice, crash: Crash = {}): void {
    const count = crash.events ?? this.#events.length;
    assert(count >= 0 && count <= this.#events.length, `${count} events asked for, ${this.#events.length} recorded`);
    const happened = this.#events.slice(0, count);
    const safeUpTo = happened.findLastIndex(event => event.kind === 'flush');

    for (const [index, event] of happened.entries()) {
      if (event.kind === 'flush') {
        device.flush();
        continue;
      }
      if (index > safeUpTo && crash.lost?.(index)) continue;
      const isLast = index === count - 1;
      const arrived =
        isLast && crash.lastWriteSectors !== undefined
          ? this.#bytesUpToSector(event.offset, crash.lastWriteSectors)
          : event.bytes.length;
      device.write(event.offset, event.bytes.subarray(0, arrived));
    }
  }

  /** A write may begin inside a sector: the first one is then shorter. */
  #bytesUpToSector(offset: number, sectors: number): number {
    const sectorBytes = this.logicalSectorBytes;
    return Math.max(0, sectors * sectorBytes - (offset % sectorBytes));
  }
}
