// Nodes that were read lately, so that lookups near each other read and merge a node once. What a filesystem is made of does not change
// while it is open for reading, so a node never goes stale; the oldest are forgotten when the memory they take exceeds what is allowed.
// A node that turned out corrupt is remembered as its error.

import type { Key } from '../ondisk/bkey.ts';
import { compareBpos } from '../ondisk/bpos.ts';
import { CorruptError } from '../ondisk/errors.ts';
import type { BtreeNode } from './node.ts';

export interface NodeReadOptions {
  /** Give back what is left of a damaged node instead of an error. */
  readonly salvage?: boolean;
  /**
   * `last`, also when left out: it will be asked for again, and what was used least goes for it. `walked`: it will be only when its btree is
   * walked again, so that it is kept, if at all, as long as nothing has to go for it.
   */
  readonly keep?: 'last' | 'walked';
}

/** Where a btree gets its nodes from. */
export interface NodeSupply {
  /** @throws as NodeReader.read */
  read(btree: number, level: number, ptr: Key, options?: NodeReadOptions): BtreeNode;
}

/** 64 MiB: 256 nodes of the usual size, merged and ready. */
export const NODE_CACHE_BYTES: number = 64 * 2 ** 20;

/** An error takes next to nothing; this keeps a disk full of bad nodes from filling the memory with them. */
const ERROR_BYTES = 4096;

interface Cached {
  /** What was asked for. */
  readonly btree: number;
  readonly level: number;
  readonly salvage: boolean;
  readonly ptr: Key;
  readonly outcome: BtreeNode | CorruptError;
  readonly sizeBytes: number;
}

export interface NodeCacheOptions {
  readonly maxBytes?: number;
  /** Btrees are walked several times: leaves that a walk comes by are kept while there is room. */
  readonly keepsWalked?: boolean;
}

export class NodeCache implements NodeSupply {
  readonly #supply: NodeSupply;
  readonly #maxBytes: number;
  readonly #keepsWalked: boolean;
  /** In the order of their last use, by a hash of what was asked for: of two with the same hash only one is kept. */
  readonly #nodes = new Map<number, Cached>();
  #bytes = 0;

  constructor(supply: NodeSupply, { maxBytes = NODE_CACHE_BYTES, keepsWalked = false }: NodeCacheOptions = {}) {
    this.#supply = supply;
    this.#maxBytes = maxBytes;
    this.#keepsWalked = keepsWalked;
  }

  get sizeBytes(): number {
    return this.#bytes;
  }

  read(btree: number, level: number, ptr: Key, { salvage = false, keep = 'last' }: NodeReadOptions = {}): BtreeNode {
    const id = hashOf(btree, level, ptr);
    const known = this.#nodes.get(id);
    if (known !== undefined && isFor(known, btree, level, ptr, salvage)) {
      this.#nodes.delete(id);
      this.#nodes.set(id, known);
      return nodeOf(known.outcome);
    }
    let outcome: BtreeNode | CorruptError;
    try {
      outcome = this.#supply.read(btree, level, ptr, { salvage });
    } catch (thrown) {
      if (!(thrown instanceof CorruptError)) throw thrown;
      outcome = thrown;
    }
    const sizeBytes = sizeOf(outcome);
    const isKept = keep === 'last' || (this.#keepsWalked && this.#bytes + sizeBytes <= this.#maxBytes);
    if (isKept) this.#keep(id, { btree, level, salvage, ptr: ownCopy(ptr), outcome, sizeBytes });
    return nodeOf(outcome);
  }

  #keep(id: number, cached: Cached): void {
    if (cached.sizeBytes > this.#maxBytes) return;
    this.#bytes += cached.sizeBytes - (this.#nodes.get(id)?.sizeBytes ?? 0);
    this.#nodes.delete(id);
    this.#nodes.set(id, cached);
    for (const [oldest, { sizeBytes }] of this.#nodes) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#nodes.delete(oldest);
      this.#bytes -= sizeBytes;
    }
  }
}

const sizeOf = (outcome: Cached['outcome']): number =>
  outcome instanceof CorruptError ? ERROR_BYTES : outcome.memoryBytes;

/** Of the btree, the level and the bytes of the pointer: 50 ns (Node 20). Making a string of them was what a walk over files spent most on. */
function hashOf(btree: number, level: number, { value }: Key): number {
  let hash = 16 * btree + level;
  for (let i = 0; i < value.length; i++) hash = Math.imul(hash ^ value[i]!, 0x0100_0193);
  return hash;
}

function isFor(cached: Cached, btree: number, level: number, { k, value }: Key, salvage: boolean): boolean {
  if (cached.btree !== btree || cached.level !== level || cached.salvage !== salvage) return false;
  const { k: cachedK, value: cachedValue } = cached.ptr;
  if (cachedK.type !== k.type || compareBpos(cachedK.p, k.p) !== 0 || cachedValue.length !== value.length) return false;
  for (let i = 0; i < value.length; i++) if (cachedValue[i] !== value[i]) return false;
  return true;
}

/** Keys are views of the node that they are in. */
function ownCopy({ k, value }: Key): Key {
  return { k: { ...k, p: k.p.slice() }, value: value.slice() };
}

/** @throws the error that reading the node ended with */
function nodeOf(outcome: BtreeNode | CorruptError): BtreeNode {
  if (outcome instanceof CorruptError) throw outcome;
  return outcome;
}
