// A device takes the place of a member, with its index: what is in the member's buckets is copied to the same places, then the new device
// gets a superblock, and the one it replaces is wiped.
//
// A kernel takes any device for a member that has the filesystem's UUID and an index, so there must never be two that it would take. The new
// device has no superblock before everything is copied. The one that it gets is the newest, and believes less of the replaced device's
// superblock than that says of itself: that is a split brain to a kernel, which leaves the replaced device out when both are there. So the
// first copy of this one superblock is the commit. Then the replaced device is wiped, and only then do the others learn of the new one,
// for with equal numbers both would be taken. Its number is far above theirs: if somebody then goes on without the new device instead
// of finishing, it is not taken again afterwards as if it had only missed something.
// Source: bch2_dev_in_fs and bch2_fs_open in super.c, v1.13.0.

import type { AllocDevice } from '../alloc/alloc-devices.ts';
import { bucketPos } from '../alloc/bucket-indexes.ts';
import { bucketStateOf, isUnused } from '../alloc/bucket-state.ts';
import { entryBytesOf, spacePointers } from '../alloc/extent-pointers.ts';
import { BUCKETS_MAX } from '../alloc/geometry.ts';
import { superblockSectors } from '../alloc/new-device.ts';
import { FilesystemWriter, type WriterOptions } from '../change/writer.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { getBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposOffsetNumber } from '../ondisk/bpos.ts';
import { CorruptError, UsageError } from '../ondisk/errors.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { memberStates } from '../ondisk/member-states.ts';
import { journalBuckets } from '../ondisk/sb-fields/journal.ts';
import { blankMember, type Member, memberAt, members, withMember } from '../ondisk/sb-fields/members.ts';
import { SB_LAYOUT_SECTOR } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { type Signature, wipeSignatures } from '../probe/index.ts';
import { refuseSuperblocks, refuseUnfit } from '../superblock/edit.ts';
import { isSuccessor, memberSetOf, memberText, type OpenMember, openMembers } from '../superblock/member-set.ts';
import { forMember, type MemberToWrite, writeSuperblocks } from '../superblock/write.ts';
import { randomUuid } from '../util/random.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { pointingKeys, withState } from './evacuate.ts';
import { growMember, isGrowthUnfinished } from './grow.ts';
import { journalOf, memberUse, wipeMember } from './member-change.ts';
import { smallestBucketCount } from './shrink.ts';
import { editWritableSteps } from './waiting-data.ts';

/** More superblocks than a kernel writes before somebody finishes what was cut off. */
const SEQ_STEP = 2 ** 20;
const RUN_BYTES = 4 * 2 ** 20;

const RW = memberStates.idOf('rw');
const SPARE = memberStates.idOf('spare');

export interface MemberReplacePlan {
  readonly dev: number;
  readonly old: OpenMember;
  /** A bit for each bucket that is copied. */
  readonly buckets: Uint8Array;
  readonly copiedBytes: number;
  readonly bucketBytes: number;
  readonly bucketsBefore: number;
  /** What the new device has room for. */
  readonly bucketCount: number;
  /** It was read-only or had failed, which a new device has not. */
  readonly becomesWritable: boolean;
}

export interface MemberReplaceOptions extends WriterOptions {
  /** From `probeSignatures` of the new device: wiped, with all their backups. */
  readonly signatures: readonly Signature[];
}

export interface ReplacedMember {
  /** With the new device instead of the old one: the writer to go on with. */
  readonly writer: FilesystemWriter;
  /** How much of the device belongs to the filesystem now. */
  readonly sizeBytes: number;
}

/**
 * What it takes for a device to become the member `dev`. Reads all keys.
 * @throws UsageError with the numbers for a device that is too small, or whose sectors are larger than the filesystem's blocks, and when the
 * member is missing; CorruptError, DeviceError
 */
