// Decompression on other cores. A reader that knows which extents it will want posts them ahead of itself, and worker threads verify and
// decompress them while it reads and writes. Everything stays synchronous for the reader: it takes what is ready, waits for what a
// worker has begun, and does itself what no worker has begun. Workers answer only for extents that are right; one that is not, one that takes
// too long and everything unusual is left to the reader, so that errors are the same with workers and without. docs/adr/0022.

import { platform } from '#platform';
import type { Thread } from '../platform/platform.ts';
import { type DecodeParameters, DecodeSlots, SLOT, SLOT_BYTES, SLOT_COUNT } from './decode-slots.ts';

/** More would only wait for the reader. */
const WORKERS_MAX = 3;
/** For a quarter of a megabyte: a worker that takes longer is not there any more. */
const PATIENCE_MS = 5000;

export class DecodePool {
  readonly #slots: DecodeSlots;
  readonly #workers: readonly Thread[];
  #next = 0;
  #isClosed = false;

  private constructor(slots: DecodeSlots, workers: readonly Thread[]) {
    this.#slots = slots;
    this.#workers = workers;
    for (const worker of workers) {
      // A reader does without them; nothing that it waits for would come.
      worker.onError(() => this.close());
      worker.unref();
    }
  }

  /** Undefined where there is one core, where there are no threads, or where the program was put together without the worker's file. */
  static start(cores: number = platform.threads?.cores ?? 1): DecodePool | undefined {
    const startWorker = platform.threads?.starter(workerModule());
    const count = Math.min(cores - 1, WORKERS_MAX);
    if (count < 1 || startWorker === undefined) return undefined;
    const slots = new DecodeSlots(new SharedArrayBuffer(DecodeSlots.memoryBytes));
    return new DecodePool(
      slots,
      Array.from({ length: count }, () => startWorker(slots.memory)),
    );
  }

  /** Whether an extent is one for the workers. */
  static takes({ inputBytes, outputBytes }: Pick<DecodeParameters, 'inputBytes' | 'outputBytes'>): boolean {
    return inputBytes > 0 && inputBytes <= SLOT_BYTES && outputBytes > 0 && outputBytes <= SLOT_BYTES;
  }

  get hasRoom(): boolean {
    return !this.#isClosed && this.#slots.state(this.#next % SLOT_COUNT) === SLOT.free;
  }

  /**
   * Hands an extent to the workers; `hasRoom` and `takes` are true.
   * @param fill puts the extent as it is on disk into memory that is exactly as long
   * @returns the job, for `take` or `drop`
   */
  post(parameters: DecodeParameters, fill: (target: Uint8Array) => void): number {
    const job = this.#next;
    fill(this.#slots.input(job % SLOT_COUNT).subarray(0, parameters.inputBytes));
    this.#next++;
    this.#slots.post(job, parameters);
    return job;
  }

  /** Nothing comes of it any more: it was closed, or a worker failed. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether a worker has done with a job. */
  isDone(job: number): boolean {
    const state = this.#slots.state(job % SLOT_COUNT);
    return state === SLOT.done || state === SLOT.failed;
  }

  /** Copies a job's result, and ends the job. @returns false when there is none: the reader decodes it itself */
  take(job: number, copy: (output: Uint8Array) => void): boolean {
    const slot = job % SLOT_COUNT;
    const slots = this.#slots;
    if (slots.change(slot, SLOT.posted, SLOT.free)) return false;
    if (!slots.waitWhileRunning(slot, PATIENCE_MS)) {
      this.close();
      return false;
    }
    const isGood = slots.state(slot) === SLOT.done;
    if (isGood) copy(slots.output(slot).subarray(0, slots.parameters(slot).outputBytes));
    slots.free(slot);
    return isGood;
  }

  /** Ends a job that is not wanted any more. */
  drop(job: number): void {
    this.take(job, () => {});
  }

  /** Jobs that were not begun stay undone. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#slots.close();
    for (const worker of this.#workers) worker.unref();
  }
}

/** Beside this file, or beside the bundle that this is in. */
function workerModule(): URL {
  return new URL(`./decode-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);
}
