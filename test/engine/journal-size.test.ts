// The journal of a member made longer, shorter, and moved to other buckets: the rules of the checker hold after each step, files are what
// they were, and changes go on.

import {
  checkInvariants,
  FileEdit,
  findingText,
  journalSize,
  loadChecksums,
  members,
  readJournal,
  resizeJournalSteps,
  shrinkMember,
  smallestBucketCount,
} from '@bcachefs-ts/core/engine';
import { beforeAll, expect, test } from 'vitest';
import { journalRanges, writerOn } from '../support/commits.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { isLong } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`journals of other lengths: TEST_SEED=${seed}`);
beforeAll(loadChecksums);

const TOP = new TextEncoder().encode('changed here');
const BUCKET_BYTES = 16 * 1024;

/** Small files on some members. */
function made(memberCount: number, sizeBytes = 12 * MIB) {
  const { devices } = formattedImage({
    members: memberCount,
    sizeBytes,
    bucketBytes: BUCKET_BYTES,
    options: { btree_node_size: '16k', metadata_replicas: `${memberCount}` },
  });
  const { writer, options } = writerOn(devices, undefined, seed);
  const model = new FileModel(randomFrom(seed));
  const edit = (change: (files: FileEdit) => void) => {
    const files = new FileEdit(writer, options);
    change(files);
    files.commit();
  };
  const step = (count: number) => {
    const edit = new FileEdit(writer, options);
    const root = edit.files.root();
    const top = edit.files.lookup(root, TOP) ?? edit.files.create(root, TOP, { mode: 0o040755 });
    for (let i = 0; i < count; i++) model.step(edit, top);
    edit.commit();
  };
  step(30);
  const buckets = (dev: number) => journalRanges(devices[dev]!).map(({ offset }) => offset / BUCKET_BYTES);
  const expectSound = (what: string) => {
    expect(checkInvariants(writer.filesystem).findings.map(findingText), what).toEqual([]);
    expect(treeText(writer.filesystem, 'changed here'), what).toEqual(model.text());
    const anew = writerOn(devices, undefined, seed + 1).writer;
    expect(treeText(anew.filesystem, 'changed here'), what).toEqual(model.text());
  };
  return { devices, writer, edit, step, buckets, expectSound };
}

/** Every entry in the bucket that its number asks for: going back from the newest, they get older, and what is empty is at the end. */
function expectInOrder({ devices, writer, buckets }: ReturnType<typeof made>, dev: number): void {
  const { entries } = readJournal(writer.filesystem.set, undefined);
  const newest = buckets(dev).map(() => 0);
  for (const { seq, ptrs } of entries)
    for (const ptr of ptrs) if (ptr.dev === dev) newest[ptr.bucketIndex] = Math.max(newest[ptr.bucketIndex]!, seq);
  expect(devices.length).toBeGreaterThan(dev);
  const head = newest.indexOf(Math.max(...newest));
  const back = newest.map((_, i) => newest[(head - i + newest.length) % newest.length]!);
  const isEmptyFrom = back.indexOf(0);
  const used = isEmptyFrom < 0 ? back : back.slice(0, isEmptyFrom);
  expect(
    back.slice(used.length).filter(seq => seq !== 0),
    `${newest}`,
  ).toEqual([]);
  expect(used).toEqual([...used].sort((a, b) => b - a));
}

test.each([1, 2])('longer and shorter, again and again: %d members', memberCount => {
  const image = made(memberCount);
  const { writer, step, buckets, expectSound } = image;
  const dev = memberCount - 1;
  const { least, most } = journalSize(writer.filesystem, dev);
  expect([least, buckets(dev).length]).toEqual([8, 8]);
  expect(most).toBeGreaterThan(300);
  for (const count of isLong ? [9, 64, 8, most, 20] : [9, 64, 20]) {
    const report = drained(resizeJournalSteps(writer, dev, Math.min(count, journalSize(writer.filesystem, dev).most)));
    expect(buckets(dev).length).toBe(report.bucketCount);
    expect(new Set(buckets(dev)).size).toBe(report.bucketCount);
    expectSound(`${count}`);
    expectInOrder(image, dev);
    for (let commits = 0; commits < 5; commits++) step(1);
    expectInOrder(image, dev);
    expectSound(`${count}, changed`);
  }
  expect(drained(resizeJournalSteps(writer, dev, 20)).steps).toBe(0);
});

test('what it cannot have is refused, and changes nothing', () => {
  const { writer, devices } = made(1);
  const before = devices.map(device => device.clone());
  const { most } = journalSize(writer.filesystem, 0);
  for (const count of [0, 7, most + 1, 1.5, 2 ** 40]) {
    expect(() => drained(resizeJournalSteps(writer, 0, count)), `${count}`).toThrow(
      /cannot have .* buckets, only 8 to /,
    );
  }
  for (const [nr, device] of devices.entries()) {
    const [now, then] = [device, before[nr]!].map(one => {
      const bytes = new Uint8Array(one.sizeBytes);
      one.read(0, bytes);
      return Buffer.from(bytes);
    });
    expect(now!.equals(then!)).toBe(true);
  }
});

test('a member is made smaller although its journal is in the part that goes', () => {
  const image = made(1, 24 * MIB);
  const { writer, edit, step, buckets, expectSound } = image;
  // A large file takes the lower part, so that the journal goes on after it, and then goes.
  const ballast = new TextEncoder().encode('ballast');
  edit(files =>
    files.content.write(
      files.files.create(files.files.root(), ballast, { mode: 0o100644 }),
      0,
      new Uint8Array(10 * MIB).fill(1),
    ),
  );
  drained(resizeJournalSteps(writer, 0, 64));
  for (let commits = 0; commits < 64 && newestBucket(image) < 600; commits++) step(1);
  drained(resizeJournalSteps(writer, 0, 8));
  edit(files => files.files.remove(files.files.root(), ballast));
  const least = smallestBucketCount(writer.filesystem, 0);
  expect(Math.max(...buckets(0))).toBeGreaterThan(least);
  expectSound('before');
  shrinkMember(writer, 0, 'min');
  expect(members(writer.filesystem.sb)[0]!.nbuckets).toBe(least);
  expect(Math.max(...buckets(0))).toBeLessThan(least);
  expect(buckets(0).length).toBe(8);
  expectSound('after');
  expectInOrder(image, 0);
  step(3);
  expectSound('changed');
});

function newestBucket({ writer, buckets }: ReturnType<typeof made>): number {
  const { entries } = readJournal(writer.filesystem.set, undefined);
  return buckets(0)[entries.at(-1)?.ptrs[0]?.bucketIndex ?? 0]!;
}

function drained<T>(steps: Generator<void, T, void>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}
