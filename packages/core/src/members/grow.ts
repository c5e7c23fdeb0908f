// A member gets larger: its device has been made longer before, and now the buckets that came are taken in. Three commits: the buckets become
// part of the member, the last superblock copy goes to the new end, and its old place is given back.
//
// A crash leaves a filesystem with all its files at any time, of the old size or of the new one. In the first commit the superblock says the
// new number of buckets before anything names one of them; with the journal entry they are free. Cut off between the two, the member has
// buckets that are in no list of free ones. Nothing is put there then, and a mount goes on with the rest, as after a crash of a kernel
// that was doing the same; fsck takes them in, and asking for the same size or a larger one once more finishes what was begun. The other
// way round, lists would name buckets that are not there, and a kernel that comes upon one of those stops. In the second commit the
// new place is marked before a copy is there, and in the third the old one is still marked when none is there any more: cut off, a few
// buckets are taken for nothing, until the same is asked for again.
//
// What the new buckets hold does not matter: nothing leads there, and none of them has had a generation. The journal stays as long as it is.
// Source: bch2_dev_resize in super.c, v1.13.0, for the order; it leaves the last superblock copy where it was.

import { addBuckets } from '../alloc/add-buckets.ts';
import type { AllocDevice } from '../alloc/alloc-devices.ts';
import { bucketPos } from '../alloc/bucket-indexes.ts';
import { bucketStateOf, TYPE } from '../alloc/bucket-state.ts';
import { BUCKETS_MAX } from '../alloc/geometry.ts';
import { superblockSectors } from '../alloc/new-device.ts';
import { markSuperblocks, releaseSuperblocks, straySuperblocks } from '../alloc/remove-buckets.ts';
import type { Change } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { CorruptError, DeviceError, UsageError } from '../ondisk/errors.ts';
import { withMember } from '../ondisk/sb-fields/members.ts';
import type { BchSbLayout } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { memberText } from '../superblock/member-set.ts';
import { roundDown, sectorsToBytes } from '../util/sizes.ts';
import { beginBelow, memberUse, uncountedBuckets, wipeCopies } from './member-change.ts';

export interface GrowReport {
  readonly bucketCount: number;
  /** How much of the device belongs to the filesystem now. */
  readonly sizeBytes: number;
  /** 0 when there was nothing to do. */
  readonly commits: number;
}

/**
 * Makes a member larger, up to a size that its device already has. Also finishes a growing or a shrinking that was cut off.
 * @param dev its index
 * @param bucketCount not less than it has
 * @throws UsageError, DeviceError kind `too-small`, NoSpaceError: not a byte was changed; CorruptError, DeviceError: the filesystem is whole
 * then, of the old size or of the new one
 */
export function growMember(writer: FilesystemWriter, dev: number, bucketCount: number): GrowReport {
  const { device, member } = memberUse(writer.filesystem, dev);
  const sizeBytes = sectorsToBytes(bucketCount * device.bucketSizeSectors);
  if (!Number.isSafeInteger(bucketCount) || bucketCount < device.bucketEnd || bucketCount > BUCKETS_MAX) {
    const range = `${device.bucketEnd} to ${BUCKETS_MAX}`;
    throw new UsageError(
      `${memberText(writer.filesystem.sb, dev)} cannot grow to ${bucketCount} buckets, only to ${range}`,
    );
  }
  if (member.device.sizeBytes < sizeBytes) {
    const detail = `has ${member.device.sizeBytes} bytes, but ${bucketCount} buckets need ${sizeBytes}: make it longer first`;
    throw new DeviceError('too-small', member.device.name, detail);
  }
  const growing = new Growing(writer, dev);
  growing.takeIn(bucketCount);
  growing.moveLastSuperblock();
  growing.giveBack();
  return { bucketCount, sizeBytes, commits: growing.commits };
}

/**
 * Whether growing was cut off: the superblock has the new number of buckets and nothing else has them, or buckets are marked for copies of the
 * superblock that are elsewhere. The same size completes it.
 */
