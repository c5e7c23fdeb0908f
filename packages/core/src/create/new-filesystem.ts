// What a planned filesystem holds, so that nothing is left for the kernel to complete: journal buckets, what is known of every bucket, the
// first snapshot, subvolume and directories, and superblocks that say that all of it is there and clean. It is the same engine that
// changes filesystems later, over a filesystem of nothing: with no writer to begin a change of, the parts of one are put together here.
//
// Everything is planned in memory. Then come the nodes, flushed, one journal entry, flushed, and last, by the caller, the superblocks:
// until then there is no filesystem on the devices.
// Source: bch2_fs_initialize in recovery.c, bch2_fs_mark_clean in sb-clean.c, bch2_sb_downgrade_update in sb-downgrade.c, v1.13.0.

import { journalDevices } from '../alloc/alloc-devices.ts';
import { BucketAllocator, type IsHeld } from '../alloc/allocator.ts';
import { newJournalBuckets } from '../alloc/journal-buckets.ts';
import { addDeviceBuckets, markDeviceMetadata } from '../alloc/new-device.ts';
import { SuperblockNeeds } from '../alloc/superblock-needs.ts';
import { CommitPlan } from '../btree/commit.ts';
import { FreshSeqs } from '../btree/fresh-seqs.ts';
import { BtreeView } from '../btree/iterate.ts';
import { KeyMap } from '../btree/key-map.ts';
import type { FilesystemSource, KeyReader } from '../btree/source.ts';
import { ChangedBtree, Transaction } from '../btree/transaction.ts';
import { nodePlacement, triggersOf } from '../change/change.ts';
import { markedClean } from '../change/writer.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { initializeFiles } from '../fs/initialize.ts';
import { type BtreeRoot, NO_OVERLAY } from '../journal/overlay.ts';
import type { JournalClocks } from '../journal/replay.ts';
import { datetimeEntry, encodeJset, type JournalSlot, metaChecksumType, stateEntries } from '../journal/write.ts';
import { getBits, withBits } from '../ondisk/bits.ts';
import { btreeNodeMagic } from '../ondisk/btree-node.ts';
import { btrees } from '../ondisk/btrees.ts';
import { quotaCounters, quotaTypes } from '../ondisk/choices.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { assert, UsageError } from '../ondisk/errors.ts';
import { compatFeatures } from '../ondisk/features.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { withDowngradeEntries } from '../ondisk/sb-fields/downgrade.ts';
import { blankExt, encodeExt } from '../ondisk/sb-fields/ext.ts';
import { encodeJournalV2, journalRanges } from '../ondisk/sb-fields/journal.ts';
import { quotaField } from '../ondisk/sb-fields/quota.ts';
import { type Superblock, withSection } from '../ondisk/superblock.ts';
import { downgradeEntries } from '../ondisk/upgrade-downgrade.ts';
import { nextGeneration } from '../superblock/write.ts';
import type { RandomSource } from '../util/random.ts';
import { bytesToSectors, sectorsToBytes } from '../util/sizes.ts';
import type { FormatPlan } from './plan.ts';
import type { NewFilesystem } from './write.ts';

/** The first journal entry, and so far the only one. */
const FIRST_SEQ = 1;
const NO_CLOCKS: JournalClocks = { keyVersion: 0n, read: 0n, write: 0n };
const NANOSECONDS_PER_SECOND = 1_000_000_000n;

export interface InitializeOptions {
  readonly random: RandomSource;
  /** Nanoseconds since 1970. */
  readonly now: bigint;
  /** Buckets that neither the journal nor nodes may take, although nothing of this filesystem is in them. */
  readonly isExcluded?: IsHeld | undefined;
}

/**
 * @param devices in the order of the plan's superblocks; not touched before `write`
 * @throws NoSpaceError, UsageError when the devices may not hold what has to be there
 */
