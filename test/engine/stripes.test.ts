// Stripes that are taken apart and put right: by files that are removed, by scrub, and by members that leave. Every rule of the checker holds
// after each commit, and files are what they were.

import {
  type BlockDevice,
  checkInvariants,
  contentsOf,
  evacuateSteps,
  extent,
  FileEdit,
  type Filesystem,
  findingText,
  type Key,
  keyTypes,
  loadChecksums,
  lostKeys,
  members,
  planShrink,
  removeMember,
  type ScrubFinding,
  scrub,
  shrinkMember,
  shrinkSteps,
  smallestBucketCount,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { stripe } from '../../packages/core/src/ondisk/keys/stripe.ts';
import { dataCopies } from '../support/bad-copies.ts';
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

function striped(options: Parameters<typeof stripedImage>[0] = {}) {
  const made = stripedImage(options);
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

test('a member whose block is bad gets smaller: the stripe gives what was there', { timeout: patient(60_000) }, () => {
  const { devices, writer, files } = striped({ isAtEnd: true });
  const { dev, offset } = stripesOf(writer.filesystem)[0]!.ptrs[0]!;
  for (let sector = 0; sector < BUCKET_SECTORS; sector++) spoilAt(devices[dev]!, offset + sector);
  expect(shrinkMember(writer, dev, 'min').movedBytes).toBeGreaterThan(0);
  const small = openOn(devices, undefined);
  expect(findings(small)).toEqual([]);
  expect(filesText(small)).toEqual(files);
});

describe.each([
  { name: 'one copy', options: {} },
  { name: 'two copies', options: { data_replicas: '2' } },
])('members with blocks of stripes: $name', ({ options }) => {
  const copies = Number(options.data_replicas ?? 1);
  const leaning = (filesystem: Filesystem, dev: number) =>
    stripesOf(filesystem).filter(({ ptrs }) => ptrs.some(ptr => ptr.dev === dev)).length;

  test.each([0, 1, 2, 3])('member %d is emptied, and leaves', { timeout: patient(60_000) }, dev => {
    const { devices, writer, files } = striped({ options });
    const before = stripesOf(writer.filesystem).length - leaning(writer.filesystem, dev);
    for (const _ of evacuateSteps(writer, [dev], { keysPerCommit: 16 }))
      expect(findings(openOn(devices, undefined))).toEqual([]);
    const emptied = openOn(devices, undefined);
    expect(contentsOf(emptied, dev)).toMatchObject({ userBytes: 0, btreeBytes: 0 });
    expect(stripesOf(emptied).length).toBe(before);
    expect(filesText(emptied)).toEqual(files);
    for (const [of] of dataCopies(emptied).map(all => [all.length])) expect(of).toBe(copies);
    expect(removeMember(writer, dev).isRemoved).toBe(true);
    const left = openOn(
      devices.filter((_, nr) => nr !== dev),
      undefined,
    );
    expect(findings(left)).toEqual([]);
    expect(filesText(left)).toEqual(files);
  });

  test.each([1, 2])('member %d gets as small as it can', { timeout: patient(60_000) }, dev => {
    const { devices, writer, files } = striped({ options, isAtEnd: true });
    const all = stripesOf(writer.filesystem).length;
    const leaningBefore = leaning(writer.filesystem, dev);
    expect(leaningBefore).toBeGreaterThan(0);
    const least = smallestBucketCount(writer.filesystem, dev);
    expect(least).toBeLessThan(members(writer.filesystem.sb)[dev]!.nbuckets);
    const plan = planShrink(writer.filesystem, dev, least);
    expect(plan.stripedBytes).toBeGreaterThan(0);
    expect(plan.copiedBytes).toBe((copies - 1) * plan.stripedBytes);
    let wasLeaning = true;
    for (const steps = shrinkSteps(writer, dev, 'min', { keysPerCommit: 16 }); ; ) {
      const { done, value } = steps.next();
      // Until its superblock copy has moved.
      if (wasLeaning) expect(findings(openOn(devices, undefined))).toEqual([]);
      wasLeaning = leaning(writer.filesystem, dev) > 0;
      if (!done) continue;
      expect(value.bucketCount).toBe(least);
      devices[dev]!.setSize(value.sizeBytes);
      break;
    }
    const small = openOn(devices, undefined);
    expect(findings(small)).toEqual([]);
    expect(stripesOf(small).length).toBe(all - leaningBefore);
    expect(filesText(small)).toEqual(files);
    for (const { length } of dataCopies(small)) expect(length).toBe(copies);
    // As small as it was said, and not smaller for having been made so.
    expect(smallestBucketCount(small, dev)).toBe(least);
  });

  test.each([0, 2])(
    'member %d is missing, and removed: what stripes give of it is kept',
    { timeout: patient(60_000) },
    dev => {
      const { devices, writer: whole } = striped({ options });
      const onlyThere = dataCopies(whole.filesystem).filter(all => all.every(copy => copy.dev === dev)).length;
      const inStripes = [...whole.filesystem.btree('extents').keys()].filter(key => stripedOn(key, dev)).length;
      const present = devices.filter((_, nr) => nr !== dev);
      const { writer } = writerOn(present, undefined, 7, { allowMissing: true });
      const lost = copies === 1 ? onlyThere - inStripes : 0;
      expect(lostKeys(writer.filesystem, dev).length).toBe(lost);
      const report = removeMember(writer, dev, { keysPerCommit: 16 });
      expect(report).toMatchObject({ isRemoved: true, lostKeys: lost });
      const left = openOn(present, undefined);
      expect(findings(left)).toEqual([]);
      expect(leaning(left, dev)).toBe(0);
      expect(scrub(left, { onFinding: () => {} })).toMatchObject({ lost, correctable: 0, uncorrected: 0 });
    },
  );
});

const stripedOn = ({ k, value }: Key, dev: number): boolean =>
  k.type === keyTypes.idOf('extent') &&
  extent
    .decode(value)
    .entries.some((entry, nr, all) => entry.type === 'ptr' && entry.dev === dev && all[nr - 1]?.type === 'stripe_ptr');
