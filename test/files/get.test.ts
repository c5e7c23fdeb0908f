// get: put the other way round. What is copied is what restore copies; here it is the names, what is in the way, and what stays as it was.

import {
  existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync,
} from 'node:fs'; // biome-ignore format: one line of names
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { scratchFolder } from '../support/folder-manifest.ts';

let folder = '';
let image = '';
let here = '';
const at = (name: string) => join(here, name);
const get = (...words: string[]) => run('get', words);

beforeAll(async () => {
  folder = mkdtempSync(join(scratchFolder, 'get-'));
  image = join(folder, 'disk.img');
  const source = join(folder, 'source');
  mkdirSync(join(source, 'home/anna/mail'), { recursive: true, mode: 0o700 });
  writeFileSync(join(source, 'home/anna/mail/one'), 'one', { mode: 0o640 });
  writeFileSync(join(source, 'home/anna/two'), Buffer.alloc(200_000, 'two '));
  symlinkSync('two', join(source, 'home/anna/link'));
  writeFileSync(join(source, 'three'), 'three');
  await succeed('format', ['-q', '--fs_size=32M', `--source=${source}`, image]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  here = mkdtempSync(join(folder, 'here-'));
});

test('a file goes into a folder under its name, or gets the name that is given', async () => {
  expect(await get(image, 'home/anna/two', here)).toMatchObject({ exitCode: 0, stderr: '' });
  expect(await get(image, '/home/anna/mail/one', at('renamed'))).toMatchObject({ exitCode: 0, stderr: '' });
  expect(readFileSync(at('two'))).toEqual(Buffer.alloc(200_000, 'two '));
  expect(readFileSync(at('renamed'), 'utf8')).toBe('one');
  expect(statSync(at('renamed')).mode & 0o777).toBe(0o640);
  // Nothing else, and no work folder.
  expect(readdirSync(here).toSorted()).toEqual(['renamed', 'two']);
});

test('several files, folders with -r, and the folder that they come into stays as it was', async () => {
  const before = statSync(here);
  expect(await get('-r', image, 'home/anna', 'three', here)).toMatchObject({ exitCode: 0, stderr: '' });
  expect(readFileSync(at('anna/mail/one'), 'utf8')).toBe('one');
  expect(readlinkSync(at('anna/link'))).toBe('two');
  expect(statSync(at('anna')).mode & 0o777).toBe(0o700);
  expect(readFileSync(at('three'), 'utf8')).toBe('three');
  expect(readdirSync(here).toSorted()).toEqual(['anna', 'three']);
  expect([statSync(here).mode, statSync(here).uid]).toEqual([before.mode, before.uid]);
});

test('a symlink is followed without -r, and copied with it', async () => {
  await get(image, 'home/anna/link', at('followed'));
  await get('-r', image, 'home/anna/link', at('copied'));
  expect(lstatSync(at('followed')).isFile()).toBe(true);
  expect(readlinkSync(at('copied'))).toBe('two');
});

test('what is in the way is not replaced without --force, and nothing is copied then', async () => {
  writeFileSync(at('three'), 'mine');
  mkdirSync(at('two'));
  const refused = await get(image, 'home/anna/mail/one', 'three', here);
  expect(refused).toMatchObject({ exitCode: 2 });
  expect(refused.stderr).toContain(`${at('three')}: is there already; --force replaces it`);
  expect(existsSync(at('one'))).toBe(false);
  expect(readFileSync(at('three'), 'utf8')).toBe('mine');
  expect(await get('--force', image, 'three', here)).toMatchObject({ exitCode: 0 });
  expect(readFileSync(at('three'), 'utf8')).toBe('three');
  expect((await get('--force', image, 'home/anna/two', here)).stderr).toContain('is there already, and is a folder');
});

test('what cannot be meant is refused in one line', async () => {
  const cases: readonly (readonly [words: readonly string[], error: RegExp])[] = [
    [['home', here], /home: is a directory; -r copies it/],
    [['nothing', here], /nothing/],
    [['three', 'home/anna/two', at('no-folder')], /is not a folder, and several files need one/],
    [['three', at('no-folder/')], /is not a folder, and a name cannot end so/],
    [['three', '/three', here], /two files would get this name/],
    [['-r', '/', here], /has no name of its own/],
  ];
  for (const [words, error] of cases) {
    const { exitCode, stderr } = await get(image, ...words);
    expect(stderr).toMatch(error);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(exitCode).toBe(2);
    expect(readdirSync(here)).toEqual([]);
  }
  expect(await get('-r', image, '/', at('all'))).toMatchObject({ exitCode: 0 });
  expect(readdirSync(at('all')).toSorted()).toEqual(['home', 'lost+found', 'three']);
});

test('JSON is that of restore', async () => {
  const { stdout } = await get('--json', image, 'three', here);
  expect(JSON.parse(stdout)).toMatchObject({
    schema: 'bcachefs-ts/get',
    intact: true,
    totals: { files: 1, directories: 0 },
  });
});