export function isGrowthUnfinished(filesystem: Filesystem, dev: number): boolean {
  const { device, member } = memberUse(filesystem, dev);
  return (
    uncountedBuckets(filesystem, device) > 0 ||
    straySuperblocks(filesystem, device, member.sb.layout, device.bucketEnd).length > 0
  );
}

/** The commits that it takes, each left out when there is nothing for it to do. */
class Growing {
  commits = 0;
  readonly #writer: FilesystemWriter;
  readonly #dev: number;

  constructor(writer: FilesystemWriter, dev: number) {
    this.#writer = writer;
    this.#dev = dev;
  }

  takeIn(bucketCount: number): void {
    const { device } = this.#use();
    const uncounted = uncountedBuckets(this.#writer.filesystem, device);
    const start = device.bucketEnd - uncounted;
    if (uncounted < 0 || start < device.firstBucket) {
      const detail = `${start - device.firstBucket} of ${device.bucketEnd - device.firstBucket} buckets are counted: run fsck`;
      throw new CorruptError('accounting_mismatch', { field: `members[${this.#dev}]` }, detail);
    }
    if (start === bucketCount) return;
    const change = this.#begin(device);
    addBuckets(change.triggers, change.tx, this.#dev, start, bucketCount);
    const { index: dev } = device;
    change.commit({
      superblock: sb =>
        withMember(change.triggers.needs.applyTo(sb), dev, known => ({ ...known, nbuckets: bucketCount })),
    });
    this.commits++;
  }

  moveLastSuperblock(): void {
    const { device, member } = this.#use();
    const layout = layoutAtEnd(member.sb.layout, device);
    if (layout === undefined || !isFreeFor(this.#writer.filesystem, layout, device)) return;
    const change = this.#begin(device);
    markSuperblocks(change.triggers, change.tx, device, layout);
    change.commit({ layoutsAfter: new Map([[device.index, layout]]) });
    this.commits++;
    wipeCopies(member, layout);
  }

  /** Buckets of copies that are elsewhere now. */
  giveBack(): void {
    const { device, member } = this.#use();
    const change = this.#begin(device);
    const { size } = change.tx;
    releaseSuperblocks(change.triggers, change.tx, device, member.sb.layout, device.bucketEnd);
    if (change.tx.size === size) return;
    change.commit();
    this.commits++;
  }

  #use() {
    return memberUse(this.#writer.filesystem, this.#dev);
  }

  #begin({ index, bucketEnd }: AllocDevice): Change {
    return beginBelow(this.#writer, index, bucketEnd);
  }
}

/** With the last copy as near to the end as it can be; undefined when it is, or when the copies are all at the start. */
function layoutAtEnd(layout: BchSbLayout, { bucketEnd, bucketSizeSectors }: AllocDevice): BchSbLayout | undefined {
  const last = layout.nr_superblocks - 1;
  if (last < COPIES_AT_START) return undefined;
  const copySectors = 2 ** layout.sb_max_size_bits;
  const place = roundDown(bucketEnd * bucketSizeSectors - copySectors, bucketSizeSectors);
  // Not over where it is: one of the two has to be whole.
  if (place < Number(layout.sb_offset[last]) + copySectors) return undefined;
  return { ...layout, sb_offset: layout.sb_offset.map((offset, i) => (i === last ? BigInt(place) : offset)) };
}

const COPIES_AT_START = 2;

/** Whether nothing else is where a layout has its copies. What was marked for a copy before, and was then cut off, is free. */
function isFreeFor(filesystem: Filesystem, layout: BchSbLayout, { index, bucketSizeSectors }: AllocDevice): boolean {
  return [...superblockSectors(layout, bucketSizeSectors).keys()].every(bucket => {
    const key = filesystem.btree('alloc').get(bucketPos(index, bucket));
    const type = key === undefined ? TYPE.free : bucketStateOf(key).dataType;
    return type === TYPE.free || type === TYPE.sb;
  });
}
