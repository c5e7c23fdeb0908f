// What the superblocks of the members say about each other: which ones were there for the last changes, which missed some, and which were
// changed without the others, so that a mount leaves them out.
// Source: bch2_dev_in_fs and sb_cmp in super.c, v1.13.0.

import { UsageError } from '../ondisk/errors.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { versionOf } from '../ondisk/versions.ts';
import type { MemberSet, OpenMember } from './member-set.ts';

/** Before, members had no numbers of their own, and nothing was compared. */
const MEMBER_SEQ_SINCE = versionOf('member_seq');

/**
 * current: it was there for the last change of the superblock.
 * stale: it was not, and its own superblock is an older one of the same line.
 * split_brain: it was changed without the others. A kernel leaves it out, unless it is mounted with no_splitbrain_check.
 * removed: the filesystem does not know it any more.
 */
export type Standing = 'current' | 'stale' | 'split_brain' | 'removed' | 'missing';

export interface MemberStanding {
  readonly index: number;
  readonly standing: Standing;
  /** Undefined when it is missing. */
  readonly member: OpenMember | undefined;
  /** The number that the newest superblock believes the member's to have; 0 where it says none. */
  readonly believedSeq: number;
}

/** The superblock that a kernel would take for the filesystem's: of two with the same number the one that was written later. */
export function leadingMember({ members: opened, newest }: MemberSet): OpenMember {
  return opened.reduce((best, one) => {
    const isLater = one.sb.seq === best.sb.seq && one.sb.write_time > best.sb.write_time;
    return isLater ? one : best;
  }, newest);
}

/** Every member that the filesystem has, and every device at hand that was one, by index. */
export function memberStandings(set: MemberSet): readonly MemberStanding[] {
  const leading = leadingMember(set);
  const known = members(leading.sb);
  const opened = new Map(set.members.map(member => [member.sb.dev_idx, member]));
  const standings: MemberStanding[] = [];
  for (let index = 0; index < Math.max(known.length, ...[...opened.keys()].map(at => at + 1)); index++) {
    const slot = known[index];
    const member = opened.get(index);
    const isKnown = slot !== undefined && memberAlive(slot);
    if (!isKnown && member === undefined) continue;
    const believedSeq = slot?.seq ?? 0;
    const standing = !isKnown ? 'removed' : member === undefined ? 'missing' : standingOf(leading, member, believedSeq);
    standings.push({ index, standing, member, believedSeq });
  }
  return standings;
}

/** Writing to both sides would join what does not belong together. @throws UsageError */
export function refuseSplitBrain(set: MemberSet): void {
  const other = memberStandings(set).find(({ standing }) => standing === 'split_brain');
  if (other?.member === undefined) return;
  throw new UsageError(
    `${other.member.device.name} was changed without the others (split brain): leave out one side; \`device list\` explains it`,
  );
}

function standingOf(leading: OpenMember, member: OpenMember, believedSeq: number): Standing {
  const [ours, theirs] = [leading.sb, member.sb];
  if (member === leading) return 'current';
  if (isCompared(ours, theirs)) {
    if (ours.seq === theirs.seq && ours.write_time !== theirs.write_time) return 'split_brain';
    if (believedSeq !== 0 && believedSeq < theirs.seq) return 'split_brain';
  }
  return theirs.seq < ours.seq ? 'stale' : 'current';
}

const isCompared = (a: Superblock, b: Superblock): boolean =>
  a.version >= MEMBER_SEQ_SINCE && b.version >= MEMBER_SEQ_SINCE;
