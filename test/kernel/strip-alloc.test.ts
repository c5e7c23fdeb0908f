// strip-alloc, judged by a real kernel: a stripped filesystem is mounted to be read and stays as it is, a mount for writing rebuilds what was
// dropped, and nothing is missing or wrong afterwards. One device, and two with data by the kernel and by us on them.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { testImageContents } from '../support/images.ts';
import { type Case, caseNamed, compareManifests, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-strip-alloc-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

kernelSuite('strip-alloc', () => {
  test('a kernel reads what is stripped, and rebuilds the rest when it writes', async () => {
    const kinds = ['basic', 'multi'].map(name => ({
      name,
      disks: testImageContents(name).map((contents, nr) => {
        const path = join(folder, `${name}${nr}`);
        writeFileSync(path, contents);
        return { name: `${name}${nr}`, path };
      }),
    }));
    const words = (disks: readonly { readonly path: string }[]) => disks.map(({ path }) => path).join(':');
    for (const { disks } of kinds)
      await succeed(
        'strip-alloc',
        disks.map(({ path }) => path),
      );
    const before = kinds.map(({ disks }) => disks.map(({ path }) => readFileSync(path)));
    const reading = await runInKernel({
      disks: kinds.flatMap(({ disks }) => disks),
      cases: kinds.map(({ name, disks }): Case => {
        const options = 'nochanges';
        return {
          name,
          steps: [
            { do: 'mount', disks: disks.map(disk => disk.name), readOnly: true, options },
            { do: 'manifest', as: 'read' },
            { do: 'umount' },
          ],
        };
      }),
    });
    for (const [nr, { disks }] of kinds.entries()) {
      for (const [i, { path }] of disks.entries()) expect(readFileSync(path).equals(before[nr]![i]!), path).toBe(true);
    }
    const writing = await runInKernel({
      disks: kinds.flatMap(({ disks }) => disks),
      cases: kinds.map(({ name, disks }): Case => {
        const names = disks.map(disk => disk.name);
        return {
          name,
          steps: [
            { do: 'mount', disks: names },
            { do: 'manifest', as: 'rebuilt' },
            { do: 'write', path: 'new', pattern: { kind: 'random' }, sizeBytes: 2 ** 19 },
            { do: 'umount' },
            { do: 'fsck', disks: names, as: 'fsck' },
          ],
        };
      }),
    });
    for (const { name, disks } of kinds) {
      const read = resultOf(caseNamed(reading, name), 'read').manifest!;
      expect(read.length).toBeGreaterThan(10);
      expect(compareManifests(resultOf(caseNamed(writing, name), 'rebuilt').manifest!, read)).toEqual([]);
      expect(resultOf(caseNamed(writing, name), 'fsck').fsck!.complaints).toEqual([]);
      // And it can be changed here again.
      await succeed('mkdir', [words(disks), 'made']);
    }
  });
});
