// A set of inode numbers: 64-bit numbers as their halves, 21 bytes each (a million of them, Node 20) where few upper halves differ (they are shards: 1.39 gives
// each CPU a range of its own).

import type { Words64 } from './siphash.ts';

export class InumSet {
  readonly #byHigh = new Map<number, Set<number>>();

  /** @returns whether it was not there before */
  add({ lo, hi }: Words64): boolean {
    let lows = this.#byHigh.get(hi);
    if (lows === undefined) {
      lows = new Set();
      this.#byHigh.set(hi, lows);
    }
    if (lows.has(lo)) return false;
    lows.add(lo);
    return true;
  }

  has({ lo, hi }: Words64): boolean {
    return this.#byHigh.get(hi)?.has(lo) ?? false;
  }
}
