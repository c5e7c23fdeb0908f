// The random changes that the kernel makes for other tests (vm/agent/changes.py): nothing that they draw may fill a filesystem, nor
// meet a deletion of a snapshot that the kernel is still at.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { caseNamed, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-changes-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

kernelSuite('random changes', () => {
  test('a sparse file of a tebibyte is not filled, and half of a small filesystem stays free', async () => {
    const names = ['sparse', 'small'];
    const disks = names.map(name => ({ name, path: join(folder, name) }));
    for (const { path } of disks) await succeed('format', ['--fs_size=32M', path]);
    const result = await runInKernel({
      disks,
      failures: 'return',
      cases: [
        {
          name: 'sparse',
          steps: [
            { do: 'mount', disks: ['sparse'] },
            { do: 'write', path: 'file', content: 'not more than this' },
            { do: 'truncate', path: 'file', sizeBytes: 2 ** 40 },
            // A sixth of them zero what follows a place in the file.
            { do: 'change', as: 'change', operations: 60, among: ['allocate'] },
            { do: 'space', as: 'space' },
          ],
        },
        {
          name: 'small',
          steps: [
            { do: 'mount', disks: ['small'] },
            { do: 'change', as: 'change', operations: 1500, among: ['create'], expectFailure: true },
            { do: 'space', as: 'space' },
          ],
        },
      ],
    });
    const sparse = caseNamed(result, 'sparse');
    expect(resultOf(sparse, 'change')).toMatchObject({ ok: true, counts: { allocate: 60 } });
    const small = caseNamed(result, 'small');
    // 25 MB are asked for.
    expect(resultOf(small, 'change').message).toMatch(/\d+ of 1500 operations were possible/);
    for (const one of [sparse, small]) {
      const { totalBytes = 0, freeBytes = 0 } = resultOf(one, 'space').counts;
      expect(totalBytes).toBeGreaterThan(2 ** 24);
      expect(freeBytes / totalBytes).toBeGreaterThan(0.4);
    }
  });

  test('what has a snapshot in common with a subvolume that is deleted is changed when that is gone', async () => {
    const path = join(folder, 'deleted');
    await succeed('format', ['--fs_size=32M', path]);
    for (const name of ['volume', 'volume/a', 'volume/b', 'volume/c'])
      await succeed(name === 'volume' ? 'subvolume create' : 'mkdir', [path, name]);
    for (let nr = 1; nr <= 4; nr++) await succeed('subvolume snapshot', [path, 'volume', `volume@${nr}`]);
    const among = ['delete_subvolume', 'make_subvolume', 'make_directory'];
    const result = await runInKernel({
      disks: [{ name: 'deleted', path }],
      steps: [
        { do: 'mount', disks: ['deleted'] },
        { do: 'change', as: 'change', operations: 60, among, each: among },
        { do: 'umount' },
        { do: 'fsck', as: 'fsck', disks: ['deleted'] },
      ],
    });
    expect(resultOf(result, 'change').counts.delete_subvolume).toBeGreaterThan(0);
    expect(resultOf(result, 'fsck').fsck!.complaints).toEqual([]);
  });
});
