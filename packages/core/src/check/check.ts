// The checker: every invariant between the keys of a filesystem, computed from the keys themselves and compared with what is stored. It
// shares nothing with the code that keeps these invariants when writing, so that each can judge the other.
//
// Each leaf is read once (snapshots and subvolumes twice), in an order in which the later ones can be judged by the earlier: alloc keys (generations), stripes,
// pointers to nodes, indirect extents, inodes, extents, dirents, xattrs, and then what is derived. Memory is bounded by the number of
// buckets in use (80 bytes each), inodes (88 bytes, and 33 for those with extents), nodes (16 bytes) and indirect extents (32).

import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reservation } from '../ondisk/keys/reservation.ts';
import type { FilesystemState } from '../opened/filesystem.ts';
import type { Finding } from '../report/finding.ts';
import { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { Counters } from './accounting.ts';
import { type AllBuckets, checkAllocKeys, checkDerivedBtrees, markSuperblocks, readAllocKeys } from './alloc.ts';
import { DeviceBuckets } from './buckets.ts';
import { InvariantContext, keyPlace } from './context.ts';
import { Files } from './files.ts';
import { Marks } from './marks.ts';
import { RebalanceNeeds, RebalanceWork } from './rebalance.ts';
import { checkBackpointers } from './recount.ts';
import { ReflinkReferences } from './reflink.ts';
import { InvariantReport, type InvariantResult } from './report.ts';
import { BtreeShape } from './shape.ts';
import { SnapshotLinks } from './snapshots.ts';
import { Stripes } from './stripes.ts';

export interface CheckInvariantsOptions {
  /** Called with each finding as it is made; past the thousandth of an error they are only counted. */
  readonly onFinding?: (finding: Finding) => void;
}

const EXTENTS = btrees.idOf('extents');
const REFLINK = btrees.idOf('reflink');
const REFLINK_P = keyTypes.idOf('reflink_p');
const RESERVATION = keyTypes.idOf('reservation');
const ALLOC_CURSOR = keyTypes.idOf('inode_alloc_cursor');

/**
 * Checks all invariants that filesystems of its version have. Nothing is written; what the journal says is seen as if it had been replayed.
 * @throws DeviceError, IncompatibleError when a node cannot be read for another reason than damage, which is a finding
 */
export function checkInvariants(source: FilesystemState, options: CheckInvariantsOptions = {}): InvariantResult {
  const report = new InvariantReport(source.sb, options);
  const context = new InvariantContext(source, report);
  // A filesystem of superblocks only has nothing to contradict itself: the first mount makes the rest.
  if (source.replay.from === 'uninitialized') return report.result();

  const buckets: AllBuckets = new Map(
    [...context.devices].map(([index, device]) => [index, new DeviceBuckets(device)]),
  );
  const counters = new Counters(source.sb.version);
  const stripes = new Stripes();
  readAllocKeys(context, buckets);
  markSuperblocks(context, buckets);
  stripes.read(context, buckets, counters);

  const marks = new Marks(context, buckets, counters, stripes, new RebalanceNeeds(context));
  const shape = new BtreeShape(context);
  for (const id of source.replay.roots.keys()) {
    shape.walk(id, (level, key) => {
      marks.markKey(id, level, key);
    });
  }
  shape.checkOverlaps(buckets);

  const table = SnapshotTable.read(source, { onDamage: damage => context.damaged(damage) });
  const links = new SnapshotLinks(context, table);
  const files = new Files(context, table);
  files.readInodes(counters);
  const references = new ReflinkReferences();
  const waiting = new RebalanceWork(context);
  for (const key of context.keys('reflink')) {
    references.addExtent(key);
    waiting.visit(REFLINK, key.k.p, marks.markKey(REFLINK, 0, key));
  }
  files.walkExtents(key => {
    waiting.visit(EXTENTS, key.k.p, marks.markKey(EXTENTS, 0, key));
    if (key.k.type === REFLINK_P) references.addReference(context, key);
    if (key.k.type === RESERVATION && key.value.length >= reservation.minBytes) {
      const { nr_replicas } = reservation.decode(key.value);
      counters.add({ type: 'persistent_reserved', nr_replicas }, [key.k.size]);
    }
  });
  waiting.finish();
  references.check(context);
  stripes.check(context);
  files.walkDirents(links);
  files.walkXattrs();
  files.finish(links);
  links.check(files.rows);
  checkLoggedOps(context);

  checkAllocKeys(context, buckets);
  checkDerivedBtrees(context, buckets);
  for (const [dev, own] of buckets) counters.addBuckets(dev, own);
  if (report.asks('accounting_mismatch')) counters.check(context);
  if (report.asks('ptr_to_missing_replicas_entry')) counters.checkReplicas(context);
  if (report.asks('ptr_to_missing_backpointer')) checkBackpointers(context, buckets, marks);
  return report.result();
}

/** What was begun and not finished is finished before a clean shutdown. */
function checkLoggedOps(context: InvariantContext): void {
  if (!context.isClean) return;
  for (const { k } of context.keys('logged_ops')) {
    if (k.type === ALLOC_CURSOR) continue;
    const where = keyPlace(btrees.idOf('logged_ops'), k.p);
    context.report.add('logged_op_but_clean', where, { type: keyTypes.nameOf(k.type) });
  }
}
