// The journal of a member gets longer or shorter, or its buckets get other places. Which buckets are the journal is a list in the member's own
// superblock, and each of them is marked in the alloc btree. Two steps change both: a bucket is marked before it is in the list, and taken
// out of the list before its mark goes. Cut off between the two, some buckets are marked that nothing uses: every mount goes on
// with that, fsck gives them back, and so does the next change of the journal here.
//
// The list is a ring. New buckets come after the one that the newest entry is in, so that going back from there the entries get older and
// older, with what is empty at the end; a kernel checks that since 1.38. Their beginnings are zeroed first: buckets that were a journal
// once would else be taken for one. Taken away are those with the oldest entries. The filesystem is clean before the list changes, so that
// no entry but the newest one is needed, and of that there is a copy in the superblock.
// Source: bch2_set_nr_journal_buckets_iter in journal.c, bch2_journal_pos_from_member_info_resume in journal_io.c, v1.13.0, which only make
// it longer; bch2_journal_read_device in journal/read.c, v1.39.2, for the order.

import type { AllocDevice } from '../alloc/alloc-devices.ts';
import { bucketPos, freespacePos, freespaceRun } from '../alloc/bucket-indexes.ts';
import { bucketStateOf, TYPE } from '../alloc/bucket-state.ts';
import { JOURNAL_BUCKETS_MIN, journalBucketsMost } from '../alloc/journal-buckets.ts';
import { markMetadataBucket } from '../alloc/new-device.ts';
import { beginChange } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { readJournal } from '../journal/journal.ts';
import { bposOffsetNumber } from '../ondisk/bpos.ts';
import { assert, NoSpaceError, UsageError } from '../ondisk/errors.ts';
import { journalBuckets } from '../ondisk/sb-fields/journal.ts';
import { members, withMember } from '../ondisk/sb-fields/members.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { type NewJournals, refuseEdit } from '../superblock/edit.ts';
import { memberText } from '../superblock/member-set.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { beginBelow, bucketsKept, journalOf, memberUse } from './member-change.ts';

export interface JournalSizeReport {
  readonly before: number;
  readonly bucketCount: number;
  readonly bucketBytes: number;
  /** Commits and changes of the superblock; 0 when there was nothing to do. */
  readonly steps: number;
}

export interface JournalSize {
  readonly bucketCount: number;
  readonly bucketBytes: number;
  /** The fewest and the most that it can have now. */
  readonly least: number;
  readonly most: number;
  /** Buckets that are marked as the journal's, and are not: a change of it was cut off. The next one gives them back, to the same size too. */
  readonly unusedCount: number;
}

/**
 * How long the journal of a member is, and can be.
 * @throws UsageError when there is no such member, or when it is missing
 */
export function journalSize(filesystem: Filesystem, dev: number): JournalSize {
  const { device, member } = memberUse(filesystem, dev);
  const listed = journalBuckets(journalOf(member.sb));
  const bucketCount = listed.length;
  const room = freeBucketCount(filesystem, device) - bucketsKept(filesystem.sb, device, device.bucketEnd);
  const most = Math.max(
    bucketCount,
    Math.min(journalBucketsMost(device.bucketSizeSectors), bucketCount + Math.max(0, room)),
  );
  return {
    bucketCount,
    bucketBytes: sectorsToBytes(device.bucketSizeSectors),
    least: Math.min(bucketCount, JOURNAL_BUCKETS_MIN),
    most,
    unusedCount: unlistedBuckets(filesystem, device, listed).length,
  };
}

/**
 * Makes the journal of a member longer or shorter, a commit or a change of the superblock a step. Also finishes what was cut off.
 * @throws UsageError for a length that it cannot have; NoSpaceError when buckets are missing, or room for the list in the superblock; nothing has
 * changed then. CorruptError, DeviceError: the journal has the old length or the new one then
 */
export function* resizeJournalSteps(
  writer: FilesystemWriter,
  dev: number,
  bucketCount: number,
): Generator<void, JournalSizeReport, void> {
  const { bucketCount: before, bucketBytes, least, most } = journalSize(writer.filesystem, dev);
  if (!Number.isSafeInteger(bucketCount) || bucketCount < least || bucketCount > most) {
    const name = memberText(writer.filesystem.sb, dev);
    throw new UsageError(`the journal of ${name} cannot have ${bucketCount} buckets, only ${least} to ${most}`);
  }
  const ring = new JournalRing(writer, dev);
  yield* ring.giveBack();
  if (bucketCount !== before) yield* ring.settle();
  if (bucketCount > before) yield* ring.add(bucketCount - before, ring.bucketEnd);
  if (bucketCount < before) yield* ring.remove(ring.oldest(before - bucketCount));
  return { before, bucketCount, bucketBytes, steps: ring.steps };
}

