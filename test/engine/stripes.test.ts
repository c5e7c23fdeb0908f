// Stripes that are taken apart and put right: by files that are removed, by scrub, and by members that leave. Every rule of the checker holds
// after each commit, and files are what they were.

import {
  type BlockDevice,
  checkInvariants,
  FileEdit,
  type Filesystem,
  findingText,
  loadChecksums,
  type ScrubFinding,
  scrub,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { stripe } from '../../packages/core/src/ondisk/keys/stripe.ts';
import { writerOn } from '../support/commits.ts';
import { openOn } from '../support/cut-states.ts';
import { treeText } from '../support/file-model.ts';
import { patient } from '../support/patience.ts';
import { striped as stripedImage } from '../support/striped.ts';

beforeAll(loadChecksums);

const SECTOR_BYTES = 512;
const BUCKET_SECTORS = 128;
const FILES = 8;
const text = new TextEncoder();

const findings = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);
const stripesOf = (filesystem: Filesystem) =>
  [...filesystem.btree('stripes').keys()].map(({ value }) => stripe.decode(value));

function striped() {
  const made = stripedImage();
  const { filesystem } = made.writer;
  expect(findings(filesystem)).toEqual([]);
  expect(stripesOf(filesystem).every(({ blockcounts }) => blockcounts!.some(count => count > 0))).toBe(true);
  return { ...made, files: filesText(filesystem) };
}

const filesText = (filesystem: Filesystem): string[] => treeText(filesystem, '/');

function spoilAt(device: BlockDevice, sector: number): void {
  const bytes = new Uint8Array(SECTOR_BYTES);
  device.read(sector * SECTOR_BYTES, bytes);
  device.write(
    sector * SECTOR_BYTES,
    bytes.map(byte => byte ^ 0x5a),
  );
}

test('a stripe ends with the last file in it, and its buckets are free again', { timeout: patient(60_000) }, () => {
  const { devices, writer, times } = striped();
  for (let nr = 0; nr < FILES; nr++) {
    const edit = new FileEdit(writer, times);
    edit.files.remove(edit.files.root(), text.encode(`file ${nr}`));
    edit.commit();
    expect(findings(openOn(devices, undefined))).toEqual([]);
  }
  expect(stripesOf(writer.filesystem)).toEqual([]);
});

describe('scrub', () => {
  const scrubbed = (devices: readonly BlockDevice[], repair: boolean) => {
    const found: ScrubFinding[] = [];
    const report = scrub(openOn(devices, undefined), {
      onFinding: finding => found.push(finding),
      ...(repair
        ? { repair: { writer: () => writerOn(devices, undefined, 5).writer, now: () => 1_800_000_000n } }
        : {}),
    });
    return {
      report,
      found: found.map(one => (one.kind === 'copy' ? `${one.what} ${one.dev} ${one.outcome}` : 'lost')),
    };
  };

  test('writes bad parity anew, from the data', { timeout: patient(60_000) }, () => {
    const { devices, writer, files } = striped();
    const [first] = stripesOf(writer.filesystem);
    const { dev, offset } = first!.ptrs[2]!;
    spoilAt(devices[dev]!, offset + 3);
    spoilAt(devices[dev]!, offset + 100);
    expect(scrubbed(devices, false).found).toEqual(['parity 2 correctable', 'parity 2 correctable']);
    expect(scrubbed(devices, true)).toMatchObject({
      found: ['parity 2 corrected', 'parity 2 corrected'],
      report: { corrected: 2, uncorrected: 0 },
    });
    const after = openOn(devices, undefined);
    expect(findings(after)).toEqual([]);
    expect(stripesOf(after)[0]!.ptrs[2]).not.toEqual(first!.ptrs[2]);
    expect(filesText(after)).toEqual(files);
    expect(scrubbed(devices, true).report).toMatchObject({ corrected: 0, uncorrected: 0, lost: 0 });
    // The new parity gives the data that it protects.
    const block = first!.ptrs[0]!;
    for (let sector = 0; sector < BUCKET_SECTORS; sector++) spoilAt(devices[block.dev]!, block.offset + sector);
    expect(filesText(openOn(devices, undefined))).toEqual(files);
  });

  test('leaves parity where the data is not good either', { timeout: patient(60_000) }, () => {
    const { devices, writer } = striped();
    const [first] = stripesOf(writer.filesystem);
    for (const { dev, offset } of [first!.ptrs[0]!, first!.ptrs[2]!]) spoilAt(devices[dev]!, offset + 3);
    const { report, found } = scrubbed(devices, true);
    expect(found).toContain('parity 2 uncorrected');
    expect(report.corrected).toBe(0);
    expect(findings(openOn(devices, undefined))).toEqual([]);
  });

  test('computes bad data from the others, which is in no stripe then', { timeout: patient(60_000) }, () => {
    const { devices, writer, files } = striped();
    const [first] = stripesOf(writer.filesystem);
    const { dev, offset } = first!.ptrs[0]!;
    for (let sector = 0; sector < BUCKET_SECTORS; sector++) spoilAt(devices[dev]!, offset + sector);
    expect(scrubbed(devices, true).report).toMatchObject({ uncorrected: 0, lost: 0 });
    const after = openOn(devices, undefined);
    expect(findings(after)).toEqual([]);
    expect(stripesOf(after)[0]!.blockcounts![0]).toBe(0);
    expect(filesText(after)).toEqual(files);
  });
});