export function planReplace(filesystem: Filesystem, dev: number, device: BlockDevice): MemberReplacePlan {
  const { sb, set } = filesystem;
  refuseUnfit(set);
  const { device: own, member: old } = memberUse(filesystem, dev);
  const bucketBytes = sectorsToBytes(own.bucketSizeSectors);
  const blockBytes = sectorsToBytes(sb.block_size);
  if (device.logicalSectorBytes > blockBytes) {
    const detail = `${device.logicalSectorBytes} bytes, larger than the filesystem's blocks of ${blockBytes}`;
    throw new UsageError(`${device.name} has sectors of ${detail}: it cannot replace ${old.device.name}`);
  }
  refuseTooShort(filesystem, old, device, bucketBytes);
  const buckets = usedBuckets(filesystem, old, own);
  let count = 0;
  for (const { start, end } of runsOf(buckets, own.bucketEnd, own.bucketEnd)) count += end - start;
  const before = getBits([members(sb)[dev]!.flags], memberBits.STATE);
  return {
    dev,
    old,
    buckets,
    copiedBytes: count * bucketBytes,
    bucketBytes,
    bucketsBefore: own.bucketEnd,
    bucketCount: Math.min(BUCKETS_MAX, Math.floor(device.sizeBytes / bucketBytes)),
    becomesWritable: stateAfter(before) !== before,
  };
}

/** Only a spare is what it is for a reason that has nothing to do with the old device. */
const stateAfter = (state: number): number => (state === SPARE ? SPARE : RW);

function refuseTooShort(
  filesystem: Filesystem,
  { sb, device: old }: OpenMember,
  device: BlockDevice,
  bucketBytes: number,
): void {
  const dev = sb.dev_idx;
  const copies = sb.layout.sb_offset.slice(0, sb.layout.nr_superblocks).map(Number);
  const copiesEnd = sectorsToBytes(Math.max(...copies) + 2 ** sb.layout.sb_max_size_bits);
  const needed = Math.max(copiesEnd, members(filesystem.sb)[dev]!.nbuckets * bucketBytes);
  if (device.sizeBytes >= needed) return;
  const least = smallestBucketCount(filesystem, dev) * bucketBytes;
  const isShrinkable = least <= device.sizeBytes;
  throw new UsageError(
    `${device.name} has ${device.sizeBytes} bytes, and ${old.name} has ${needed}: ` +
      (isShrinkable
        ? `first make that smaller, with \`device resize FS ${old.name} ${device.sizeBytes}\``
        : `it cannot be made smaller than ${least}, so it cannot be replaced by this`),
  );
}

/**
 * All that is in use by the alloc btree, and all that any pointer leads to, whatever that btree says. Not the superblocks: a copy of one would
 * be a second member.
 */
function usedBuckets(filesystem: Filesystem, { sb }: OpenMember, own: AllocDevice): Uint8Array {
  const { index: dev, bucketEnd, bucketSizeSectors } = own;
  const buckets = new Uint8Array(Math.ceil(bucketEnd / 8));
  const add = (bucket: number): void => {
    if (bucket >= 0 && bucket < bucketEnd) buckets[bucket >> 3]! |= 1 << (bucket & 7);
  };
  const addTargets = (key: Key): void => {
    for (const pointer of spacePointers(entryBytesOf(key), key.k.size).pointers)
      if (pointer.dev === dev) add(Math.floor(pointer.offset / bucketSizeSectors));
  };
  for (const key of filesystem.btree('alloc').keys({ from: bucketPos(dev, 0), to: bucketPos(dev, bucketEnd) }))
    if (!isUnused(bucketStateOf(key))) add(bposOffsetNumber(key.k.p));
  for (const bucket of journalBuckets(journalOf(sb))) add(bucket);
  for (const { key } of pointingKeys(filesystem, new Set([dev]), { btree: 0, pos: undefined })) addTargets(key);
  for (const [id, root] of filesystem.replay.roots) {
    if (root.key !== undefined) addTargets(root.key);
    for (let { level } = root; level > 0; level--)
      for (const key of filesystem.btree(id).keys({ level })) addTargets(key);
  }
  for (const bucket of superblockSectors(sb.layout, bucketSizeSectors).keys())
    if (bucket < bucketEnd) buckets[bucket >> 3]! &= ~(1 << (bucket & 7));
  return buckets;
}

interface BucketRun {
  readonly start: number;
  readonly end: number;
}

