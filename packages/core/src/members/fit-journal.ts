// A filesystem that is only being made is filled on a device with more than enough room, whose journal is as long as the device asks for.
// Before the device is cut to what the files need, the journal becomes as long as that asks for. The filesystem is not known yet, so
// nothing here has to survive a crash: the buckets are given back first, the superblocks say so then.
// Source: bch2_dev_journal_alloc in journal.c, v1.13.0, for how long a journal is.

import { journalBucketCount } from '../alloc/journal-buckets.ts';
import { markMetadataBucket } from '../alloc/new-device.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { assert } from '../ondisk/errors.ts';
import { encodeJournalV2, journalBuckets, journalRanges } from '../ondisk/sb-fields/journal.ts';
import { members, withMember } from '../ondisk/sb-fields/members.ts';
import { withSection } from '../ondisk/superblock.ts';
import { nextGeneration, writeSuperblocks } from '../superblock/write.ts';
import { beginBelow, journalOf, memberUse } from './member-change.ts';
import { smallestFor } from './shrink.ts';

/**
 * Makes the journal of the only member as short as a new one on the smallest device that holds what is there would be.
 * @param writeTime seconds since 1970
 * @returns whether something was changed: the superblock was written past the writer then, which is used up
 */
export function fitJournal(writer: FilesystemWriter, writeTime: bigint): boolean {
  const use = memberUse(writer.filesystem, 0);
  const { device, member } = use;
  const buckets = journalBuckets(journalOf(member.sb));
  let count = buckets.length;
  for (let isMore = true; isMore; ) {
    const taken = use.taken - (buckets.length - count);
    const bucketCount = smallestFor(writer.filesystem.sb, { ...use, taken, fixedEnd: 0 });
    const wanted = Math.min(count, journalBucketCount(bucketCount, device.bucketSizeSectors));
    isMore = wanted < count;
    count = wanted;
  }
  if (count === buckets.length) return false;
  // The next entry goes into the bucket after the last one's: the ring is kept from there on.
  const next = members(member.sb)[0]!.last_journal_bucket + 1;
  const ring = buckets.map((_, i) => buckets[(next + i) % buckets.length]!);
  const change = beginBelow(writer, 0, device.bucketEnd);
  for (const bucket of ring.slice(count)) markMetadataBucket(change.triggers, change.tx, 0, bucket, 'journal', 0);
  change.commit();
  const [{ device: disk, sb } = member] = writer.filesystem.set.members;
  assert(buckets[members(sb)[0]!.last_journal_bucket] === ring[0], 'the entry is in the first bucket that is kept');
  const kept = encodeJournalV2(journalRanges(ring.slice(0, count)));
  const edited = withMember(sb, 0, known => ({ ...known, last_journal_bucket: 0 }));
  writeSuperblocks(nextGeneration(edited, [{ device: disk, sb: withSection(edited, 'journal_v2', kept) }], writeTime));
  return true;
}
