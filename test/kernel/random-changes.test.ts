// The random changes that the kernel makes for other tests (vm/agent/changes.py): nothing that they draw may fill a filesystem.

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
});
