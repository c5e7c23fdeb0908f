// A disk that is formatted again with the same seed, its old journal entries, nodes and bsets having been there: the kernel mounts it, changes it,
// crashes, replays what is of this life, and has nothing to complain of.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadChecksums, loadCompression, MemoryDevice } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { saveImage } from '../support/memory-images.ts';
import { formatAnew, liveOn } from '../support/old-life.ts';
import { patient } from '../support/patience.ts';
import { caseNamed, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

kernelSuite('formatting a disk again with the same seed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-old-life-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
  });

  test(
    'nothing of the earlier life comes back after a crash',
    async () => {
      const device = new MemoryDevice(128 * 2 ** 20, { name: 'disk' });
      formatAnew(device, 'ci');
      liveOn(device);
      formatAnew(device, 'other');
      formatAnew(device, 'ci');
      const path = join(folder, 'disk');
      saveImage(device, path);
      const disks = ['disk'];
      const result = await runInKernel({
        disks: [{ name: 'disk', path }],
        cases: [
          {
            name: 'life',
            steps: [
              { do: 'fsck', disks, as: 'before' },
              { do: 'mount', disks },
              { do: 'write', path: 'new', pattern: { kind: 'random', seed: 1 }, sizeBytes: 300_000, fsync: true },
              { do: 'crashAfterFsync', path: 'crashed' },
              { do: 'mount', disks },
              { do: 'list', as: 'names' },
              { do: 'umount' },
              { do: 'fsck', disks, as: 'after' },
            ],
          },
        ],
      });
      const life = caseNamed(result, 'life');
      expect(life.ok, JSON.stringify(life.steps.at(-1))).toBe(true);
      expect(resultOf(life, 'before').fsck!.complaints).toEqual([]);
      expect(resultOf(life, 'names').names).toEqual(['crashed', 'lost+found', 'new']);
      expect(resultOf(life, 'after').fsck!.complaints).toEqual([]);
    },
    patient(300_000),
  );
});
