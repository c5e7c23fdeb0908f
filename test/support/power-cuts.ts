// What a power cut leaves on several devices that one program was writing to: every write and flush of all of them is remembered in one
// order, and any part of it can be replayed. What a device has flushed is safe. Of the writes after that, any may be lost, arrive in
// part or overtake others, and the last one may be torn at a sector.
//
// Give `devices` to the writer, wrapped in anything; a new filesystem begins on empty ones. `tryCuts` (cut-states.ts) then looks
// at every point.

import type { BlockDevice, MemoryDevice } from '@bcachefs-ts/core/engine';
import type { Random } from './random.ts';

const SECTOR_BYTES = 512;

type Event =
  | { readonly kind: 'write'; readonly device: number; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'flush'; readonly device: number };

/** One write or flush; a flush has no bytes. */
export interface EventPlace {
  readonly kind: Event['kind'];
  readonly device: number;
  readonly offset: number;
  readonly length: number;
}

/** What reached the medium of a write that no flush followed. */
export interface Arrival {
  /** The event's number. */
  readonly event: number;
  /** Sectors of the write, counted from its begin. */
  readonly fromSector: number;
  readonly toSector: number;
}

export interface PowerCut {
  /** How many events happened. */
  readonly events: number;
  /** How many sectors of the last write arrived; all when left out. */
  readonly sectorsOfLast?: number;
  /** Of the writes that no flush followed nothing but this arrived, in this order; all when left out. */
  readonly arrived?: readonly Arrival[];
}

/** The devices as some events, all whole, leave them. */
interface Prefix {
  events: number;
  devices: readonly MemoryDevice[];
}

export class PowerCuts {
  readonly #bases: readonly MemoryDevice[];
  readonly #events: Event[] = [];
  /** Give these to the writer. */
  readonly devices: readonly BlockDevice[];
  /** Cuts come in order mostly, so that what is before one need not be written again for the next. */
  readonly #whole: Prefix;
  readonly #safe: Prefix;

  constructor(bases: readonly MemoryDevice[]) {
    this.#bases = bases;
    this.#whole = { events: 0, devices: clones(bases) };
    this.#safe = { events: 0, devices: clones(bases) };
    this.devices = bases.map(
      (base, device) => new Recorded(base.clone(), event => this.#events.push({ ...event, device })),
    );
  }

  get count(): number {
    return this.#events.length;
  }

  /** What happened so far, without the bytes. */
  get events(): readonly EventPlace[] {
    return this.#events.map(event => ({
      kind: event.kind,
      device: event.device,
      offset: event.kind === 'write' ? event.offset : 0,
      length: event.kind === 'write' ? event.bytes.length : 0,
    }));
  }

  /** The devices as a cut leaves them. */
  after({ events, sectorsOfLast, arrived }: PowerCut): MemoryDevice[] {
    if (arrived !== undefined) {
      const unsafe = new Set(this.#unsafe(events));
      const first = Math.min(events, ...unsafe);
      const devices = clones(this.#upTo(this.#safe, first));
      // Between them may be writes of other devices that were flushed since.
      for (let index = first; index < events; index++) if (!unsafe.has(index)) this.#apply(devices, index);
      for (const { event, fromSector, toSector } of arrived) this.#apply(devices, event, fromSector, toSector);
      return devices;
    }
    if (sectorsOfLast === undefined) return clones(this.#upTo(this.#whole, events));
    const devices = clones(this.#upTo(this.#whole, events - 1));
    this.#apply(devices, events - 1, 0, sectorsOfLast);
    return devices;
  }

  /**
   * Every point between two events, the last write whole, torn at some sectors, and with a random part of what was not flushed lost or
   * in another order.
   * @param lostRounds how many random losses for each point
   */
  *points(random: Random, lostRounds = 1): Generator<PowerCut> {
    for (let events = 0; events <= this.#events.length; events++) {
      yield { events };
      const last = this.#events[events - 1];
      if (last?.kind === 'write') {
        const sectors = Math.ceil(last.bytes.length / SECTOR_BYTES);
        for (const sectorsOfLast of new Set([0, 1, random.below(sectors), sectors - 1]))
          yield { events, sectorsOfLast };
      }
      const unsafe = this.#unsafe(events);
      for (let round = 0; round < lostRounds && unsafe.length > 0; round++) {
        yield { events, arrived: this.#someOf(unsafe, random) };
      }
    }
  }

  /** Writes that their device was not asked to flush. */
  #unsafe(events: number): number[] {
    const flushed = this.#bases.map(() => -1);
    for (let index = events - 1, left = flushed.length; index >= 0 && left > 0; index--) {
      const { kind, device } = this.#events[index]!;
      if (kind !== 'flush' || flushed[device]! >= 0) continue;
      flushed[device] = index;
      left--;
    }
    const unsafe: number[] = [];
    for (let index = Math.min(...flushed) + 1; index < events; index++) {
      const { kind, device } = this.#events[index]!;
      if (kind === 'write' && index > flushed[device]!) unsafe.push(index);
    }
    return unsafe;
  }

  /** Half of the writes are lost, some arrive in part, and any may come before another. */
  #someOf(unsafe: readonly number[], random: Random): Arrival[] {
    const arrived: Arrival[] = [];
    for (const event of unsafe) {
      if (random.below(2) === 0) continue;
      const write = this.#events[event]!;
      const sectors = write.kind === 'write' ? Math.ceil(write.bytes.length / SECTOR_BYTES) : 0;
      const isTorn = random.below(4) === 0;
      const cuts = isTorn ? [random.below(sectors + 1), random.below(sectors + 1)] : [0, sectors];
      const arrival = { event, fromSector: Math.min(...cuts), toSector: Math.max(...cuts) };
      arrived.splice(random.below(arrived.length + 1), 0, arrival);
    }
    return arrived;
  }

  #upTo(prefix: Prefix, events: number): readonly MemoryDevice[] {
    if (prefix.events > events) {
      prefix.devices = clones(this.#bases);
      prefix.events = 0;
    }
    for (; prefix.events < events; prefix.events++) this.#apply(prefix.devices, prefix.events);
    return prefix.devices;
  }

  #apply(devices: readonly MemoryDevice[], index: number, fromSector = 0, toSector = Infinity): void {
    const event = this.#events[index];
    if (event?.kind !== 'write') return;
    const from = Math.min(event.bytes.length, fromSector * SECTOR_BYTES);
    const to = Math.min(event.bytes.length, toSector * SECTOR_BYTES);
    if (from < to) devices[event.device]!.write(event.offset + from, event.bytes.subarray(from, to));
  }
}

/** A cut in a few words, for messages. */
export function cutText({ events, sectorsOfLast, arrived }: PowerCut): string {
  if (sectorsOfLast !== undefined) return `after event ${events}, ${sectorsOfLast} sectors of the last write`;
  if (arrived === undefined) return `after event ${events}`;
  const some = arrived.map(({ event, fromSector, toSector }) => `${event}[${fromSector}-${toSector}]`);
  return `after event ${events}, of what was not flushed only ${some.join(' ') || 'nothing'}`;
}

const clones = (devices: readonly MemoryDevice[]): MemoryDevice[] => devices.map(device => device.clone());

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
