// list as a command, over the project's own images: options, JSON, passphrases, missing members, damage, and what it says about each.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { withTestImage } from '../support/images.ts';

const lines = (text: string) => text.trimEnd().split('\n');
const positionsOf = (text: string) => [...text.matchAll(/^u64s \d+ type \S+ (\S+)/gm)].map(match => match[1]);

describe('list', () => {
  test('keys, all of them, of one type, and between positions', () =>
    withTestImage('basic', async images => {
      const all = await succeed('list', ['--btree=dirents', ...images]);
      expect(all).toMatch(/^u64s \d+ type dirent 4096:\d+:U32_MAX len 0 ver 0 {2}: lost\+found -> 4097 type dir$/m);
      const positions = positionsOf(all);
      expect(positions.length).toBeGreaterThan(5);
      expect(positionsOf(await succeed('list', ['-b', 'dirents', '-k', 'dirent', ...images]))).toEqual(
        positionsOf(all.replace(/^u64s \d+ type \w*whiteout .*\n/gm, '')),
      );
      const [first = '', second = '', third = ''] = positions;
      const between = ['--btree=dirents', `--start=${second}`, `--end=${third}`, ...images];
      expect(positionsOf(await succeed('list', between))).toEqual([second, third]);
      expect(await succeed('list', ['--btree=dirents', `--end=${first}`, '--bkey-type=xattr', ...images])).toBe('');
    }));

  test('nodes, formats, and what is on disk', () =>
    withTestImage('basic', async images => {
      const nodes = await succeed('list', ['--mode=nodes', '--btree=subvolumes', ...images]);
      expect(nodes).toMatch(
        /^u64s 11 type btree_ptr_v2 SPOS_MAX len 0 ver 0 {2}: \n {2}seq [0-9a-f]+ written \d+ min_key POS_MIN durability: 1 \n {2}ptr: basic.img 0:\d+:\d+ gen \d+\n$/,
      );
      const formats = await succeed('list', ['--mode=formats', '--btree=subvolumes', ...images]);
      expect(formats).toMatch(/^l 0 POS_MIN - SPOS_MAX:\n {4}ptrs: \nseq /);
      expect(formats).toMatch(/\n {4}bytes used \d+\/\d+ \(\d+% full\)\n/);
      const keys =
        Number(/nr packed keys (\d+)/.exec(formats)?.[1]) + Number(/nr unpacked keys (\d+)/.exec(formats)?.[1]);
      expect(keys).toBe(positionsOf(await succeed('list', ['--btree=subvolumes', ...images])).length);
      const ondisk = await succeed('list', ['--mode=nodes-ondisk', '--btree=subvolumes', ...images]);
      expect(ondisk).toMatch(/^ {2}offset 0 version \d+, journal seq \d+\n/);
      expect(await succeed('list', ['--mode=nodes', '--btree=stripes', ...images])).toBe(
        'u64s 5 type btree_ptr SPOS_MAX len 0 ver 0\n',
      );
    }));

  test('JSON: one object a line, as many as the text has keys', () =>
    withTestImage('basic', async images => {
      const json = await succeed('list', ['--json', '--btree=inodes', ...images]);
      const [schema, ...items] = lines(json).map(line => JSON.parse(line));
      expect(schema).toEqual({ schema: 'bcachefs-ts/list', version: 1 });
      const positions = positionsOf(await succeed('list', ['--btree=inodes', ...images]));
      expect(items.map(item => item.pos)).toEqual(positions);
      expect(items[0]).toMatchObject({ btree: 'inodes', level: 0, type: 'inode_v3' });
      for (const mode of ['nodes', 'formats', 'nodes-ondisk']) {
        const [, node] = lines(await succeed('list', ['--json', `--mode=${mode}`, '--btree=inodes', ...images]));
        expect(JSON.parse(node!)).toMatchObject({ btree: 'inodes' });
      }
    }));

  test('colour marks types and positions, and nothing else', () =>
    withTestImage('basic', async images => {
      const plain = await succeed('list', ['--btree=dirents', ...images]);
      const colored = await succeed('list', ['--color=always', '--btree=dirents', ...images]);
      expect(colored).toContain('\u001b[');
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
      expect(colored.replace(/\u001b\[\d+m/g, '')).toBe(plain);
    }));

  test('several btrees, and all of them, in one process', () =>
    withTestImage('basic', async images => {
      const one = (name: string) => succeed('list', [`--btree=${name}`, ...images]);
      const [inodes, dirents] = [await one('inodes'), await one('dirents')];
      const both = await succeed('list', ['--btree=dirents,inodes', ...images]);
      expect(both).toBe(`btree dirents:\n${dirents}btree inodes:\n${inodes}`);
      const all = await succeed('list', ['-b', 'all', ...images]);
      expect(all).toContain(`btree inodes:\n${inodes}btree dirents:\n${dirents}btree xattrs:\n`);
      const [, ...json] = lines(await succeed('list', ['--json', '--btree=dirents,inodes', ...images]));
      expect(json.length).toBe(positionsOf(both).length);
      expect((await run('list', ['--btree=dirents,,', ...images])).exitCode).toBe(2);
    }));

  test('several members: in any order, joined by a colon, or as a folder', () =>
    withTestImage('multi', async ([a = '', b = '']) => {
      const expected = await succeed('list', ['--btree=extents', a, b]);
      expect(positionsOf(expected).length).toBeGreaterThan(5);
      expect(await succeed('list', ['--btree=extents', b, a])).toBe(expected);
      expect(await succeed('list', ['--btree=extents', `${a}:${b}`])).toBe(expected);
      const folder = join(dirname(a), 'members');
      mkdirSync(folder);
      for (const [i, path] of [a, b].entries()) renameSync(path, join(folder, `multi.dev${i}.img`));
      writeFileSync(join(folder, 'notes.txt'), 'not a member');
      expect(await succeed('list', ['--btree=extents', folder])).toBe(expected);
    }));

  test('a missing member is reported, and what is left is read', () =>
    withTestImage('multi', async ([a = '']) => {
      const { exitCode, stdout, stderr } = await run('list', ['--btree=inodes', a]);
      expect(stderr).toMatch(
        /of 2 members, member 1 \(uuid [0-9a-f-]{36}, label hdd\.slow\) is missing; what is only there cannot be read/,
      );
      expect(exitCode).toBe(0); // metadata has two replicas
      expect(positionsOf(stdout).length).toBeGreaterThan(5);
    }));

  test('an encrypted filesystem takes its passphrase from a file, the environment or a prompt', () =>
    withTestImage('encrypted', async images => {
      const words = ['--btree=dirents', ...images];
      const file = join(dirname(images[0]!), 'passphrase');
      writeFileSync(file, 'correct horse\n');
      const text = await succeed('list', [`--passphrase_file=${file}`, ...words]);
      expect(text).toContain(': secret -> ');
      expect(await succeed('list', words, { env: { BCACHEFS_PASSPHRASE: 'correct horse' } })).toBe(text);
      const wrong = await run('list', words, { env: { BCACHEFS_PASSPHRASE: 'wrong horse' } });
      expect(wrong).toMatchObject({ exitCode: 2, stdout: '' });
      expect(wrong.stderr).toContain('wrong passphrase');
    }));

  test('a filesystem that was not unmounted reads as after a replay, and --verbose says so', () =>
    withTestImage('unclean', async images => {
      const before = readFileSync(images[0]!);
      const { exitCode, stdout, stderr } = await run('list', ['--verbose', '--btree=dirents', ...images]);
      expect(exitCode).toBe(0);
      expect(stderr).toMatch(/not unmounted: roots from the journal up to entry \d+, \d+ positions/);
      expect(stdout).toContain(': kept -> ');
      expect(stdout).toContain(': last -> ');
      expect(readFileSync(images[0]!).equals(before)).toBe(true);
    }));

  test('damage is reported on stderr with its place, the rest is printed, the exit code is 1', () =>
    withTestImage('basic', async ([image = '']) => {
      const node = JSON.parse(
        lines(await succeed('list', ['--json', '--mode=nodes-ondisk', '-b', 'dirents', image]))[1]!,
      );
      const bytes = readFileSync(image);
      bytes[512 * node.sector + 40]! ^= 1; // in the header of its first bset
      writeFileSync(image, bytes);
      const damaged = await run('list', ['--btree=dirents', image]);
      expect(damaged.exitCode).toBe(1);
      expect(damaged.stderr).toContain(`dirents SPOS_MAX level 0, ${image} sector ${node.sector}: `);
      expect(damaged.stderr).toContain('could not be read as they should be');
      expect((await run('list', ['--btree=inodes', image])).exitCode).toBe(0);
    }));

  test.each([
    [['--btree=inods'], 'there is no btree called "inods", only extents, '],
    [['--bkey_type=dirents'], 'there is no key type called "dirents", only deleted, '],
    [['--start=1'], "'1' is not a position"],
    [['--end=1:2:4294967296'], "'4294967296' is not a number of 32 bits"],
    [['--level=4'], 'level'],
    [['--mode=everything'], 'mode'],
  ])('%s', async (words, message) => {
    const { exitCode, stderr } = await run('list', [...words, 'missing.img']);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(message);
  });

  test('a file that is not there, a folder without members', () =>
    withTestImage('basic', async ([image = '']) => {
      expect((await run('list', [`${image}.not`])).exitCode).toBe(5);
      const folder = join(dirname(image), 'empty');
      mkdirSync(folder);
      const { exitCode, stderr } = await run('list', [folder]);
      expect(exitCode).toBe(2);
      expect(stderr).toContain('no member of a bcachefs filesystem is in');
    }));
});
