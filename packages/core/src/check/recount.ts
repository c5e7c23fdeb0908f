// What is counted anew: everything that pointers, superblocks and journals add up to, for those who want the sums and not only what they
// disagree with. The same walks as the checker's, without files and snapshots.
//
// A state whose derived btrees are wrong or lost is counted like any other. Memory: 80 bytes for each bucket in use, 33 for each inode with
// extents, 32 for each indirect extent, and 16 for each node.

import type { Key } from '../ondisk/bkey.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import { btrees } from '../ondisk/btrees.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reservation } from '../ondisk/keys/reservation.ts';
import type { FilesystemState } from '../opened/filesystem.ts';
import { Counters } from './accounting.ts';
import { type AllBuckets, checkAllocKeys, checkDerivedBtrees, markSuperblocks, readAllocKeys } from './alloc.ts';
import { BackpointerDifference, differingBuckets, subtractBackpointers } from './backpointers.ts';
import { DeviceBuckets } from './buckets.ts';
import { InvariantContext } from './context.ts';
import { Marks } from './marks.ts';
import { entriesOf, pointersOf } from './pointers.ts';
import { RebalanceNeeds, RebalanceWork } from './rebalance.ts';
import { type ReflinkGap, ReflinkReferences } from './reflink.ts';
import { InvariantReport, type InvariantReportOptions } from './report.ts';
import { BtreeShape } from './shape.ts';
import { Stripes } from './stripes.ts';

const EXTENTS = btrees.idOf('extents');
const REFLINK = btrees.idOf('reflink');
const REFLINK_P = keyTypes.idOf('reflink_p');
const RESERVATION = keyTypes.idOf('reservation');
const INODES: readonly number[] = (['inode', 'inode_v2', 'inode_v3'] as const).map(name => keyTypes.idOf(name));

export interface RecountOptions extends InvariantReportOptions {
  /** Btrees whose nodes do not count: they are going to be replaced. Nothing is said of their shape. */
  readonly without?: ReadonlySet<number>;
  /** Called when the alloc keys are read, and nothing was compared with them: corrects what they say. */
  readonly correct?: (buckets: AllBuckets) => void;
}

export class Recount {
  readonly context: InvariantContext;
  readonly buckets: AllBuckets;
  /** Without the buckets of devices by type, which follow from what the alloc keys are to say. */
  readonly counters: Counters;
  readonly rebalance: RebalanceNeeds;
  readonly #report: InvariantReport;
  readonly #marks: Marks;
  readonly #stripes = new Stripes();
  readonly #references = new ReflinkReferences();
  readonly #without: ReadonlySet<number>;

