// subvolume list-snapshots: trees of snapshot nodes, and whose the data is. The sizes are those that the filesystem counts: our engine's here,
// a kernel's in the reference images, compared with the sum of all data that it counts by replicas.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { run, succeed } from '../support/cli.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { validator } from '../support/schemas.ts';

if (whyNoFixtures !== undefined) console.warn(`snapshots of reference images skipped: ${whyNoFixtures}`);

interface Node {
  readonly id: number;
  readonly parent: number;
  readonly subvol: number;
  readonly own_bytes: number;
  readonly total_bytes: number;
  readonly path?: string;
}

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-list-snapshots-'));
const image = join(folder, 'disk.img');
beforeAll(async () => {
  const file = join(folder, 'file');
  await succeed('format', ['--fs_size=16M', image]);
  await succeed('subvolume create', [image, 'sub']);
  writeFileSync(file, Buffer.alloc(65536, 1));
  await succeed('put', [image, file, 'sub/both']);
  await succeed('subvolume snapshot', ['--read_only', image, 'sub', 'frozen']);
  writeFileSync(file, Buffer.alloc(32768, 2));
  await succeed('put', [image, file, 'sub/later']);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const nodesOf = async (words: readonly string[]): Promise<readonly Node[]> => {
  const { stdout } = await runCli(bcachefs, ['subvolume', 'list-snapshots', '--json', ...words]);
  const json = JSON.parse(stdout);
  expect(validator('subvolume-list-snapshots')(json)).toEqual([]);
  return json.nodes;
};

describe('subvolume list-snapshots', () => {
  test('draws the tree: what two have in common is of the node above them', async () => {
    const text = await succeed('subvolume list-snapshots', [image]);
    expect(text.replace(/\d{10}/g, 'ID')).toBe(
      ['ID  0 B  /', 'ID  64 KiB  (shared)', '├── ID  0 B  /frozen (ro)', '└── ID  32 KiB  /sub', ''].join('\n'),
    );
    expect(await succeed('subvolume list-snapshots', ['--tree', image])).toBe(text);
  });

  test('as JSON, with totals', async () => {
    const byPath = new Map((await nodesOf([image])).map(node => [node.path, node]));
    expect(byPath.get('sub')).toMatchObject({ own_bytes: 32768, total_bytes: 98304 });
    expect(byPath.get('frozen')).toMatchObject({ own_bytes: 0, total_bytes: 65536 });
    expect(byPath.get(undefined)!.id).toBe(byPath.get('sub')!.parent);
  });

  test('as a table of subvolumes, in the order that is asked for', async () => {
    const paths = async (...words: string[]) =>
      (await succeed('subvolume list-snapshots', ['--flat', ...words, image]))
        .trimEnd()
        .split('\n')
        .slice(1)
        .map(line => line.trim().split(' ')[0]);
    expect(await paths()).toEqual(['/', '/sub', '/frozen']);
    expect(await paths('--sort=size')).toEqual(['/sub', '/frozen', '/']);
    expect(await paths('--sort=name')).toEqual(['/', '/frozen', '/sub']);
    expect(await paths('--readonly')).toEqual(['/frozen']);
    expect((await run('subvolume list-snapshots', ['--readonly', image])).exitCode).toBe(2);
  });

  test.skipIf(whyNoFixtures !== undefined).each(['snapshots', 'u136-plain', 'u103-plain'])(
    'what the kernel counts in %s adds up',
    async name => {
      const { images } = fixture(name);
      const nodes = await nodesOf([images.join(':')]);
      const usage = JSON.parse(await succeed('fs usage', ['--json', ...images])).filesystems[0];
      expect(nodes.length).toBeGreaterThan(0);
      if (name === 'u103-plain') expect(nodes.every(({ own_bytes }) => own_bytes === null)).toBe(true);
      else {
        const sum = nodes.reduce((total, { own_bytes }) => total + own_bytes, 0);
        expect(sum).toBeGreaterThan(0);
        expect(sum).toBeLessThanOrEqual(Number(usage.used ?? usage.used_bytes ?? Number.MAX_SAFE_INTEGER));
      }
    },
  );
});