export function planContents(
  plan: FormatPlan,
  devices: readonly BlockDevice[],
  { random, now, isExcluded }: InitializeOptions,
): NewFilesystem {
  const [sb] = plan.superblocks;
  assert(sb !== undefined && devices.length === plan.superblocks.length, 'one superblock for each device');
  const journals = plan.geometry.devices.map(({ layout, bucketBytes, bucketCount }, dev) =>
    newJournalBuckets({
      layout,
      bucketSizeSectors: bytesToSectors(bucketBytes),
      bucketCount,
      ...(isExcluded === undefined ? {} : { isExcluded: bucket => isExcluded(dev, bucket) }),
    }),
  );
  const nothing: FilesystemSource = {
    sb,
    key: plan.key,
    device: index => devices[index],
    btree: which => emptyBtree(typeof which === 'number' ? which : btrees.idOf(which)),
  };
  const triggers = triggersOf({ sb, clocks: NO_CLOCKS }, FIRST_SEQ, {});
  const tx = new Transaction(nothing, triggers);
  for (const dev of devices.keys()) addDeviceBuckets(triggers, tx, dev);
  for (const [dev, { layout }] of plan.geometry.devices.entries()) {
    markDeviceMetadata(triggers, tx, dev, layout, journals[dev]!);
  }
  tx.settle();
  const beforeFiles = withFreeBuckets(nothing, tx);
  initializeFiles(tx, { random, now: () => now });
  const allocator = new BucketAllocator(beforeFiles, triggers, nodePlacement(sb), { isExcluded });
  const commit = new CommitPlan(
    tx,
    { btree: emptyBtree, overlay: NO_OVERLAY },
    allocator,
    nodeSettings(plan, sb, devices, new FreshSeqs(random), random.isReproducible === true),
  );
  if (journalDevices(sb).length === 0) throw new UsageError('no device may hold the journal', '--data_allowed');
  return {
    write: () => writeContents({ plan, sb, devices, journals, commit, needs: triggers.needs, nowNs: now }),
  };
}

/** The allocator gives what is free before a transaction: here, what superblocks and journals leave. */
function withFreeBuckets(nothing: FilesystemSource, tx: Transaction): FilesystemSource {
  const freespace = frozen(tx, 'freespace');
  const accounting = frozen(tx, 'accounting');
  return {
    ...nothing,
    btree: which =>
      [freespace, accounting].find(({ id, name }) => which === id || which === name) ?? nothing.btree(which),
  };
}

const nodeSettings = (
  plan: FormatPlan,
  sb: Superblock,
  devices: readonly BlockDevice[],
  seqs: FreshSeqs,
  mayRepeatSeqs: boolean,
): ConstructorParameters<typeof CommitPlan>[3] => ({
  device: index => devices[index],
  magic: btreeNodeMagic(sb.uuid),
  version: sb.version,
  csumType: metaChecksumType(sb),
  key: plan.key,
  blockSectors: sb.block_size,
  nodeSectors: getBits(sb.flags, sbBits.BTREE_NODE_SIZE),
  replicas: nodePlacement(sb).replicas,
  randomU64: () => seqs.next(),
  mayRepeatSeqs,
});

/** All that is settled before the first write. */
interface PlannedContents {
  readonly plan: FormatPlan;
  readonly sb: Superblock;
  readonly devices: readonly BlockDevice[];
  /** Buckets of each device's journal. */
  readonly journals: readonly (readonly number[])[];
  readonly commit: CommitPlan;
  readonly needs: SuperblockNeeds;
  readonly nowNs: bigint;
}

