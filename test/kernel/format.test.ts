// What format makes, judged by a real kernel: it finds each filesystem complete (nothing to recover, nothing to complain about in a full
// check); it creates, deletes and snapshots, unmounts, mounts it again and finds the same files; it fills it until statfs says 95 %, checks
// it, deletes everything, and checks it again, each time without a complaint; then show-super reads back what the kernel left behind.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import {
  type FormatCase,
  formatCases,
  isComplete,
  MIB,
  PASSPHRASE,
  type PreparedFormat,
  prepareFormat,
} from '../support/format-cases.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import {
  type Case,
  caseNamed,
  compareManifests,
  complaintsIn,
  KernelFailure,
  type RunResult,
  resultOf,
  runInKernel,
  type Step,
  unlockKey,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const FULL_PERCENT = 95;
/** Btree nodes do not become fewer at once when their keys go; they are a larger part of the smallest filesystems. */
const EMPTY_PERCENT = 15;

/** They stand for the others where time is short: of what is laid out, stored and looked up differently, one each. */
const FEW = ['defaults', 'three devices, two copies, labels and targets', 'encrypted', 'the smallest image, 8 MiB'];
const cases = sampleOf('ways to call format', formatCases, FEW);

/** So many filesystems are on the disk at the same time. */
const GROUP = 6;
const groups = Array.from({ length: Math.ceil(cases.length / GROUP) }, (_, nr) => ({
  nr,
  group: cases.slice(nr * GROUP, (nr + 1) * GROUP),
}));

/** How far a filesystem is filled. */
function goalOf({ fillsLess }: FormatCase): { readonly percent: number; readonly limitBytes?: number } {
  if (fillsLess === undefined) return { percent: FULL_PERCENT };
  return 'percent' in fillsLess
    ? { percent: fillsLess.percent }
    : { percent: FULL_PERCENT, limitBytes: fillsLess.limitBytes };
}

const diskName = (nr: number, device: number) => `case${nr}.dev${device}`;

function steps({ nr, format, images }: PreparedFormat): Case {
  const disks = images.map((_, device) => diskName(nr, device));
  const key = format.passphrase === undefined ? {} : { key: unlockKey(images[0]!, format.passphrase) };
  const firstLook: Step[] = [
    { do: 'mount', disks, readOnly: true, options: 'nochanges', as: 'untouched mount', ...key },
    { do: 'manifest', as: 'untouched' },
    { do: 'umount' },
    { do: 'fsck', disks, as: 'untouched fsck', timeoutSeconds: 180, ...key },
  ];
  return {
    name: format.name,
    steps: [
      ...(isComplete(format) ? firstLook : []),
      { do: 'mount', disks, as: 'first mount', ...key },
      { do: 'fill', sizeBytes: format.fillBytes ?? 4 * MIB, subvolumes: true },
      { do: 'manifest', as: 'before' },
      { do: 'umount' },
      { do: 'mount', disks, ...key },
      { do: 'manifest', as: 'after' },
      { do: 'fillUp', as: 'fill up', seed: nr, ...goalOf(format), timeoutSeconds: 200 },
      { do: 'umount', as: 'full umount', timeoutSeconds: 120 },
      { do: 'fsck', disks, as: 'full fsck', timeoutSeconds: 300, ...key },
      { do: 'mount', disks, as: 'full mount', ...key },
      { do: 'space', as: 'full' },
      { do: 'deleteAll', as: 'delete all', timeoutSeconds: 300 },
      { do: 'list', as: 'left' },
      { do: 'umount', as: 'empty umount', timeoutSeconds: 120 },
      { do: 'mount', disks, ...key },
      { do: 'space', as: 'emptied' },
      { do: 'umount' },
      { do: 'fsck', disks, as: 'fsck', timeoutSeconds: 180, ...key },
    ],
  };
}

kernelSuite('format', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-format-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  describe.each(groups)('group $nr', ({ nr: groupNr, group }) => {
    const images = join(folder, `${groupNr}`);
    const prepared = group.map((format, nr) => prepareFormat(format, nr, images));
    let result: RunResult;

    beforeAll(async () => {
      mkdirSync(images);
      writeFileSync(join(images, 'passphrase'), `${PASSPHRASE}\n`);
      for (const { words } of prepared) await succeed('format', words);
      result = await runInKernel({
        disks: prepared.flatMap(({ nr, format, images }) =>
          images.map((path, device) => ({
            name: diskName(nr, device),
            path,
            logicalBlockBytes: format.sectorBytes ?? 512,
            physicalBlockBytes: format.sectorBytes ?? 512,
          })),
        ),
        cases: prepared.map(steps),
        timeoutSeconds: 900,
        failures: 'return',
      });
    }, patient(1_000_000));
    afterAll(() => rmSync(images, { recursive: true, force: true }));

    test.each(prepared)('$format.name', async ({ format, images }) => {
      const outcome = caseNamed(result, format.name);
      if (!outcome.ok) throw new KernelFailure({ ...result, cases: [outcome] });
      if (isComplete(format)) {
        const untouched = resultOf(outcome, 'untouched mount').log;
        expect(untouched.join('\n')).toMatch(/recovering from clean shutdown, journal seq 1$/m);
        expect(untouched.join('\n')).not.toMatch(/initializing|going read-write/);
        expect(resultOf(outcome, 'untouched').manifest?.map(({ path, type }) => `${type} ${path}`)).toEqual([
          'dir .',
          'dir lost+found',
        ]);
      }
      const firstMount = resultOf(outcome, 'first mount').log.join('\n');
      expect(firstMount.includes('initializing new filesystem')).toBe(!isComplete(format));
      const before = resultOf(outcome, 'before').manifest;
      expect(before?.length).toBeGreaterThan(10);
      // The kernel's own picture of a file can be a clock tick older than the times that it writes (hard links, collapsed and
      // inserted ranges), so times are not compared across the unmount.
      const after = resultOf(outcome, 'after').manifest!;
      expect(compareManifests(after, before!, { ignore: ['ctime_ns', 'mtime_ns'] })).toEqual([]);

      const usedPercent = (as: string) => {
        const { totalBytes = 0, freeBytes = 0 } = resultOf(outcome, as).counts;
        return (100 * (totalBytes - freeBytes)) / totalBytes;
      };
      const { percent, limitBytes } = goalOf(format);
      if (limitBytes === undefined) expect(usedPercent('full')).toBeGreaterThanOrEqual(percent - 1);
      else expect(resultOf(outcome, 'fill up').counts.writtenBytes).toBeGreaterThanOrEqual(limitBytes);
      expect(resultOf(outcome, 'left').names).toEqual(['lost+found']);
      expect(usedPercent('emptied')).toBeLessThan(EMPTY_PERCENT);

      for (const { step, fsck } of outcome.steps) {
        if (step.do === 'fsck') expect({ step: step.as, ...fsck }).toMatchObject({ mounted: true, complaints: [] });
      }
      // Whatever the kernel did: nothing that it has to say may be more than that it mounts, unmounts and goes read-write.
      expect(outcome.steps.flatMap(({ log }) => complaintsIn(log))).toEqual([]);

      for (const image of images) {
        const text = await succeed('show-super', ['--layout', '--fields=all', image]);
        expect(text).toMatch(/^Clean: +1$/m);
        expect(text).not.toMatch(/damaged|unknown\(/);
      }
      const text = await succeed('show-super', [images[0]!]);
      for (const line of format.shows ?? []) expect(text).toMatch(line);
    });
  });
});
