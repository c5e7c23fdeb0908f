// The superblocks of a member go to their usual places, the first two at the start of the device: of one whose start something else has had, another
// filesystem that it was migrated from. What lies there is moved first, in as many commits as it takes; the last commit takes bucket 0, in which
// the sector is that leads to the superblocks, together with the new layout. Until then the member may begin after that bucket.
//
// A crash leaves a filesystem with all its files at any time. Until the last commit the superblocks are where they were, and after it they are in both
// places. Cut off between its journal entry and its superblocks, the buckets at the start are taken although nothing is there yet, and
// asking for the same completes it.

import { addFirstBuckets } from '../alloc/add-buckets.ts';
import { type AllocDevice, allocDevices } from '../alloc/alloc-devices.ts';
import { bucketPos } from '../alloc/bucket-indexes.ts';
import { bucketStateOf, TYPE } from '../alloc/bucket-state.ts';
import { superblockSectors } from '../alloc/new-device.ts';
import { markSuperblocks, releaseSuperblocks, straySuperblocks } from '../alloc/remove-buckets.ts';
import { KEYS_OF_NODE, nodesToRewrite } from '../btree/commit.ts';
import { inBatches } from '../change/batches.ts';
import { beginChange, type Change } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { type BucketNode, bucketContents, bucketNodes, moveBucketData } from '../data/move-extents.ts';
import { UsageError } from '../ondisk/errors.ts';
import { withMember } from '../ondisk/sb-fields/members.ts';
import { type BchSbLayout, SB_SECTOR, type Superblock } from '../ondisk/superblock.ts';
import { layoutOf } from '../superblock/layout.ts';
import type { OpenMember } from '../superblock/member-set.ts';
import { wholeCopyAt } from '../superblock/read.ts';
import { roundUp } from '../util/sizes.ts';
import { wipeCopies } from './member-change.ts';

export interface UsualSuperblocksReport {
  readonly movedSectors: number;
  /** 0 when they were there already. */
  readonly commits: number;
}

const KEYS_PER_COMMIT = 50_000;

/**
 * Two copies at the start, and the last of those that there were.
 * @throws UsageError when there is no room for two copies in front of it
 */
function usualLayout({ layout, block_size }: Pick<OpenMember['sb'], 'layout' | 'block_size'>): BchSbLayout {
  const copySectors = 2 ** layout.sb_max_size_bits;
  const second = roundUp(SB_SECTOR + copySectors, block_size);
  const last = Number(layout.sb_offset[layout.nr_superblocks - 1]);
  if (last < second + copySectors) throw new UsageError(`no room for superblocks in front of sector ${last}`);
  return layoutOf([SB_SECTOR, second, last], copySectors);
}

/**
 * A step is a commit.
 * @param dev a member's index
 * @throws UsageError, NoSpaceError, CorruptError, DeviceError: the filesystem is whole then
 */
