// What format makes, judged by a real kernel: it finds each filesystem complete (nothing to recover, nothing to complain about in a full
// check), fills it, unmounts it, mounts it again, finds the same files and checks it without a complaint; then show-super reads back what
// the kernel left behind.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import {
  formatCases,
  isComplete,
  MIB,
  PASSPHRASE,
  type PreparedFormat,
  prepareFormat,
} from '../support/format-cases.ts';
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
      { do: 'umount' },
      { do: 'fsck', disks, as: 'fsck', timeoutSeconds: 180, ...key },
    ],
  };
}

kernelSuite('format', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-format-'));
  writeFileSync(join(folder, 'passphrase'), `${PASSPHRASE}\n`);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const cases = formatCases.map((format, nr) => prepareFormat(format, nr, folder));
  let result: RunResult;

  beforeAll(async () => {
    for (const { words } of cases) await succeed('format', words);
    result = await runInKernel({
      disks: cases.flatMap(({ nr, format, images }) =>
        images.map((path, device) => ({
          name: diskName(nr, device),
          path,
          logicalBlockBytes: format.sectorBytes ?? 512,
          physicalBlockBytes: format.sectorBytes ?? 512,
        })),
      ),
      cases: cases.map(steps),
      timeoutSeconds: 900,
      failures: 'return',
    });
  }, 1_000_000);

  test.each(cases)('$format.name', async ({ format, images }) => {
    const outcome = caseNamed(result, format.name);
    if (!outcome.ok) throw new KernelFailure({ ...result, cases: [outcome] });
    const firstMount = resultOf(outcome, 'first mount').log.join('\n');
    if (isComplete(format)) {
      const untouched = resultOf(outcome, 'untouched mount').log;
      expect(untouched.join('\n')).toMatch(/recovering from clean shutdown, journal seq 1$/m);
      expect(untouched.join('\n')).not.toMatch(/initializing|going read-write/);
      expect(complaintsIn(untouched)).toEqual([]);
      expect(resultOf(outcome, 'untouched').manifest?.map(({ path, type }) => `${type} ${path}`)).toEqual([
        'dir .',
        'dir lost+found',
      ]);
      expect(resultOf(outcome, 'untouched fsck').fsck).toMatchObject({ mounted: true, complaints: [] });
      expect(firstMount).not.toContain('initializing new filesystem');
    } else {
      expect(firstMount).toContain('initializing new filesystem');
    }
    const before = resultOf(outcome, 'before').manifest;
    expect(before?.length).toBeGreaterThan(10);
    // The kernel's own picture of a file can be a clock tick behind the times that it writes (hard links, collapsed and
    // inserted ranges), so times are not compared across the unmount.
    const after = resultOf(outcome, 'after').manifest!;
    expect(compareManifests(after, before!, { ignore: ['ctime_ns', 'mtime_ns'] })).toEqual([]);
    expect(resultOf(outcome, 'fsck').fsck).toMatchObject({ mounted: true, complaints: [] });

    for (const image of images) {
      const text = await succeed('show-super', ['--layout', '--fields=all', image]);
      expect(text).toMatch(/^Clean: +1$/m);
      expect(text).not.toMatch(/damaged|unknown\(/);
    }
    const text = await succeed('show-super', [images[0]!]);
    for (const line of format.shows ?? []) expect(text).toMatch(line);
  });
});
