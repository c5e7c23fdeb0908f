// The members of one filesystem, opened together: which superblock is the newest, which members are not there, and how an
// edit reaches all of them.

import type { BlockDevice } from '../device/block-device.ts';
import { CorruptError, type Location, UsageError } from '../ondisk/errors.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import type { Superblock } from '../ondisk/superblock.ts';
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
  const opened = devices.map((device): OpenMember => {
    const reading = readSuperblock(device);
    return { device, reading, sb: reading.sb };
  });
  const newest = opened.reduce((best, member) => (member.sb.seq > best.sb.seq ? member : best));
  for (const member of opened) {
    if (member.sb.uuid !== newest.sb.uuid) {
      throw new UsageError(
        `${member.device.name} belongs to filesystem ${member.sb.user_uuid}, ${newest.device.name} to ${newest.sb.user_uuid}`,
      );
    }
    const twin = opened.find(other => other !== member && other.sb.dev_idx === member.sb.dev_idx);
    if (twin !== undefined) {
      throw new UsageError(
        `${member.device.name} and ${twin.device.name} both claim to be member ${member.sb.dev_idx}: is one a copy of the other?`,
      );
    }
  }
  const present = new Set(opened.map(member => member.sb.dev_idx));
  const missing = members(newest.sb).flatMap((member, index) =>
    memberAlive(member) && !present.has(index) ? [index] : [],
  );
  return { members: opened, newest, missing };
}

/**
 * Applies an edit to the filesystem's newest superblock and writes it to every member, all copies.
 * @param now seconds since 1970
 * @throws UsageError when members are missing and `allowMissing` is not set: they would keep the old state
 * @throws CorruptError when the superblock is faulty before or after the edit; nothing has been written then
 */
export function editSuperblock(
  set: MemberSet,
  edit: (sb: Superblock) => Superblock,
  options: { readonly now: bigint; readonly allowMissing?: boolean },
): Superblock {
  if (set.missing.length > 0 && !options.allowMissing) {
    const { sb } = set.newest;
    const names = set.missing.map(index => `member ${index} (${members(sb)[index]!.uuid})`).join(', ');
    throw new UsageError(
      `the filesystem has ${sb.nr_devices} members; name all of them: ${names} missing (or --allow_missing)`,
    );
  }
  refuseProblems(set.newest.sb, { device: set.newest.device.name });
  const next = nextGeneration(edit(set.newest.sb), set.members, options.now);
  for (const { device, sb } of next) refuseProblems(sb, { device: device.name });
  writeSuperblocks(next);
  return next[set.members.indexOf(set.newest)]!.sb;
}

function refuseProblems(sb: Superblock, where: Location): void {
  const problem = superblockProblems(sb, where)[0];
  if (problem !== undefined) throw new CorruptError(problem.error, problem.where, problem.detail);
}
