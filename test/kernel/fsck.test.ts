// What fsck has repaired, before the kernel's own: it finds nothing left.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { run } from '../support/cli.ts';
import { damageDir, damagedDevices, damagedImages } from '../support/damage.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { LEGAL, OPEN } from '../support/repaired.ts';
import { caseNamed, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const FEW = ['alloc-gen', 'bp-all-missing', 'acct-missing', 'root-zero-deep-dirents', 'topo-child-dropped-extents'];

describe.skipIf(damageDir() === undefined)('damaged images', () => {
  kernelSuite('what fsck has repaired', () => {
    const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-repaired-'));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test('the kernel finds nothing left', { timeout: patient(900_000) }, async () => {
      const done = damagedImages().filter(({ name }) => !OPEN.includes(name) && !LEGAL.includes(name));
      const images: { readonly name: string; readonly paths: readonly string[] }[] = [];
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
      const disks = images.flatMap(({ name, paths }) => paths.map((path, nr) => ({ name: `${name}-${nr}`, path })));
      const result = await runInKernel({
        disks,
        cases: images.map(({ name, paths }) => ({
          name,
          steps: [{ do: 'fsck', disks: paths.map((_, nr) => `${name}-${nr}`), as: 'fsck', timeoutSeconds: 200 }],
        })),
      });
      const unclean = images.flatMap(({ name }) => {
        const { fsck } = resultOf(caseNamed(result, name), 'fsck');
        const complaints = fsck?.complaints.map(({ text }) => text) ?? [];
        return fsck?.mounted === true && complaints.length === 0 ? [] : [{ name, mounted: fsck?.mounted, complaints }];
      });
      expect(unclean).toEqual([]);
    });
  });
});
