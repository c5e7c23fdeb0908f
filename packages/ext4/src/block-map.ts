// Which blocks are in use: a bit for each cluster, kept for those groups only that have any. A filesystem of 16 TiB with little in it
// takes as much as what is in it.

import type { Ext4BlockMap, Ext4BlockRun, Ext4Facts } from './types.ts';

export class BlockMap implements Ext4BlockMap {
  readonly blocks: number;
  readonly #first: number;
  readonly #perCluster: number;
  readonly #perGroup: number;
  readonly #clusters: number;
  readonly #groups: (Uint8Array | undefined)[];
  readonly #isFirstUsed: boolean;
  #usedClusters = 0;

  /** @param isFirstUsed whether blocks below the first group count as used */
  constructor(facts: Ext4Facts, isFirstUsed: boolean) {
    this.blocks = facts.blocks;
    this.#first = facts.firstDataBlock;
    this.#perCluster = facts.blocksPerCluster;
    this.#perGroup = facts.clustersPerGroup;
    this.#clusters = Math.ceil((facts.blocks - facts.firstDataBlock) / facts.blocksPerCluster);
    this.#groups = new Array<Uint8Array | undefined>(facts.groups).fill(undefined);
    this.#isFirstUsed = isFirstUsed;
  }

  get usedBlocks(): number {
    // The last cluster may end past the last block.
    const past = this.#clusters * this.#perCluster + this.#first - this.blocks;
    const isLastUsed = this.#clusters > 0 && this.#get(this.#clusters - 1);
    return this.#usedClusters * this.#perCluster - (isLastUsed ? past : 0) + (this.#isFirstUsed ? this.#first : 0);
  }

  isUsed(block: number): boolean {
    if (block < this.#first) return this.#isFirstUsed && block >= 0;
    return block < this.blocks && this.#get(this.clusterOf(block));
  }

  usedRuns(from = 0, to = this.blocks): Iterable<Ext4BlockRun> {
    return this.#runs(from, to, true);
  }

  freeRuns(from = 0, to = this.blocks): Iterable<Ext4BlockRun> {
    return this.#runs(from, to, false);
  }

  clusterOf(block: number): number {
    return Math.floor((block - this.#first) / this.#perCluster);
  }

  firstBlockOf(cluster: number): number {
    return cluster * this.#perCluster + this.#first;
  }

  /**
   * Marks clusters from `cluster` on as used.
   * @returns the first one that was so already, and is marked no second time; undefined when all were free
   */
  mark(cluster: number, count: number): number | undefined {
    let taken: number | undefined;
    for (let at = cluster, end = cluster + count; at < end; ) {
      const group = Math.floor(at / this.#perGroup);
      const bits = this.#groups[group] ?? new Uint8Array(this.#perGroup / 8);
      this.#groups[group] = bits;
      const start = group * this.#perGroup;
      const stop = Math.min(end, start + this.#perGroup);
      while (at < stop) {
        const bit = at - start;
        const byte = bit >>> 3;
        if ((bit & 7) === 0 && stop - at >= 8 && bits[byte] === 0) {
          bits[byte] = 0xff;
          this.#usedClusters += 8;
          at += 8;
          continue;
        }
        const mask = 1 << (bit & 7);
        if ((bits[byte]! & mask) !== 0) taken ??= at;
        else {
          bits[byte]! |= mask;
          this.#usedClusters++;
        }
        at++;
      }
    }
    return taken;
  }

  /** The bits of a group, as ext4 has them; undefined where none is set. */
  groupBits(group: number): Uint8Array | undefined {
    return this.#groups[group];
  }

  #get(cluster: number): boolean {
    const group = Math.floor(cluster / this.#perGroup);
    const bit = cluster - group * this.#perGroup;
    const bits = this.#groups[group];
    return bits !== undefined && ((bits[bit >>> 3]! >>> (bit & 7)) & 1) === 1;
  }

  *#runs(from: number, to: number, used: boolean): Generator<Ext4BlockRun> {
    const end = Math.min(to, this.blocks);
    /** Where the run began that `at` is in. */
    let start: number | undefined;
    for (let at = Math.max(from, 0); at < end; ) {
      const [isUsed, until] = this.#stretch(at);
      if (isUsed === used) start ??= at;
      else if (start !== undefined) {
        yield { block: start, blocks: at - start };
        start = undefined;
      }
      at = Math.min(until, end);
    }
    if (start !== undefined && end > start) yield { block: start, blocks: end - start };
  }

  /** How a block is, and up to where those after it are the same at least. */
  #stretch(block: number): [isUsed: boolean, until: number] {
    if (block < this.#first) return [this.#isFirstUsed, this.#first];
    const cluster = this.clusterOf(block);
    const group = Math.floor(cluster / this.#perGroup);
    const bits = this.#groups[group];
    const start = group * this.#perGroup;
    if (bits === undefined) return [false, this.firstBlockOf(start + this.#perGroup)];
    let bit = cluster - start;
    const isUsed = ((bits[bit >>> 3]! >>> (bit & 7)) & 1) === 1;
    const same = isUsed ? 0xff : 0;
    for (bit++; bit < this.#perGroup; ) {
      if ((bit & 7) === 0 && bits[bit >>> 3] === same) bit += 8;
      else if ((((bits[bit >>> 3]! >>> (bit & 7)) & 1) === 1) === isUsed) bit++;
      else break;
    }
    return [isUsed, this.firstBlockOf(start + bit)];
  }
}
