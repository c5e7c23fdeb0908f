// The members of one filesystem, opened together: which superblock is the newest, which members are not there, and how an
// edit reaches all of them.

import type { BlockDevice } from '../device/block-device.ts';
import { assert, CorruptError, type Location, UsageError } from '../ondisk/errors.ts';
import { diskGroups, labelText, memberGroup } from '../ondisk/sb-fields/disk-groups.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import { type BchSbLayout, fsLabelText, type Superblock } from '../ondisk/superblock.ts';
import { readSuperblock, type SuperblockReading } from './read.ts';
import { superblockProblems } from './verify.ts';
import { nextGeneration, writeSuperblocks } from './write.ts';

export interface OpenMember {
  readonly device: BlockDevice;
  readonly reading: SuperblockReading;
  readonly sb: Superblock;
}

/** All given devices of one filesystem. */
export interface MemberSet {
  readonly members: readonly OpenMember[];
  /** The member with the highest sequence number: its superblock speaks for the filesystem. */
  readonly newest: OpenMember;
  /** Member indexes that the newest superblock lists and no given device has. */
  readonly missing: readonly number[];
}

/**
 * Reads the superblocks of the devices of one filesystem.
 * @throws UsageError when they do not belong together
 * @throws CorruptError, IncompatibleError, DeviceError as readSuperblock does
 */
export function openMembers(devices: readonly BlockDevice[]): MemberSet {
  const groups = groupMembers(devices.map(openMember));
  const [only] = groups;
  assert(only !== undefined, 'at least one device is given');
  if (groups.length > 1) {
    throw new UsageError(
      `the devices belong to ${groups.length} filesystems: ${groups.map(filesystemText).join('; ')}; name those of one`,
    );
  }
  return memberSetOf(only);
}

/** @throws CorruptError, IncompatibleError, DeviceError as readSuperblock does */
export function openMember(device: BlockDevice): OpenMember {
  const reading = readSuperblock(device);
  return { device, reading, sb: reading.sb };
}

/** Members of the same filesystem together, in the order in which they come. */
export function groupMembers(opened: readonly OpenMember[]): readonly (readonly OpenMember[])[] {
  const groups = new Map<string, OpenMember[]>();
  for (const member of opened) {
    const group = groups.get(member.sb.uuid);
    if (group === undefined) groups.set(member.sb.uuid, [member]);
    else group.push(member);
  }
  return [...groups.values()];
}

/**
 * @param opened at least one member, all of one filesystem
 * @throws UsageError when two are the same member
 */
export function memberSetOf(opened: readonly OpenMember[]): MemberSet {
  const newest = newestOf(opened);
  const byIndex = new Map<number, OpenMember>();
  for (const member of opened) {
    const twin = byIndex.get(member.sb.dev_idx);
    if (twin !== undefined) {
      throw new UsageError(
        `${twin.device.name} and ${member.device.name} both claim to be member ${member.sb.dev_idx}: is one a copy of the other?`,
      );
    }
    byIndex.set(member.sb.dev_idx, member);
  }
  const missing = members(newest.sb).flatMap((member, index) =>
    memberAlive(member) && !byIndex.has(index) ? [index] : [],
  );
  return { members: opened, newest, missing };
}

const newestOf = (opened: readonly OpenMember[]) =>
  opened.reduce((best, member) => (member.sb.seq > best.sb.seq ? member : best));

/** A filesystem and the devices of it that were given: `UUID (label two): a.img, b.img`. */
export function filesystemText(opened: readonly OpenMember[]): string {
  const { sb } = newestOf(opened);
  const label = fsLabelText(sb.label);
  const names = opened.map(({ device }) => device.name).join(', ');
  return `${sb.user_uuid}${label === '' ? '' : ` (label ${label})`}: ${names}`;
}

/** One member as messages call it: `member 2 (uuid …, label hdd.b)`. */
export function memberText(sb: Superblock, index: number): string {
  const member = members(sb)[index];
  if (member === undefined) return `member ${index}`;
  const group = memberGroup(member);
  const label = group === undefined ? '' : `, label ${labelText(diskGroups(sb), group)}`;
  return `member ${index} (uuid ${member.uuid}${label})`;
}

/** Which members are missing, for people. */
export function missingText({ newest, missing }: MemberSet): string {
  const names = missing.map(index => memberText(newest.sb, index));
  const known = members(newest.sb).filter(memberAlive).length;
  return `of ${known} members, ${names.join(', ')} ${names.length === 1 ? 'is' : 'are'} missing`;
}

/** Members that missed the last changes to the superblock, and perhaps others: they were not there when the filesystem was last mounted. */
export function staleMembers({ members: opened, newest }: MemberSet): readonly OpenMember[] {
  return opened.filter(member => member.sb.seq < newest.sb.seq);
}

/**
 * Applies an edit to the filesystem's newest superblock and writes it to every member, all copies.
 * @param options now: seconds since 1970; layouts: where the copies of a member are from now on, by its index
 * @throws UsageError when members are missing and `allowMissing` is not set: they would keep the old state
 * @throws CorruptError when the superblock is faulty before or after the edit; nothing has been written then
 */
export function editSuperblock(
  set: MemberSet,
  edit: (sb: Superblock) => Superblock,
  options: {
    readonly now: bigint;
    readonly allowMissing?: boolean;
    readonly layouts?: ReadonlyMap<number, BchSbLayout>;
  },
): Superblock {
  if (set.missing.length > 0 && !options.allowMissing) {
    throw new UsageError(`${missingText(set)}; name all of them (or --allow_missing)`);
  }
  refuseProblems(set.newest.sb, { device: set.newest.device.name });
  const targets = set.members.map(({ device, sb }) => {
    const layout = options.layouts?.get(sb.dev_idx);
    return { device, sb: layout === undefined ? sb : { ...sb, layout } };
  });
  const next = nextGeneration(edit(set.newest.sb), targets, options.now);
  for (const { device, sb } of next) refuseProblems(sb, { device: device.name });
  writeSuperblocks(next);
  return next[set.members.indexOf(set.newest)]!.sb;
}

function refuseProblems(sb: Superblock, where: Location): void {
  const problem = superblockProblems(sb, where)[0];
  if (problem !== undefined) throw new CorruptError(problem.error, problem.where, problem.detail);
}
