// set-file-option and get-file-option: what is set on files, what directories hand down, and what is refused. What a kernel makes of it is
// test/kernel/file-options.test.ts.

import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { validator } from '../support/schemas.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-file-options-'));
const made = join(folder, 'made.img');
const image = join(folder, 'disk.img');
beforeAll(async () => {
  const file = join(folder, 'file');
  writeFileSync(file, 'contents\n');
  await succeed('format', ['--label=ssd.a', '--fs_size=16M', made]);
  await succeed('mkdir', ['-p', made, 'a/b/c', 'z']);
  for (const path of ['a/one', 'a/b/two', 'a/b/c/three']) await succeed('put', [made, file, path]);
  await succeed('subvolume create', [made, 'a/sub']);
  await succeed('subvolume snapshot', ['--read_only', made, 'a/sub', 'a/frozen']);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const fresh = () => copyFileSync(made, image);
const own = async (path: string) => (await succeed('get-file-option', [image, path])).trim();
const effective = async (path: string) => (await succeed('get-file-option', ['-e', image, path])).trim();

describe('set-file-option', () => {
  test('sets options on one file, and takes them away', async () => {
    fresh();
    expect(await succeed('set-file-option', ['--compression=zstd:5', '--nocow=1', image, 'a/one'])).toBe(
      'options set on 1 file\n',
    );
    expect(await own('a/one')).toBe('compression\tzstd:5\nnocow\t1');
    expect(await own('a/b/two')).toBe('');
    await succeed('set-file-option', ['--compression=-', image, 'a/one']);
    expect(await own('a/one')).toBe('nocow\t1');
    await succeed('set-file-option', ['--remove-all', image, 'a/one']);
    expect(await own('a/one')).toBe('');
  });

  test('a directory hands its options down to what has none of its own, also through subvolumes', async () => {
    fresh();
    await succeed('set-file-option', ['--data_replicas=2', image, 'a/b']);
    const { stdout, stderr } = await run('set-file-option', [
      '--data_replicas=3',
      '--foreground_target=ssd',
      image,
      'a',
    ]);
    expect(stdout).toBe('options set on 1 file, and handed down to 6 more\n');
    expect(stderr).toContain('a/frozen: a read-only snapshot keeps its options');
    for (const path of ['a/one', 'a/sub']) {
      expect(await own(path)).toBe('');
      expect(await effective(path)).toBe('data_replicas\t3\nforeground_target\tssd');
    }
    // What it has of its own stays, and goes on from there.
    for (const path of ['a/b', 'a/b/two', 'a/b/c/three']) {
      expect(await effective(path)).toBe('data_replicas\t2\nforeground_target\tssd');
    }
    expect(await effective('a/frozen')).toBe('');
    expect(await effective('z')).toBe('');
    // Taken away above, it is gone below too.
    await succeed('set-file-option', ['--foreground_target=-', '--data_replicas=-', image, 'a']);
    expect(await effective('a/one')).toBe('');
    expect(await effective('a/b/c/three')).toBe('data_replicas\t2');
  });

  test('a compression that the filesystem has not known is made known to kernels', async () => {
    fresh();
    const features = async () =>
      JSON.parse(await succeed('show-super', ['--json', image])).superblocks[0].superblock.features as string[];
    expect(await features()).not.toContain('gzip');
    await succeed('set-file-option', ['--background_compression=gzip', image, 'z']);
    expect(await features()).toContain('gzip');
  });

  test.each<[string, readonly string[], number, RegExp]>([
    ['nothing to set', ['a'], 2, /no option to set was given/],
    ['a value out of range', ['--data_replicas=9', 'a'], 2, /--data_replicas: /],
    ['an unknown target', ['--promote_target=nowhere', 'a'], 2, /--promote_target: "nowhere" is neither a label/],
    ['what only later versions know', ['--casefold=1', 'z'], 2, /--casefold: files of metadata version 1\.13 have no/],
    ['a file that is not there', ['--nocow=1', 'a/none'], 2, /no such file or directory/],
    ['what is in a read-only snapshot', ['--nocow=1', 'a/frozen'], 2, /a\/frozen: /],
  ])('refuses %s, and writes nothing', async (_, words, exitCode, message) => {
    fresh();
    const before = readFileSync(image);
    const options = words.filter(word => word.startsWith('--'));
    const result = await run('set-file-option', [...options, image, ...words.slice(options.length)]);
    expect(result.stderr).toMatch(message);
    expect(result.exitCode).toBe(exitCode);
    expect(readFileSync(image).equals(before)).toBe(true);
  });
});

describe('get-file-option', () => {
  test('prints the lines of the reference, and says in JSON whom each option is from', async () => {
    fresh();
    await succeed('set-file-option', ['--compression=lz4', image, 'a']);
    expect(await succeed('get-file-option', ['--all', image, 'z'])).toBe(
      [
        'data_checksum', 'compression', 'project', 'background_compression', 'data_replicas',
        'promote_target', 'foreground_target', 'background_target', 'erasure_code', 'nocow',
      ].map(name => `${name}\t-\n`).join(''),
    ); // biome-ignore format: a list
    expect(await succeed('get-file-option', ['--effective', image, 'a', 'a/one'])).toBe(
      '/a\tcompression\tlz4\n/a/one\tcompression\tlz4\n',
    );
    const json = JSON.parse(await succeed('get-file-option', ['--json', image, 'a', 'a/one', 'z']));
    expect(validator('get-file-option')(json)).toEqual([]);
    const compression = json.files.map(({ options }: { options: { name: string }[] }) =>
      options.find(({ name }) => name === 'compression'),
    );
    expect(compression).toEqual([
      { name: 'compression', value: 'lz4', from: 'file' },
      { name: 'compression', value: 'lz4', from: 'directory' },
      { name: 'compression', value: 'none', from: 'filesystem' },
    ]);
  });
});
