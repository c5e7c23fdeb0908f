// What a power cut leaves on several devices that one program was writing to: every write and flush of all of them is remembered in one
// order, and any part of it can be replayed. What a device was told to flush is safe; of the writes behind, any may be lost,
// and the last one may be torn at a sector.

import type { BlockDevice, MemoryDevice } from '@bcachefs-ts/core';
import type { Random } from './random.ts';

const SECTOR_BYTES = 512;

type Event =
  | { readonly kind: 'write'; readonly device: number; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'flush'; readonly device: number };

export interface PowerCut {
  /** How many events happened. */
  readonly events: number;
  /** How many sectors of the last write arrived; all when left out. */
  readonly sectorsOfLast?: number;
  /** Which of the writes that no flush followed are lost; none when left out. */
  readonly lost?: ReadonlySet<number>;
}

export class PowerCuts {
  readonly #bases: readonly MemoryDevice[];
  readonly #events: Event[] = [];
  /** Give these to whoever writes. */
  readonly devices: readonly BlockDevice[];

  constructor(bases: readonly MemoryDevice[]) {
    this.#bases = bases;
    this.devices = bases.map(
      (base, device) => new Recorded(base.clone(), event => this.#events.push({ ...event, device })),
    );
  }

  get count(): number {
    return this.#events.length;
  }

  /** The devices as a cut leaves them. */
  after({ events, sectorsOfLast, lost }: PowerCut): MemoryDevice[] {
    const devices = this.#bases.map(base => base.clone());
    for (const [index, event] of this.#events.slice(0, events).entries()) {
      if (event.kind === 'flush' || lost?.has(index)) continue;
      const isTorn = index === events - 1 && sectorsOfLast !== undefined;
      const bytes = isTorn ? event.bytes.subarray(0, sectorsOfLast * SECTOR_BYTES) : event.bytes;
      devices[event.device]!.write(event.offset, bytes);
    }
    return devices;
  }

  /**
   * Every point between two events, the last write whole, torn at some sectors, and with a random part of what was not flushed lost.
   * @param lostRounds how many random losses for each point
   */
  *points(random: Random, lostRounds = 1): Generator<PowerCut> {
    for (let events = 0; events <= this.#events.length; events++) {
      yield { events };
      const last = this.#events[events - 1];
      if (last?.kind === 'write') {
        const sectors = last.bytes.length / SECTOR_BYTES;
        for (const sectorsOfLast of new Set([0, 1, random.below(sectors), sectors - 1]))
          yield { events, sectorsOfLast };
      }
      const unsafe = this.#unsafe(events);
      for (let round = 0; round < lostRounds && unsafe.length > 0; round++) {
        yield { events, lost: new Set(unsafe.filter(() => random.below(2) === 0)) };
      }
    }
  }

  /** Writes that their device was not told to flush. */
  #unsafe(events: number): number[] {
    const flushed = this.#bases.map((_, device) =>
      this.#events.slice(0, events).findLastIndex(event => event.kind === 'flush' && event.device === device),
    );
    return this.#events
      .slice(0, events)
      .flatMap((event, index) => (event.kind === 'write' && index > flushed[event.device]! ? [index] : []));
  }
}

type DeviceEvent = { kind: 'write'; offset: number; bytes: Uint8Array } | { kind: 'flush' };

class Recorded implements BlockDevice {
  readonly logicalSectorBytes = SECTOR_BYTES;
  readonly physicalSectorBytes = SECTOR_BYTES;
  readonly rotational = false;
  readonly writable = true;
  readonly name: string;
  readonly #inner: MemoryDevice;
  readonly #record: (event: DeviceEvent) => void;

  constructor(inner: MemoryDevice, record: (event: DeviceEvent) => void) {
    this.#inner = inner;
    this.#record = record;
    this.name = inner.name;
  }

  get sizeBytes(): number {
    return this.#inner.sizeBytes;
  }
  read(offset: number, into: Uint8Array): void {
    this.#inner.read(offset, into);
  }
  write(offset: number, from: Uint8Array): void {
    this.#record({ kind: 'write', offset, bytes: from.slice() });
    this.#inner.write(offset, from);
  }
  flush(): void {
    this.#record({ kind: 'flush' });
    this.#inner.flush();
  }
  close(): void {
    this.#inner.close();
  }
}