/** @param most so many buckets are in one run at the most */
function* runsOf(buckets: Uint8Array, bucketEnd: number, most: number): Generator<BucketRun> {
  let start = -1;
  for (let bucket = 0; bucket < bucketEnd; bucket++) {
    const byte = buckets[bucket >> 3]!;
    if (byte === 0 && start < 0) {
      bucket |= 7;
      continue;
    }
    const isUsed = ((byte >> (bucket & 7)) & 1) !== 0;
    if (start >= 0 && (!isUsed || bucket - start === most)) {
      yield { start, end: bucket };
      start = -1;
    }
    if (isUsed && start < 0) start = bucket;
  }
  if (start >= 0) yield { start, end: bucketEnd };
}

/**
 * A device takes the place of a member, and all of it is used; a step gives the bytes that were copied.
 * @param options those that the writer was opened with, with its key. The writer is used up; the device belongs to the one that is given back
 * @throws UsageError, CorruptError, NoSpaceError, DeviceError: the filesystem is whole, with the old device or with the new one
 */
export function* replaceSteps(
  writer: FilesystemWriter,
  plan: MemberReplacePlan,
  device: BlockDevice,
  options: MemberReplaceOptions,
): Generator<number, ReplacedMember, void> {
  const { dev, bucketBytes } = plan;
  refuseSuperblocks([successor(writer.filesystem, dev, device, options)]);
  // What a new superblock is to believe of the old device is less than its number, and 0 would mean nothing.
  while (memberOf(writer.filesystem, dev).sb.seq < 2) writer.editSuperblocks(sb => sb);
  const target = successor(writer.filesystem, dev, device, options);
  refuseSuperblocks([target]);
  wipeSignatures(device, options.signatures);
  device.write(0, new Uint8Array(sectorsToBytes(SB_LAYOUT_SECTOR + 1)));
  device.flush();
  const old = memberOf(writer.filesystem, dev);
  const room = new Uint8Array(Math.max(RUN_BYTES, bucketBytes));
  let copied = 0;
  for (const { start, end } of runsOf(
    plan.buckets,
    plan.bucketsBefore,
    Math.max(1, Math.floor(RUN_BYTES / bucketBytes)),
  )) {
    const bytes = room.subarray(0, (end - start) * bucketBytes);
    old.device.read(start * bucketBytes, bytes);
    device.write(start * bucketBytes, bytes);
    copied += bytes.length;
    yield copied;
  }
  device.flush();
  writeSuperblocks([target]);
  const others = writer.filesystem.set.members.filter(member => member !== old).map(member => member.device);
  wipeMember(old);
  return completeReplace(new FilesystemWriter(openMembers([...others, device]), options), dev);
}

function memberOf({ sb, set }: Filesystem, dev: number): OpenMember {
  const own = set.members.find(member => member.sb.dev_idx === dev);
  if (own === undefined) throw new UsageError(`${memberText(sb, dev)} is missing`, undefined, 'member_missing');
  return own;
}

/** The superblock that makes a device the member. */
function successor(
  filesystem: Filesystem,
  dev: number,
  device: BlockDevice,
  options: MemberReplaceOptions,
): MemberToWrite {
  const { sb, set } = filesystem;
  const own = memberOf(filesystem, dev);
  const seq = Math.max(sb.seq, ...set.members.map(member => member.sb.seq)) + SEQ_STEP;
  if (!Number.isSafeInteger(seq + SEQ_STEP))
    throw new CorruptError(
      'count_out_of_range',
      { field: 'seq' },
      `the next number would be ${seq}, expected below 2^53`,
    );
  const edited = withMember(sb, dev, member => newMember(member, randomUuid(options.random), own.sb.seq - 1));
  const next = { ...edited, seq, write_time: options.now() };
  return { device, sb: forMember(next, own.sb) };
}

/** What was counted and measured of the old device is not true of this one. Its state changes later, together with what follows from it. */
function newMember(old: Member, uuid: string, seq: number): Member {
  const { errors, errors_at_reset, errors_reset_time, iops, flush_errors } = blankMember();
  const { device_name, device_model, device_serial } = blankMember();
  return {
    ...old,
    uuid,
    seq,
    errors,
    errors_at_reset,
    errors_reset_time,
    iops,
    flush_errors,
    device_name,
    device_model,
    device_serial,
  };
}

