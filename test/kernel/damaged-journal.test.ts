// A filesystem whose journal is damaged, changed by us all the same: the kernel is made to check it, repairs what the loss has left, and finds
// what we have put there.

import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadChecksums, loadCompression } from '@bcachefs-ts/core/engine';
import { afterAll, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { damageJournal } from '../support/damaged-journal.ts';
import { withTestImage } from '../support/images.ts';
import { caseNamed, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

kernelSuite('a damaged journal', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-journal-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('the next mount checks and repairs, once', async () => {
    await loadChecksums();
    await loadCompression();
    const path = join(folder, 'image');
    await withTestImage('unclean', async ([image]) => copyFileSync(image!, path));
    damageJournal([path]);
    writeFileSync(join(folder, 'source'), 'put all the same\n');
    await succeed('put', ['--damaged_journal', path, join(folder, 'source'), 'new']);

    const disks = ['image'];
    const result = await runInKernel({
      disks: [{ name: 'image', path }],
      cases: [
        {
          name: 'image',
          steps: [
            { do: 'mount', disks, as: 'mount', options: 'fix_errors=yes,errors=continue' },
            { do: 'read', path: 'new', as: 'read' },
            { do: 'umount' },
            { do: 'mount', disks, as: 'again' },
            { do: 'umount' },
            { do: 'fsck', disks, as: 'fsck', timeoutSeconds: 200 },
          ],
        },
      ],
    });
    const outcome = caseNamed(result, 'image');
    const checks = (as: string) => resultOf(outcome, as).log.filter(line => /check_(dirents|inodes)/.test(line)).length;
    expect(checks('mount')).toBeGreaterThan(0);
    expect(checks('again')).toBe(0);
    expect(Buffer.from(resultOf(outcome, 'read').bytes!).toString()).toBe('put all the same\n');
    expect(resultOf(outcome, 'fsck').fsck).toMatchObject({ mounted: true, complaints: [] });
  });
});
