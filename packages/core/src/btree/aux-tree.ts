// How the reference's search tree over a node would look: a binary tree with one key of every 256 bytes of the node, which `list --mode
// formats` reports on. Nothing here searches with it. A tree node "fails" where it or one of the two keys that bound it is
// not packed, since only packed keys can be compared by a few of their bits.
// Source: __build_ro_aux_tree and make_bfloat in btree/bset.c, v1.36.1.

import { KEY_FORMAT_CURRENT } from '../ondisk/bkey.ts';
import type { BkeyFormat } from '../ondisk/bkey-format.ts';
import { type Bpos, bposInode, bposOffset, bposSnapshot } from '../ondisk/bpos.ts';
import { NODE_KEYS_AT } from '../ondisk/btree-node.ts';
import type { BtreeNode } from './node.ts';

const LINE_BYTES = 256;
/** Lines are counted from the hardware's cache line that holds the first key. */
const FIRST_LINE_AT = NODE_KEYS_AT - (NODE_KEYS_AT % 64);

export interface AuxTreeStats {
  /** Keys in the tree. */
  readonly floats: number;
  readonly failed: number;
}

export function auxTreeStats(node: BtreeNode): AuxTreeStats {
  const { isPacked, offsets, endAt } = placesOf(node);
  const line = (byte: number) => Math.floor((byte - FIRST_LINE_AT) / LINE_BYTES);
  const chosen = firstOfLines(offsets, line, line(endAt));
  // Where no key starts in the last line, the reference means to try again with one line less, but goes on counting from where it
  // stopped and ends up with no tree at all.
  if (chosen === undefined || chosen.length === 0) return { floats: 0, failed: 0 };
  return { floats: chosen.length, failed: countFailed(node, chosen, isPacked) };
}

/** Where the keys would lie in one run after the node's header, as packed as they are. */
function placesOf(node: BtreeNode) {
  const isPacked: boolean[] = [];
  const offsets: number[] = [];
  let at = NODE_KEYS_AT;
  for (let i = 0; i < node.count; i++) {
    const { format, u64s } = node.stored(i);
    isPacked.push(format !== KEY_FORMAT_CURRENT);
    offsets.push(at);
    at += 8 * u64s;
  }
  return { isPacked, offsets, endAt: at };
}

/** The first key at or after the start of each line but the first; undefined where there are not as many. */
function firstOfLines(offsets: readonly number[], line: (byte: number) => number, size: number): number[] | undefined {
  const chosen: number[] = [];
  let key = 0;
  for (let wanted = 1; wanted < size; wanted++) {
    while (key < offsets.length && line(offsets[key]!) < wanted) key++;
    if (key === offsets.length) return undefined;
    chosen.push(key);
  }
  return chosen;
}

function countFailed(node: BtreeNode, chosen: readonly number[], isPacked: readonly boolean[]): number {
  const { format, minKey, maxKey } = node.facts;
  const keyBits = format.bits_per_field[0]! + format.bits_per_field[1]! + format.bits_per_field[2]!;
  const count = chosen.length;
  // Position in the order of keys by number in the tree: root 1, children of j 2j and 2j + 1.
  const order = new Int32Array(count + 1);
  let next = 0;
  const number = (j: number): void => {
    if (j > count) return;
    number(2 * j);
    order[j] = next++;
    number(2 * j + 1);
  };
  number(1);
  const packed = (j: number) => isPacked[chosen[order[j]!]!]!;
  const isMinPackable = canPack(minKey, format);
  const isMaxPackable = canPack(maxKey, format);
  let failed = 0;
  for (let j = 1; j <= count; j++) {
    // The nearest ancestors on either side; on the edges the node's own range bounds the key.
    let left = j;
    while (left > 1 && left % 2 === 0) left >>= 1;
    let right = j;
    while (right > 1 && right % 2 === 1) right >>= 1;
    const low = left === 1 ? isMinPackable : packed(left >> 1);
    const high = right === 1 ? isMaxPackable : packed(right >> 1);
    if (!low || !high || !packed(j) || keyBits === 0) failed++;
  }
  return failed;
}

/** Whether a position fits the format. Mirrors bch2_bkey_pack_pos_lossy, lossless. */
function canPack(pos: Bpos, format: BkeyFormat): boolean {
  return [bposInode(pos), bposOffset(pos), BigInt(bposSnapshot(pos))].every((value, i) => {
    const above = value - format.field_offset[i]!;
    return above >= 0n && above < 1n << BigInt(format.bits_per_field[i]!);
  });
}
