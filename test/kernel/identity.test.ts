// Labels and UUIDs that were changed offline, judged by a real kernel: it mounts a copy of an image beside the original, which it refuses
// before, calls both by their new names, opens an encrypted filesystem with the key of the new UUID, and finds nothing to complain about.

import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { caseNamed, compareManifests, resultOf, runInKernel, unlockKey } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-identity-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string) => join(folder, name);

const UUID = 'c0ffee00-0000-4000-8000-00000000cafe';

kernelSuite('identity', () => {
  test('a clone with a new UUID is mounted beside the original, and both go on', async () => {
    const [a, b, secret] = [file('a'), file('b'), file('secret')];
    writeFileSync(file('pw'), 'correct horse\n');
    await succeed('format', ['--replicas=2', '--fs_label=first', '--fs_size=64M', a, '--fs_size=64M', b]);
    await succeed('format', ['--encrypted', `--passphrase_file=${file('pw')}`, '--fs_size=64M', secret]);
    const key = unlockKey(secret, 'correct horse');
    const before = await runInKernel({
      disks: [
        { name: 'a', path: a },
        { name: 'b', path: b },
        { name: 'secret', path: secret },
      ],
      cases: [
        {
          name: 'pair',
          steps: [
            { do: 'mount', disks: ['a', 'b'] },
            { do: 'fill', sizeBytes: 2 ** 20 },
            { do: 'manifest', as: 'filled' },
          ],
        },
        {
          name: 'secret',
          steps: [
            { do: 'mount', disks: ['secret'], key },
            { do: 'write', path: 'kept', content: 'secret' },
          ],
        },
      ],
    });
    const filled = resultOf(caseNamed(before, 'pair'), 'filled').manifest!;
    const [a2, b2, a3, b3] = [file('a2'), file('b2'), file('a3'), file('b3')];
    for (const [from, to] of [
      [a, a2],
      [b, b2],
      [a, a3],
      [b, b3],
    ] as const)
      copyFileSync(from, to);
    await succeed('set-fs-option', ['--uuid=random', '--fs_label=second', a2, b2]);
    await succeed('set-fs-option', [`--uuid=${UUID}`, secret]);

    const disks = { a, b, a2, b2, a3, b3, secret };
    const newKey = unlockKey(secret, 'correct horse');
    expect(newKey.uuid).toBe(UUID);
    const after = await runInKernel({
      disks: Object.entries(disks).map(([name, path]) => ({ name, path })),
      cases: [
        {
          name: 'clones',
          steps: [
            { do: 'sh', script: 'mkdir -p /clone' },
            { do: 'mount', disks: ['a', 'b'] },
            // What was not given a UUID of its own is refused as long as the original is there.
            { do: 'mount', disks: ['a3', 'b3'], at: '/clone', expectFailure: true },
            { do: 'mount', disks: ['a2', 'b2'], at: '/clone' },
            { do: 'manifest', as: 'original' },
            { do: 'manifest', at: '/clone', as: 'clone' },
            {
              do: 'sh',
              as: 'names',
              script: 'ls -d /sys/fs/bcachefs/*-*',
            },
            { do: 'write', path: 'here', content: 'only in the original' },
            { do: 'write', path: '/clone/there', content: 'only in the clone' },
            { do: 'umount', at: '/clone' },
            { do: 'umount' },
            { do: 'fsck', disks: ['a', 'b'], as: 'original fsck' },
            { do: 'fsck', disks: ['a2', 'b2'], as: 'clone fsck' },
          ],
        },
        {
          name: 'secret',
          steps: [
            { do: 'mount', disks: ['secret'], key: newKey },
            { do: 'read', path: 'kept', as: 'kept' },
            { do: 'umount' },
            { do: 'fsck', disks: ['secret'], key: newKey, as: 'fsck' },
          ],
        },
      ],
    });
    const clones = caseNamed(after, 'clones');
    for (const name of ['original', 'clone']) {
      expect(compareManifests(resultOf(clones, name).manifest!, filled)).toEqual([]);
      expect(resultOf(clones, `${name} fsck`).fsck!.complaints).toEqual([]);
    }
    expect(resultOf(clones, 'names').stdout.trim().split('\n')).toHaveLength(2);
    const hidden = caseNamed(after, 'secret');
    expect(Buffer.from(resultOf(hidden, 'kept').bytes!).toString()).toBe('secret');
    expect(resultOf(hidden, 'fsck').fsck!.complaints).toEqual([]);
    expect(await succeed('ls', [`${a2}:${b2}`])).toContain('there');
  });
});
