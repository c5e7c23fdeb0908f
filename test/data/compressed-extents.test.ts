// Compressed data on small buckets of several sizes, some of it beside what was written before: what is compressed together stays in one
// piece and inside of its bucket on every member, and is read as it was written.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkInvariants,
  DataReader,
  extent,
  FileEdit,
  FilesystemWriter,
  FileTree,
  findingText,
  IndirectExtents,
  keyTypes,
  loadChecksums,
  loadCompression,
  loadCompressors,
  openDevice,
  openFilesystem,
  openMembers,
  readFile,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { members } from '../../packages/core/src/ondisk/sb-fields/members.ts';
import { succeed } from '../support/cli.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const text = new TextEncoder();
const FILES = 40;
const KIB = 1024;

describe('compressed extents', () => {
  const seed = testSeed();
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-compressed-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    await loadCompressors();
  });

  test.each([
    ['one member', ['--bucket_size=64k', 'DEV0']],
    ['two copies, buckets of two sizes', ['--replicas=2', '--bucket_size=64k', 'DEV0', '--bucket_size=256k', 'DEV1']],
    [
      'no checksums',
      [
        '--data_checksum=none',
        '--replicas=2',
        '--bucket_size=128k',
        'DEV0',
        '--bucket_size=64k',
        'DEV1',
        '--bucket_size=64k',
        'DEV2',
      ],
    ],
  ] as const)('%s', async (name, words) => {
    const images: string[] = [];
    const formatWords = words.flatMap(word => {
      if (!word.startsWith('DEV')) return [word];
      images.push(join(folder, `${name}.${word}`));
      return ['--fs_size=128M', images.at(-1)!];
    });
    await succeed('format', ['--compression=lz4', '--encoded_extent_max=256k', ...formatWords]);
    const contents = write(images);

    const filesystem = openFilesystem(images);
    try {
      const buckets = members(filesystem.sb).map(({ bucket_size }) => bucket_size);
      let compressed = 0;
      for (const { k, value } of filesystem.btree('extents').keys()) {
        if (k.type !== keyTypes.idOf('extent')) continue;
        let size = k.size;
        for (const entry of extent.decode(value).entries) {
          if ('compressed_size' in entry) {
            size = entry.compressed_size;
            if (entry.compressed_size < entry.uncompressed_size) compressed++;
          }
          if (entry.type !== 'ptr') continue;
          const sectors = buckets[entry.dev]!;
          expect((entry.offset % sectors) + size, `TEST_SEED=${seed}`).toBeLessThanOrEqual(sectors);
        }
      }
      expect(compressed).toBeGreaterThan(FILES);
      const tree = FileTree.open(filesystem);
      const [data, reflinks] = [new DataReader(filesystem), new IndirectExtents(filesystem)];
      for (const [path, expected] of contents) {
        const { inum, snapshot } = tree.lookup(path);
        const found = new Uint8Array(expected.length);
        readFile(data, tree.table, { inum, snapshot, sizeBytes: expected.length }, 0, found, { reflinks });
        expect(Buffer.compare(found, expected), `${path}, TEST_SEED=${seed}`).toBe(0);
      }
      expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
    } finally {
      filesystem.close();
    }
  });

  /** Files of which some blocks compress well and some not at all, and later changes in the middle of them. */
  function write(images: readonly string[]): ReadonlyMap<string, Uint8Array> {
    const random = randomFrom(seed);
    const contents = new Map<string, Uint8Array>();
    const bytesOf = (length: number): Uint8Array => {
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length; at += 4 * KIB) {
        const kinds = random.pick([1, 2, 16, 256]);
        for (let i = at; i < Math.min(length, at + 4 * KIB); i++) bytes[i] = 1 + random.below(kinds);
      }
      return bytes;
    };
    const devices = images.map(path => openDevice(path, { write: true }));
    try {
      const options = { random: seededRandom(`${seed}`), now: () => 1_800_000_000_000_000_000n };
      const writer = new FilesystemWriter(openMembers(devices), { random: options.random, now: () => 1_800_000_000n });
      for (const isFirst of [true, false]) {
        const edit = new FileEdit(writer, options);
        const { files, content } = edit;
        for (let nr = 0; nr < FILES; nr++) {
          const path = `f${nr}`;
          if (isFirst) {
            const bytes = bytesOf(random.pick([5, 64, 100, 256, 300]) * KIB + random.below(5000));
            content.write(files.create(files.root(), text.encode(path), { mode: 0o100644 }), 0, bytes);
            contents.set(path, bytes);
          } else {
            const bytes = contents.get(path)!;
            const at = random.below(bytes.length);
            const changed = bytesOf(Math.min(bytes.length - at, 1 + random.below(80 * KIB)));
            content.write(files.lookup(files.root(), text.encode(path))!, at, changed);
            bytes.set(changed, at);
          }
        }
        edit.commit();
      }
    } finally {
      for (const device of devices) device.close();
    }
    return contents;
  }
});
