// How full nodes are made, and how keys are divided among nodes. Sizes are in u64s, of keys packed in the format that holds all of them.
// Source: the purpose of BTREE_SPLIT_THRESHOLD and BTREE_FOREGROUND_MERGE_THRESHOLD in btree_cache.h, v1.13.0. The latter is theirs; they
// divide earlier, since they have to leave room in a node for what is appended to it.

import { BKEY_U64S, type Bkey } from '../ondisk/bkey.ts';
import { BkeyFormatBuilder, KeyPacker } from '../ondisk/bkey-format.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { assert } from '../ondisk/errors.ts';
import { bposSuccessor } from './iterate.ts';

/** A node is filled this far at most when it is made, so that a few more keys do not divide it again at once. */
export const FILL: number = 3 / 4;
/** Above this, a leaf is divided; below MERGE, it takes in its neighbour. */
export const SPLIT: number = 7 / 8;
export const MERGE: number = 1 / 3;

/** What goes into a node: a key, or what will be one. */
export interface NodeItem {
  readonly k: Bkey;
}

/** Both ends belong to it. */
export interface NodeRange {
  readonly min: Bpos;
  readonly max: Bpos;
}

/** What one of several nodes gets. */
export interface Part<Item extends NodeItem> extends NodeRange {
  readonly items: readonly Item[];
}

/** How many nodes keys of this size are divided among. @param capacityU64s see nodeCapacityU64s */
export const nodesNeeded = (u64s: number, capacityU64s: number): number =>
  u64s <= SPLIT * capacityU64s ? 1 : Math.ceil(u64s / (FILL * capacityU64s));

/**
 * Parts of about the same size, `count` of them; each ends at the position of its last key.
 * @param packer what packerFor gives for all of it, where it is known
 */
export function divide<Item extends NodeItem>(
  items: readonly Item[],
  count: number,
  min: Bpos,
  max: Bpos,
  packer?: KeyPacker,
): Part<Item>[] {
  if (count === 1) return [{ items, min, max }];
  const known = packer ?? packerFor(items, min, max);
  const total = items.reduce((sum, { k }) => sum + packedU64s(k, known), 0);
  const parts: Part<Item>[] = [];
  let start = 0;
  let from = min;
  let size = 0;
  for (let i = 0; i < items.length; i++) {
    size += packedU64s(items[i]!.k, known);
    const left = items.length - 1 - i;
    const partsLeft = count - 1 - parts.length;
    const isFull = size >= ((parts.length + 1) * total) / count || left === partsLeft;
    if (partsLeft === 0 || !isFull) continue;
    const to = items[i]!.k.p;
    parts.push({ items: items.slice(start, i + 1), min: from, max: to });
    start = i + 1;
    from = bposSuccessor(to);
  }
  parts.push({ items: items.slice(start), min: from, max });
  assert(parts.length === count, `${items.length} keys make ${count} nodes, not ${parts.length}`);
  return parts;
}

/**
 * The room that items take, in u64s, packed in the format that holds all of them: no part of them takes more.
 * @param packer as for divide
 */
export function itemsU64s(
  items: readonly NodeItem[],
  min: Bpos,
  max: Bpos,
  packer: KeyPacker = packerFor(items, min, max),
): number {
  let u64s = 0;
  for (const { k } of items) u64s += packedU64s(k, packer);
  return u64s;
}

/** Packs keys in the format that holds all of them, and the ends of their node. */
export function packerFor(items: readonly NodeItem[], min: Bpos, max: Bpos): KeyPacker {
  const format = new BkeyFormatBuilder();
  format.addPosition(min);
  format.addPosition(max);
  for (const { k } of items) format.addKey(k);
  return new KeyPacker(format.finish());
}

/** The room that a key takes, in u64s. */
export const packedU64s = (k: Bkey, { keyU64s }: KeyPacker): number =>
  k.u64s - BKEY_U64S + Math.min(keyU64s, BKEY_U64S);
