// The memory that a reader and its decoding workers share: a ring of slots, each for one compressed extent, as it is on disk and as it
// comes out. A job's number says its slot. The reader posts jobs in order, workers claim them in order, and the reader takes back
// what it needs and no worker has begun. All waiting and waking goes through the words of `control`.

import { assert } from '../ondisk/errors.ts';

export const SLOT_COUNT = 16;
/** Of each side of an extent. Those that the kernel writes are half as long; longer ones are the reader's own. */
export const SLOT_BYTES: number = 256 * 1024;

/** Where things stand in `control`. */
const POSTED = 0;
const CLAIMED = 1;
const IS_CLOSING = 2;
const SLOTS_AT = 4;
const SLOT_WORDS = 12;

/** What a slot is doing. */
export const SLOT = { free: 0, posted: 1, running: 2, done: 3, failed: 4 } as const;
const PARAMETER_COUNT = 8;

/** What a worker has to know of an extent, apart from its bytes. */
export interface DecodeParameters {
  readonly csumType: number;
  readonly csumLo: bigint;
  readonly csumHi: bigint;
  readonly compressionType: number;
  readonly inputBytes: number;
  readonly outputBytes: number;
}

const low = (value: bigint) => Number(BigInt.asIntN(32, value));
const high = (value: bigint) => Number(BigInt.asIntN(32, value >> 32n));
const wide = (lo: number, hi: number) => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);

export class DecodeSlots {
  readonly #control: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(readonly memory: SharedArrayBuffer) {
    const controlWords = SLOTS_AT + SLOT_COUNT * SLOT_WORDS;
    assert(memory.byteLength === DecodeSlots.memoryBytes, 'the memory of all slots');
    this.#control = new Int32Array(memory, 0, controlWords);
    this.#bytes = new Uint8Array(memory, 4 * controlWords);
  }

  static readonly memoryBytes: number = 4 * (SLOTS_AT + SLOT_COUNT * SLOT_WORDS) + 2 * SLOT_COUNT * SLOT_BYTES;

  input(slot: number): Uint8Array {
    return this.#bytes.subarray(2 * slot * SLOT_BYTES, (2 * slot + 1) * SLOT_BYTES);
  }

  output(slot: number): Uint8Array {
    return this.#bytes.subarray((2 * slot + 1) * SLOT_BYTES, (2 * slot + 2) * SLOT_BYTES);
  }

  state(slot: number): number {
    return Atomics.load(this.#control, this.#at(slot));
  }

  /** The reader's: the next job. Its slot is free and holds the input. */
  post(job: number, parameters: DecodeParameters): void {
    const slot = job % SLOT_COUNT;
    const { csumType, csumLo, csumHi, compressionType, inputBytes, outputBytes } = parameters;
    const words = [csumType, low(csumLo), high(csumLo), low(csumHi), high(csumHi)];
    this.#control.set([...words, compressionType, inputBytes, outputBytes], this.#at(slot) + 1);
    Atomics.store(this.#control, this.#at(slot), SLOT.posted);
    Atomics.store(this.#control, POSTED, job + 1);
    Atomics.notify(this.#control, POSTED);
  }

  /** Whether the state was as expected, and is the other one now. */
  change(slot: number, from: number, to: number): boolean {
    return Atomics.compareExchange(this.#control, this.#at(slot), from, to) === from;
  }

  /** The reader's: waits for a worker to be done. @returns false when it takes too long */
  waitWhileRunning(slot: number, limitMs: number): boolean {
    if (this.state(slot) === SLOT.running) Atomics.wait(this.#control, this.#at(slot), SLOT.running, limitMs);
    return this.state(slot) !== SLOT.running;
  }

  free(slot: number): void {
    Atomics.store(this.#control, this.#at(slot), SLOT.free);
  }

  /** A worker's: the next slot to work on, once there is one; undefined at the end. */
  claim(): number | undefined {
    const control = this.#control;
    for (;;) {
      // Jobs are numbered to below 2^31: some 250 TiB.
      const job = Atomics.add(control, CLAIMED, 1);
      for (;;) {
        if (Atomics.load(control, IS_CLOSING) !== 0) return undefined;
        const posted = Atomics.load(control, POSTED);
        if (job < posted) break;
        Atomics.wait(control, POSTED, posted);
      }
      if (this.change(job % SLOT_COUNT, SLOT.posted, SLOT.running)) return job % SLOT_COUNT;
    }
  }

  parameters(slot: number): DecodeParameters {
    const at = this.#at(slot) + 1;
    const [csumType = 0, lo0 = 0, lo1 = 0, hi0 = 0, hi1 = 0, compressionType = 0, inputBytes = 0, outputBytes = 0] =
      this.#control.subarray(at, at + PARAMETER_COUNT);
    return { csumType, csumLo: wide(lo0, lo1), csumHi: wide(hi0, hi1), compressionType, inputBytes, outputBytes };
  }

  /** A worker's. */
  finish(slot: number, isGood: boolean): void {
    Atomics.store(this.#control, this.#at(slot), isGood ? SLOT.done : SLOT.failed);
    Atomics.notify(this.#control, this.#at(slot));
  }

  close(): void {
    Atomics.store(this.#control, IS_CLOSING, 1);
    // Those who wait for a job wait for this word to change.
    Atomics.add(this.#control, POSTED, 1);
    Atomics.notify(this.#control, POSTED);
  }

  #at(slot: number): number {
    return SLOTS_AT + slot * SLOT_WORDS;
  }
}
