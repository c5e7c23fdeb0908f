// Devices join a filesystem, with all that a kernel would otherwise have to make: journal, free buckets, counters. First the superblocks say
// that they are members, those on the new devices before the others'; then one commit makes their buckets known; and the superblock that goes
// with it says that their free ones are listed.
//
// A crash leaves a filesystem with all its files at any time. Cut off before the commit, the new members hold nothing and their free buckets
// are in no list: a mount makes the list, and adding goes on where it stopped. The other way round, a counter would name a member that is not
// there, which a kernel reports at every mount. With the flag of the list set too early, a mount would believe in a list that is not there.
// Source: bch2_dev_add and bch2_sb_member_alloc, bch2_dev_freespace_init, v1.13.0.

import { allocDevices, hasFreespace } from '../alloc/alloc-devices.ts';
import { TYPE } from '../alloc/bucket-state.ts';
import { type DeviceGeometry, planGeometry } from '../alloc/geometry.ts';
import { newJournalBuckets } from '../alloc/journal-buckets.ts';
import { addDeviceBuckets, markDeviceMetadata } from '../alloc/new-device.ts';
import { countersOf } from '../alloc/reserve.ts';
import { beginChange } from '../change/change.ts';
import { FilesystemWriter, type WriterOptions } from '../change/writer.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { OverlayDevice } from '../device/overlay-device.ts';
import { getBits, withBits } from '../ondisk/bits.ts';
import { UsageError } from '../ondisk/errors.ts';
import { rulesOf, withMultiDevice } from '../ondisk/format-rules.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { optionFromSuperblock } from '../ondisk/option-values.ts';
import { option } from '../ondisk/options.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { diskGroups, encodeDiskGroups, withLabel } from '../ondisk/sb-fields/disk-groups.ts';
import { encodeJournalV2, journalBuckets, journalRanges } from '../ondisk/sb-fields/journal.ts';
import {
  blankMember,
  type Member,
  memberAlive,
  memberAt,
  members,
  withMember,
  withMembers,
} from '../ondisk/sb-fields/members.ts';
import { SB_LAYOUT_SECTOR, type Superblock, withSection } from '../ondisk/superblock.ts';
import { type Signature, wipeSignatures } from '../probe/index.ts';
import { refuseSuperblocks } from '../superblock/edit.ts';
import { memberSetOf, memberText, type OpenMember, openMembers } from '../superblock/member-set.ts';
import { type MemberToWrite, nextGeneration, writeSuperblocks } from '../superblock/write.ts';
import { type RandomSource, randomUuid } from '../util/random.ts';
import { bytesToSectors, SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { journalOf } from './member-change.ts';
import { type MemberWishes, memberFlags } from './new-member.ts';
import { settleJoined } from './waiting-data.ts';

export interface JoiningDevice extends Omit<MemberWishes, 'name'> {
  readonly device: BlockDevice;
  /** Disk label path, such as `ssd.ssd1`. */
  readonly label?: string | undefined;
  readonly bucketBytes?: number | undefined;
  /** From `probeSignatures`: wiped, with all their backups. */
  readonly signatures: readonly Signature[];
}

export interface AddedMember {
  readonly dev: number;
  readonly device: BlockDevice;
  readonly geometry: DeviceGeometry;
}

export interface AddPlan {
  readonly added: readonly AddedMember[];
  /** Members of an earlier addition that was cut off: they are completed too. */
  readonly unfinished: readonly number[];
  /** What the superblock will say. */
  readonly sb: Superblock;
  readonly joining: readonly JoiningDevice[];
}

/**
 * What the devices will be.
 * @param nowSeconds since 1970
 * @throws UsageError for what does not fit; NoSpaceError when the superblock has no room for another member
 */
export function planAdd(
  { sb, set }: FilesystemWriter['filesystem'],
  joining: readonly JoiningDevice[],
  { random, nowSeconds }: { readonly random: RandomSource; readonly nowSeconds: bigint },
): AddPlan {
  const rules = rulesOf(sb);
  const blockBytes = sb.block_size * SECTOR_BYTES;
  const geometry = planGeometry({
    devices: joining.map(({ device, bucketBytes }) => ({
      name: device.name,
      sizeBytes: device.sizeBytes,
      physicalSectorBytes: device.physicalSectorBytes,
      logicalSectorBytes: device.logicalSectorBytes,
      bucketBytes,
    })),
    blockBytes,
    btreeNodeBytes: sectorsToBytes(getBits(sb.flags, sbBits.BTREE_NODE_SIZE)),
    encodedExtentMaxBytes: Number(optionFromSuperblock(option('encoded_extent_max'), sb, 0n, rules.release)),
  });
  const known = [...members(sb)];
  let groups = diskGroups(sb);
  const added = joining.map((one, nr): AddedMember => {
    const dev = freeSlot(known, rules.membersMax);
    const own = geometry.devices[nr]!;
    let group = 0;
    if (one.label !== undefined) {
      const labelled = withLabel(groups, one.label);
      groups = labelled.groups;
      group = labelled.index + 1;
    }
    known[dev] = {
      ...blankMember(),
      uuid: randomUuid(random),
      nbuckets: own.bucketCount,
      bucket_size: bytesToSectors(own.bucketBytes),
      last_mount: nowSeconds,
      flags: memberFlags({ ...one, name: one.device.name }, group),
    };
    return { dev, device: one.device, geometry: own };
  });
  const labelled =
    groups === diskGroups(sb) || groups.length === 0 ? sb : withSection(sb, 'disk_groups', encodeDiskGroups(groups));
  const counted = { ...labelled, nr_devices: Math.max(sb.nr_devices, known.length) };
  const edited = withMembers({ ...counted, flags: withMultiDevice(counted, rules) }, known);
  const unfinished = allocDevices(sb).flatMap(device =>
    device !== undefined && !hasFreespace(sb, device.index) && !set.missing.includes(device.index)
      ? [device.index]
      : [],
  );
  return { added, unfinished, sb: edited, joining };
}

/** Slots are not used again before all have been: a pointer may still name the member that was there. */
function freeSlot(known: readonly Member[], most: number): number {
  if (known.length < most) return known.length;
  const dead = [...known.entries()].filter(([, member]) => !memberAlive(member));
  const [oldest] = dead.sort(([, a], [, b]) => (a.last_mount < b.last_mount ? -1 : 1));
  if (oldest === undefined) throw new UsageError(`the filesystem has ${most} members, and cannot have more`);
  return oldest[0];
}

/**
 * Makes devices members. All of it is done in memory first: what has no room, or meets a node that cannot be read, then stops it before
 * anything is written, and no new member is left half made.
 * @param options those that the writer was opened with, with its key
 * @returns the writer to go on with; the other is used up. The devices belong to its filesystem
 * @throws UsageError, NoSpaceError, DeviceError, CorruptError before the first write; later DeviceError: the filesystem is whole then
 */
export function addMembers(writer: FilesystemWriter, plan: AddPlan, options: WriterOptions): FilesystemWriter {
  addInMemory(writer, plan, options);
  return joinMembers(writer.filesystem.set.members, plan, options);
}

/** What adding makes of the filesystem, with nothing written: for plans that go on from there. @throws as addMembers does */
export function addInMemory({ filesystem }: FilesystemWriter, plan: AddPlan, options: WriterOptions): FilesystemWriter {
  const inMemory = <T extends { readonly device: BlockDevice }>(one: T): T => ({
    ...one,
    device: new OverlayDevice(one.device),
  });
  const present = filesystem.set.members.map(inMemory);
  if (plan.added.length > 0) return joinMembers(present, { ...plan, added: plan.added.map(inMemory) }, options);
  const writer = new FilesystemWriter(openMembers(present.map(({ device }) => device)), options);
  completeMembers(writer, plan.unfinished);
  return writer;
}

/**
 * What a device is to a filesystem that it was to join once: a member; or left over from an addition that was cut off before any member had
 * heard of it, so that it is added anew. Undefined for one of another filesystem, and one that has left.
 * @param others at least one, all of one filesystem
 */
export function joinedBefore(others: readonly OpenMember[], { sb }: OpenMember): 'member' | 'left over' | undefined {
  const { newest } = memberSetOf(others);
  if (newest.sb.uuid !== sb.uuid) return undefined;
  const [own, known] = [memberAt(sb, sb.dev_idx), memberAt(newest.sb, sb.dev_idx)];
  if (own !== undefined && known?.uuid === own.uuid) return 'member';
  return known === undefined && newest.sb.seq < sb.seq ? 'left over' : undefined;
}

function joinMembers(present: readonly OpenMember[], plan: AddPlan, options: WriterOptions): FilesystemWriter {
  const targets = plan.added.map(({ dev, device, geometry: { layout, bucketBytes, bucketCount } }): MemberToWrite => {
    const journal = newJournalBuckets({ layout, bucketSizeSectors: bytesToSectors(bucketBytes), bucketCount });
    const own = withSection(plan.sb, 'journal_v2', encodeJournalV2(journalRanges(journal)));
    return { device, sb: { ...own, dev_idx: dev, layout } };
  });
  const next = nextGeneration(plan.sb, [...targets, ...present], options.now());
  refuseSuperblocks(next);
  for (const [nr, { device, geometry }] of plan.added.entries()) {
    wipeSignatures(device, plan.joining[nr]!.signatures);
    device.write(0, new Uint8Array(sectorsToBytes(SB_LAYOUT_SECTOR)));
    clearJournal(device, targets[nr]!.sb, geometry);
    device.flush();
  }
  writeSuperblocks(next);
  const all = [...present.map(({ device }) => device), ...plan.added.map(({ device }) => device)];
  const joined = new FilesystemWriter(openMembers(all), options);
  completeMembers(joined, [...plan.unfinished, ...plan.added.map(({ dev }) => dev)]);
  return joined;
}

/** What an earlier life of the device has left where its journal will be: an entry of the same filesystem must not be found there. */
function clearJournal(device: BlockDevice, sb: Superblock, { bucketBytes }: DeviceGeometry): void {
  const head = new Uint8Array(Math.max(sb.block_size * SECTOR_BYTES, 4096));
  for (const bucket of journalBuckets(journalOf(sb))) device.write(bucket * bucketBytes, head);
}

/** The buckets of members that were added become known, in one commit. */
export function completeMembers(writer: FilesystemWriter, devs: readonly number[]): void {
  if (devs.length === 0) return;
  const { filesystem } = writer;
  const change = beginChange(writer, { usesReserve: true });
  for (const dev of devs) {
    const own = filesystem.set.members.find(({ sb }) => sb.dev_idx === dev);
    if (own === undefined)
      throw new UsageError(`${memberText(filesystem.sb, dev)} is missing`, undefined, 'member_missing');
    // A commit that was cut off before its last superblock has done all of this.
    if (countersOf(filesystem, { type: 'dev_data_type', dev, data_type: TYPE.free }).length > 0) continue;
    addDeviceBuckets(change.triggers, change.tx, dev);
    markDeviceMetadata(change.triggers, change.tx, dev, own.sb.layout, journalBuckets(journalOf(own.sb)));
  }
  const listed = (sb: Superblock, value: 0 | 1) => devs.reduce((edited, dev) => withListed(edited, dev, value), sb);
  change.commit({
    superblock: sb => listed(change.triggers.needs.applyTo(sb), 0),
    superblockAfter: sb => listed(sb, 1),
  });
  settleJoined(writer, devs);
}

function withListed(sb: Superblock, dev: number, value: 0 | 1): Superblock {
  return withMember(sb, dev, member => ({
    ...member,
    flags: withBits([member.flags], memberBits.FREESPACE_INITIALIZED, value)[0]!,
  }));
}