/** Journal buckets from `end` on get places below it, a step each. */
export function* moveJournalSteps(writer: FilesystemWriter, dev: number, end: number): Generator<void, void, void> {
  const ring = new JournalRing(writer, dev);
  const count = ring.buckets.filter(bucket => bucket >= end).length;
  if (count === 0) return;
  yield* ring.settle();
  yield* ring.add(count, end);
  // The newest entry may be in one of those that go: the next is in one that has come.
  yield* ring.commitNothing(end);
  yield* ring.remove(new Set(ring.buckets.filter(bucket => bucket >= end)));
}

class JournalRing {
  steps = 0;
  readonly #writer: FilesystemWriter;
  readonly #dev: number;

  constructor(writer: FilesystemWriter, dev: number) {
    this.#writer = writer;
    this.#dev = dev;
  }

  get #use() {
    return memberUse(this.#writer.filesystem, this.#dev);
  }

  get bucketEnd(): number {
    return this.#use.device.bucketEnd;
  }

  /** In the order in which they are used. */
  get buckets(): readonly number[] {
    return journalBuckets(journalOf(this.#use.member.sb));
  }

  /** Where in the list the newest entry of this member is. */
  get #head(): number {
    const { filesystem } = this.#writer;
    const { length } = this.buckets;
    const { entries } = readJournal(filesystem.set, filesystem.key);
    const newest = entries.flatMap(({ ptrs }) => ptrs.filter(({ dev }) => dev === this.#dev)).at(-1)?.bucketIndex;
    const index = newest ?? members(filesystem.sb)[this.#dev]!.last_journal_bucket;
    return Math.min(index, Math.max(0, length - 1));
  }

  /** With entries that are needed, the list has to stay. A filesystem that was unmounted needs none. */
  *settle(): Generator<void> {
    if (this.#writer.filesystem.replay.from !== 'clean') yield* this.commitNothing(this.bucketEnd);
  }

  /** Buckets that were emptied become free ones, and the newest entry is in another bucket. */
  *commitNothing(end: number): Generator<void> {
    const options = { usesReserve: true, ends: new Map([[this.#dev, end]]), releasesEmptied: true };
    beginChange(this.#writer, options).commit();
    yield this.#step();
  }

  /** Buckets that are marked, and are in no list. */
  *giveBack(): Generator<void> {
    const { device } = this.#use;
    const left = unlistedBuckets(this.#writer.filesystem, device, this.buckets);
    if (left.length > 0) yield* this.#mark(left, 0);
  }

  /** @param end they are below it */
  *add(count: number, end: number): Generator<void> {
    if (listedAsFree(this.#writer.filesystem, this.#use.device, end) < count) yield* this.commitNothing(end);
    const { filesystem } = this.#writer;
    const { device, member } = this.#use;
    const added = freeBuckets(filesystem, device, count, end);
    // Whether the superblock has room for so many is known now; the place in the list only when the commit has written its entry.
    refuseEdit(filesystem.set, sb => sb, { now: filesystem.sb.write_time, journals: this.#with(added) });
    const nothing = new Uint8Array(Math.min(HEAD_BYTES, sectorsToBytes(device.bucketSizeSectors)));
    for (const bucket of added) member.device.write(sectorsToBytes(bucket * device.bucketSizeSectors), nothing);
    member.device.flush();
    yield* this.#mark(added, device.bucketSizeSectors);
    this.#writer.editSuperblocks(sb => sb, { journals: this.#with(added) });
    yield this.#step();
  }

  /** The list with more buckets after that of the newest entry. */
  #with(added: readonly number[]): NewJournals {
    const { buckets } = this;
    const next = buckets.length === 0 ? 0 : this.#head + 1;
    return new Map([[this.#dev, [...buckets.slice(0, next), ...added, ...buckets.slice(next)]]]);
  }

  /** So many after the newest entry: they hold the oldest ones. */
  oldest(count: number): ReadonlySet<number> {
    const { buckets } = this;
    const head = this.#head;
    assert(count < buckets.length, 'the bucket of the newest entry stays');
    return new Set(Array.from({ length: count }, (_, i) => buckets[(head + 1 + i) % buckets.length]!));
  }

  *remove(gone: ReadonlySet<number>): Generator<void> {
    const { device } = this.#use;
    const old = this.buckets;
    const kept = old.filter(bucket => !gone.has(bucket));
    assert(kept.length > 0, 'a journal is left');
    const edit = (sb: Superblock): Superblock =>
      withMember(sb, this.#dev, known => {
        const place = placeAmong(old, kept, known, device);
        return { ...known, ...place };
      });
    this.#writer.editSuperblocks(edit, { journals: new Map([[this.#dev, kept]]) });
    yield this.#step();
    yield* this.#mark([...gone], 0);
  }

  *#mark(buckets: readonly number[], sectors: number): Generator<void> {
    const { device } = this.#use;
    const change = beginBelow(this.#writer, this.#dev, device.bucketEnd);
    for (const bucket of buckets) markMetadataBucket(change.triggers, change.tx, this.#dev, bucket, 'journal', sectors);
    change.commit();
    yield this.#step();
  }

  #step(): void {
    this.steps++;
  }
}

/** Buckets that are marked as the journal's, and are in no list. */
function unlistedBuckets(
  filesystem: Filesystem,
  { index, bucketEnd }: AllocDevice,
  buckets: readonly number[],
): readonly number[] {
  const listed = new Set(buckets);
  const left: number[] = [];
  for (const key of filesystem.btree('alloc').keys({ from: bucketPos(index, 0), to: bucketPos(index, bucketEnd) })) {
    const bucket = bposOffsetNumber(key.k.p);
    if (bucketStateOf(key).dataType === TYPE.journal && !listed.has(bucket)) left.push(bucket);
  }
  return left;
}

/** Without an entry at its beginning, a bucket is empty to a reader. */
const HEAD_BYTES = 4096;

/** Where a kernel goes on writing, in the list that is left: after what it wrote last, or after the last one before that is kept. */
function placeAmong(
  old: readonly number[],
  kept: readonly number[],
  {
    last_journal_bucket: last,
    last_journal_bucket_offset: offset,
  }: { last_journal_bucket: number; last_journal_bucket_offset: number },
  { bucketSizeSectors }: AllocDevice,
): { last_journal_bucket: number; last_journal_bucket_offset: number } {
  const places = new Map(kept.map((bucket, index) => [bucket, index]));
  for (let back = 0; back < old.length; back++) {
    const index = places.get(old[(last - back + old.length) % old.length] ?? -1);
    if (index === undefined) continue;
    return { last_journal_bucket: index, last_journal_bucket_offset: back === 0 ? offset : bucketSizeSectors };
  }
  return { last_journal_bucket: 0, last_journal_bucket_offset: 0 };
}

function* freeRuns(
  filesystem: Filesystem,
  { index }: AllocDevice,
  end: number,
): Generator<{ start: number; end: number }> {
  const range = { from: freespacePos(index, 0, 0), to: freespacePos(index, 2 ** 53 - 1, 0xff) };
  for (const key of filesystem.btree('freespace').keys(range)) {
    const run = freespaceRun(key);
    if (run.start < end) yield { start: run.start, end: Math.min(run.end, end) };
  }
}

function listedAsFree(filesystem: Filesystem, device: AllocDevice, end: number): number {
  let count = 0;
  for (const run of freeRuns(filesystem, device, end)) count += run.end - run.start;
  return count;
}

/** Those that were emptied and wait for their discard are as good. */
function freeBucketCount(filesystem: Filesystem, device: AllocDevice): number {
  let count = listedAsFree(filesystem, device, device.bucketEnd);
  const range = { from: bucketPos(device.index, 0), to: bucketPos(device.index, device.bucketEnd) };
  for (const _ of filesystem.btree('need_discard').keys(range)) count++;
  return count;
}

/** The first ones that are free. @throws NoSpaceError */
function freeBuckets(filesystem: Filesystem, device: AllocDevice, count: number, end: number): readonly number[] {
  const found: number[] = [];
  for (const run of freeRuns(filesystem, device, end)) {
    for (let bucket = run.start; bucket < run.end && found.length < count; bucket++) found.push(bucket);
    if (found.length === count) return found;
  }
  const detail = `${count} buckets are needed for the journal, ${found.length} are free on ${memberText(filesystem.sb, device.index)}`;
  throw new NoSpaceError(detail);
}
