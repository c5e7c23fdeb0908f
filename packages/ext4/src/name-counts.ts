// How many names each inode has, two bytes for each, kept for those groups only that have any.

export class NameCounts {
  readonly #perGroup: number;
  readonly #groups: (Uint16Array | undefined)[];

  constructor(inodes: number, perGroup: number) {
    this.#perGroup = perGroup;
    this.#groups = new Array<Uint16Array | undefined>(Math.ceil(inodes / perGroup)).fill(undefined);
  }

  /** @returns how many it has now, up to 65535 */
  add(inode: number): number {
    const group = Math.floor((inode - 1) / this.#perGroup);
    const counts = this.#groups[group] ?? new Uint16Array(this.#perGroup);
    this.#groups[group] = counts;
    const at = inode - 1 - group * this.#perGroup;
    counts[at] = Math.min(counts[at]! + 1, 0xffff);
    return counts[at]!;
  }

  of(inode: number): number {
    const group = Math.floor((inode - 1) / this.#perGroup);
    return this.#groups[group]?.[inode - 1 - group * this.#perGroup] ?? 0;
  }
}
