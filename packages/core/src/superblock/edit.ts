// How an edit of the superblock reaches all members, and what has to hold before the first byte of any change is written: a change that is
// refused is refused as a whole. Whether the devices take what is written (they fail, they fill up) is only known afterwards.

import type { BlockDevice } from '../device/block-device.ts';
import { CorruptError, DeviceError, type Location, UsageError } from '../ondisk/errors.ts';
import { encodeJournalV2, journalRanges } from '../ondisk/sb-fields/journal.ts';
import { memberAt } from '../ondisk/sb-fields/members.ts';
import { type BchSbLayout, type Superblock, superblockMaxBytes, withSection } from '../ondisk/superblock.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { type MemberSet, memberText, missingText, shortfallText } from './member-set.ts';
import { refuseSplitBrain } from './member-standing.ts';
import { superblockProblems } from './verify.ts';
import { forMember, type MemberToWrite, nextGeneration, superblockCopyBytes, writeSuperblocks } from './write.ts';

/** Where a member's superblock copies are from now on, by its index. */
export type NewLayouts = ReadonlyMap<number, BchSbLayout>;

/** Which buckets are a member's journal from now on, in the order in which they are used, by its index. */
export type NewJournals = ReadonlyMap<number, readonly number[]>;

export interface EditSuperblockOptions {
  /** Seconds since 1970. */
  readonly now: bigint;
  readonly allowMissing?: boolean;
  readonly layouts?: NewLayouts;
  readonly journals?: NewJournals;
}

/**
 * Applies an edit to the filesystem's newest superblock and writes it to every member, all copies.
 * @throws UsageError when members are missing and `allowMissing` is not set: they would keep the old state
 * @throws CorruptError when the superblock is faulty before or after the edit; DeviceError when a member cannot take it. Nothing has been
 * written then
 */
export function editSuperblock(
  set: MemberSet,
  edit: (sb: Superblock) => Superblock,
  options: EditSuperblockOptions,
): Superblock {
  const next = planEdit(set, edit, options);
  writeSuperblocks(next);
  return next[set.members.indexOf(set.newest)]!.sb;
}

/**
 * Asks whether an edit could be made, and makes nothing: for what is only to be begun when its end is possible.
 * @throws as editSuperblock, but for devices that fail
 */
export function refuseEdit(set: MemberSet, edit: (sb: Superblock) => Superblock, options: EditSuperblockOptions): void {
  for (const { sb } of planEdit(set, edit, options)) superblockCopyBytes(sb, sb.layout.sb_offset[0] ?? 0n);
}

/**
 * Whether superblocks that are to be written are such that a kernel takes them, on devices that have room for them.
 * @throws CorruptError, NoSpaceError; DeviceError kind `read-only` or `too-small`
 */
export function refuseSuperblocks(targets: readonly MemberToWrite[]): void {
  for (const { device, sb } of targets) {
    if (!device.writable)
      throw new DeviceError('read-only', device.name, 'is open for reading only; nothing was written');
    refuseProblems(sb, { device: device.name });
    refuseTooSmall(device, sb);
    superblockCopyBytes(sb, sb.layout.sb_offset[0] ?? 0n);
  }
}

function planEdit(
  set: MemberSet,
  edit: (sb: Superblock) => Superblock,
  options: EditSuperblockOptions,
): readonly MemberToWrite[] {
  if (set.missing.length > 0 && !options.allowMissing) {
    throw new UsageError(`${missingText(set)}; name all of them (or --allow_missing)`, undefined, 'member_missing');
  }
  refuseUnfit(set, options.layouts);
  const targets = set.members.map(({ device, sb }) => ({
    device,
    sb: withNewJournal(withNewLayout(sb, options.layouts), options.journals),
  }));
  const next = nextGeneration(edit(set.newest.sb), targets, options.now);
  for (const { device, sb } of next) refuseProblems(sb, { device: device.name });
  return next;
}

/**
 * The door of every change to a filesystem, repairs too: each member is one, can be written to, and is as long as the superblock and its own
 * layout say, none was changed without the others, and the superblock is one that a kernel would take. Past this door the superblock may be
 * trusted.
 * @throws UsageError for a device that is not a member any more, and for a split brain; DeviceError kind `read-only` or `too-small`; CorruptError
 */
export function refuseUnfit(set: MemberSet, layouts?: NewLayouts): void {
  const { sb: newest, device: from } = set.newest;
  refuseProblems(newest, { device: from.name });
  refuseSplitBrain(set);
  for (const { device, sb } of set.members) {
    if (memberAt(newest, sb.dev_idx) === undefined) {
      throw new UsageError(
        `${device.name} is ${memberText(newest, sb.dev_idx)}, which is not part of the filesystem any more; leave it out`,
      );
    }
    if (!device.writable)
      throw new DeviceError('read-only', device.name, 'is open for reading only; nothing was written');
    const own = sb === newest && layouts === undefined ? newest : withNewLayout(forMember(newest, sb), layouts);
    refuseProblems(own, { device: device.name });
    refuseTooSmall(device, own);
  }
}

/**
 * The device has all buckets that its superblock says, and every place that its layout names, with the room that a copy may take there.
 * @throws DeviceError kind `too-small`
 */
export function refuseTooSmall(device: Pick<BlockDevice, 'name' | 'sizeBytes'>, sb: Superblock): void {
  const short = shortfallText(device, sb, sb.dev_idx);
  if (short !== undefined) throw tooSmall(device, short);
  const { layout } = sb;
  for (const sector of layout.sb_offset.slice(0, layout.nr_superblocks)) {
    const end = sectorsToBytes(Number(sector)) + superblockMaxBytes(sb);
    if (end <= device.sizeBytes) continue;
    throw tooSmall(device, `has ${device.sizeBytes} bytes, but a copy of the superblock belongs to sector ${sector}`);
  }
}

const tooSmall = ({ name }: Pick<BlockDevice, 'name'>, detail: string): DeviceError =>
  new DeviceError('too-small', name, `${detail}; nothing was written, it first needs its whole length again`);

const withNewLayout = (sb: Superblock, layouts: NewLayouts | undefined): Superblock => {
  const layout = layouts?.get(sb.dev_idx);
  return layout === undefined ? sb : { ...sb, layout };
};

/** The older section lists buckets one by one; a kernel takes it away too when it writes the newer one. */
const withNewJournal = (sb: Superblock, journals: NewJournals | undefined): Superblock => {
  const buckets = journals?.get(sb.dev_idx);
  if (buckets === undefined) return sb;
  return withSection(withSection(sb, 'journal', undefined), 'journal_v2', encodeJournalV2(journalRanges(buckets)));
};

/** Superblocks, which never change, that were found to be sound: a commit asks about the same one several times, 2 ms each. */
const sound = new WeakSet<Superblock>();

function refuseProblems(sb: Superblock, where: Location): void {
  if (sound.has(sb)) return;
  const problem = superblockProblems(sb, where)[0];
  if (problem !== undefined) throw new CorruptError(problem.error, problem.where, problem.detail);
  sound.add(sb);
}