  /** Walks all pointers; what is wrong with them is reported, and nothing else yet. */
  constructor(source: FilesystemState, options: RecountOptions = {}) {
    this.#without = options.without ?? new Set();
    this.#report = new InvariantReport(source.sb, { ...options, isStream: true });
    this.context = new InvariantContext(source, this.#report);
    const { context } = this;
    this.buckets = new Map([...context.devices].map(([index, device]) => [index, new DeviceBuckets(device)]));
    this.counters = new Counters(source.sb.version);
    this.rebalance = new RebalanceNeeds(context);
    readAllocKeys(context, this.buckets);
    options.correct?.(this.buckets);
    markSuperblocks(context, this.buckets);
    this.#stripes.read(context, this.buckets, this.counters);
    this.#marks = new Marks(context, this.buckets, this.counters, this.#stripes, this.rebalance);
    this.#walk();
  }

  #walk(): void {
    const { context, counters } = this;
    const marks = this.#marks;
    const shape = new BtreeShape(context);
    for (const id of this.#btrees())
      shape.walk(id, (level, key) => {
        marks.markKey(id, level, key);
      });
    shape.checkOverlaps(this.buckets);
    const waiting = new RebalanceWork(context);
    let inodes = 0;
    for (const run of context.runs('inodes'))
      for (let i = run.first; i < run.end; i++) if (INODES.includes(run.type(i))) inodes++;
    if (inodes > 0) counters.add({ type: 'nr_inodes' }, [inodes]);
    for (const key of context.keys('reflink')) {
      this.#references.addExtent(key);
      waiting.visit(REFLINK, key.k.p, marks.markKey(REFLINK, 0, key));
    }
    for (const key of context.keys('extents')) {
      waiting.visit(EXTENTS, key.k.p, marks.markKey(EXTENTS, 0, key));
      if (key.k.type === REFLINK_P) this.#references.addReference(context, key);
      if (key.k.type === RESERVATION && key.value.length >= reservation.minBytes) {
        const { nr_replicas } = reservation.decode(key.value);
        counters.add({ type: 'persistent_reserved', nr_replicas }, [key.k.size]);
      }
    }
    waiting.finish();
  }

  /** Nodes and data of each btree that counts. */
  *#btrees(): Generator<number> {
    for (const id of this.context.source.replay.roots.keys()) if (!this.#without.has(id)) yield id;
  }

  /** Reports where the derived btrees say something else than the sums. @param lost btrees that are not asked */
  compare(lost: ReadonlySet<BtreeName>): void {
    const { context, buckets, counters } = this;
    this.#references.check(context);
    this.#stripes.check(context);
    if (lost.has('alloc')) return;
    checkAllocKeys(context, buckets);
    checkDerivedBtrees(context, buckets);
    for (const [dev, own] of buckets) counters.addBuckets(dev, own);
    if (this.#report.asks('accounting_mismatch') && !lost.has('accounting')) counters.check(context);
    if (this.#report.asks('ptr_to_missing_replicas_entry')) counters.checkReplicas(context);
    for (const [dev, own] of buckets) counters.addBuckets(dev, own, -1);
    if (this.#report.asks('ptr_to_missing_backpointer') && !lost.has('backpointers'))
      checkBackpointers(context, buckets, this.#marks);
  }

  /** The references that each indirect extent has, where it counts others: by its position. */
  wrongReferences(): Generator<{ readonly end: number; readonly count: number }> {
    return this.#references.wrong();
  }

  /** Stripes whose counts are wrong, with what they should be: by the number of the stripe. */
  wrongStripes(): Generator<{ readonly nr: number; readonly used: readonly number[] }> {
    return this.#stripes.wrong();
  }

  /** Keys that refer to indirect extents of which some are missing, and what of them is. */
  *brokenReferences(): Generator<{ readonly key: Key; readonly gaps: readonly ReflinkGap[] }> {
    for (const key of this.context.keys('extents')) {
      if (key.k.type !== REFLINK_P) continue;
      const gaps = [...this.#references.gapsOf(key)];
      if (gaps.length > 0) yield { key, gaps };
    }
  }

  /** Whether a pointer of a key says that it is in a stripe which does not know of it. @param ptr any of them when left out */
  isInWrongStripe(key: Key, ptr?: ExtentPtr): boolean {
    return pointersOf(entriesOf(key), key.k.size).some(
      pointer => (ptr === undefined || isSamePlace(pointer.ptr, ptr)) && this.#stripes.faultOf(pointer) !== undefined,
    );
  }

  /** All keys with pointers that count. @param visit called with each, and the level of the key */
  eachPointing(visit: (btree: number, level: number, key: Key) => void): void {
    const { context } = this;
    const shape = new BtreeShape(context, { isSilent: true });
    for (const id of this.#btrees()) shape.walk(id, (level, key) => visit(id, level, key));
    for (const key of context.keys('reflink')) visit(REFLINK, 0, key);
    for (const key of context.keys('extents')) visit(EXTENTS, 0, key);
  }
}

const isSamePlace = (a: ExtentPtr, b: ExtentPtr): boolean =>
  a.dev === b.dev && a.offset === b.offset && a.gen === b.gen;

export function checkBackpointers(context: InvariantContext, buckets: AllBuckets, marks: Marks): void {
  subtractBackpointers(context, buckets);
  const { listed, unlisted } = differingBuckets(buckets);
  if (listed.size === 0) return;
  const difference = new BackpointerDifference(listed);
  const shape = new BtreeShape(context, { isSilent: true });
  for (const id of context.source.replay.roots.keys()) {
    shape.walk(id, (level, key) => {
      marks.expectBackpointers(id, level, key, difference);
    });
  }
  for (const key of context.keys('reflink')) marks.expectBackpointers(REFLINK, 0, key, difference);
  for (const key of context.keys('extents')) marks.expectBackpointers(EXTENTS, 0, key, difference);
  difference.report(context, buckets);
  if (unlisted > 0) {
    context.report.add('ptr_to_missing_backpointer', {}, { buckets: unlisted });
  }
}
