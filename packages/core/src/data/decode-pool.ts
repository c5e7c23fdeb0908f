// Decompression on other cores. A reader that knows which extents it will want posts them ahead of itself, and worker threads verify and
// decompress them while it reads and writes. Everything stays synchronous for the reader: it takes what is ready, waits for what a
// worker has begun, and does itself what no worker has begun. Workers answer only for extents that are right; one that is not, one that takes
// too long and everything unusual is left to the reader, so that errors are the same with workers and without. docs/adr/0022.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { type DecodeParameters, DecodeSlots, SLOT, SLOT_BYTES, SLOT_COUNT } from './decode-slots.ts';

/** More would only wait for the reader. */
const WORKERS_MAX = 3;
/** For a quarter of a megabyte: a worker that takes longer is not there any more. */
const PATIENCE_MS = 5000;

export class DecodePool {
  readonly #slots: DecodeSlots;
  readonly #workers: readonly Worker[];
  #next = 0;
  #isClosed = false;

  private constructor(slots: DecodeSlots, workers: readonly Worker[]) {
    this.#slots = slots;
    this.#workers = workers;
    for (const worker of workers) {
      // A reader does without them; nothing that it waits for would come.
      worker.on('error', () => this.close());
      worker.unref();
    }
  }

  /** Undefined where there is one core, or where the program was put together without the worker's file. */
  static start(cores: number = availableParallelism()): DecodePool | undefined {
    const startWorker = workerStarter();
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

/** Starts a worker: its file is beside this one, or beside the bundle that this is in. Undefined where it is not. */
function workerStarter(): ((memory: SharedArrayBuffer) => Worker) | undefined {
  const isSource = import.meta.url.endsWith('.ts');
  const url = new URL(`./decode-worker.${isSource ? 'ts' : 'js'}`, import.meta.url);
  if (!existsSync(fileURLToPath(url))) return undefined;
  if (!isSource) return memory => new Worker(url, { workerData: memory });
  // A worker does not inherit the loader that runs sources, and ignores one in its own arguments.
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx/esm/api')).href;
  const code = `import('${loader}').then(({ register }) => { register(); return import('${url.href}'); });`;
  return memory => new Worker(code, { eval: true, workerData: memory, execArgv: [] });
}
