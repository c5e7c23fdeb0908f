// Options of files that set-file-option has set, judged by a real kernel: it shows them as attributes, of the files themselves and of those
// that inherit them, writes what comes by them, compresses what was there before in the background, and finds nothing to complain about.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

/** What is to be written anew is in a btree, which is empty in the end. */
const UNTIL_REBALANCED = `
mkdir -p /debug; mount -t debugfs debugfs /debug
for try in $(seq 600); do
  test -z "$(cat /debug/bcachefs/*/btrees/rebalance_work/keys)" && exit 0
  sleep 0.1
done
cat /debug/bcachefs/*/btrees/rebalance_work/keys
exit 1`;

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-file-options-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

kernelSuite('file options', () => {
  test('a kernel shows the options that were set, and goes by them', async () => {
    const [image, file] = [join(folder, 'disk'), join(folder, 'file')];
    writeFileSync(file, 'some words, again and again\n'.repeat(20_000));
    await succeed('format', ['--label=ssd.a', '--fs_size=64M', image]);
    await succeed('mkdir', ['-p', image, 'd/below']);
    for (const path of ['d/old', 'd/below/old', 'plain']) await succeed('put', [image, file, path]);
    await succeed('set-file-option', ['--compression=zstd:3', '--promote_target=ssd', image, 'd']);
    await succeed('set-file-option', ['--data_checksum=xxhash', image, 'd/below']);
    const attribute = (path: string, name: string) => ({ do: 'getxattr', path, name, as: `${path} ${name}` }) as const;
    const result = await runInKernel({
      disks: [{ name: 'disk', path: image }],
      steps: [
        { do: 'mount', disks: ['disk'] },
        attribute('d', 'bcachefs.compression'),
        attribute('d/old', 'bcachefs_effective.compression'),
        attribute('d/below/old', 'bcachefs_effective.promote_target'),
        attribute('d/below', 'bcachefs.data_checksum'),
        attribute('d/below/old', 'bcachefs_effective.data_checksum'),
        { do: 'getxattr', path: 'd/old', name: 'bcachefs.compression', expectFailure: 'ENODATA' },
        { do: 'getxattr', path: 'plain', name: 'bcachefs_effective.compression', expectFailure: 'ENODATA' },
        { do: 'write', path: 'd/below/new', pattern: { kind: 'text' }, sizeBytes: 2 ** 20 },
        { do: 'sync' },
        { do: 'sh', script: UNTIL_REBALANCED, timeoutSeconds: 100 },
        { do: 'umount' },
        { do: 'fsck', disks: ['disk'], as: 'fsck' },
      ],
    });
    const shown = (name: string) => Buffer.from(resultOf(result, name).bytes).toString();
    expect(shown('d bcachefs.compression')).toBe('zstd:3');
    expect(shown('d/old bcachefs_effective.compression')).toBe('zstd:3');
    expect(shown('d/below/old bcachefs_effective.promote_target')).toBe('ssd');
    expect(shown('d/below bcachefs.data_checksum')).toBe('xxhash');
    expect(shown('d/below/old bcachefs_effective.data_checksum')).toBe('xxhash');
    expect(resultOf(result, 'fsck').fsck!.complaints).toEqual([]);
    const stats = JSON.parse(
      await succeed('stat', ['--json', image, 'd/below/new', 'd/old', 'd/below/old', 'plain']),
    ).files;
    const stored = stats.map(({ extents }: { extents: object }) => extents);
    expect(stored[0]).toMatchObject({
      compression: { zstd: expect.any(Number) },
      checksum: { xxhash: expect.any(Number) },
    });
    // The old ones were compressed by the kernel; the one outside stays.
    for (const old of stored.slice(1, 3)) expect(old).toMatchObject({ compression: { zstd: expect.any(Number) } });
    expect(Object.keys(stored[3].compression)).toEqual(['none']);
  });
});
