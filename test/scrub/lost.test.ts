// Extents without a good copy: the files that scrub names are those that cannot be read any more, in all subvolumes and snapshots, by all of
// their names, and by all of those that share data. What can be read by another copy although a device fails is repaired.

import { createHash } from 'node:crypto';
import {
  checkInvariants,
  DataReader,
  FaultyDevice,
  FileEdit,
  type Filesystem,
  FileTree,
  fileChunks,
  fileSize,
  findingText,
  IndirectExtents,
  isDirectory,
  type LostRun,
  loadChecksums,
  loadCompression,
  type MemoryDevice,
  printableBytes,
  readBytes,
  type ScrubFinding,
  scrub,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { chooseCopies, dataCopies, spoil } from '../support/bad-copies.ts';
import { writerOn } from '../support/commits.ts';
import { openOn } from '../support/cut-states.ts';
import { whyNoFixtures } from '../support/fixtures.ts';
import { sampleOf } from '../support/long.ts';
import { fixtureImage, formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`extents without a good copy: TEST_SEED=${seed}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

/** Paths of files that have a part that cannot be read. */
function unreadable(filesystem: Filesystem): readonly string[] {
  const tree = FileTree.open(filesystem);
  const reader = new DataReader(filesystem);
  const reflinks = new IndirectExtents(filesystem);
  const paths: string[] = [];
  for (const { path, node } of tree.walk()) {
    if (node === undefined || isDirectory(node.inode)) continue;
    const file = { ...node, sizeBytes: fileSize(node.inode.bi_size, 'an inode') };
    const chunks = fileChunks(reader, tree.table, file, { reflinks, onFinding: () => {} });
    if ([...chunks].some(({ kind }) => kind === 'lost')) paths.push(`/${printableBytes(path)}`);
  }
  return [...new Set(paths)].sort();
}

const bytesOf = (devices: readonly MemoryDevice[]) =>
  devices.map(device =>
    device.writtenRanges().map(({ offset, length }) => [
      offset,
      createHash('sha256')
        .update(readBytes(device, offset, length))
        .digest('hex'),
    ]),
  );

if (whyNoFixtures !== undefined) console.warn(`files without a good copy in fixtures skipped: ${whyNoFixtures}`);

const kinds = ['basic', 'reflink', 'snapshots', 'compress-lz4', 'multi2', 'csum-xxhash', 'encrypted', 'geom-bs512'].map(
  name => ({ name }),
);
const FEW = ['reflink', 'snapshots'];

describe.skipIf(whyNoFixtures !== undefined)(`files are named (seed ${seed})`, () => {
  const chosen = whyNoFixtures === undefined ? sampleOf('files without a good copy', kinds, FEW) : [];
  test.each(chosen)('$name', { timeout: patient(120_000) }, ({ name }) => {
    const random = randomFrom(seed);
    const { devices, key } = fixtureImage(name);
    const all = dataCopies(openOn(devices, key));
    const spoilAll = (copies: (typeof all)[number]) => {
      for (const copy of copies) spoil(devices, copy, random);
    };
    for (const copies of all) if (random.below(100) < 8) spoilAll(copies);
    // Of few extents none may be drawn, or only some that no file leads to.
    while (unreadable(openOn(devices, key)).length === 0) spoilAll(random.pick(all));
    const before = bytesOf(devices);
    const filesystem = openOn(devices, key);
    const expected = unreadable(filesystem);
    const lost: LostRun[] = [];
    const report = scrub(filesystem, {
      onFinding: finding => {
        if (finding.kind === 'lost') lost.push(finding);
        else expect(finding.outcome).toBe('uncorrected');
      },
      copiesMax: 30,
      repair: { writer: () => writerOn(devices, key, seed).writer, now: () => 1_800_000_000n },
    });
    expect(report).toMatchObject({ corrected: 0, correctable: 0, refused: undefined });
    expect(expected.length).toBeGreaterThan(0);
    const named = lost.flatMap(({ files }) => files.flatMap(({ paths }) => paths));
    expect(named.every(({ isWhole }) => isWhole)).toBe(true);
    const paths = [...new Set(named.map(({ path }) => `/${printableBytes(path)}`))].sort();
    expect(paths).toEqual(expected);
    expect(bytesOf(devices)).toEqual(before);
    console.info(`${name}: ${report.lost} extents, ${expected.length} paths`);
  });
});

describe('a device that fails', () => {
  const text = new TextEncoder();

  test('copies that cannot be read are replaced, those beside them are not', { timeout: patient(60_000) }, () => {
    const random = randomFrom(seed);
    const { devices, key } = formattedImage({
      members: 2,
      sizeBytes: 24 * MIB,
      options: { data_replicas: '2', metadata_replicas: '2' },
    });
    const { writer, options } = writerOn(devices, key, seed);
    const edit = new FileEdit(writer, options);
    for (let i = 0; i < 12; i++) {
      const ref = edit.files.create(edit.files.root(), text.encode(`file ${i}`), { mode: 0o100644 });
      edit.content.write(ref, 0, new Uint8Array(60_000).fill(i + 1));
    }
    edit.commit();
    const all = dataCopies(openOn(devices, key));
    const bad = chooseCopies(all, random, 40);
    const failing = devices.map(
      (device, nr) =>
        new FaultyDevice(
          device,
          bad.flatMap(({ dev, offset, length }) =>
            dev === nr ? [{ kind: 'read-error' as const, offset: offset + ((length >> 10) << 9), length: 512 }] : [],
          ),
        ),
    );
    const findings: ScrubFinding[] = [];
    const report = scrub(openOn(failing, key), {
      onFinding: finding => findings.push(finding),
      repair: { writer: () => writerOn(failing, key, seed + 1).writer, now: () => 1_800_000_000n },
    });
    expect(report).toMatchObject({ corrected: bad.length, correctable: 0, uncorrected: 0, lost: 0 });
    expect(new Set(findings.map(({ damage }) => damage.error))).toEqual(new Set(['device_io']));
    const filesystem = openOn(failing, key);
    expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
    expect(unreadable(filesystem)).toEqual([]);
    expect(scrub(filesystem, { onFinding: () => {} })).toMatchObject({ correctable: 0, uncorrected: 0, lost: 0 });
  });

  test('a member without room: the copy goes to another one, or stays', { timeout: patient(60_000) }, () => {
    const random = randomFrom(seed);
    const { devices, key } = formattedImage({
      members: 2,
      sizeBytes: 24 * MIB,
      options: { data_replicas: '2', metadata_replicas: '2' },
    });
    const { writer, options } = writerOn(devices, key, seed);
    const edit = new FileEdit(writer, options);
    const ref = edit.files.create(edit.files.root(), text.encode('full'), { mode: 0o100644 });
    edit.content.write(ref, 0, new Uint8Array(9 * MIB).fill(3));
    edit.commit();
    const all = dataCopies(openOn(devices, key));
    for (const copies of all) spoil(devices, copies[0]!, random);
    const report = scrub(openOn(devices, key), {
      onFinding: () => {},
      repair: { writer: () => writerOn(devices, key, seed + 1).writer, now: () => 1_800_000_000n },
    });
    expect(report.corrected + report.uncorrected).toBe(all.length);
    expect(report.lost).toBe(0);
    const filesystem = openOn(devices, key);
    expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
    expect(unreadable(filesystem)).toEqual([]);
    expect(scrub(filesystem, { onFinding: () => {} })).toMatchObject({ correctable: report.uncorrected, lost: 0 });
    console.info(`nearly full: ${report.corrected} of ${all.length} copies corrected`);
  });
});
