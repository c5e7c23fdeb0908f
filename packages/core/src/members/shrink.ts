// A member gets smaller. What lies in the buckets that go, or where a superblock copy has to be then, is moved into free ones below, in as
// many commits as it takes; the last commit takes the buckets away. The caller then cuts the file or the partition. Data leaves stripes with a
// block there, and is plain then.
//
// A crash leaves a filesystem with all its files at any time, of the old size or of the new one. While things are moved, nothing else is to
// be said. Then the last superblock copy gets its new place, and the last commit takes the buckets away, its journal entry first, the
// superblock with the smaller number of buckets then. Cut off after the first, the old copy's buckets are taken although nothing is
// there; cut off between the two, the buckets that go are in no list of free ones. Nothing is put there then, and a mount goes on with
// the rest; fsck gives them back, and asking for the same size or a smaller one once more finishes what was begun. With the
// superblock first, lists would name buckets that are not there, and a kernel that comes upon one of those stops.
// Source: bch2_dev_buckets_reserved in buckets.h, bch2_recalc_capacity in alloc_background.c, v1.13.0, for what has to stay free.

import { type AllocDevice, allocDevices, allowsData } from '../alloc/alloc-devices.ts';
import { bucketPos } from '../alloc/bucket-indexes.ts';
import { BUCKETS_MIN, DEVICE_BYTES_MIN } from '../alloc/geometry.ts';
import { superblockSectors } from '../alloc/new-device.ts';
import { forgetBuckets, markSuperblocks, releaseSuperblocks, removeBuckets } from '../alloc/remove-buckets.ts';
import { KEYS_OF_NODE, nodesToRewrite } from '../btree/commit.ts';
import { inBatches } from '../change/batches.ts';
import type { Change, CommitExtras } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import {
  type BucketNode,
  bucketContents,
  bucketNodes,
  dropCachedInto,
  keysInto,
  moveBucketData,
} from '../data/move-extents.ts';
import { CorruptError, NoSpaceError, UsageError } from '../ondisk/errors.ts';
import { withMember } from '../ondisk/sb-fields/members.ts';
import type { BchSbLayout, Superblock } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { memberText } from '../superblock/member-set.ts';
import { roundDown, sectorsToBytes } from '../util/sizes.ts';
import { allSteps } from '../util/steps.ts';
import { availableBytes, countedDurability, fsOption } from './copies.ts';
import { moveJournalSteps } from './journal-size.ts';
import { type Leaving, leaningSectors, leaningStripes, StripeLeaving } from './leave-stripes.ts';
import { beginBelow, bucketsKept, type MemberUse, memberUse, uncountedBuckets, wipeCopies } from './member-change.ts';

export interface ShrinkOptions {
  /** How many keys a commit changes at the most, so that memory is bounded. */
  readonly keysPerCommit?: number;
}

export interface ShrinkReport {
  readonly bucketCount: number;
  /** How long the device has to be from now on. */
  readonly sizeBytes: number;
  readonly movedBytes: number;
  readonly commits: number;
}

/**
 * How many buckets a member needs at the least: for what is in it, and for a kernel to work with it.
 * @throws UsageError when there is no such member
 */
export function smallestBucketCount(filesystem: Filesystem, dev: number): number {
  return smallestOf(filesystem, memberUse(filesystem, dev));
}

function smallestOf(filesystem: Filesystem, use: MemberUse): number {
  const { here } = leavingStripes(filesystem, use, 0);
  return smallestFor(filesystem.sb, { ...use, taken: use.taken + Math.ceil(here / use.device.bucketSizeSectors) });
}

/** What of the stripes becomes plain data when a member gets smaller. */
export interface LeavingStripes {
  /** Data in stripes with a block in the part that is cut off. */
  readonly stripedBytes: number;
  /** Of copies that it gets for the parity that it had. */
  readonly copiedBytes: number;
}

/** @throws UsageError when there is no such member; NoSpaceError when the others have no room for the copies */
export function planShrink(filesystem: Filesystem, dev: number, bucketCount: number): LeavingStripes {
  const use = memberUse(filesystem, dev);
  const { striped, here, elsewhere } = leavingStripes(filesystem, use, movedFrom(use, bucketCount));
  refuseCopies(filesystem, use, bucketCount);
  return { stripedBytes: sectorsToBytes(striped), copiedBytes: sectorsToBytes(here + elsewhere) };
}

