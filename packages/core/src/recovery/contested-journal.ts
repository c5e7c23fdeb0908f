// Whether the buckets that superblocks give to the journal are the journal's. Of two claims on a bucket the superblock's must not win unasked:
// the first entry of a commit would overwrite what is there, and every extent in it would be taken for wrong.
//
// Where pointers lead into such a bucket, the list of buckets is what is wrong: the alloc keys have another one. Checks: the sections
// `journal` and `journal_v2` against alloc keys, and only where those contradict, against all pointers. Raises: invalid_sb_journal.
// Memory: a set of the buckets of both lists. Repair: the list of the alloc keys, without what is pointed to.
// Source: bch2_dev_journal_init and bch2_journal_buckets_to_sb in journal.c and journal_sb.c, v1.13.0, for what a list has to be.

import { bucketPos } from '../alloc/bucket-indexes.ts';
import { bucketStateOf, isEmptyType, TYPE } from '../alloc/bucket-state.ts';
import { entryBytesOf, spacePointers } from '../alloc/extent-pointers.ts';
import { Recount } from '../check/recount.ts';
import { JournalProblems } from '../journal/problem.ts';
import { journalRangesOf } from '../journal/scan.ts';
import { bposOffsetNumber } from '../ondisk/bpos.ts';
import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import { encodeJournalV2, journalBuckets, journalRanges } from '../ondisk/sb-fields/journal.ts';
import { memberAt } from '../ondisk/sb-fields/members.ts';
import { type Superblock, withSection } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { type Finding, findingOf } from '../report/finding.ts';
import { type MemberSet, memberSetOf, type OpenMember } from '../superblock/member-set.ts';

/** Fewer than a kernel opens a journal with. */
export const JOURNAL_BUCKETS_MIN = 8;

export interface ContestedJournal {
  readonly findings: readonly Finding[];
  /** The members with the list that nothing contradicts; undefined where no list is free of contradictions. */
  readonly corrected: MemberSet | undefined;
}

/** @returns undefined where no pointer leads into the journal */
export function contestedJournal(filesystem: Filesystem): ContestedJournal | undefined {
  const listed = filesystem.set.members.map(member => ({ member, buckets: bucketsOf(member) }));
  if (!listed.some(({ member, buckets }) => buckets.some(bucket => isOfOthers(filesystem, member.sb.dev_idx, bucket))))
    return undefined;
  const others = listed.map(({ member }) => ({ member, buckets: notedBuckets(filesystem, member.sb.dev_idx) }));
  const claimed = claimedOf(filesystem, [...listed, ...others]);
  const contested = listed.filter(({ member, buckets }) => buckets.some(bucket => claimed.has(idOf(member, bucket))));
  if (contested.length === 0) return undefined;
  const findings = contested.map(({ member, buckets }) => {
    const count = buckets.filter(bucket => claimed.has(idOf(member, bucket))).length;
    const detail = `${count} of the ${buckets.length} buckets that it gives to the journal hold something else`;
    return findingOf({ error: 'invalid_sb_journal', detail }, { device: member.device.name, field: 'journal' });
  });
  const corrected: OpenMember[] = [];
  for (const { member } of listed) {
    if (!contested.some(one => one.member === member)) {
      corrected.push(member);
      continue;
    }
    const free = others
      .find(one => one.member === member)!
      .buckets.filter(bucket => !claimed.has(idOf(member, bucket)));
    if (free.length < JOURNAL_BUCKETS_MIN) return { findings, corrected: undefined };
    corrected.push({ ...member, sb: withJournal(member.sb, free) });
  }
  return { findings, corrected: memberSetOf(corrected) };
}

const bucketsOf = ({ device, sb }: OpenMember): readonly number[] =>
  journalBuckets(journalRangesOf({ device, sb, problems: new JournalProblems() }));

export const withJournal = (sb: Superblock, buckets: readonly number[]): Superblock =>
  withSection(withSection(sb, 'journal', undefined), 'journal_v2', encodeJournalV2(journalRanges(buckets)));

/** What the alloc keys say of a bucket of the journal. Where they cannot be read, the pointers are asked. */
function isOfOthers(filesystem: Filesystem, dev: number, bucket: number): boolean {
  try {
    const key = filesystem.btree('alloc').get(bucketPos(dev, bucket));
    if (key === undefined) return false;
    const { dataType } = bucketStateOf(key);
    return dataType !== TYPE.journal && !isEmptyType(dataType);
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof DeviceError) return true;
    throw thrown;
  }
}

/** Buckets of a device that the alloc keys have for the journal's. */
export function notedBuckets(filesystem: Filesystem, dev: number): readonly number[] {
  const member = memberAt(filesystem.sb, dev);
  if (member === undefined) return [];
  const buckets: number[] = [];
  const range = { from: bucketPos(dev, 0), to: bucketPos(dev, member.nbuckets), onDamage: () => {} };
  for (const key of filesystem.btree('alloc').keys(range))
    if (bucketStateOf(key).dataType === TYPE.journal) buckets.push(bposOffsetNumber(key.k.p));
  return buckets;
}

interface Listed {
  readonly member: OpenMember;
  readonly buckets: readonly number[];
}

/** Those of some buckets that a pointer leads into. */
function claimedOf(filesystem: Filesystem, lists: readonly Listed[]): ReadonlySet<string> {
  const asked = new Set(lists.flatMap(({ member, buckets }) => buckets.map(bucket => idOf(member, bucket))));
  const claimed = new Set<string>();
  const sizes = new Map<number, number>();
  for (const { member } of lists) {
    const own = memberAt(filesystem.sb, member.sb.dev_idx);
    if (own !== undefined) sizes.set(member.sb.dev_idx, own.bucket_size);
  }
  new Recount(filesystem).eachPointing((_, __, key) => {
    for (const { dev, offset } of spacePointers(entryBytesOf(key), key.k.size).pointers) {
      const size = sizes.get(dev);
      if (size === undefined || size === 0) continue;
      const id = `${dev}:${Math.floor(offset / size)}`;
      if (asked.has(id)) claimed.add(id);
    }
  });
  return claimed;
}

const idOf = ({ sb }: OpenMember, bucket: number): string => `${sb.dev_idx}:${bucket}`;
