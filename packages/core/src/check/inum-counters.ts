// Counters by inode: how many extents an inode has in all snapshots, how long they are together, and what they take on disk. Extents come
// in the order of inodes, so rows are only ever added after the last one: 33 bytes for each inode that has extents.

const START_ROWS = 256;
const VALUES = 3;

export class InumCounters {
  #count = 0;
  #inums = new BigUint64Array(START_ROWS);
  #values = new Float64Array(START_ROWS * VALUES);
  #taken = new Uint8Array(START_ROWS);

  /** @param inum not below any that was added before; those of damaged btrees that are go to the last one's row */
  add(inum: bigint, extents: number, sectors: number, diskSectors: number): void {
    if (this.#count === 0 || this.#inums[this.#count - 1]! < inum) {
      if (this.#count === this.#inums.length) this.#grow();
      this.#inums[this.#count++] = inum;
    }
    const at = (this.#count - 1) * VALUES;
    this.#values[at] = this.#values[at]! + extents;
    this.#values[at + 1] = this.#values[at + 1]! + sectors;
    this.#values[at + 2] = this.#values[at + 2]! + diskSectors;
  }

  /** The counters of an inode, which are then no longer left. */
  take(inum: bigint): readonly number[] {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#inums[middle]! < inum) low = middle + 1;
      else high = middle;
    }
    if (low === this.#count || this.#inums[low] !== inum) return [];
    this.#taken[low] = 1;
    return this.#row(low);
  }

  *all(): Generator<{ readonly inum: bigint; readonly values: readonly number[] }> {
    for (let i = 0; i < this.#count; i++) yield { inum: this.#inums[i]!, values: this.#row(i) };
  }

  *left(): Generator<{ readonly inum: bigint; readonly values: readonly number[] }> {
    for (let i = 0; i < this.#count; i++) {
      if (this.#taken[i] !== 0) continue;
      const values = this.#row(i);
      if (values.some(value => value !== 0)) yield { inum: this.#inums[i]!, values };
    }
  }

  #row(index: number): readonly number[] {
    const at = index * VALUES;
    return [this.#values[at]!, this.#values[at + 1]!, this.#values[at + 2]!];
  }

  #grow(): void {
    const rows = 2 * this.#inums.length;
    const inums = new BigUint64Array(rows);
    inums.set(this.#inums);
    this.#inums = inums;
    const values = new Float64Array(rows * VALUES);
    values.set(this.#values);
    this.#values = values;
    const taken = new Uint8Array(rows);
    taken.set(this.#taken);
    this.#taken = taken;
  }
}
