// Where a new entry of the journal goes: at the start of a bucket in which no entry is that is still needed, the one after the newest first.

import { beforeAll, expect, test } from 'vitest';
import { journalRanges } from '../../../../test/support/commits.ts';
import { formattedImage, MIB } from '../../../../test/support/memory-images.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { openMembers } from '../superblock/member-set.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { type JournalReading, readJournal } from './journal.ts';
import { journalSlots } from './write.ts';

beforeAll(loadChecksums);

const ENTRY_BYTES = 4096;

const { devices } = formattedImage({ members: 2, sizeBytes: 16 * MIB });

/** A journal with entries of one number each, in buckets by their index, on the member. */
function readingOf(member: number, buckets: readonly (readonly [seq: number, bucketIndex: number])[]): JournalReading {
  const reading = readJournal(openMembers(devices));
  const [entry] = reading.entries;
  const [ptr] = entry!.ptrs;
  const entries = buckets.map(([seq, bucketIndex]) => ({
    ...entry!,
    seq,
    ptrs: [{ ...ptr!, dev: member, bucketIndex }],
  }));
  return { ...reading, entries };
}

const slotsOf = (reading: JournalReading, keepFrom: number, sizeBytes = ENTRY_BYTES) =>
  journalSlots(openMembers(devices), reading, sizeBytes, keepFrom).map(({ member, bucketIndex }) => [
    member,
    bucketIndex,
  ]);

test('it is the bucket after the newest entry, and the first of a journal without any', () => {
  expect(
    slotsOf(
      readingOf(0, [
        [1, 3],
        [2, 5],
      ]),
      2,
    ),
  ).toEqual([
    [0, 6],
    [1, 0],
  ]);
});

test('it is where the bucket says, on the device that has it', () => {
  const slots = journalSlots(openMembers(devices), readingOf(0, [[1, 3]]), ENTRY_BYTES, 1);
  for (const { device, member, bucketIndex, sector, endSectors } of slots) {
    expect(device).toBe(devices[member]);
    expect(sectorsToBytes(sector)).toBe(journalRanges(devices[member]!)[bucketIndex]!.offset);
    expect(endSectors).toBe(ENTRY_BYTES / 512);
  }
  expect(slots.map(({ member }) => member)).toEqual([0, 1]);
});

test('after the last bucket comes the first; buckets with entries that are needed are passed over', () => {
  const last = journalRanges(devices[0]!).length - 1;
  expect(
    slotsOf(
      readingOf(0, [
        [8, 0],
        [9, last],
      ]),
      10,
    ),
  ).toEqual([
    [0, 0],
    [1, 0],
  ]);
  expect(
    slotsOf(
      readingOf(0, [
        [7, 1],
        [8, 0],
        [9, last],
      ]),
      8,
    ),
  ).toEqual([
    [0, 1],
    [1, 0],
  ]);
});

test('a member whose buckets are all needed has none', () => {
  const count = journalRanges(devices[0]!).length;
  const full = Array.from({ length: count }, (_, nr) => [100 + nr, nr] as const);
  expect(slotsOf(readingOf(0, full), 100)).toEqual([[1, 0]]);
  // One entry is not needed any more.
  expect(slotsOf(readingOf(0, full), 101)).toEqual([
    [0, 0],
    [1, 0],
  ]);
});

test('an entry that is longer than a bucket has none', () => {
  const [range] = journalRanges(devices[0]!);
  expect(slotsOf(readingOf(0, [[1, 0]]), 1, range!.length)).toHaveLength(2);
  expect(slotsOf(readingOf(0, [[1, 0]]), 1, range!.length + 512)).toEqual([]);
});