/**
 * In sectors: data in stripes with a block in buckets from `end` on, and new copies of it, which go to other members; to this one where these
 * are too few.
 */
function leavingStripes(filesystem: Filesystem, { device: own }: MemberUse, end: number) {
  const { sb } = filesystem;
  const striped = leaningSectors(filesystem, tailOf(own, end));
  const others = allocDevices(sb).filter(device => {
    const isThere = device !== undefined && device.index !== own.index && filesystem.device(device.index) !== undefined;
    return isThere && device.isWritable && device.durability > 0 && allowsData(device, 'user');
  });
  const wanted = fsOption(sb, 'data_replicas');
  const copies = striped * Math.min(wanted - 1, others.length);
  const isHere = others.length < wanted;
  return { striped, here: isHere ? copies : 0, elsewhere: isHere ? 0 : copies, others };
}

const tailOf = ({ index: dev, bucketSizeSectors }: AllocDevice, end: number): Leaving => ({
  devs: new Set(),
  tail: { dev, sector: end * bucketSizeSectors },
});

/**
 * Makes a member smaller; the device itself is left as it is.
 * @param dev its index
 * @throws UsageError, NoSpaceError when it cannot be so small; CorruptError, DeviceError: the filesystem is whole then, and as large as it was
 */
export function shrinkMember(...request: Parameters<typeof shrinkSteps>): ShrinkReport {
  return allSteps(shrinkSteps(...request));
}

/** The same, a commit a step. */
export function* shrinkSteps(
  writer: FilesystemWriter,
  dev: number,
  bucketCount: number | 'min',
  { keysPerCommit = KEYS_PER_COMMIT }: ShrinkOptions = {},
): Generator<void, ShrinkReport, void> {
  const { filesystem } = writer;
  const use = memberUse(filesystem, dev);
  const { device, member } = use;
  const least = smallestOf(filesystem, use);
  const count = bucketCount === 'min' ? least : bucketCount;
  const sizeBytes = sectorsToBytes(count * device.bucketSizeSectors);
  if (!Number.isSafeInteger(count) || count < least || count > device.bucketEnd) {
    const range = `${least} to ${device.bucketEnd}`;
    throw new UsageError(`${memberText(filesystem.sb, dev)} cannot have ${count} buckets, only ${range}`);
  }
  if (count === device.bucketEnd) return { bucketCount: count, sizeBytes, movedBytes: 0, commits: 0 };
  refuseLost(filesystem, device, count);
  refuseCopies(filesystem, use, count);
  const layout = layoutWithin(member.sb.layout, device, count);
  const shrinking = new Shrinking(writer, use, count, layout, keysPerCommit);
  yield* shrinking.moveJournal();
  yield* shrinking.leaveStripes();
  yield* shrinking.moveData();
  yield* shrinking.dropCached();
  yield* shrinking.forget();
  shrinking.moveSuperblocks();
  yield;
  shrinking.cut();
  return {
    bucketCount: count,
    sizeBytes,
    movedBytes: sectorsToBytes(shrinking.movedSectors),
    commits: shrinking.commits,
  };
}

/** The commits that it takes. */
class Shrinking {
  movedSectors = 0;
  commits = 0;
  readonly #writer: FilesystemWriter;
  readonly #use: MemberUse;
  readonly #count: number;
  readonly #layout: BchSbLayout;
  readonly #keysPerCommit: number;
  /** What is in buckets from here on is moved: those that go, and those that a superblock copy gets. */
  readonly #end: number;

  constructor(writer: FilesystemWriter, use: MemberUse, count: number, layout: BchSbLayout, keysPerCommit: number) {
    this.#keysPerCommit = keysPerCommit;
    this.#writer = writer;
    this.#use = use;
    this.#count = count;
    this.#layout = layout;
    this.#end = movedFrom(use, count, layout);
  }

