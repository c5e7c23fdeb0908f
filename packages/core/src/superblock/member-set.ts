// The members of one filesystem, opened together: which superblock is the newest, which members are not there, which are not all there.

import type { BlockDevice } from '../device/block-device.ts';
import { assert, UsageError } from '../ondisk/errors.ts';
import { diskGroups, labelText, memberGroup } from '../ondisk/sb-fields/disk-groups.ts';
import { memberAlive, memberAt, members } from '../ondisk/sb-fields/members.ts';
import { fsLabelText, type Superblock } from '../ondisk/superblock.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { readSuperblock, type SuperblockReading } from './read.ts';

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

/** Whether two superblocks are of one filesystem. */
export type SameFilesystem = (a: Superblock, b: Superblock) => boolean;

/**
 * Reads the superblocks of the devices of one filesystem.
 * @throws UsageError when they do not belong together
 * @throws CorruptError, IncompatibleError, DeviceError as readSuperblock does
 */
export function openMembers(devices: readonly BlockDevice[], isSame?: SameFilesystem): MemberSet {
  const groups = groupMembers(devices.map(openMember), isSame);
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
export function groupMembers(
  opened: readonly OpenMember[],
  isSame: SameFilesystem = (a, b) => a.uuid === b.uuid,
): readonly (readonly OpenMember[])[] {
  const groups: OpenMember[][] = [];
  for (const member of opened) {
    const group = groups.find(([first]) => isSame(first!.sb, member.sb));
    if (group === undefined) groups.push([member]);
    else group.push(member);
  }
  return groups;
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
      const hasPlace = (one: OpenMember, other: OpenMember) =>
        isSuccessor(one, other) || (isReplaced(other, newest.sb) && !isReplaced(one, newest.sb));
      const [old, fresh] = hasPlace(member, twin) ? [twin, member] : [member, twin];
      if (hasPlace(fresh, old)) {
        const [oldName, freshName] = [old.device.name, fresh.device.name];
        throw new UsageError(
          `${freshName} was to replace ${oldName} as member ${member.sb.dev_idx} of filesystem ${newest.sb.user_uuid}, and that was cut off: ` +
            `\`bcachefs device replace FS ${oldName} ${freshName}\` finishes it; FS is the filesystem without ${freshName}`,
        );
      }
      throw new UsageError(
        `${twin.device.name} and ${member.device.name} both are member ${member.sb.dev_idx} of filesystem ${newest.sb.user_uuid}: one is a ` +
          'copy of the other. Name only one of them; set-fs-option --uuid=random makes a copy a filesystem of its own',
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

/** Whether a device was to replace a member, by its superblock, which that member does not know. */
export function isSuccessor({ sb }: OpenMember, old: OpenMember): boolean {
  const dev = old.sb.dev_idx;
  const own = memberAt(sb, dev);
  if (sb.uuid !== old.sb.uuid || sb.dev_idx !== dev || own === undefined) return false;
  return own.uuid !== memberAt(old.sb, dev)?.uuid && own.seq < old.sb.seq && old.sb.seq < sb.seq;
}

/** Whether another device has the place of this one, by the newest superblock of its filesystem. A kernel that is given it takes it all the same. */
export function isReplaced({ sb }: OpenMember, newest: Superblock): boolean {
  const [own, known] = [memberAt(sb, sb.dev_idx), memberAt(newest, sb.dev_idx)];
  return own !== undefined && known !== undefined && memberAlive(known) && own.uuid !== known.uuid;
}

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
 * What is wrong with a device that is shorter than the superblock says, without its name; undefined for one that is long enough. A kernel refuses a
 * short one (__bch2_dev_attach_bdev in super.c, v1.13.0).
 * @param sb the newest superblock of its filesystem
 */
export function shortfallText(
  device: Pick<BlockDevice, 'sizeBytes'>,
  sb: Superblock,
  index: number,
): string | undefined {
  const member = memberAt(sb, index);
  const sizeBytes = member === undefined ? 0 : member.nbuckets * sectorsToBytes(member.bucket_size);
  if (device.sizeBytes >= sizeBytes) return undefined;
  return `has ${device.sizeBytes} bytes, but the superblock gives ${memberText(sb, index)} ${sizeBytes}: its end is missing`;
}
