// What fsck has repaired, before the kernel's own: it finds nothing left.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { run } from '../support/cli.ts';
import { damagedDevices, damagedImages, whyNoDamage } from '../support/damage.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { LEGAL, OPEN } from '../support/repaired.ts';
import { caseNamed, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const FEW = ['alloc-gen', 'bp-all-missing', 'acct-missing', 'root-zero-deep-dirents', 'topo-child-dropped-extents'];

/** A machine has room for a hundred disks. */
const IMAGES_PER_BOOT = 48;

interface Repaired {
  readonly name: string;
  readonly paths: readonly string[];
}

/** What a kernel's own check says of some images; nothing of those that it mounts without a complaint. */
async function judged(images: readonly Repaired[]) {
  const disks = images.flatMap(({ name, paths }) => paths.map((path, nr) => ({ name: `${name}-${nr}`, path })));
  const result = await runInKernel({
    disks,
    cases: images.map(({ name, paths }) => ({
      name,
      steps: [{ do: 'fsck', disks: paths.map((_, nr) => `${name}-${nr}`), as: 'fsck', timeoutSeconds: 200 }],
    })),
  });
  return images.flatMap(({ name }) => {
    const { fsck } = resultOf(caseNamed(result, name), 'fsck');
    const complaints = fsck?.complaints.map(({ text }) => text) ?? [];
    return fsck?.mounted === true && complaints.length === 0 ? [] : [{ name, mounted: fsck?.mounted, complaints }];
  });
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
      const unclean = [];
      for (let at = 0; at < images.length; at += IMAGES_PER_BOOT)
        unclean.push(...(await judged(images.slice(at, at + IMAGES_PER_BOOT))));
      expect(unclean).toEqual([]);
    });
  });
});
