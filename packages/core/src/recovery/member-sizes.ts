// A superblock that gives a member fewer buckets than it has: what lies in the others would be taken for pointers to nowhere. The member has
// the size that its keys know, as far as the device is long enough; a key alone is not believed, unless something is in its bucket.
//
// Done before anything else is looked at, since a superblock with too few buckets is none that anything may be written by.
// Errors: invalid_sb_members. Source: bch2_sb_member validation in sb-members.c, v1.13.0.

import { bucketPos, freespacePos, freespaceRun } from '../alloc/bucket-indexes.ts';
import { bucketStateOf, isEmptyType } from '../alloc/bucket-state.ts';
import { readReplayState } from '../journal/replay.ts';
import { bposOffsetNumber } from '../ondisk/bpos.ts';
import { MIN_BUCKETS } from '../ondisk/member-states.ts';
import { type Member, memberAt, withMember } from '../ondisk/sb-fields/members.ts';
import { Filesystem } from '../opened/filesystem.ts';
import { type Finding, findingOf } from '../report/finding.ts';
import { type MemberSet, memberSetOf } from '../superblock/member-set.ts';
import { sectorsToBytes } from '../util/sizes.ts';

/** More than any device has. */
const BUCKET_MAX = 2 ** 53 - 1;

export interface MemberSizes {
  readonly findings: readonly Finding[];
  /** The members with superblocks that have the right sizes; the same ones where nothing is wrong. */
  readonly set: MemberSet;
}

/** @param key the master key of an encrypted filesystem */
export function correctedSizes(set: MemberSet, key: Uint8Array | undefined): MemberSizes {
  const findings: Finding[] = [];
  const counts = new Map<number, number>();
  const { sb } = set.newest;
  let filesystem: Filesystem | undefined;
  for (const { device, sb: own } of set.members) {
    const member = memberAt(sb, own.dev_idx);
    if (member === undefined || member.bucket_size === 0) continue;
    const possible = Math.floor(device.sizeBytes / sectorsToBytes(member.bucket_size));
    if (possible <= member.nbuckets) continue;
    filesystem ??= new Filesystem(set, readReplayState(set, key), key);
    const known = bucketsKnown(filesystem, own.dev_idx, member, possible);
    const isTooFew = member.nbuckets - member.first_bucket < MIN_BUCKETS['1.13'];
    const count = known ?? (isTooFew ? possible : member.nbuckets);
    if (count <= member.nbuckets) continue;
    counts.set(own.dev_idx, count);
    const detail = `${member.nbuckets} buckets, but there is something in those after them: it has ${count}`;
    findings.push(
      findingOf(
        { error: 'invalid_sb_members', detail },
        { device: device.name, field: `members_v2[${own.dev_idx}].nbuckets` },
      ),
    );
  }
  if (counts.size === 0) return { findings, set };
  const corrected = set.members.map(member => ({
    ...member,
    sb: [...counts].reduce(
      (changed, [index, nbuckets]) =>
        memberAt(changed, index) === undefined ? changed : withMember(changed, index, one => ({ ...one, nbuckets })),
      member.sb,
    ),
  }));
  return { findings, set: memberSetOf(corrected) };
}

/** How many buckets a member has by its keys, where one after the last that the superblock gives it holds something. */
function bucketsKnown(filesystem: Filesystem, dev: number, member: Member, possible: number): number | undefined {
  const walk = { onDamage: () => {} };
  let count = 0;
  let isUsed = false;
  const beyond = { from: bucketPos(dev, member.nbuckets), to: bucketPos(dev, possible - 1) };
  for (const found of filesystem.btree('alloc').keys({ ...beyond, ...walk })) {
    count = bposOffsetNumber(found.k.p) + 1;
    isUsed ||= !isEmptyType(bucketStateOf(found).dataType);
  }
  if (!isUsed) return undefined;
  // Those that are free to the end are in one run.
  for (const run of filesystem
    .btree('freespace')
    .keys({ from: freespacePos(dev, 0, 0), to: freespacePos(dev, BUCKET_MAX, 0xff), ...walk })) {
    const { end } = freespaceRun(run);
    if (end > count && end <= possible) count = end;
  }
  return count;
}
