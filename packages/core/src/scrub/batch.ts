// Copies of file data that are read together: those of as many keys as fit into bounded memory, in the order of the keys, then sorted by
// where they are, so that each device is read from its start to its end in long runs. The keys themselves are let go of: what is repaired
// is looked up again.

import { type ExtentContent, extentContent, poisonOf } from '../data/extent-read.ts';
import type { DataError } from '../data/finding.ts';
import { type Encoding, replicasOf } from '../data/replicas.ts';
import type { Bkey, Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import type { ExtentPtr, ExtentStripePtr } from '../ondisk/extent-entries.ts';

/** A key with data of its own. */
export interface ScrubbedKey {
  /** `extents` or `reflink`. */
  readonly btree: number;
  readonly k: Bkey;
  readonly copies: readonly Copy[];
  /** Why its data is known to be lost, whatever its copies hold. */
  readonly lost: CorruptError | undefined;
}

export interface Copy {
  readonly ptr: ExtentPtr;
  readonly encoding: Encoding;
  readonly stripePtr: ExtentStripePtr | undefined;
  readonly key: ScrubbedKey;
  /**
   * unread   not yet, or never: a cached copy that is gone
   * missing  its member is not there
   */
  state: 'unread' | 'good' | 'bad' | 'missing';
  /** Of a bad one. */
  problem: DataError | undefined;
}

/** About 500 bytes of memory each. */
const COPIES_MAX = 65_536;

export class CopyBatch {
  readonly #copiesMax: number;
  readonly keys: ScrubbedKey[] = [];
  #count = 0;

  constructor(copiesMax: number = COPIES_MAX) {
    this.#copiesMax = copiesMax;
  }

  get isFull(): boolean {
    return this.#count >= this.#copiesMax;
  }

  /** The position of the last key. */
  get last(): Bpos | undefined {
    return this.keys.at(-1)?.k.p;
  }

  /** @param key which may be a view of a node */
  add(btree: number, key: Key): void {
    const { content, lost } = contentOf(btree, key);
    if (content?.kind !== 'data' && lost === undefined) return;
    const copies: Copy[] = [];
    const k = { ...key.k, p: key.k.p.slice() };
    const scrubbed: ScrubbedKey = { btree, k, copies, lost };
    if (content?.kind === 'data') {
      for (const replica of replicasOf(content.entries, k))
        copies.push({ ...replica, key: scrubbed, state: 'unread', problem: undefined });
    }
    this.keys.push(scrubbed);
    // One that has no copies takes memory too.
    this.#count += Math.max(1, copies.length);
  }

  /** All copies, by member and sector. */
  sorted(): Copy[] {
    return this.keys
      .flatMap(({ copies }) => copies)
      .sort((a, b) => a.ptr.dev - b.ptr.dev || a.ptr.offset - b.ptr.offset);
  }
}

function contentOf(
  btree: number,
  key: Key,
): { readonly content: ExtentContent | undefined; readonly lost: CorruptError | undefined } {
  const name = btrees.nameOf(btree);
  const where = { btree: name, pos: bposText(key.k.p) };
  try {
    const content = extentContent(key, name);
    if (content.kind === 'lost') return { content, lost: content.error };
    return { content, lost: content.kind === 'data' ? poisonOf(content.entries, where) : undefined };
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    return { content: undefined, lost: new CorruptError(thrown.error, { ...where, ...thrown.where }, thrown.detail) };
  }
}
