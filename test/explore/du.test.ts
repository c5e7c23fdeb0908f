// du: what it calls exclusive becomes free when a file is deleted that no snapshot has, by the filesystem's own counters; and subvolume list --tree and
// fs usage --bars, which show the same things as their tables.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { testImages, withTestImage } from '../support/images.ts';
import { validator } from '../support/schemas.ts';

const duSchema = validator('du');
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-du-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Row {
  readonly path: string;
  readonly directory: boolean;
  readonly exclusive: number;
  readonly shared: number;
  readonly taken: number;
  readonly uncompressed: number;
  readonly compressed: number;
  readonly entries?: readonly Row[];
}
interface OfSubvolume extends Omit<Row, 'entries'> {
  readonly id: number | null;
}

async function du(images: readonly string[], ...words: readonly string[]): Promise<Row> {
  const found = JSON.parse(await succeed('du', ['--json', '--all', '--depth=64', images.join(':'), ...words]));
  expect(duSchema(found)).toEqual([]);
  return found.sums;
}
async function bySubvolume(images: readonly string[]): Promise<readonly OfSubvolume[]> {
  const found = JSON.parse(await succeed('du', ['--json', '--by_subvolume', images.join(':')]));
  expect(duSchema(found)).toEqual([]);
  return found.subvolumes;
}
async function userBytes(images: readonly string[]): Promise<number> {
  const { filesystems } = JSON.parse(await succeed('fs usage', ['--json', ...images]));
  const replicas: readonly { data_type: string; size: number }[] = filesystems[0].replicas;
  return replicas.reduce((sum, { data_type, size }) => sum + (data_type === 'user' ? size : 0), 0);
}

const files = (row: Row): readonly Row[] => (row.directory ? (row.entries ?? []).flatMap(files) : [row]);

describe('what no snapshot shares adds up to what the counters say', () => {
  test('of two copies, compressed, by directory and by subvolume, and freed when it is deleted', async () => {
    const source = join(folder, 'source');
    mkdirSync(join(source, 'sub/deeper'), { recursive: true });
    writeFileSync(join(source, 'text'), 'easily compressed\n'.repeat(20_000));
    writeFileSync(
      join(source, 'sub/noise'),
      Buffer.from(Array.from({ length: 90_000 }, (_, nr) => (nr * nr * 7919) >> 5)),
    );
    writeFileSync(join(source, 'sub/deeper/more'), 'more of the same '.repeat(9000));
    writeFileSync(join(source, 'empty'), '');
    const images = [join(folder, 'a.img'), join(folder, 'b.img')];
    const sizes = images.map(image => ['--fs_size=64M', image]);
    await succeed('format', [`--source=${source}`, '--replicas=2', '--compression=lz4', ...sizes.flat()]);

    const before = await userBytes(images);
    const root = await du(images);
    expect(root).toMatchObject({ path: '', exclusive: before, shared: 0 });
    expect(files(root).reduce((sum, { taken }) => sum + taken, 0)).toBe(before);
    expect(root.compressed).toBeLessThan(root.uncompressed / 2);
    expect(await bySubvolume(images)).toMatchObject([{ id: 1, path: '', exclusive: before }]);
    expect((await du(images, 'sub/deeper')).taken).toBe(
      files(root).find(({ path }) => path === 'sub/deeper/more')!.taken,
    );

    // Deleted where there is no snapshot, it is free.
    const more = files(root).find(({ path }) => path === 'sub/deeper/more')!;
    await succeed('rm', [images.join(':'), 'sub/deeper/more']);
    const left = before - more.taken;
    expect(await userBytes(images)).toBe(left);

    // With a snapshot nothing is the root's alone any more; what is deleted becomes the snapshot's.
    await succeed('subvolume snapshot', [images.join(':'), '/', 'kept']);
    expect(await du(images, 'sub')).toMatchObject({ exclusive: 0 });
    expect((await bySubvolume(images)).map(({ exclusive, shared }) => [exclusive, shared])).toEqual([
      [0, left],
      [0, left],
    ]);
    const text = files(root).find(({ path }) => path === 'text')!;
    await succeed('rm', [images.join(':'), 'text']);
    expect(await userBytes(images)).toBe(left);
    const [own, kept] = await bySubvolume(images);
    expect([own?.exclusive, kept?.exclusive]).toEqual([0, text.taken]);
    // A snapshot that both come from keeps what neither sees any more.
    await succeed('rm', [images.join(':'), 'kept/text']);
    expect(await userBytes(images)).toBe(left);
    expect((await bySubvolume(images)).find(({ id }) => id === null)).toMatchObject({ exclusive: text.taken });
  });

  test.each(testImages.filter(({ name }) => ['basic', 'multi', 'upgraded'].includes(name)).map(({ name }) => name))(
    'each byte of %s is one subvolume’s, or shared',
    name =>
      withTestImage(name, async images => {
        const user = await userBytes(images);
        const subvolumes = await bySubvolume(images);
        const exclusive = subvolumes.reduce((sum, one) => sum + one.exclusive, 0);
        expect(exclusive).toBeLessThanOrEqual(user);
        expect(exclusive + subvolumes.reduce((sum, one) => sum + one.shared, 0)).toBeGreaterThanOrEqual(user);
        const root = await du(images);
        expect(root.exclusive).toBe(exclusive);
      }),
  );
});

test('a tree, largest first', () =>
  withTestImage('upgraded', async ([image]) => {
    const lines = (await succeed('du', ['--tree', '--all', '--depth=2', image!, 'directory'])).split('\n');
    expect(lines[0]).toMatch(/^exclusive +shared +data +saved +path$/);
    expect(lines[1]).toMatch(/ \/directory$/);
    expect(lines[2]).toMatch(/39\.5 KiB .* ├── clone$/);
    expect(lines.some(line => line.endsWith('│   ├── long'))).toBe(true);
    expect(lines.at(-2)).toContain('└── ');
  }));

test('subvolume list --tree', () =>
  withTestImage('basic', async ([image]) => {
    await succeed('subvolume create', [image!, 'subvolumes/main/inner']);
    await succeed('subvolume create', [image!, 'subvolumes/main-2']);
    expect(await succeed('subvolume list', ['--tree', image!])).toBe(
      [
        '/  (subvolume 1)',
        '├── /subvolumes/after  (subvolume 4, snapshot of 2)',
        '├── /subvolumes/before  (subvolume 3, snapshot of 2, read-only)',
        '├── /subvolumes/main  (subvolume 2)',
        '│   └── /inner  (subvolume 5)',
        '└── /subvolumes/main-2  (subvolume 6)',
        '',
      ].join('\n'),
    );
  }));

test('fs usage --bars', () =>
  withTestImage('multi', async images => {
    const bars = await succeed('fs usage', ['--bars', ...images], { columns: 80 });
    const drawn = bars.split('\n').filter(line => line.includes('█'));
    expect(drawn.length).toBe(3);
    for (const line of drawn) expect(line).toMatch(/^ {2}█+░+ +\d+% {2}\S+ [KM]iB of \S+ MiB$/);
    expect(new Set(drawn.map(line => line.replace(/[^█░]/g, '').length))).toEqual(new Set([40]));
    expect(bars).toContain('label ssd.fast, rw');
    const colored = await succeed('fs usage', ['--bars', '--color=always', ...images]);
    expect(colored).toContain('\u001b[35m█');
  }));
