// The random numbers that new nodes get, by which a kernel finds them (see check/node-seqs.ts): 64 bits by chance differ, but a source that
// repeats itself would give two nodes the same one.

import type { Key } from '../ondisk/bkey.ts';
import { assert } from '../ondisk/errors.ts';
import { BchBtreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { RandomSource } from '../util/random.ts';

const BTREE_PTR_V2 = keyTypes.idOf('btree_ptr_v2');

/** The number of the node that a pointer leads to; 0 where it says none. */
export function nodeSeqOf({ k, value }: Key): bigint {
  if (k.type !== BTREE_PTR_V2 || value.length < BchBtreePtrV2.size) return 0n;
  return viewOf(value).getBigUint64(BchBtreePtrV2.offset.seq, true);
}

/** A source that gives nothing new for so long gives nothing new at all. */
const TRIES_MAX = 1000;

/** Odd, so that no two states are spread to the same number. */
const SPREAD = 0x9e37_79b9_7f4a_7c15n;

export interface FreshSeqsOptions {
  /** Numbers of nodes that there are. */
  readonly taken?: Iterable<bigint>;
  /**
   * What differs between two states of a filesystem: its last journal entry. A change that was made from a seed, cut off and made again
   * from the same seed then gives its nodes other numbers than those that the first one may have left in the journal.
   */
  readonly state?: number;
}

/** Memory: a set of all numbers that were given out. */
export class FreshSeqs {
  readonly #random: RandomSource;
  readonly #taken: Set<bigint>;
  readonly #spread: bigint;

  constructor(random: RandomSource, { taken = [], state = 0 }: FreshSeqsOptions = {}) {
    this.#random = random;
    this.#spread = BigInt.asUintN(64, BigInt(state) * SPREAD);
    // A kernel takes 0 for none.
    this.#taken = new Set([0n, ...taken]);
  }

  /** Whatever the source gives. */
  any(): bigint {
    return viewOf(this.#random.bytes(8)).getBigUint64(0, true);
  }

  next(): bigint {
    for (let i = 0; i < TRIES_MAX; i++) {
      const seq = this.any() ^ this.#spread;
      if (this.#taken.has(seq)) continue;
      this.#taken.add(seq);
      return seq;
    }
    assert(false, 'the random source gives other numbers at some time');
  }
}
