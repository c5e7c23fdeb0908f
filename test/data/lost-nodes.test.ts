// Leaves of the extents btree that are lost, one after the other: what was data must be read as it was, or be said to be lost. It must
// never turn into a hole.

import {
  DataReader,
  type FileFinding,
  type FileSegment,
  fileSegments,
  filesystemOf,
  OverlayDevice,
  openDevice,
  openFilesystem,
  openMembers,
  readFile,
} from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { SnapshotTable } from '../../packages/core/src/snapshots/snapshot-table.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { type ManifestFile, manifestFiles } from './manifest-files.ts';

if (whyNoFixtures !== undefined) console.warn(`lost nodes of fixtures skipped: ${whyNoFixtures}`);

const isZero = ({ kind }: FileSegment) => kind === 'hole' || kind === 'reserved' || kind === 'unwritten';

describe.skipIf(whyNoFixtures !== undefined)('lost leaves of extents', () => {
  test('many', () => {
    const image = fixture('many');
    const whole = openFilesystem(image.images);
    const table = SnapshotTable.read(whole);
    const files = manifestFiles(whole, table, image)
      .files.filter(({ entry }) => entry.type === 'reg' && entry.size > 0)
      .filter(({ entry }, i) => entry.size > 100_000 || i % 1500 === 0);
    const read = (reader: DataReader, { file }: ManifestFile) => {
      const bytes = new Uint8Array(file.sizeBytes);
      const findings: FileFinding[] = [];
      readFile(reader, table, file, 0, bytes, { onFinding: finding => findings.push(finding) });
      return { bytes, findings };
    };
    const sound = new Map(files.map(found => [found.path, read(new DataReader(whole), found).bytes]));
    const leaves = [...whole.btree('extents').nodes()].map(({ facts }) => facts.sector);
    expect(leaves.length).toBeGreaterThan(3);
    let damagedFiles = 0;
    for (const sector of leaves) {
      const overlay = new OverlayDevice(openDevice(image.images[0]!, { write: false }));
      overlay.write(sector * 512, new Uint8Array(4096));
      const fs = filesystemOf(openMembers([overlay]));
      try {
        const reader = new DataReader(fs);
        for (const found of files) {
          const { bytes, findings } = read(reader, found);
          const expected = sound.get(found.path)!;
          // What is reported as lost was filled with zeroes.
          const compared = expected.slice();
          for (const { kind, offset, length } of findings) {
            if (kind === 'lost') compared.fill(0, offset, offset + length);
          }
          expect(Buffer.compare(bytes, compared), `${found.path} without the leaf at sector ${sector}`).toBe(0);
          if (findings.some(({ kind }) => kind === 'lost')) {
            damagedFiles++;
            expect(findings.some(({ kind }) => kind === 'metadata')).toBe(true);
          } else {
            expect([...fileSegments(fs, table, found.file, { onDamage() {} })].filter(isZero).length).toBe(
              [...fileSegments(whole, table, found.file)].filter(isZero).length,
            );
          }
        }
      } finally {
        fs.close();
      }
    }
    expect(damagedFiles).toBeGreaterThan(leaves.length / 2);
    whole.close();
  });
});
