// What a reader finds on devices depends on the bytes that it reads and on nothing else. So where each of its reads would give what an
// earlier run has seen, its outcome is known without running it: of a thousand power cuts that differ in places that are not read,
// one is read. The earlier runs are kept as a tree: what is read next, by what was read before.

import { createHash } from 'node:crypto';
import type { BlockDevice, MemoryDevice } from '@bcachefs-ts/core/engine';

interface Read {
  readonly device: number;
  readonly offset: number;
  readonly length: number;
}

type OnRead = (read: Read, what: string) => void;

interface Step<T> {
  /** What a run reads next, after all that led here; undefined at the end of a run. */
  read: Read | undefined;
  /** By what that read gave. */
  readonly next: Map<string, Step<T>>;
  outcome: { readonly value: T } | undefined;
}

const newStep = <T>(): Step<T> => ({ read: undefined, next: new Map(), outcome: undefined });

export class KnownReadings<T> {
  readonly #run: (devices: readonly BlockDevice[]) => T;
  readonly #start: Step<T> = newStep();
  #runs = 0;

  /** @param run reads devices, always in the same way; what it throws is not remembered */
  constructor(run: (devices: readonly BlockDevice[]) => T) {
    this.#run = run;
  }

  /** How often it had to be run. */
  get runs(): number {
    return this.#runs;
  }

  of(devices: readonly MemoryDevice[]): T {
    let step: Step<T> | undefined = this.#start;
    while (step !== undefined) {
      if (step.outcome !== undefined) return step.outcome.value;
      const { read }: Step<T> = step;
      if (read === undefined) break;
      const into = new Uint8Array(read.length);
      step = step.next.get(given(into, () => devices[read.device]!.read(read.offset, into)));
    }
    return this.anew(devices);
  }

  /** Runs it whatever is known. @throws Error when it does not read what it read before in the same place */
  anew(devices: readonly MemoryDevice[]): T {
    this.#runs++;
    let step = this.#start;
    const onRead = (read: Read, what: string) => {
      step.read ??= read;
      if (step.outcome !== undefined || textOf(step.read) !== textOf(read))
        throw new Error(`the reader reads ${textOf(read)} where it has read ${textOf(step.read)} before`);
      const next = step.next.get(what) ?? newStep<T>();
      step.next.set(what, next);
      step = next;
    };
    const value = this.#run(devices.map((device, index) => new Watched(device, index, onRead)));
    step.outcome = { value };
    return value;
  }
}

const textOf = ({ device, offset, length }: Read): string => `device ${device}: ${offset}+${length}`;

/** What a read gave, in short. */
function given(into: Uint8Array, read: () => void): string {
  try {
    read();
  } catch (thrown) {
    return `${thrown}`;
  }
  return createHash('sha1').update(into).digest('base64');
}

class Watched implements BlockDevice {
  readonly writable = false;
  readonly #inner: MemoryDevice;
  readonly #index: number;
  readonly #onRead: OnRead;

  constructor(inner: MemoryDevice, index: number, onRead: OnRead) {
    this.#inner = inner;
    this.#index = index;
    this.#onRead = onRead;
  }
  get name(): string {
    return this.#inner.name;
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
  read(offset: number, into: Uint8Array): void {
    const what = given(into, () => this.#inner.read(offset, into));
    this.#onRead({ device: this.#index, offset, length: into.length }, what);
    // A read that failed fails for the reader too.
    this.#inner.read(offset, into);
  }
  write(): void {
    throw new Error('a reader writes');
  }
  flush(): void {}
  close(): void {}
}
