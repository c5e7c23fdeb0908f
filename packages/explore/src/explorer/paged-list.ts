// A list that is read as far as somebody looks at it, a little at a time, so that other requests can be answered in between.

/** No list is kept longer: what follows is for `list` and `ls`. */
const ITEMS_MAX = 500_000;
/** A directory with more entries is shown in the order of its hashes: reading all of 100,000 takes a second. */
const SORTED_MAX = 50_000;
/** Work between two looks at what else was asked. */
const SLICE_MS = 20;

/** Lets others have a turn. @returns whether to go on */
export type Turn = () => Promise<boolean>;

export class PagedList<T> {
  readonly items: T[] = [];
  isWhole = false;
  readonly #source: Iterator<T>;
  readonly #compare: ((a: T, b: T) => number) | undefined;
  #isSorted = false;

  /** @param compare items are given in its order where there are not too many */
  constructor(source: Iterable<T>, compare?: (a: T, b: T) => number) {
    this.#source = source[Symbol.iterator]();
    this.#compare = compare;
  }

  /** How many there are for certain. */
  get count(): number {
    return this.#compare === undefined || this.#isSorted ? this.items.length : 0;
  }

  /** Reads until there are `wanted` items, or all, or another request is more urgent. */
  async fill(wanted: number, turn: Turn): Promise<void> {
    const enough = this.#compare === undefined || this.#isSorted ? wanted : Math.max(wanted, SORTED_MAX);
    let until = performance.now() + SLICE_MS;
    while (!this.isWhole && this.items.length < enough) {
      const { done, value } = this.#source.next();
      if (done === true) this.isWhole = true;
      else this.items.push(value);
      if (this.items.length >= ITEMS_MAX) this.isWhole = true;
      if (performance.now() < until) continue;
      if (!(await turn())) return;
      until = performance.now() + SLICE_MS;
    }
    if (this.#compare === undefined || this.#isSorted) return;
    if (this.isWhole) this.items.sort(this.#compare);
    this.#isSorted = true;
  }
}
