// Members that are not where the others are, explained: which changes each one missed, and what a kernel makes of it.

import {
  dateTimeText,
  type MemberStanding,
  memberAlive,
  members,
  printable,
  type Superblock,
} from '@bcachefs-ts/core/engine';

/** Sentences about one member; undefined when there is nothing to say. @param leading the superblock that speaks for the filesystem */
export function standingText(
  { index, standing, member, believedSeq }: MemberStanding,
  leading: Superblock,
): string | undefined {
  const slot = members(leading)[index];
  const name = member === undefined ? `member ${index}` : printable(member.device.name);
  const own = member?.sb;
  switch (standing) {
    case 'current':
      return undefined;
    case 'removed':
      return `${name} was member ${index} and has been removed from the filesystem: nothing on it is used.`;
    case 'missing':
      return `${name} (uuid ${slot?.uuid}) is missing: ${mountsText(leading, index)}.`;
    case 'stale':
      return (
        `${name} missed changes: its superblock is number ${own?.seq} (${timeText(own?.write_time)}), the newest is number ${leading.seq} ` +
        `(${timeText(leading.write_time)}); ${mountsText(leading, index)}. A mount takes it in again. What was written ` +
        'without it has no copy on it.'
      );
    case 'split_brain':
      return (
        `${name} was changed without the others, and they without it (split brain): its superblock is number ${own?.seq} ` +
        `(${timeText(own?.write_time)}), while the filesystem's is number ${leading.seq} (${timeText(leading.write_time)}) and has ` +
        `number ${believedSeq} for it. Each side has changes that the other lacks: a mount leaves it out, and so needs the option ` +
        'degraded; with no_splitbrain_check it takes all of them, and mixes both sides.'
      );
  }
}

/** Which mounts it missed, by the last one that each member was there for. */
function mountsText(leading: Superblock, index: number): string {
  const known = members(leading);
  const own = known[index]?.last_mount ?? 0n;
  const later = known.filter(member => memberAlive(member) && member.last_mount > own);
  const last = later.map(({ last_mount }) => last_mount).sort(descending)[0];
  const was = own === 0n ? 'it was never mounted' : `it was last mounted ${timeText(own)}`;
  if (later.length === 0) return own === 0n ? was : `${was}, and no other member later`;
  const others = known.flatMap((member, at) => (memberAlive(member) && member.last_mount === last ? [at] : []));
  return `${was}, ${others.length === 1 ? 'member' : 'members'} ${others.join(', ')} ${timeText(last)}`;
}

const descending = (a: bigint, b: bigint) => (a < b ? 1 : a > b ? -1 : 0);

const timeText = (seconds: bigint | undefined): string => dateTimeText(seconds ?? 0n);
