// Counters by inode: how many extents an inode has in all snapshots, how long they are together, and what they take on disk. Extents come
// in the order of inodes, so rows are only ever added after the last one: 33 bytes for each inode that has extents.

import { u64Of } from '../ondisk/little-endian.ts';

const START_ROWS = 256;
const VALUES = 3;

export class InumCounters {
  #count = 0;
  #low = new Uint32Array(START_ROWS);
  #high = new Uint32Array(START_ROWS);
  #values = new Float64Array(START_ROWS * VALUES);
  #taken = new Uint8Array(START_ROWS);
  /** Counters are asked for in the order of inodes: where the next one is to be. */
  #next = 0;

  /**
   * @param low word of an inode number; @param high word of it. Not below any that was added before; those of damaged btrees that are go to the
   * last one's row
   */
  add(low: number, high: number, extents: number, sectors: number, diskSectors: number): void {
    if (this.#count === 0 || this.#isBelow(this.#count - 1, low, high)) {
      if (this.#count === this.#low.length) this.#grow();
      this.#low[this.#count] = low;
      this.#high[this.#count++] = high;
    }
    const at = (this.#count - 1) * VALUES;
    this.#values[at] = this.#values[at]! + extents;
    this.#values[at + 1] = this.#values[at + 1]! + sectors;
    this.#values[at + 2] = this.#values[at + 2]! + diskSectors;
  }

  /** The counters of an inode, which are then no longer left. */
  take(low: number, high: number): readonly number[] {
    const row = this.#find(low, high);
    if (row === undefined) return [];
    this.#taken[row] = 1;
    return this.#row(row);
  }

  /** The same, where it is enough to know whether they are these: they are taken, and true; or nothing is, and false. */
  takeSame(low: number, high: number, extents: number, sectors: number, diskSectors: number): boolean {
    const row = this.#find(low, high);
    if (row === undefined) return false;
    const at = row * VALUES;
    const values = this.#values;
    if (values[at] !== extents || values[at + 1] !== sectors || values[at + 2] !== diskSectors) return false;
    this.#taken[row] = 1;
    return true;
  }

  #find(low: number, high: number): number | undefined {
    if (!this.#is(this.#next, low, high)) {
      let first = 0;
      let end = this.#count;
      while (first < end) {
        const middle = (first + end) >>> 1;
        if (this.#isBelow(middle, low, high)) first = middle + 1;
        else end = middle;
      }
      this.#next = first;
    }
    return this.#is(this.#next, low, high) ? this.#next++ : undefined;
  }

  #is(row: number, low: number, high: number): boolean {
    return row < this.#count && this.#low[row] === low && this.#high[row] === high;
  }

  #isBelow(row: number, low: number, high: number): boolean {
    const above = this.#high[row]!;
    return above < high || (above === high && this.#low[row]! < low);
  }

  *all(): Generator<{ readonly inum: bigint; readonly values: readonly number[] }> {
    for (let i = 0; i < this.#count; i++) yield { inum: this.#inum(i), values: this.#row(i) };
  }

  *left(): Generator<{ readonly inum: bigint; readonly values: readonly number[] }> {
    for (let i = 0; i < this.#count; i++) {
      if (this.#taken[i] !== 0) continue;
      const values = this.#row(i);
      if (values.some(value => value !== 0)) yield { inum: this.#inum(i), values };
    }
  }

  #inum(row: number): bigint {
    return u64Of(this.#low[row]!, this.#high[row]!);
  }

  #row(index: number): readonly number[] {
    const at = index * VALUES;
    return [this.#values[at]!, this.#values[at + 1]!, this.#values[at + 2]!];
  }

  #grow(): void {
    const rows = 2 * this.#low.length;
    const low = new Uint32Array(rows);
    low.set(this.#low);
    this.#low = low;
    const high = new Uint32Array(rows);
    high.set(this.#high);
    this.#high = high;
    const values = new Float64Array(rows * VALUES);
    values.set(this.#values);
    this.#values = values;
    const taken = new Uint8Array(rows);
    taken.set(this.#taken);
    this.#taken = taken;
  }
}