  /** Journal buckets that go, or that a superblock copy gets. */
  *moveJournal(): Generator<void> {
    for (const _ of moveJournalSteps(this.#writer, this.#use.device.index, this.#end)) {
      this.commits++;
      yield;
    }
  }

  /** Data in stripes that have a block there: what lies in it gets a place below, and none of it is in a stripe then. */
  leaveStripes(): Generator<void> {
    const leaving = tailOf(this.#use.device, this.#end);
    const waiting = [...leaningStripes(this.#writer.filesystem, leaving)];
    let done = 0;
    return this.#inBatches((change, keysMax) => {
      if (done >= waiting.length) return undefined;
      const { filesystem } = this.#writer;
      const work = new StripeLeaving(change, filesystem, leaving, countedDurability(filesystem));
      let next = done;
      while (next < waiting.length && work.keys < keysMax && work.leave(waiting[next]!, keysMax)) next++;
      const { clocks } = filesystem.replay;
      return {
        isMore: true,
        extras: { clocks: { ...clocks, write: clocks.write + BigInt(work.sectors) } },
        onCommitted: () => {
          done = next;
          this.movedSectors += work.sectors;
        },
      };
    });
  }

  /** Data and nodes. */
  moveData(): Generator<void> {
    const { device } = this.#use;
    return this.#inBatches((change, keysMax) => {
      const { filesystem } = this.#writer;
      const rewrite: BucketNode[] = [];
      let keys = 0;
      let sectors = 0;
      for (const contents of bucketContents(filesystem, device, this.#end, device.bucketEnd)) {
        const nodes = bucketNodes(filesystem, device, contents);
        const cost = contents.references.length + KEYS_OF_NODE * nodes.length;
        if (keys > 0 && keys + cost > keysMax) break;
        keys += cost;
        rewrite.push(...nodes);
        const rules = { place: (length: number) => change.allocator.allocateOn(device.index, length) };
        sectors += moveBucketData(change.tx, device, rules, contents).sectors;
      }
      if (keys === 0) return undefined;
      const { clocks } = filesystem.replay;
      return {
        isMore: true,
        extras: { rewrite: nodesToRewrite(rewrite), clocks: { ...clocks, write: clocks.write + BigInt(sectors) } },
        onCommitted: () => {
          this.movedSectors += sectors;
        },
      };
    });
  }

  /** Pointers to cached copies, which backpointers do not lead to; also such as are stale by now. */
  dropCached(): Generator<void> {
    const { device } = this.#use;
    return this.#inBatches((change, keysMax) => {
      let keys = 0;
      for (const { btree, key } of keysInto(this.#writer.filesystem, device, this.#end)) {
        if (keys++ === keysMax) return { isMore: true };
        dropCachedInto(change.tx, device, this.#end, btree, key);
      }
      return keys === 0 ? undefined : { isMore: false };
    });
  }

  /** Alloc keys of the buckets that go, as far as there are too many for one commit. */
  forget(): Generator<void> {
    const { device } = this.#use;
    const range = { from: bucketPos(device.index, this.#count), to: bucketPos(device.index, device.bucketEnd) };
    let left = 0;
    for (const _ of this.#writer.filesystem.btree('alloc').keys(range)) left++;
    return this.#inBatches((change, keysMax) => {
      if (left <= this.#keysPerCommit) return undefined;
      forgetBuckets(change.tx, device.index, this.#count, keysMax);
      return {
        isMore: true,
        onCommitted: () => {
          left -= keysMax;
        },
      };
    });
  }

  *#inBatches(fill: Parameters<typeof inBatches>[1]): Generator<void> {
    for (const _ of inBatches(() => this.#begin(), fill, this.#keysPerCommit)) {
      this.commits++;
      yield;
    }
  }

  /** The copies that would be past the end. A mount marks the buckets that a layout names by itself, but miscounts them, so they come first. */
  moveSuperblocks(): void {
    const { device, member } = this.#use;
    const old = member.sb.layout;
    if (old.sb_offset.every((offset, i) => offset === this.#layout.sb_offset[i])) return;
    const change = this.#begin();
    markSuperblocks(change.triggers, change.tx, device, this.#layout);
    this.#commit(change, { layoutsAfter: new Map([[device.index, this.#layout]]) });
    wipeCopies(member, this.#layout);
  }

  /** The last one: the buckets go. */
  cut(): void {
    const { device } = this.#use;
    const { index: dev } = device;
    const uncounted = uncountedBuckets(this.#writer.filesystem, device);
    const change = this.#begin();
    const { tx, triggers } = change;
    releaseSuperblocks(triggers, tx, device, this.#layout, this.#count);
    forgetBuckets(tx, dev, this.#count, Number.POSITIVE_INFINITY);
    removeBuckets(triggers, tx, device, this.#count, uncounted);
    this.#commit(change, {
      superblockAfter: sb => withMember(sb, dev, known => ({ ...known, nbuckets: this.#count })),
    });
  }

  #begin(): Change {
    return beginBelow(this.#writer, this.#use.device.index, this.#end);
  }

  #commit(change: Change, more: CommitExtras): void {
    change.commit(more);
    this.commits++;
  }
}

/** Some hundred bytes of memory for each, several times. */
const KEYS_PER_COMMIT = 50_000;

export function smallestFor(sb: Superblock, { device, member, taken, endWithStripe, fixedEnd }: MemberUse): number {
  const { firstBucket, bucketEnd, bucketSizeSectors } = device;
  const copyBuckets = Math.ceil(2 ** member.sb.layout.sb_max_size_bits / bucketSizeSectors);
  let count = Math.max(
    BUCKETS_MIN,
    Math.ceil(DEVICE_BYTES_MIN / sectorsToBytes(bucketSizeSectors)),
    // The new place of the last copy may not reach into its old one.
    fixedEnd + 2 * copyBuckets,
  );
  while (count < bucketEnd) {
    const sbBuckets = superblockSectors(layoutWithin(member.sb.layout, device, count), bucketSizeSectors).size;
    // Below, those of stripes that end would be free as well; but which ones end depends on the size.
    const ending = endWithStripe.filter(bucket => bucket >= count).length;
    const missing = taken - ending + sbBuckets + bucketsKept(sb, device, count) - (count - firstBucket);
    if (missing <= 0) break;
    count += missing;
  }
  return Math.min(count, bucketEnd);
}

/** Of an earlier last commit that was cut off, less than it was about to take away cannot be taken. */
function refuseLost(filesystem: Filesystem, device: AllocDevice, count: number): void {
  const most = device.bucketEnd - uncountedBuckets(filesystem, device);
  if (count <= most) return;
  const detail = `of ${device.bucketEnd} buckets only ${most} are counted: ask for at most so many, or run fsck`;
  throw new CorruptError('accounting_mismatch', { field: `members[${device.index}]` }, detail);
}

/** @throws NoSpaceError when the other members have no room for the copies that data in stripes is to have then */
function refuseCopies(filesystem: Filesystem, use: MemberUse, count: number): void {
  const { elsewhere, others } = leavingStripes(filesystem, use, movedFrom(use, count));
  const needed = sectorsToBytes(elsewhere);
  const free = availableBytes(
    filesystem,
    others.filter(device => device !== undefined),
  );
  if (needed <= free) return;
  throw new NoSpaceError(
    `${memberText(filesystem.sb, use.device.index)}: erasure-coded data becomes plain data, and ${needed} bytes of copies are to be made of it; ` +
      `the other members have room for ${free} besides what the filesystem keeps back: ${needed - free} bytes too few; nothing was changed`,
  );
}

/** What is in buckets from here on is moved: those that go, and those that a superblock copy gets. */
function movedFrom(
  { device, member }: MemberUse,
  count: number,
  layout: BchSbLayout = layoutWithin(member.sb.layout, device, count),
): number {
  const old = superblockSectors(member.sb.layout, device.bucketSizeSectors);
  const copies = [...superblockSectors(layout, device.bucketSizeSectors).keys()].filter(bucket => !old.has(bucket));
  return Math.min(count, ...copies);
}

/** The layout with the copies that would lie past the end as near to it as they can, and not over where they are. */
function layoutWithin(layout: BchSbLayout, { bucketSizeSectors }: AllocDevice, bucketCount: number): BchSbLayout {
  const copySectors = 2 ** layout.sb_max_size_bits;
  const sb_offset = [...layout.sb_offset];
  let end = bucketCount * bucketSizeSectors;
  for (let i = layout.nr_superblocks - 1; i >= 0 && Number(sb_offset[i]) + copySectors > end; i--) {
    end = roundDown(Math.min(end, Number(sb_offset[i])) - copySectors, bucketSizeSectors);
    sb_offset[i] = BigInt(end);
  }
  return { ...layout, sb_offset };
}