export function* usualSuperblocksSteps(
  writer: FilesystemWriter,
  dev: number,
  { keysPerCommit = KEYS_PER_COMMIT }: { readonly keysPerCommit?: number } = {},
): Generator<void, UsualSuperblocksReport, void> {
  const member = memberOf(writer, dev);
  const device = allocDevices(writer.filesystem.sb)[dev]!; // a member that is at hand is one
  const first = Number(member.sb.layout.sb_offset[0]);
  if (first === SB_SECTOR) {
    // A commit that was cut off may have torn the first copy, and it was read from another one.
    if (wholeCopyAt(member.device, SB_SECTOR, member.sb.uuid)?.sb.seq !== member.sb.seq)
      writer.editSuperblocks(sb => sb);
    const commits = releaseOld(writer, device, member.sb.layout);
    return { movedSectors: 0, commits };
  }
  const layout = usualLayout(member.sb);
  const end =
    Math.max(
      ...[...superblockSectors(layout, device.bucketSizeSectors).keys()].filter(
        bucket => bucket * device.bucketSizeSectors < Number(layout.sb_offset[2]),
      ),
    ) + 1;
  refuseInTheWay(writer, device, end);
  const isExcluded = (index: number, bucket: number) => index === dev && bucket < end;
  const begin = (sbAfter?: (sb: Superblock) => Superblock) =>
    beginChange(writer, { usesReserve: true, isExcluded, sbAfter });
  let movedSectors = 0;
  let commits = 0;
  const move = (change: Change, start: number, stop: number, keysMax: number) => {
    const rewrite: BucketNode[] = [];
    let keys = 0;
    let sectors = 0;
    for (const contents of bucketContents(writer.filesystem, device, start, stop)) {
      const nodes = bucketNodes(writer.filesystem, device, contents);
      const cost = contents.references.length + KEYS_OF_NODE * nodes.length;
      if (keys > 0 && keys + cost > keysMax) break;
      keys += cost;
      rewrite.push(...nodes);
      const rules = { place: (length: number) => change.allocator.allocateOn(dev, length) };
      sectors += moveBucketData(change.tx, device, rules, contents).sectors;
    }
    const { clocks } = writer.filesystem.replay;
    const extras = { rewrite: nodesToRewrite(rewrite), clocks: { ...clocks, write: clocks.write + BigInt(sectors) } };
    return { keys, sectors, extras };
  };
  const fill = (change: Change, keysMax: number) => {
    const { keys, sectors, extras } = move(change, 1, end, keysMax);
    if (keys === 0) return undefined;
    return {
      isMore: true,
      extras,
      onCommitted: () => {
        movedSectors += sectors;
        commits++;
      },
    };
  };
  for (const _ of inBatches(() => begin(), fill, keysPerCommit)) yield;

  const beginsWithFirst = (sb: Superblock) => withMember(sb, dev, known => ({ ...known, first_bucket: 0 }));
  const change = begin(beginsWithFirst);
  const { sectors, extras } = move(change, 0, 1, Number.POSITIVE_INFINITY);
  change.tx.settle();
  addFirstBuckets(change.triggers, change.tx, dev, device.firstBucket);
  markSuperblocks(change.triggers, change.tx, device, layout);
  // Not before that: until the superblocks are there, nothing may be put into bucket 0.
  change.commit({ ...extras, superblockAfter: beginsWithFirst, layoutsAfter: new Map([[dev, layout]]) });
  movedSectors += sectors;
  commits++;
  wipeCopies(member, layout);
  yield;
  return { movedSectors, commits: commits + releaseOld(writer, device, layout) };
}

function memberOf({ filesystem }: FilesystemWriter, dev: number): OpenMember {
  const member = filesystem.set.members.find(({ sb }) => sb.dev_idx === dev);
  if (member === undefined) throw new UsageError(`the filesystem has no member ${dev} at hand`);
  return member;
}

/** What is not moved here: the journal, stripes and cached copies, none of which a migration puts there. */
function refuseInTheWay(
  { filesystem }: FilesystemWriter,
  { index, bucketSizeSectors }: AllocDevice,
  end: number,
): void {
  for (const key of filesystem.btree('alloc').keys({ from: bucketPos(index, 0), to: bucketPos(index, end - 1) })) {
    const { dataType, cachedSectors, stripe } = bucketStateOf(key);
    const isMovable = dataType !== TYPE.journal && cachedSectors === 0 && stripe === 0;
    if (!isMovable)
      throw new UsageError(
        `there is a journal, cached data or a part of a stripe in the first ${end * bucketSizeSectors} sectors, which is not moved`,
      );
  }
}

/** Buckets of copies that are elsewhere now. */
function releaseOld(writer: FilesystemWriter, device: AllocDevice, layout: BchSbLayout): number {
  if (straySuperblocks(writer.filesystem, device, layout, device.bucketEnd).length === 0) return 0;
  const change = beginChange(writer, { usesReserve: true });
  releaseSuperblocks(change.triggers, change.tx, device, layout, device.bucketEnd);
  change.commit();
  return 1;
}