/** A replacement that was cut off when the new device had its superblock. */
export interface BegunReplacement {
  readonly dev: number;
  /** The old device, when it has not been wiped. */
  readonly old: OpenMember | undefined;
}

/**
 * What the superblocks say of a replacement that was cut off, and of one that is done.
 * @param others all devices at hand that have a superblock, without the new one
 * @returns undefined when the new device is not a member, also when the old one was used since
 * @throws UsageError when two of the others are the same member
 */
export function begunReplacement(others: readonly OpenMember[], fresh: OpenMember): BegunReplacement | undefined {
  const { sb } = fresh;
  if (others.some(member => member.sb.uuid !== sb.uuid)) return undefined;
  const dev = sb.dev_idx;
  const old = others.find(member => member.sb.dev_idx === dev);
  if (old !== undefined) {
    const own = memberAt(sb, dev);
    const rest = others.filter(member => member !== old);
    if (own === undefined) return undefined;
    // After any use of the old device its number is another than it was when the new one got its superblock.
    const isAhead = ({ sb: { seq, dev_idx } }: OpenMember) => seq > (memberAt(sb, dev_idx)?.seq ?? 0);
    const isCutOff = isSuccessor(fresh, old) && old.sb.seq === own.seq + 1 && !rest.some(isAhead);
    // The filesystem was used with the new one, and all know it.
    const knows = (member: OpenMember) => memberAt(member.sb, dev)?.uuid === own.uuid;
    const isTaken = !knows(old) && own.seq > old.sb.seq && rest.every(knows);
    return isCutOff || isTaken ? { dev, old } : undefined;
  }
  const { newest } = memberSetOf([...others, fresh]);
  return memberAt(newest.sb, dev)?.uuid === memberAt(sb, dev)?.uuid ? { dev, old } : undefined;
}

/**
 * What is done when the old device is wiped: all members learn of the new one, and all of it is used.
 * @param writer with the new device, and without the old one
 */
export function completeReplace(writer: FilesystemWriter, dev: number): ReplacedMember {
  const { sb: before, set } = writer.filesystem;
  const state = getBits([members(before)[dev]!.flags], memberBits.STATE);
  if (isNew(writer.filesystem, dev) && state !== stateAfter(state)) {
    for (const _ of editWritableSteps(writer, sb => withState(sb, dev, stateAfter(state))));
  } else if (set.members.some(({ sb }) => sb.seq !== before.seq) || isNew(writer.filesystem, dev)) {
    writer.editSuperblocks(sb => sb);
  }
  const { bucket_size, nbuckets } = members(writer.filesystem.sb)[dev]!;
  const bucketBytes = sectorsToBytes(bucket_size);
  const bucketCount = Math.max(nbuckets, roomOf(writer.filesystem, dev));
  growMember(writer, dev, bucketCount);
  return { writer, sizeBytes: bucketCount * bucketBytes };
}

/** Whether there is anything to do for `completeReplace`. */
export function isReplaceUnfinished(filesystem: Filesystem, dev: number): boolean {
  return (
    isNew(filesystem, dev) ||
    filesystem.set.members.some(({ sb }) => sb.seq !== filesystem.sb.seq) ||
    members(filesystem.sb)[dev]!.nbuckets < roomOf(filesystem, dev) ||
    isGrowthUnfinished(filesystem, dev)
  );
}

/** It has its first superblock. */
const isNew = (filesystem: Filesystem, dev: number): boolean => {
  const { sb } = memberOf(filesystem, dev);
  return members(sb)[dev]!.seq < sb.seq;
};

/** How many buckets the device has room for. */
function roomOf(filesystem: Filesystem, dev: number): number {
  const { device } = memberOf(filesystem, dev);
  const bucketBytes = sectorsToBytes(members(filesystem.sb)[dev]!.bucket_size);
  return Math.min(BUCKETS_MAX, Math.floor(device.sizeBytes / bucketBytes));
}
