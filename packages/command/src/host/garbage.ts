// How much garbage V8 lets lie. By default it begins to collect when the heap has grown to up to four times what was alive after the last
// time, which for changes of many files is most of the memory that they take.

import { setFlagsFromString } from 'node:v8';

/**
 * Garbage may take as much as what is alive. Putting 100,000 files took 14.1 s of processor time and 279 MB, where half as much garbage
 * made it 17 s (Node 20).
 */
function limitGarbage(): void {
  setFlagsFromString('--heap-growing-percent=100');
}

/** So many files make garbage that is worth collecting early. */
const MANY = 1000;

/** Counts files, or other steps of that size; from many on, garbage is limited. */
export class GarbageLimit {
  #steps = 0;

  step(): void {
    if (++this.#steps === MANY) limitGarbage();
  }
}
