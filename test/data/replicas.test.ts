// Reference images with copies and stripes, with members taken away: what is left has to be read, and what cannot be has to be said.

import { createHash } from 'node:crypto';
import {
  DataReader,
  type FileFinding,
  type Filesystem,
  type FilesystemSource,
  fileChunks,
  fileSegments,
  type Key,
  loadChecksums,
  loadCompression,
  makeBpos,
  OverlayDevice,
  openFilesystem,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { decodeExtentEntries } from '../../packages/core/src/ondisk/extent-entries.ts';
import { stripe } from '../../packages/core/src/ondisk/keys/stripe.ts';
import { SnapshotTable } from '../../packages/core/src/snapshots/snapshot-table.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { type ManifestFile, manifestFiles } from './manifest-files.ts';

if (whyNoFixtures !== undefined) console.warn(`replicas of fixtures skipped: ${whyNoFixtures}`);

interface Reading {
  readonly isSame: boolean;
  readonly lostBytes: number;
  readonly findings: readonly FileFinding[];
}

function readAll(reader: DataReader, table: SnapshotTable, { entry, file }: ManifestFile): Reading {
  const hash = createHash('sha256');
  const findings: FileFinding[] = [];
  let lostBytes = 0;
  for (const chunk of fileChunks(reader, table, file, { onFinding: finding => findings.push(finding) })) {
    hash.update(chunk.kind === 'data' ? chunk.bytes : new Uint8Array(chunk.length));
    if (chunk.kind === 'lost') lostBytes += chunk.length;
  }
  return { isSame: hash.digest('hex') === entry.sha256, lostBytes, findings };
}

/** All keys, but only some members to read data from. */
const without = (fs: Filesystem, lost: readonly number[]): FilesystemSource => ({
  sb: fs.sb,
  key: fs.key,
  btree: which => fs.btree(which),
  device: index => (lost.includes(index) ? undefined : fs.device(index)),
});

/** Whether an extent can be read without some members, from what its key and its stripes say. */
function canBeHad(fs: Filesystem, key: Key, btree: string, lost: readonly number[]): boolean {
  const entries = decodeExtentEntries(btree === 'reflink' ? key.value.subarray(8) : key.value);
  let idx: number | undefined;
  for (const entry of entries) {
    if (entry.type === 'stripe_ptr') idx = entry.idx;
    if (entry.type !== 'ptr') continue;
    if (!lost.includes(entry.dev)) return true;
    if (idx !== undefined) {
      const value = stripe.decode(fs.btree('stripes').get(makeBpos(0n, BigInt(idx), 0))!.value);
      if (value.ptrs.filter(({ dev }) => lost.includes(dev)).length <= value.nr_redundant) return true;
    }
    idx = undefined;
  }
  return false;
}

const pairs = (count: number): number[][] =>
  Array.from({ length: count }, (_, a) => Array.from({ length: count - a - 1 }, (__, i) => [a, a + 1 + i])).flat();

describe.skipIf(whyNoFixtures !== undefined)('members taken away', () => {
  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
  });

  test.each([0, 1, 2, 3, 4])('ec-1.39 without member %i', lost => {
    const image = fixture('ec-1.39');
    const fs = openFilesystem(image.images.toSpliced(lost, 1), { degraded: true });
    try {
      const table = SnapshotTable.read(fs);
      const { files, missing } = manifestFiles(fs, table, image);
      expect(missing).toEqual([]);
      expect(files.length).toBe(9);
      const reader = new DataReader(fs);
      for (const file of files) {
        expect(readAll(reader, table, file), file.path).toEqual({ isSame: true, lostBytes: 0, findings: [] });
      }
    } finally {
      fs.close();
    }
  });

  test('ec-1.39 without any two members: what its stripes allow, and not a byte less', () => {
    const image = fixture('ec-1.39');
    const fs = openFilesystem(image.images);
    try {
      const table = SnapshotTable.read(fs);
      const { files } = manifestFiles(fs, table, image);
      const lostFiles: Record<string, readonly string[]> = {};
      for (const lost of pairs(5)) {
        const reader = new DataReader(without(fs, lost));
        const damaged: string[] = [];
        for (const found of files) {
          let expectedLoss = 0;
          for (const segment of fileSegments(fs, table, found.file)) {
            if (segment.kind !== 'data') continue;
            if (!canBeHad(fs, segment.key, segment.btree, lost)) expectedLoss += segment.length;
          }
          const { isSame, lostBytes, findings } = readAll(reader, table, found);
          expect(lostBytes, `${found.path} without ${lost}`).toBe(expectedLoss);
          expect(isSame, `${found.path} without ${lost}`).toBe(expectedLoss === 0);
          expect(findings.every(({ kind }) => kind === 'lost')).toBe(true);
          if (lostBytes > 0) damaged.push(found.path);
        }
        lostFiles[lost.join()] = damaged;
      }
      expect(lostFiles).toMatchInlineSnapshot(`
        {
          "0,1": [
            "lz4/text",
            "plain/text",
            "raid5/later",
            "raid5/pat",
            "raid5/text",
          ],
          "0,2": [
            "lz4/text",
            "raid5/later",
            "raid5/pat",
            "raid5/text",
          ],
          "0,3": [
            "lz4/text",
            "raid5/later",
            "raid5/pat",
            "raid5/text",
          ],
          "0,4": [
            "lz4/text",
            "raid5/later",
            "raid5/pat",
            "raid5/text",
          ],
          "1,2": [
            "lz4/text",
            "raid5/later",
            "raid5/pat",
            "raid5/text",
          ],
          "1,3": [
            "lz4/text",
            "raid5/later",
            "raid5/pat",
            "raid5/text",
            "raid6/clone",
            "raid6/text",
          ],
          "1,4": [
            "lz4/text",
            "raid5/later",
            "raid5/pat",
            "raid5/text",
          ],
          "2,3": [
            "lz4/text",
            "plain/text",
            "raid5/later",
            "raid5/pat",
            "raid5/text",
          ],
          "2,4": [
            "raid5/later",
            "raid5/pat",
            "raid5/text",
          ],
          "3,4": [
            "lz4/text",
            "raid5/later",
            "raid5/pat",
            "raid5/text",
          ],
        }
      `);
    } finally {
      fs.close();
    }
  });

  test.each([0, 1, 2])('multi3-r2 without member %i: all but what has one copy there', lost => {
    const image = fixture('multi3-r2');
    const fs = openFilesystem(image.images);
    try {
      const table = SnapshotTable.read(fs);
      const reader = new DataReader(without(fs, [lost]));
      let damaged = 0;
      for (const found of manifestFiles(fs, table, image).files) {
        if (found.entry.sha256 === undefined) continue;
        let expectedLoss = 0;
        for (const segment of fileSegments(fs, table, found.file)) {
          if (segment.kind === 'data' && !canBeHad(fs, segment.key, segment.btree, [lost])) {
            expectedLoss += segment.length;
          }
        }
        const { isSame, lostBytes } = readAll(reader, table, found);
        expect(lostBytes, found.path).toBe(expectedLoss);
        expect(isSame, found.path).toBe(expectedLoss === 0);
        // Only the directory with one replica loses anything.
        if (lostBytes > 0) expect(found.path).toMatch(/^one\//);
        if (lostBytes > 0) damaged++;
      }
      expect(damaged).toBeGreaterThan(0);
    } finally {
      fs.close();
    }
  });

  test.each(['multi3-r2', 'ec-1.39', 'multi4-tiers'])(
    '%s heals: each extent with one of its copies overwritten',
    name => {
      const image = fixture(name);
      const fs = openFilesystem(image.images);
      try {
        const table = SnapshotTable.read(fs);
        const { files } = manifestFiles(fs, table, image);
        const overlays = image.images.map((_, index) => new OverlayDevice(fs.device(index)!));
        // The first copy that would be read of each extent that can be read in another way.
        const bad = new Uint8Array(512).fill(0xa5);
        let damagedExtents = 0;
        for (const { file } of files) {
          for (const segment of fileSegments(fs, table, file)) {
            if (segment.kind !== 'data') continue;
            const entries = decodeExtentEntries(
              segment.btree === 'reflink' ? segment.key.value.subarray(8) : segment.key.value,
            );
            const first = entries.find(entry => entry.type === 'ptr');
            // Of a stripe one member only: a block that is overwritten is as good as lost.
            if (first === undefined || (name === 'ec-1.39' && first.dev !== 0)) continue;
            if (!canBeHad(fs, segment.key, segment.btree, [first.dev])) continue;
            overlays[first.dev]!.write(first.offset * 512, bad);
            damagedExtents++;
          }
        }
        expect(damagedExtents).toBeGreaterThan(10);
        const reader = new DataReader({
          sb: fs.sb,
          key: fs.key,
          btree: which => fs.btree(which),
          device: index => overlays[index],
        });
        let healed = 0;
        for (const found of files) {
          if (found.entry.sha256 === undefined) continue;
          const { isSame, lostBytes, findings } = readAll(reader, table, found);
          expect(isSame, found.path).toBe(true);
          expect(lostBytes).toBe(0);
          for (const { kind, damage } of findings) {
            expect(kind).toBe('healed');
            expect(damage).toMatchObject({
              error: expect.stringMatching(/^data_/),
              where: { sector: expect.any(Number) },
            });
          }
          if (findings.length > 0) healed++;
        }
        expect(healed).toBeGreaterThan(2);
      } finally {
        fs.close();
      }
    },
  );
});
