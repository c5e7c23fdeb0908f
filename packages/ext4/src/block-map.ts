// Which blocks are in use: a bit for each cluster, in pages that are kept only where some of their clusters are in use and some are not. A
// filesystem of 64 TiB with little in it takes as much as what is in it, however that is strewn: a page for each extent at most, and half of it
// for each 8 MiB.

import type { Ext4BlockMap, Ext4BlockRun, Ext4Facts } from './types.ts';

const PAGE_BITS = 10;
/** Clusters of a page; a group has a whole number of pages of its own. */
const PAGE = 2 ** PAGE_BITS;
const PAGE_BYTES = PAGE / 8;
/** So many pages are taken in one go. */
const CHUNK_BITS = 13;
const NONE = 0;
const ALL = 1;
/** What is more than ALL is the place of a page, and this. */
const FIRST_SLOT = 2;

export class BlockMap implements Ext4BlockMap {
  readonly blocks: number;
  readonly #first: number;
  readonly #perCluster: number;
  readonly #perGroup: number;
  readonly #pagesPerGroup: number;
  readonly #clusters: number;
  /** Of each page: NONE, ALL, or where it is. */
  readonly #index: Uint32Array;
  readonly #chunks: Uint8Array[] = [];
  #slots = 0;
  readonly #isFirstUsed: boolean;
  #usedClusters = 0;

  /** @param isFirstUsed whether blocks below the first group count as used */
  constructor(facts: Ext4Facts, isFirstUsed: boolean) {
    this.blocks = facts.blocks;
    this.#first = facts.firstDataBlock;
    this.#perCluster = facts.blocksPerCluster;
    this.#perGroup = facts.clustersPerGroup;
    this.#pagesPerGroup = Math.ceil(facts.clustersPerGroup / PAGE);
    this.#clusters = Math.ceil((facts.blocks - facts.firstDataBlock) / facts.blocksPerCluster);
    this.#index = new Uint32Array(facts.groups * this.#pagesPerGroup);
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
      const bit = at - group * this.#perGroup;
      const inPage = bit & (PAGE - 1);
      const length = Math.min(end - at, PAGE - inPage, this.#perGroup - bit);
      const page = group * this.#pagesPerGroup + (bit >>> PAGE_BITS);
      const known = this.#index[page]!;
      if (known === ALL) taken ??= at;
      else if (known === NONE && length === PAGE) {
        this.#index[page] = ALL;
        this.#usedClusters += PAGE;
      } else {
        const first = this.#markInPage(page, inPage, length);
        if (first !== undefined) taken ??= at + first - inPage;
      }
      at += length;
    }
    return taken;
  }

  /** The bits of a group, as ext4 has them; undefined where none is set. */
  groupBits(group: number): Uint8Array | undefined {
    const first = group * this.#pagesPerGroup;
    let bits: Uint8Array | undefined;
    for (let nr = 0; nr < this.#pagesPerGroup; nr++) {
      const known = this.#index[first + nr]!;
      if (known === NONE) continue;
      bits ??= new Uint8Array(this.#perGroup / 8);
      const at = nr * PAGE_BYTES;
      const length = Math.min(PAGE_BYTES, bits.length - at);
      if (known === ALL) bits.fill(0xff, at, at + length);
      else bits.set(this.#pageAt(known).subarray(0, length), at);
    }
    return bits;
  }

  /** Bits of a page that is neither empty nor full. @returns the first that was set already */
  #markInPage(page: number, from: number, count: number): number | undefined {
    let known = this.#index[page]!;
    if (known === NONE) {
      known = FIRST_SLOT + this.#slots++;
      this.#index[page] = known;
    }
    const bits = this.#pageAt(known);
    let taken: number | undefined;
    for (let bit = from, stop = from + count; bit < stop; ) {
      const byte = bit >>> 3;
      if ((bit & 7) === 0 && stop - bit >= 8 && bits[byte] === 0) {
        bits[byte] = 0xff;
        this.#usedClusters += 8;
        bit += 8;
        continue;
      }
      const mask = 1 << (bit & 7);
      if ((bits[byte]! & mask) !== 0) taken ??= bit;
      else {
        bits[byte]! |= mask;
        this.#usedClusters++;
      }
      bit++;
    }
    return taken;
  }

  #pageAt(known: number): Uint8Array {
    const slot = known - FIRST_SLOT;
    const nr = Math.floor(slot / 2 ** CHUNK_BITS);
    const chunk = this.#chunks[nr] ?? new Uint8Array(PAGE_BYTES * 2 ** CHUNK_BITS);
    this.#chunks[nr] = chunk;
    const at = (slot - nr * 2 ** CHUNK_BITS) * PAGE_BYTES;
    return chunk.subarray(at, at + PAGE_BYTES);
  }

  #get(cluster: number): boolean {
    const group = Math.floor(cluster / this.#perGroup);
    const bit = cluster - group * this.#perGroup;
    const known = this.#index[group * this.#pagesPerGroup + (bit >>> PAGE_BITS)]!;
    return known === ALL || (known !== NONE && isSet(this.#pageAt(known), bit & (PAGE - 1)));
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
    const start = group * this.#perGroup;
    const nr = (cluster - start) >>> PAGE_BITS;
    const page = group * this.#pagesPerGroup + nr;
    const known = this.#index[page]!;
    if (known <= ALL) {
      let next = page + 1;
      while (next < this.#index.length && this.#index[next] === known) next++;
      const nextGroup = Math.floor(next / this.#pagesPerGroup);
      const until = nextGroup * this.#perGroup + (next - nextGroup * this.#pagesPerGroup) * PAGE;
      return [known === ALL, this.firstBlockOf(until)];
    }
    const bits = this.#pageAt(known);
    let bit = (cluster - start) & (PAGE - 1);
    const end = Math.min(PAGE, this.#perGroup - nr * PAGE);
    const isUsed = isSet(bits, bit);
    const same = isUsed ? 0xff : 0;
    for (bit++; bit < end; ) {
      if ((bit & 7) === 0 && bits[bit >>> 3] === same) bit += 8;
      else if (isSet(bits, bit) === isUsed) bit++;
      else break;
    }
    return [isUsed, this.firstBlockOf(start + nr * PAGE + Math.min(bit, end))];
  }
}

const isSet = (bits: Uint8Array, bit: number): boolean => ((bits[bit >>> 3]! >>> (bit & 7)) & 1) === 1;
