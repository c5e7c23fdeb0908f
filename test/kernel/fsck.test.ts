// What fsck has repaired, before the kernel's own: it finds nothing left.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Transaction } from '@bcachefs-ts/core/engine';
import { afterAll, describe, expect, test } from 'vitest';
import { run } from '../support/cli.ts';
import { damagedDevices, damagedImages, whyNoDamage } from '../support/damage.ts';
import { withTestImage } from '../support/images.ts';
import { sampleOf } from '../support/long.ts';
import { loadImage, saveImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { tamper, wrongCounts } from '../support/recovered.ts';
import { LEGAL, OPEN } from '../support/repaired.ts';
import { caseNamed, resultOf, runInKernel } from './vm/index.ts';
import { fsckOptions } from './vm/steps.ts';
import { kernelSuite } from './vm/suite.ts';

const FEW = ['alloc-gen', 'bp-all-missing', 'acct-missing', 'root-zero-deep-dirents', 'topo-child-dropped-extents'];

/** A machine has room for a hundred disks. */
const IMAGES_PER_BOOT = 48;

interface Repaired {
  readonly name: string;
  readonly paths: readonly string[];
  /** Not all members are among them. */
  readonly isDegraded?: boolean;
}

/** What a kernel's own check says of some images; nothing of those that it mounts without a complaint. */
async function judged(images: readonly Repaired[]) {
  const disks = images.flatMap(({ name, paths }) => paths.map((path, nr) => ({ name: `${name}-${nr}`, path })));
  const result = await runInKernel({
    disks,
    cases: images.map(({ name, paths, isDegraded }) => ({
      name,
      steps: [
        {
          do: 'fsck',
          disks: paths.map((_, nr) => `${name}-${nr}`),
          as: 'fsck',
          timeoutSeconds: 200,
          ...(isDegraded === true ? { options: `${fsckOptions(false)},very_degraded` } : {}),
        },
      ],
    })),
  });
  return images.flatMap(({ name }) => {
    const { fsck } = resultOf(caseNamed(result, name), 'fsck');
    const complaints = fsck?.complaints.map(({ text }) => text) ?? [];
    return fsck?.mounted === true && complaints.length === 0 ? [] : [{ name, mounted: fsck?.mounted, complaints }];
  });
}

/** Halves of a filesystem that has two members: one repaired while the other is missing, and each without the other for good. */
async function withoutMembers(folder: string): Promise<readonly Repaired[]> {
  const half = async (
    nr: number,
    name: string,
    alter: ((tx: Transaction) => void) | undefined,
    words: readonly string[],
  ) => {
    const devices = await withTestImage('multi', async paths => paths.map(loadImage));
    if (alter !== undefined) tamper(devices, alter);
    const path = join(folder, `${name}.img`);
    saveImage(devices[nr]!, path);
    const { exitCode, stdout } = await run('fsck', ['-y', ...words, path]);
    expect(exitCode, `${name}: ${stdout}`).toBe(1);
    return { name, paths: [path] };
  };
  return [
    { ...(await half(0, 'degraded', wrongCounts, ['--allow_missing'])), isDegraded: true },
    await half(0, 'first-alone', undefined, ['--give_up_missing']),
    await half(1, 'second-alone', wrongCounts, ['--give_up_missing']),
  ];
}

if (whyNoDamage !== undefined) console.warn(`the verdict of a kernel on repaired images skipped: ${whyNoDamage}`);

describe.skipIf(whyNoDamage !== undefined)('damaged images', () => {
  kernelSuite('what fsck has repaired', () => {
    const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-repaired-'));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test('the kernel finds nothing left', { timeout: patient(900_000) }, async () => {
      const done = damagedImages().filter(({ name }) => !OPEN.includes(name) && !LEGAL.includes(name));
      const images: Repaired[] = [];
      for (const { name } of sampleOf('repaired', done, FEW)) {
        const paths = damagedDevices(name, folder);
        const { exitCode, stdout } = await run('fsck', [
          '-y',
          `--quarantine=${join(folder, `${name}.lost`)}`,
          ...paths,
        ]);
        expect([0, 1], `${name}: ${stdout}`).toContain(exitCode);
        images.push({ name, paths });
      }
      images.push(...(await withoutMembers(folder)));
      const unclean = [];
      for (let at = 0; at < images.length; at += IMAGES_PER_BOOT)
        unclean.push(...(await judged(images.slice(at, at + IMAGES_PER_BOOT))));
      expect(unclean).toEqual([]);
    });
  });
});
