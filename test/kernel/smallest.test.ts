// The smallest images: a kernel mounts each for writing, works with it, and its own check has nothing to say before and after.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadChecksums, loadCompression } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { patient } from '../support/patience.ts';
import { makeSmallSource, smallSources } from '../support/small-sources.ts';
import { caseNamed, type RunResult, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

kernelSuite('the smallest images', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-smallest-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const imageOf = (name: string) => join(folder, `${name}.img`);
  let looks: RunResult;

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    for (const source of smallSources) {
      const from = join(folder, source.name);
      makeSmallSource(from, source);
      await succeed('image create', [...source.words, `--source=${from}`, imageOf(source.name)]);
    }
    looks = await runInKernel({
      disks: smallSources.map(({ name }) => ({ name, path: imageOf(name), throwaway: true })),
      cases: smallSources.map(({ name }) => ({
        name,
        steps: [
          { do: 'fsck', as: 'fsck', disks: [name] },
          { do: 'mount', disks: [name] },
          // Many times what a journal of the smallest size takes.
          ...Array.from({ length: 8 }, (_, nr) => ({
            do: 'write' as const,
            path: `written by the kernel ${nr}`,
            pattern: { kind: 'text' as const },
            sizeBytes: 20_000,
            fsync: true,
          })),
          { do: 'umount' },
          { do: 'fsck', as: 'fsck afterwards', disks: [name] },
        ],
      })),
      timeoutSeconds: 1200,
    });
  }, patient(1_500_000));

  describe.each(smallSources)('$name', ({ name }) => {
    test('the kernel works with it and has nothing to complain of', () => {
      const outcome = caseNamed(looks, name);
      expect(outcome).toMatchObject({ ok: true, ended: 'done' });
      expect(resultOf(outcome, 'fsck').fsck).toMatchObject({ mounted: true, complaints: [] });
      expect(resultOf(outcome, 'fsck afterwards').fsck).toMatchObject({ mounted: true, complaints: [] });
    });
  });
});
