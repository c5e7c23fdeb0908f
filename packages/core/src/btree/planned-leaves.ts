// What the leaves of a btree will hold: those on disk with the changes of a transaction. A plan is made several times, since room for nodes
// changes where room is, and between two rounds few keys change. So leaves are merged once, and later changes are put into what is known; runs of
// leaves in which nothing changed are the same object as before, so that a run that was divided need not be divided again.

import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, compareBpos } from '../ondisk/bpos.ts';
import { assert } from '../ondisk/errors.ts';
import type { BtreeView } from './iterate.ts';
import type { KeyMap } from './key-map.ts';
import { type BtreeNode, DELETED } from './node.ts';
import type { NodeRange } from './node-fill.ts';
import { ChangedBtree } from './transaction.ts';

interface Leaf {
  readonly keys: Key[];
  /** Of the nodes that come in its place. */
  readonly generation: number;
  /** How many changes the map had when this was right. */
  seen: number;
}

interface Known {
  readonly run: unknown;
  seen: number;
}

/** From so many changes to its keys on, a leaf is merged anew. */
const PATCHED_SHARE = 1 / 8;

export class PlannedLeaves {
  readonly #view: BtreeView;
  readonly #changes: KeyMap;
  /** By where they end. */
  readonly #leaves = new Map<string, Leaf>();
  /** By where they begin and end. */
  readonly #runs = new Map<string, Known>();
  /** Where changes were, in order, by how many there had been before. */
  readonly #changed = new Map<number, readonly Bpos[] | undefined>();

  constructor(view: BtreeView, changes: KeyMap) {
    this.#view = view;
    this.#changes = changes;
  }

  /** A plan is made: nothing changes until it is. */
  begin(): void {
    this.#changed.clear();
  }

  /**
   * What leaves hold together.
   * @param leaves neighbours, in order
   * @param make called when it is not what it was when it was asked for last
   */
  run<T>(leaves: readonly NodeRange[], make: (min: Bpos, max: Bpos, keys: readonly Key[], generation: number) => T): T {
    const { min, max } = rangeOf(leaves);
    const name = `${bposText(min)} ${bposText(max)}`;
    const known = this.#runs.get(name);
    if (known !== undefined && this.#changedIn(known.seen, min, max)?.length === 0) {
      known.seen = this.#changes.changes;
      return known.run as T;
    }
    const keys: Key[] = [];
    let generation = 0;
    for (const place of leaves) {
      const leaf = this.#leaf(place);
      for (const key of leaf.keys) keys.push(key);
      generation = Math.max(generation, leaf.generation);
    }
    const run = make(min, max, keys, generation);
    this.#runs.set(name, { run, seen: this.#changes.changes });
    return run;
  }

  #leaf({ min, max }: NodeRange): Leaf {
    const name = bposText(max);
    const known = this.#leaves.get(name);
    const changed = known === undefined ? undefined : this.#changedIn(known.seen, min, max);
    if (known !== undefined && changed !== undefined && changed.length <= PATCHED_SHARE * known.keys.length) {
      for (const pos of changed) this.#patch(known.keys, pos);
      known.seen = this.#changes.changes;
      return known;
    }
    const generation = new NextGeneration();
    const walk = { from: min, to: max, onNode: generation.after };
    const keys = [...new ChangedBtree(this.#view, this.#changes).keys(walk)];
    const leaf = { keys, generation: generation.next, seen: this.#changes.changes };
    this.#leaves.set(name, leaf);
    return leaf;
  }

  /** Puts what is at a position now into keys of some time ago. */
  #patch(keys: Key[], pos: Bpos): void {
    const changed = this.#changes.get(pos) ?? this.#view.get(pos);
    const key = changed?.k.type === DELETED ? undefined : changed;
    const index = firstFrom(keys, pos, ({ k }) => k.p);
    const isThere = index < keys.length && compareBpos(keys[index]!.k.p, pos) === 0;
    if (key === undefined) keys.splice(index, isThere ? 1 : 0);
    else keys.splice(index, isThere ? 1 : 0, key);
  }

  /** Where changes were within a range since there were so many; undefined when that is not known. */
  #changedIn(seen: number, min: Bpos, max: Bpos): readonly Bpos[] | undefined {
    if (!this.#changed.has(seen)) {
      this.#changed.set(seen, this.#changes.changedSince(seen)?.toSorted(compareBpos));
    }
    const all = this.#changed.get(seen);
    if (all === undefined) return undefined;
    let end = firstFrom(all, min, one => one);
    const start = end;
    while (end < all.length && compareBpos(all[end]!, max) <= 0) end++;
    return all.slice(start, end);
  }
}

/** The index of the first of sorted things that is at `pos` or after it. */
function firstFrom<T>(sorted: readonly T[], pos: Bpos, posOf: (one: T) => Bpos): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareBpos(posOf(sorted[middle]!), pos) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** From the first to the last of neighbours. */
export function rangeOf(places: readonly NodeRange[]): NodeRange {
  const first = places[0];
  const last = places.at(-1);
  assert(first !== undefined && last !== undefined, 'a run has nodes');
  return { min: first.min, max: last.max };
}

/** Of what comes in the place of nodes. */
export class NextGeneration {
  next = 0;
  readonly after = (node: BtreeNode): void => {
    this.next = Math.max(this.next, Math.min(node.generation + 1, GENERATION_MAX));
  };
}

/** It has 32 bits. */
const GENERATION_MAX = 0xffff_ffff;
