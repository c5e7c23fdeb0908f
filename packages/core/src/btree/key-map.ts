// A sorted map of keys in memory: what a transaction has changed in one btree and not yet written. Positions are unique and in the
// order of the btree; a key of type `deleted` says that the one underneath is gone. Keys lie in pages of at most 128, each with its
// positions side by side in one array, so that a search compares words and an insertion moves at most a page. A reader may go on
// while keys come and go: it holds a position, not an index.

import type { Key } from '../ondisk/bkey.ts';
import { BPOS_WORDS, type Bpos, compareBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { assert } from '../ondisk/errors.ts';

const PAGE_KEYS = 128;

interface Page {
  /** BPOS_WORDS for each key. */
  readonly positions: Uint32Array;
  readonly keys: Key[];
}

export interface KeyRange {
  /** Included: the start of the btree. */
  readonly from?: Bpos;
  /** Included: its end. */
  readonly to?: Bpos;
  readonly backward?: boolean;
}

export class KeyMap {
  #pages: Page[] = [];
  #size = 0;
  #changes = 0;
  /** The positions of all changes but the first `#logFrom`. */
  #log: Bpos[] | undefined;
  #logFrom = 0;

  get size(): number {
    return this.#size;
  }

  /** Grows with every change: what was derived from the map is stale when it is another number. */
  get changes(): number {
    return this.#changes;
  }

  /** From here on, where changes were can be asked for. */
  startLog(): void {
    if (this.#log !== undefined) return;
    this.#log = [];
    this.#logFrom = this.#changes;
  }

  /** Where the changes were since there were so many, in no order, some of them several times; undefined when it was not noted. */
  changedSince(changes: number): readonly Bpos[] | undefined {
    return this.#log === undefined || changes < this.#logFrom ? undefined : this.#log.slice(changes - this.#logFrom);
  }

  get(pos: Bpos): Key | undefined {
    const page = this.#pages[this.#pageOf(pos)];
    if (page === undefined) return undefined;
    const index = indexIn(page, pos);
    return index < page.keys.length && comparePosition(page, index, pos) === 0 ? page.keys[index] : undefined;
  }

  /** Puts a key at its position, in place of the one that is there. */
  set(key: Key): void {
    const pos = key.k.p;
    this.#changes++;
    this.#log?.push(pos);
    if (this.#pages.length === 0) this.#pages.push(newPage());
    const pageNr = this.#pageOf(pos);
    const page = this.#pages[pageNr];
    assert(page !== undefined, 'every position has its page');
    const index = indexIn(page, pos);
    const count = page.keys.length;
    if (index < count && comparePosition(page, index, pos) === 0) {
      page.keys[index] = key;
      return;
    }
    this.#size++;
    if (count === PAGE_KEYS) {
      // Keys that come in order leave full pages behind.
      const isAtEnd = index === count && pageNr === this.#pages.length - 1;
      const next = splitPage(page, isAtEnd ? count : count >>> 1);
      this.#pages.splice(pageNr + 1, 0, next);
      if (index > page.keys.length || isAtEnd) insert(next, index - page.keys.length, key);
      else insert(page, index, key);
    } else insert(page, index, key);
  }

  /** Forgets what is at a position: the btree underneath shows through again. */
  delete(pos: Bpos): boolean {
    const pageNr = this.#pageOf(pos);
    const page = this.#pages[pageNr];
    if (page === undefined) return false;
    const index = indexIn(page, pos);
    if (index === page.keys.length || comparePosition(page, index, pos) !== 0) return false;
    this.#changes++;
    this.#log?.push(pos);
    this.#size--;
    page.keys.splice(index, 1);
    page.positions.copyWithin(index * BPOS_WORDS, (index + 1) * BPOS_WORDS);
    if (page.keys.length === 0) this.#pages.splice(pageNr, 1);
    return true;
  }

  clear(): void {
    this.#changes++;
    if (this.#log !== undefined) {
      this.#log = [];
      this.#logFrom = this.#changes;
    }
    this.#pages = [];
    this.#size = 0;
  }

  /** The first key at `pos` or after it; the last at it or before it when going backward. */
  seek(pos: Bpos, { backward = false }: Pick<KeyRange, 'backward'> = {}): Key | undefined {
    return this.#neighbour(pos, backward, true);
  }

  /** The first key after `pos`; the last before it when going backward. */
  next(pos: Bpos, { backward = false }: Pick<KeyRange, 'backward'> = {}): Key | undefined {
    return this.#neighbour(pos, backward, false);
  }

  #neighbour(pos: Bpos, backward: boolean, isIncluded: boolean): Key | undefined {
    const pageNr = this.#pageOf(pos);
    const page = this.#pages[pageNr];
    if (page === undefined) return undefined;
    let index = indexIn(page, pos);
    const isHit = index < page.keys.length && comparePosition(page, index, pos) === 0;
    if (isHit && isIncluded) return page.keys[index];
    if (backward) {
      if (--index >= 0) return page.keys[index];
      return this.#pages[pageNr - 1]?.keys.at(-1);
    }
    if (isHit) index++;
    if (index < page.keys.length) return page.keys[index];
    return this.#pages[pageNr + 1]?.keys[0];
  }

  /** Keys between two positions, in order, those of type `deleted` too. Changes on the way are seen if they lie ahead. */
  *range({ from = POS_MIN, to = SPOS_MAX, backward = false }: KeyRange = {}): Generator<Key> {
    let seen = -1;
    let pageNr = 0;
    let index = 0;
    let last: Bpos | undefined;
    for (;;) {
      if (seen !== this.#changes) {
        seen = this.#changes;
        const pos = last ?? (backward ? to : from);
        pageNr = this.#pageOf(pos);
        const page = this.#pages[pageNr];
        if (page === undefined) return;
        index = indexIn(page, pos);
        const isHit = index < page.keys.length && comparePosition(page, index, pos) === 0;
        if (backward) index -= isHit && last === undefined ? 0 : 1;
        else if (isHit && last !== undefined) index++;
      }
      let page = this.#pages[pageNr];
      while (page !== undefined && (index < 0 || index >= page.keys.length)) {
        pageNr += backward ? -1 : 1;
        page = this.#pages[pageNr];
        index = backward && page !== undefined ? page.keys.length - 1 : 0;
      }
      const key = page?.keys[index];
      if (key === undefined) return;
      if (backward ? compareBpos(key.k.p, from) < 0 : compareBpos(key.k.p, to) > 0) return;
      last = key.k.p;
      index += backward ? -1 : 1;
      yield key;
    }
  }

  /** The page that holds a position, or would: the last one that starts at or before it. */
  #pageOf(pos: Bpos): number {
    let low = 0;
    let high = this.#pages.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const page = this.#pages[middle];
      assert(page !== undefined, 'a page between the others');
      if (comparePosition(page, 0, pos) <= 0) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

function newPage(): Page {
  return { positions: new Uint32Array(PAGE_KEYS * BPOS_WORDS), keys: [] };
}

/** Moves the keys from `at` on into a page of their own. */
function splitPage(page: Page, at: number): Page {
  const next = newPage();
  next.keys.push(...page.keys.splice(at));
  next.positions.set(page.positions.subarray(at * BPOS_WORDS));
  return next;
}

function insert(page: Page, index: number, key: Key): void {
  page.positions.copyWithin((index + 1) * BPOS_WORDS, index * BPOS_WORDS, page.keys.length * BPOS_WORDS);
  page.positions.set(key.k.p, index * BPOS_WORDS);
  page.keys.splice(index, 0, key);
}

/** The number of the first key at `pos` or after it. */
function indexIn(page: Page, pos: Bpos): number {
  let low = 0;
  let high = page.keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (comparePosition(page, middle, pos) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function comparePosition({ positions }: Page, index: number, pos: Bpos): number {
  const from = index * BPOS_WORDS;
  for (let i = BPOS_WORDS - 1; i >= 0; i--) {
    const difference = positions[from + i]! - pos[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
