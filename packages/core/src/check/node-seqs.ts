// The random numbers of btree nodes, of which no two that are in use may be the same: Linux 6.12 finds nodes in its cache by them. It takes one
// node for the other then, or does not come to an end, and stops at a second root with the number of another (BUG_ON).
// Memory: 9 bytes for each node; 18 while they are looked through.
// Source: btree_ptr_hash_val in btree_cache.h, bch2_btree_node_fill and bch2_btree_root_read, v1.13.0.

/** Nodes with one number. */
export interface SharedSeq {
  readonly seq: bigint;
  /** The btree of each of them. */
  readonly btrees: readonly number[];
}

export class NodeSeqs {
  #seqs = new BigUint64Array(256);
  #btrees = new Uint8Array(256);
  #count = 0;

  add(btree: number, seq: bigint): void {
    if (this.#count === this.#seqs.length) {
      const [seqs, ids] = [new BigUint64Array(2 * this.#count), new Uint8Array(2 * this.#count)];
      seqs.set(this.#seqs);
      ids.set(this.#btrees);
      [this.#seqs, this.#btrees] = [seqs, ids];
    }
    this.#seqs[this.#count] = seq;
    this.#btrees[this.#count++] = btree;
  }

  /** Each number that more than one node has. */
  shared(): readonly SharedSeq[] {
    const sorted = this.#seqs.slice(0, this.#count).sort();
    const found = new Map<bigint, number[]>();
    for (let i = 1; i < sorted.length; i++) if (sorted[i] === sorted[i - 1]) found.set(sorted[i]!, []);
    if (found.size === 0) return [];
    for (let i = 0; i < this.#count; i++) found.get(this.#seqs[i]!)?.push(this.#btrees[i]!);
    return [...found].map(([seq, ids]) => ({ seq, btrees: ids }));
  }
}
