// The smallest sizes that format takes, worked hard by a real kernel: nodes of 8 blocks and 8 KiB. With half of either, 6.12 panics or stops
// with its journal full within the same work. And a single disk that is to have two copies of its metadata one day.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { sampleOf } from '../support/long.ts';
import { caseNamed, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-geometry-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// biome-ignore format: a table
const allKinds = [
  { name: 'blocks-512', words: ['--block_size=512', '--btree_node_size=8k', '--bucket_size=16k'] },
  { name: 'blocks-1k', words: ['--block_size=1k', '--btree_node_size=8k', '--bucket_size=64k'] },
  { name: 'blocks-2k', words: ['--block_size=2k', '--btree_node_size=16k', '--bucket_size=16k'] },
  { name: 'blocks-4k', words: ['--block_size=4k', '--btree_node_size=32k', '--bucket_size=32k'] },
  { name: 'two-copies', words: ['--replicas=2'] },
];
const kinds = sampleOf('the smallest nodes', allKinds, ['blocks-512', 'blocks-4k', 'two-copies']);

kernelSuite('geometry', () => {
  test('the smallest btree nodes that format takes, and copies that one disk cannot hold', async () => {
    const disks = kinds.map(({ name }) => ({ name, path: join(folder, name) }));
    for (const [nr, { words }] of kinds.entries())
      await succeed('format', [...words, '--fs_size=128M', disks[nr]!.path]);
    const result = await runInKernel({
      disks,
      timeoutSeconds: 600,
      cases: kinds.map(({ name }) => ({
        name,
        steps: [
          { do: 'mount', disks: [name], timeoutSeconds: 120 },
          { do: 'fill', sizeBytes: 3 * 2 ** 20, timeoutSeconds: 200 },
          { do: 'change', operations: 300, timeoutSeconds: 200 },
          { do: 'umount' },
          { do: 'fsck', disks: [name], as: 'fsck' },
        ],
      })),
    });
    for (const { name } of kinds) expect(resultOf(caseNamed(result, name), 'fsck').fsck!.complaints, name).toEqual([]);
    for (const words of [['--btree_node_size=4k'], ['--block_size=4k', '--btree_node_size=16k']]) {
      const refused = await run('format', [...words, '--fs_size=128M', join(folder, 'refused')]);
      expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('Linux 6.12 panics or hangs') });
    }
  });
});
