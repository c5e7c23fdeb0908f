// The overlay: what the journal says over what is in the btree nodes: keys to replay, by btree and level, and the newest root of each
// btree. A reader that sees nodes merged with it sees what the kernel would after replay, with nothing written. Positions are
// whole ones: an extent that was cut is in the journal with each of its pieces and with a deletion where one is gone, so a key of
// the overlay replaces the key at exactly its position, in extents too.
// Source: bch2_journal_keys_sort in btree_journal_iter.c and btree/journal_overlay.c, v1.13.0 and v1.36.1; bch2_accounting_read.

import type { Bkey, Key } from '../ondisk/bkey.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import { BTREE_MAX_DEPTH } from '../ondisk/btrees.ts';
import { assert } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { viewOf } from '../ondisk/layout.ts';

/** A key of the journal that replaces what the btree holds at its position; type `deleted` takes it away. */
export interface OverlayKey {
  /** The newest at its position. Of accounting keys: the newest of `deltas`. */
  readonly key: Key;
  /** The journal entry that it comes from. */
  readonly seq: number;
  /**
   * Only for keys of type accounting, which are not replaced but added up: all of the position, oldest first. One counts if its
   * version is greater than that of the btree's key: see addAccounting.
   */
  readonly deltas: readonly Key[] | undefined;
}

/** The newest root of a btree. */
export interface BtreeRoot {
  readonly btree: number;
  readonly level: number;
  /** A btree_ptr or btree_ptr_v2. Undefined when the root was there and cannot be used. */
  readonly key: Key | undefined;
  /** The journal entry that it comes from; undefined: the superblock's clean section. */
  readonly seq: number | undefined;
}

/** Keys by btree and level, each list in the order of positions. */
export interface JournalOverlay {
  /** How many positions the overlay has, in all btrees. */
  readonly size: number;
  /** How many keys there are with every delta counted: what the kernel's log calls the number after sorting and compacting. */
  readonly keyCount: number;
  /** How many keys the journal had before newer ones replaced older ones. */
  readonly keysRead: number;
  /** All keys of one btree and level, in order, one a position; empty where there are none. */
  keysOf(btree: number, level: number): readonly OverlayKey[];
}

/** An overlay of nothing: a clean filesystem. */
export const NO_OVERLAY: JournalOverlay = { size: 0, keyCount: 0, keysRead: 0, keysOf: () => [] };

/** The overlay without what it has for one btree. */
export function overlayWithout(overlay: JournalOverlay, without: number): JournalOverlay {
  let [size, keyCount] = [overlay.size, overlay.keyCount];
  for (let level = 0; level < BTREE_MAX_DEPTH; level++) {
    for (const { deltas } of overlay.keysOf(without, level)) {
      size--;
      keyCount -= deltas?.length ?? 1;
    }
  }
  return {
    size,
    keyCount,
    keysRead: overlay.keysRead,
    keysOf: (btree, level) => (btree === without ? NO_KEYS : overlay.keysOf(btree, level)),
  };
}

/**
 * Index of the first key at `pos` or after it, `keys.length` if there is none. From there, a reader goes up or down the list.
 * Above level 0, `pos` is compared with the keys' positions as in a node: a pointer's position is its node's greatest.
 */
export function overlayIndex(keys: readonly OverlayKey[], pos: Bpos): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareBpos(keys[middle]!.key.k.p, pos) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Collects keys in the order of the journal. */
export class OverlayBuilder {
  readonly #lists = new Map<number, Map<string, MutableOverlayKey>>();
  #keysRead = 0;

  /** A key of entry `seq`: newer than all that were added before. */
  add(btree: number, level: number, seq: number, key: Key): void {
    this.#keysRead++;
    const id = listId(btree, level);
    let list = this.#lists.get(id);
    if (list === undefined) {
      list = new Map();
      this.#lists.set(id, list);
    }
    const position = positionId(key.k.p);
    const known = list.get(position);
    const isDelta = key.k.type === ACCOUNTING;
    if (known === undefined) {
      list.set(position, { key, seq, deltas: isDelta ? [key] : undefined });
      return;
    }
    // Anything else than a delta, such as a deletion, ends what was to be added up before it.
    if (!isDelta) known.deltas = undefined;
    else if (known.deltas === undefined) known.deltas = [key];
    else known.deltas.push(key);
    known.key = key;
    known.seq = seq;
  }

  finish(): JournalOverlay {
    const sorted = new Map<number, readonly OverlayKey[]>();
    let size = 0;
    let keyCount = 0;
    for (const [id, list] of this.#lists) {
      size += list.size;
      for (const { deltas } of list.values()) keyCount += deltas?.length ?? 1;
      sorted.set(
        id,
        [...list.values()].sort((a, b) => compareBpos(a.key.k.p, b.key.k.p)),
      );
    }
    this.#lists.clear();
    return {
      size,
      keyCount,
      keysRead: this.#keysRead,
      keysOf: (btree, level) => sorted.get(listId(btree, level)) ?? NO_KEYS,
    };
  }
}

interface MutableOverlayKey {
  key: Key;
  seq: number;
  deltas: Key[] | undefined;
}

const ACCOUNTING = keyTypes.idOf('accounting');
const NO_KEYS: readonly OverlayKey[] = [];

/** Both are bytes on disk. */
const listId = (btree: number, level: number) => btree * 256 + level;

/** The position as a map's key: its halfwords as characters. */
function positionId(pos: Bpos): string {
  return String.fromCharCode(
    pos[0]! & 0xffff,
    pos[0]! >>> 16,
    pos[1]! & 0xffff,
    pos[1]! >>> 16,
    pos[2]! & 0xffff,
    pos[2]! >>> 16,
    pos[3]! & 0xffff,
    pos[3]! >>> 16,
    pos[4]! & 0xffff,
    pos[4]! >>> 16,
  );
}

/**
 * What an accounting position counts: what the btree has there and the journal's deltas that it does not hold yet, which are those of a
 * greater version. Mirrors bch2_accounting_read.
 * @param base the btree's key; undefined where it has none
 * @param deltas at least one, oldest first
 */
export function addAccounting(base: Key | undefined, deltas: readonly Key[]): Key {
  const isSum = base !== undefined && base.k.type === ACCOUNTING;
  const first = isSum ? base : deltas[0];
  assert(first !== undefined, 'there is at least one delta');
  let newest = first.k;
  const value = first.value.slice();
  const counters = viewOf(value);
  for (const delta of isSum ? deltas : deltas.slice(1)) {
    if (compareVersions(delta.k, isSum ? base.k : NO_VERSION) <= 0) continue;
    const source = viewOf(delta.value);
    const length = Math.min(value.length, delta.value.length);
    for (let at = 0; at + 8 <= length; at += 8) {
      counters.setBigInt64(at, counters.getBigInt64(at, true) + source.getBigInt64(at, true), true);
    }
    if (compareVersions(delta.k, newest) > 0) newest = delta.k;
  }
  return { k: { ...first.k, bversion_lo: newest.bversion_lo, bversion_hi: newest.bversion_hi }, value };
}

const NO_VERSION = { bversion_hi: -1, bversion_lo: 0n };

function compareVersions(a: Pick<Bkey, 'bversion_hi' | 'bversion_lo'>, b: typeof NO_VERSION): number {
  if (a.bversion_hi !== b.bversion_hi) return a.bversion_hi - b.bversion_hi;
  return a.bversion_lo < b.bversion_lo ? -1 : a.bversion_lo > b.bversion_lo ? 1 : 0;
}
