// The shape of the btrees: on each level, nodes lie end to end from the first position to the last; children lie inside their parent; no
// two nodes share sectors or a random number, and the superblock's map of where to look for nodes has all of them. 34 bytes for each
// node.
// Source: bch2_btree_node_check_topology and bch2_gc_btree in btree_gc.c, sb-members.c, v1.13.0.

import { bposSuccessor } from '../btree/iterate.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, compareBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { btreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { AllBuckets } from './alloc.ts';
import { type InvariantContext, keyPlace } from './context.ts';
import { NodeSeqs } from './node-seqs.ts';
import { entriesOf, pointersOf } from './pointers.ts';

const BTREE_PTR_V2 = keyTypes.idOf('btree_ptr_v2');

export class BtreeShape {
  readonly #context: InvariantContext;
  readonly #isSilent: boolean;
  /** Starts of nodes in sectors, by device. */
  readonly #starts = new Map<number, number[]>();
  readonly #seqs = new NodeSeqs();

  /** @param options `isSilent`: the same btrees were walked before, and what is wrong with them is known */
  constructor(context: InvariantContext, options: { readonly isSilent?: boolean } = {}) {
    this.#context = context;
    this.#isSilent = options.isSilent ?? false;
  }

  /**
   * Walks the pointers of a btree to its nodes, the root's first.
   * @param visit called with each, and the level of the key: that of the node and one
   */
  walk(btree: number, visit: (level: number, key: Key) => void): void {
    const view = this.#context.source.btree(btree);
    const root = view.root?.key;
    if (root === undefined || view.root === undefined) {
      // Its damage is reported by the walk of its keys.
      return;
    }
    const { level: rootLevel } = view.root;
    let parents: Bpos[] = [SPOS_MAX];
    this.#visitNode(btree, rootLevel + 1, root, POS_MIN, visit);
    if (!this.#isSilent && compareBpos(root.k.p, SPOS_MAX) !== 0) {
      const where = keyPlace(btree, root.k.p, rootLevel + 1);
      const facts = { found: root.k.p.slice(), expected: SPOS_MAX, of: 'root' as const };
      this.#context.report.add('btree_node_topology_bad_max_key', where, facts);
    }
    for (let level = rootLevel; level > 0; level--) {
      const ends: Bpos[] = [];
      let min = POS_MIN;
      for (const key of this.#context.keys(btree, { level })) {
        this.#visitNode(btree, level, key, min, visit);
        const p = key.k.p.slice();
        ends.push(p);
        if (compareBpos(p, SPOS_MAX) < 0) min = bposSuccessor(p);
      }
      this.#checkEnds(btree, level, parents, ends);
      parents = ends;
    }
  }

  /** @param min where the one before it ended */
  #visitNode(btree: number, level: number, key: Key, min: Bpos, visit: (level: number, key: Key) => void): void {
    if (this.#isSilent) {
      visit(level, key);
      return;
    }
    const { report, nodeSectors, devices } = this.#context;
    const where = keyPlace(btree, key.k.p, level);
    if (key.k.type === BTREE_PTR_V2 && key.value.length >= btreePtrV2.minBytes) {
      const { min_key, sectors_written, seq } = btreePtrV2.decode(key.value);
      this.#seqs.add(btree, seq);
      if (compareBpos(min_key, min) !== 0) {
        report.add('btree_node_topology_bad_min_key', where, { found: min_key.slice(), expected: min.slice() });
      }
      if (sectors_written === 0) report.add('btree_ptr_v2_written_0', where, {});
    }
    for (const { ptr } of pointersOf(entriesOf(key), nodeSectors)) {
      const starts = this.#starts.get(ptr.dev);
      if (starts === undefined) this.#starts.set(ptr.dev, [ptr.offset]);
      else starts.push(ptr.offset);
      const member = devices.get(ptr.dev)?.member;
      if (member === undefined) continue;
      const { btree_bitmap_shift: shift, btree_allocated_bitmap: bitmap } = member;
      const first = Math.floor(ptr.offset / 2 ** shift);
      const last = Math.floor((ptr.offset + nodeSectors - 1) / 2 ** shift);
      const wanted = last < 64 ? ((1n << BigInt(last - first + 1)) - 1n) << BigInt(first) : -1n;
      if ((bitmap & wanted) !== wanted) {
        report.add('btree_bitmap_not_marked', where, { dev: ptr.dev, sector: ptr.offset });
      }
    }
    visit(level, key);
  }

  /** Each parent ends where one of its children does; the last child ends at the last position. */
  #checkEnds(btree: number, level: number, parents: readonly Bpos[], ends: readonly Bpos[]): void {
    if (this.#isSilent) return;
    let i = 0;
    for (const parent of parents) {
      while (i < ends.length && compareBpos(ends[i]!, parent) < 0) i++;
      const child = ends[i];
      if (child !== undefined && compareBpos(child, parent) === 0) continue;
      const facts = { found: child?.slice(), expected: parent.slice(), of: 'child' as const };
      this.#context.report.add('btree_node_topology_bad_max_key', keyPlace(btree, parent, level), facts);
    }
  }

  /** All nodes of all btrees by where they are, and by their numbers. */
  checkOverlaps(buckets: AllBuckets): void {
    const { report, nodeSectors } = this.#context;
    for (const { seq, btrees: ids } of this.#seqs.shared())
      report.add('btree_node_seq_shared', { btree: btrees.nameOf(ids[0]!) }, { seq, nodes: ids.length });
    for (const [dev, starts] of this.#starts) {
      starts.sort((a, b) => a - b);
      const bucketSizeSectors = buckets.get(dev)?.device.bucketSizeSectors ?? nodeSectors;
      for (const [i, start] of starts.entries()) {
        const next = starts[i + 1];
        const where = { device: `member ${dev}`, sector: start };
        if (next !== undefined && next < start + nodeSectors) {
          report.add('btree_node_overlap', where, { nextSector: next, sector: start, nodeSectors });
        }
        if ((start % bucketSizeSectors) + nodeSectors > bucketSizeSectors) {
          report.add('btree_node_overlap', where, { nextSector: undefined, sector: start, nodeSectors });
        }
      }
    }
  }
}
