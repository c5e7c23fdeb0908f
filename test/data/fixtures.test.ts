// Every regular file and symlink of every reference image against its manifest: content, size, and where its data are.

import { createHash } from 'node:crypto';
import {
  DataReader,
  type FileChunk,
  type FileFinding,
  type FileSegment,
  type Filesystem,
  fileChunks,
  fileSegments,
  loadChecksums,
  loadCompression,
  openFilesystem,
  readFile,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { SnapshotTable } from '../../packages/core/src/snapshots/snapshot-table.ts';
import { type Fixture, fixture, fixtureNames, whyNoFixtures } from '../support/fixtures.ts';
import { type ManifestFile, manifestFiles } from './manifest-files.ts';

if (whyNoFixtures !== undefined) console.warn(`data of fixtures skipped: ${whyNoFixtures}`);

/** Images without a root or without a manifest have nothing to compare. */
const names =
  whyNoFixtures === undefined ? fixtureNames().filter(name => !name.startsWith('fresh-') && name !== 'dmg-root') : [];

/** Files that the damage took: cut off from the root, or the entry that led to them. */
const MISSING: Readonly<Record<string, number>> = {
  'dmg-dirents-root': 51,
  'dmg-dirloop': 7,
  'dmg-leaf-csum': 1,
  'dmg-missing-target': 1,
  'dmg-orphan': 3,
  'dmg-subvol': 1,
};
/** What differs from the manifest, which was made before the damage. */
const DIFFERENT: Readonly<Record<string, string>> = {
  'dmg-data-csum': 'a/b/c/f4',
  'dmg-dup-dirent': 'a/f2',
  'dmg-size': 'a/b/c/f4',
};

function open({ images, json }: Fixture): Filesystem {
  const passphrase = json.passphrase === null ? undefined : new TextEncoder().encode(json.passphrase);
  return openFilesystem(images, { passphrase });
}

const ZEROES = new Uint8Array(2 ** 20);

/** The hash over all of a file, with holes as the zeroes that they are. */
function sha256(chunks: Iterable<FileChunk>): string {
  const hash = createHash('sha256');
  for (const chunk of chunks) {
    if (chunk.kind === 'data') hash.update(chunk.bytes);
    else for (let left = chunk.length; left > 0; left -= ZEROES.length) hash.update(ZEROES.subarray(0, left));
  }
  return hash.digest('hex');
}

/** Runs of data, neighbours joined. */
function dataRuns(segments: Iterable<FileSegment>): [number, number][] {
  const runs: [number, number][] = [];
  for (const { kind, offset, length } of segments) {
    if (kind !== 'data' && kind !== 'inline') continue;
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === offset) last[1] += length;
    else runs.push([offset, length]);
  }
  return runs;
}

/** The hash of files with terabytes of holes: for each run of data offset, length and the data. */
function sha256OfRuns(reader: DataReader, table: SnapshotTable, { file }: ManifestFile): string {
  const hash = createHash('sha256');
  for (const [offset, length] of dataRuns(fileSegments(reader.source, table, file))) {
    const header = new DataView(new ArrayBuffer(16));
    header.setBigUint64(0, BigInt(offset), true);
    header.setBigUint64(8, BigInt(length), true);
    hash.update(new Uint8Array(header.buffer));
    for (const chunk of fileChunks(reader, table, file, { from: offset, to: offset + length })) {
      if (chunk.kind === 'data') hash.update(chunk.bytes);
    }
  }
  return hash.digest('hex');
}

describe.skipIf(whyNoFixtures !== undefined)('files of the reference images', () => {
  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
  });

  test('there is enough of them', () => {
    expect(names.length).toBeGreaterThanOrEqual(59);
  });

  test.each(names)('%s', name => {
    const image = fixture(name);
    const fs = open(image);
    try {
      const table = SnapshotTable.read(fs, { onDamage() {} });
      const reader = new DataReader(fs);
      const { files, missing } = manifestFiles(fs, table, image);
      expect(missing.length, missing.slice(0, 5).join()).toBe(MISSING[name] ?? 0);
      const findings: (Pick<FileFinding, 'kind' | 'offset' | 'length'> & { readonly path: string })[] = [];
      const different: string[] = [];
      for (const found of files) {
        const { path, entry, file } = found;
        const onFinding = ({ kind, offset, length }: FileFinding) => findings.push({ kind, offset, length, path });
        if (entry.type === 'lnk') {
          const target =
            entry.target_b64 === undefined ? Buffer.from(entry.target ?? '') : Buffer.from(entry.target_b64, 'base64');
          const into = new Uint8Array(target.length + 1);
          const length = readFile(reader, table, file, 0, into, { onFinding });
          expect(Buffer.from(into.subarray(0, length)), path).toEqual(target);
          continue;
        }
        let isSame = file.sizeBytes === entry.size;
        if (entry.sha256 !== undefined) {
          isSame = sha256(fileChunks(reader, table, file, { onFinding })) === entry.sha256 && isSame;
        } else if (entry.sha256_data !== undefined) {
          isSame = sha256OfRuns(reader, table, found) === entry.sha256_data && isSame;
        }
        if (!isSame) different.push(path);
        if (entry.data !== undefined) expect(dataRuns(fileSegments(fs, table, file)), path).toEqual(entry.data);
      }
      expect(different).toEqual(DIFFERENT[name] === undefined ? [] : [DIFFERENT[name]]);
      // One checksum covers 64 KiB: that is what four changed bytes cost.
      expect(findings.map(({ path, kind, offset, length }) => ({ path, kind, offset, length }))).toEqual(
        name === 'dmg-data-csum' ? [{ path: 'a/b/c/f4', kind: 'lost', offset: 0, length: 65536 }] : [],
      );
    } finally {
      fs.close();
    }
  });
});
