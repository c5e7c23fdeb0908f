// A btree node as text: its range, pointers, key format and how full it is (`formats`), and what is on disk, bset by bset
// (`nodes-ondisk`). Line for line as v1.36.1 prints them: bch2_btree_node_to_text in btree/cache.c,
// bch2_btree_node_ondisk_to_text in debug/debug.c.

import type { Key } from '../ondisk/bkey.ts';
import { type BkeyFormat, bkeyFormatText } from '../ondisk/bkey-format.ts';
import { type Bpos, bposText, compareBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { NODE_KEYS_AT } from '../ondisk/btree-node.ts';
import { keyKind, keyText } from '../ondisk/keys/index.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { KeyTextContext } from '../ondisk/keys/kind.ts';
import { PrintBuffer } from '../util/print-buffer.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { type AuxTreeStats, auxTreeStats } from './aux-tree.ts';
import type { BtreeNode } from './node.ts';

/** Where no neighbour is: not a size that could be merged. */
const NO_SIBLING = 0xffff;

/** The figures of one node. */
export interface NodeFill {
  readonly level: number;
  readonly minKey: Bpos;
  readonly maxKey: Bpos;
  readonly format: BkeyFormat;
  readonly usedU64s: number;
  readonly maxU64s: number;
  readonly packed: number;
  readonly unpacked: number;
  /** What a merge with the node before or after it would look at, in u64s. */
  readonly siblingU64s: readonly [before: number, after: number];
  readonly tree: AuxTreeStats;
}

/** What fits into a node, in u64s. */
const maxU64s = (nodeSectors: number) => (nodeSectors * SECTOR_BYTES - NODE_KEYS_AT) / 8;

export function nodeFill(node: BtreeNode, nodeSectors: number): NodeFill {
  const { packed, unpacked, liveU64s } = node.usage();
  const { level, minKey, maxKey, format, ptr } = node.facts;
  return {
    level,
    minKey,
    maxKey,
    format,
    usedU64s: liveU64s,
    maxU64s: maxU64s(nodeSectors),
    packed,
    unpacked,
    siblingU64s: [
      compareBpos(minKey, POS_MIN) === 0 ? NO_SIBLING : liveU64s & 0xffff,
      compareBpos(ptr.k.p, SPOS_MAX) === 0 ? NO_SIBLING : liveU64s & 0xffff,
    ],
    tree: auxTreeStats(node),
  };
}

/** The root that stands in for that of a btree which was never made: the reference keeps an empty one in memory. */
export const EMPTY_ROOT_PTR: Key = {
  k: {
    u64s: 5,
    format: 1,
    type: keyTypes.idOf('btree_ptr'),
    pad: 0,
    bversion_lo: 0n,
    bversion_hi: 0,
    size: 0,
    p: SPOS_MAX,
  },
  value: new Uint8Array(0),
};

export function emptyRootFill(nodeSectors: number): NodeFill {
  return {
    level: 0,
    minKey: POS_MIN,
    maxKey: SPOS_MAX,
    format: {
      key_u64s: 3,
      nr_fields: 6,
      bits_per_field: [64, 64, 32, 0, 0, 0],
      field_offset: [0n, 0n, 0n, 0n, 0n, 0n],
    },
    usedU64s: 0,
    maxU64s: maxU64s(nodeSectors),
    packed: 0,
    unpacked: 0,
    siblingU64s: [0, 0],
    tree: { floats: 0, failed: 0 },
  };
}

/** Several lines; it ends with a newline. */
export function nodeFillText(fill: NodeFill, ptr: Key, context: KeyTextContext): string {
  const out = new PrintBuffer();
  out.print(`l ${fill.level} ${bposText(fill.minKey)} - ${bposText(fill.maxKey)}:\n    ptrs: `);
  const kind = keyKind(ptr.k.type);
  if (kind !== undefined && ptr.value.length >= kind.minBytes) kind.text(out, kind.decode(ptr.value), context, ptr.k);
  // Sic: what is unpacked by generated code (never, here) stands on the same line as the format.
  out.print(`\n    format: ${bkeyFormatText(fill.format)}    unpack fn len: 0\n`);
  const percent = Math.floor((fill.usedU64s * 100) / fill.maxU64s);
  out.print(`    bytes used ${8 * fill.usedU64s}/${8 * fill.maxU64s} (${percent}% full)\n`);
  const [before, after] = fill.siblingU64s;
  const threshold = Math.floor(fill.maxU64s / 3) & 0xffff;
  out.print(`    sib u64s: ${before}, ${after} (merge threshold ${threshold})\n`);
  out.print(`    nr packed keys ${fill.packed}\n    nr unpacked keys ${fill.unpacked}\n`);
  out.print(`    floats ${fill.tree.floats}\n    failed unpacked ${fill.tree.failed}\n`);
  return out.toString();
}

/** Every bset of a node with its keys, deletions among them; it ends with a newline. */
export function nodeOndiskText(node: BtreeNode, context: KeyTextContext): string {
  const out = new PrintBuffer();
  for (const bset of node.facts.bsets) {
    out.print(`  offset ${bset.offsetSectors} version ${bset.version}, journal seq ${bset.journalSeq}\n`);
    out.indented(() => {
      for (let i = 0; i < bset.keys.count; i++) {
        keyText(out, node.keyOf(bset.keys, i), context);
        out.newline();
      }
    });
  }
  return out.toString();
}
