// image create makes the smallest image: planned from what is data, with a journal of its own size, and not a bucket larger than needed. That
// a kernel works with them is shown in test/kernel/smallest.test.ts.

import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkInvariants,
  decodeJournalV2,
  FilesystemWriter,
  findingText,
  loadChecksums,
  loadCompression,
  members,
  openDevice,
  openFilesystem,
  openMembers,
  sectionPayload,
  seededRandom,
  shrinkMember,
  smallestBucketCount,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { patient } from '../support/patience.ts';
import { makeSmallSource, smallSources } from '../support/small-sources.ts';

const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-smallest-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

describe.each(smallSources)('$name', source => {
  const image = join(folder, `${source.name}.img`);

  test('no larger than it has to be, and sound', { timeout: patient(120_000) }, async () => {
    makeSmallSource(join(folder, source.name), source);
    await succeed('image create', [...source.words, `--source=${join(folder, source.name)}`, image]);
    const { size } = statSync(image);
    expect(size / MIB).toBeLessThanOrEqual(source.mostMiB);
    const filesystem = openFilesystem([image]);
    try {
      expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
      expect(filesystem.replay.problems).toEqual([]);
      const { nbuckets, bucket_size } = members(filesystem.sb)[0]!;
      expect(size).toBe(nbuckets * bucket_size * 512);
      const [{ sb }] = filesystem.set.members as [(typeof filesystem.set.members)[number]];
      const ranges = decodeJournalV2(sectionPayload(sb, 'journal_v2')!);
      expect(ranges.reduce((sum, { nr }) => sum + nr, 0)).toBe(Math.max(8, Math.floor(nbuckets / 128)));
      expect(smallestBucketCount(filesystem, 0)).toBe(nbuckets);
    } finally {
      filesystem.close();
    }
  });

  test('one bucket fewer is refused, and nothing is changed', () => {
    const copy = join(folder, 'copy.img');
    copyFileSync(image, copy);
    const before = readFileSync(copy);
    const set = openMembers([openDevice(copy, { write: true })]);
    const writer = new FilesystemWriter(set, { random: seededRandom('1'), now: () => 1n, key: undefined });
    const { nbuckets } = members(writer.filesystem.sb)[0]!;
    expect(() => shrinkMember(writer, 0, nbuckets - 1)).toThrow(UsageError);
    writer.filesystem.close();
    expect(readFileSync(copy).equals(before)).toBe(true);
  });
});

test('the same bytes again', { timeout: patient(60_000) }, async () => {
  const env = { SOURCE_DATE_EPOCH: '1600000000' };
  const images = [join(folder, 'one.img'), join(folder, 'two.img')];
  for (const image of images) {
    await succeed('image create', ['--seed=x', `--source=${join(folder, 'hard-links')}`, image], { env });
  }
  expect(readFileSync(images[0]!).equals(readFileSync(images[1]!))).toBe(true);
});
