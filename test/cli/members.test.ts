// Naming a filesystem on the command line, for the commands that read one: by a folder with several, by UUID, with members that are missing,
// stale, or there twice. What is found and chosen is tested beside the code (find-members.test.ts).

import { copyFileSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { withTestImage } from '../support/images.ts';

const MULTI = '54bb44e5-2386-4620-a354-4c73a54c682b';

const readers = [
  ['list', ['--btree=subvolumes']],
  ['list_journal', ['--all', '--headers_only']],
  ['fs usage', []],
] as const;

describe.each(readers)('%s', (command, words) => {
  test('--uuid chooses from a folder with several filesystems', () =>
    withTestImage('multi', images =>
      withTestImage('basic', async ([basic = '']) => {
        const folder = dirname(images[0]!);
        copyFileSync(basic, join(folder, 'basic.img'));
        const expected = await succeed(command, [...words, ...images]);
        expect(await succeed(command, [...words, `--uuid=${MULTI}`, folder])).toBe(expected);
        expect(await succeed(command, [...words, '--uuid', MULTI.toUpperCase(), basic, ...images])).toBe(expected);
        const all = await run(command, [...words, folder]);
        if (command === 'fs usage') expect(all.stdout).toContain(expected);
        else {
          expect(all).toMatchObject({ exitCode: 2, stdout: '' });
          expect(all.stderr).toContain('(label basic)');
          expect(all.stderr).toContain(`${MULTI}: ${images.join(', ')}`);
          expect(all.stderr).toContain('choose one with --uuid');
        }
      }),
    ));

  test('--degraded is silent about missing members', () =>
    withTestImage('multi', async ([first = '']) => {
      const warned = await run(command, [...words, first]);
      expect(warned.exitCode).toBe(0);
      expect(warned.stderr).toMatch(
        /warning: of 2 members, member 1 \(uuid [0-9a-f-]{36}, label hdd\.slow\) is missing; what is only there cannot be read\n$/,
      );
      expect(await run(command, [...words, '--degraded', first])).toEqual({ ...warned, stderr: '' });
    }));

  test('a copy of a member is an error, a link to it is not', () =>
    withTestImage('basic', async ([image = '']) => {
      const expected = await succeed(command, [...words, image]);
      const link = join(dirname(image), 'link.img');
      symlinkSync(image, link);
      expect(await succeed(command, [...words, image, link])).toBe(expected);
      const copy = join(dirname(image), 'copy.img');
      copyFileSync(image, copy);
      const { exitCode, stderr } = await run(command, [...words, image, copy]);
      expect(exitCode).toBe(2);
      expect(stderr).toContain(`${image} and ${copy} both are member 0 of filesystem `);
    }));

  test.skipIf(whyNoFixtures !== undefined)('a stale member is named', async () => {
    const { images } = fixture('multi3-stale');
    const { stderr } = await run(command, [...words, ...images]);
    const warnings = stderr.split('\n').filter(line => line.includes('older superblock'));
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      /multi3-stale\.dev2\.img: member 2 \(uuid [0-9a-f-]{36}, label c\) has an older superblock \(number \d+\) than \S+dev[01]\.img \(number \d+\)/,
    );
  });
});

test.each([
  ['no UUID', '1234'],
  ['one digit too many', `${MULTI}0`],
])('--uuid with %s', (_what, uuid) =>
  withTestImage('basic', async images => {
    expect(await run('list', [`--uuid=${uuid}`, ...images])).toMatchObject({
      exitCode: 2,
      stdout: '',
      stderr: expect.stringContaining(`--uuid: found "${uuid}", expected a UUID such as`),
    });
  }),
);

test.skipIf(whyNoFixtures !== undefined)('what is only on a missing member names it', async () => {
  const [first = ''] = fixture('multi2').images;
  const failed: string[] = [];
  for (const btree of ['extents', 'inodes', 'dirents', 'alloc']) {
    const { exitCode, stderr } = await run('list', [`--btree=${btree}`, '--degraded', first]);
    if (exitCode === 0) expect(stderr).toBe('');
    else failed.push(stderr);
  }
  expect(failed).toHaveLength(2);
  for (const stderr of failed) expect(stderr).toContain('member 1: it is not among the devices that were given');
});

test.each([
  ['ls', []],
  ['stat', ['/x']],
  ['ls', ['--subvolume=7']],
] as const)(
  '%s %j: what is lost with a missing member is the device, not damage and not the command line',
  async (command, words) => {
    const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-members-'));
    try {
      const [data, metadata] = [join(folder, 'data.img'), join(folder, 'metadata.img')];
      for (const image of [data, metadata]) writeFileSync(image, '');
      for (const image of [data, metadata]) truncateSync(image, 64 * 2 ** 20);
      await succeed('format', ['--data_allowed=user', data, '--data_allowed=btree,journal', metadata]);
      const { exitCode, stderr } = await run(command, ['--json', '--degraded', data, ...words]);
      const error = stderr.split('\n').find(line => line.includes('bcachefs-ts/error'));
      expect(exitCode).toBe(5);
      expect(JSON.parse(error ?? '')).toMatchObject({ error: 'device', name: 'member_missing', device: 'member 1' });
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

// Every command opens a filesystem in one way: a directory of its images, a list with colons, and words of their own mean the same.
describe.each([
  ['reset-counters', []],
  ['set-fs-option', ['--compression=lz4']],
  ['set-fs-option', ['--fs_label=both']],
] as const)('%s %s', (command, words) => {
  test.each([
    ['a directory', (images: readonly string[]) => [dirname(images[0]!)]],
    ['a list', (images: readonly string[]) => [images.join(':')]],
    ['words', (images: readonly string[]) => images],
  ])('members in %s', (_what, named) =>
    withTestImage('multi', async images => {
      const { members } = JSON.parse(await succeed(command, ['--json', ...words, ...named(images)]));
      expect(members.toSorted()).toEqual([...images].sort());
    }),
  );
});

test('a command that writes superblocks chooses by UUID too', () =>
  withTestImage('multi', images =>
    withTestImage('basic', async ([basic = '']) => {
      copyFileSync(basic, join(dirname(images[0]!), 'basic.img'));
      const { uuid, members } = JSON.parse(
        await succeed('reset-counters', ['--json', `--uuid=${MULTI}`, dirname(images[0]!)]),
      );
      expect({ uuid, members }).toEqual({ uuid: MULTI, members: [...images] });
    }),
  ));

test('show-super shows every member in a directory, and in a list', () =>
  withTestImage('multi', async images => {
    const devices = async (...words: string[]) =>
      JSON.parse(await succeed('show-super', ['--json', ...words])).superblocks.map(
        ({ device }: { device: string }) => device,
      );
    expect(await devices(dirname(images[0]!))).toEqual([...images].sort());
    expect(await devices(images.join(':'))).toEqual(images);
  }));

test.each([
  ['ls', []],
  ['stat', []],
  ['cat', []],
  ['tree', []],
] as const)('%s says how members are named when a second one is taken for a path', (command, words) =>
  withTestImage('multi', async images => {
    const [first, second] = images as [string, string];
    // With the other member there, so that nothing but the path is wrong.
    const { exitCode, stderr } = await run(command, [...words, `${first}:${second}`, second]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain('name all members in one word, joined by colons');
  }),
);