/** Nodes, then the journal entry that leads to them, then superblocks. */
function* writeContents(planned: PlannedContents): ReturnType<NewFilesystem['write']> {
  const { plan, sb, devices, journals, commit, nowNs } = planned;
  const { roots: written } = commit.write();
  flushAll(devices);
  const roots = [...written]
    .sort(([a], [b]) => a - b)
    .map(([btree, root]): BtreeRoot => ({ btree, ...root, seq: FIRST_SEQ }));
  const nodeSectors = getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
  const clocks: JournalClocks = { keyVersion: 0n, read: 0n, write: BigInt(commit.nodeCount * nodeSectors) };
  const places = writeFirstEntry(planned, [
    ...stateEntries(roots, clocks),
    datetimeEntry(nowNs / NANOSECONDS_PER_SECOND),
  ]);
  flushAll(devices);

  const needs = new SuperblockNeeds(sb);
  const devs = places.map(({ member }) => member);
  needs.addReplicas({ data_type: dataTypes.idOf('journal'), nr_required: 1, devs });
  const started = needs.applyTo(planned.needs.applyTo(initialized(sb)));
  const common = markedClean(started, roots, clocks, FIRST_SEQ, places);
  const own = plan.superblocks.map((one, dev) => ({
    device: devices[dev]!,
    sb: withSection(one, 'journal_v2', encodeJournalV2(journalRanges(journals[dev]!))),
  }));
  return nextGeneration(common, own, nowNs / NANOSECONDS_PER_SECOND);
}

/** The journal of every device that may have one begins with it. */
function writeFirstEntry(
  { plan, sb, devices, journals }: PlannedContents,
  entries: Parameters<typeof encodeJset>[3],
): readonly JournalSlot[] {
  const jset = encodeJset(sb, plan.key, FIRST_SEQ, entries);
  const places = journalDevices(sb).map(({ index, bucketSizeSectors }): JournalSlot => {
    const sector = journals[index]![0]! * bucketSizeSectors;
    return {
      device: devices[index]!,
      member: index,
      bucketIndex: 0,
      sector,
      endSectors: bytesToSectors(jset.length),
    };
  });
  for (const { device, sector, member } of places) {
    assert(jset.length <= plan.geometry.devices[member]!.bucketBytes, 'a journal entry fits into a bucket');
    device.write(sectorsToBytes(sector), jset);
  }
  return places;
}

const emptyBtree = (id: number): BtreeView => new BtreeView(id, undefined, NO_NODES, NO_OVERLAY);

/** A btree as it is now, whatever becomes of it. */
function frozen(tx: Transaction, name: 'freespace' | 'accounting'): KeyReader {
  const keys = new KeyMap();
  for (const key of tx.btree(name).keys()) keys.set(key);
  return new ChangedBtree(emptyBtree(btrees.idOf(name)), keys);
}

/** A btree without a root reads none. */
const NO_NODES: ConstructorParameters<typeof BtreeView>[2] = {
  read() {
    assert(false, 'there are no nodes yet');
  },
};

function flushAll(devices: readonly BlockDevice[]): void {
  for (const device of devices) device.flush();
}

const compat = (name: string): bigint => 1n << BigInt(compatFeatures.idOf(name));
/** Nothing of older versions is on the devices. */
const NOTHING_OLD = compat('extents_above_btree_updates_done') | compat('bformat_overflow_done');

/** What a superblock says once its filesystem was started, apart from where it stands. */
function initialized(sb: Superblock): Superblock {
  let flags = withBits(sb.flags, sbBits.INITIALIZED, 1);
  flags = withBits(flags, sbBits.VERSION_UPGRADE_COMPLETE, sb.version);
  const [compatBits = 0n, ...others] = sb.compat;
  let changed: Superblock = { ...sb, flags, compat: [compatBits | NOTHING_OLD, ...others] };
  const hasQuotas = [sbBits.USRQUOTA, sbBits.GRPQUOTA, sbBits.PRJQUOTA].some(bit => getBits(sb.flags, bit) !== 0);
  if (hasQuotas) changed = withSection(changed, 'quota', quotaDefaults());
  changed = withSection(changed, 'ext', encodeExt(blankExt()));
  return withDowngradeEntries(changed, downgradeEntries(sb.version));
}

/** How long a soft limit may be exceeded: a week, as in bch2_sb_get_or_create_quota. */
const QUOTA_SECONDS = 7 * 24 * 60 * 60;

function quotaDefaults(): Uint8Array {
  const c = quotaCounters.rows.map(() => ({ timelimit: QUOTA_SECONDS, warnlimit: 0 }));
  const payload = quotaField.encode?.({ q: quotaTypes.rows.map(() => ({ flags: 0n, c })) });
  assert(payload !== undefined, 'the section can be written');
  return payload;
}
