// diff: that it finds each thing that was changed and nothing else, against the same changes made in folders and compared by the rules of the
// host; what cannot be read; and its exit codes.

import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { withTestImage } from '../support/images.ts';
import { validator } from '../support/schemas.ts';

const diffSchema = validator('diff');
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-diff-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

/** Lines, and the exit code. */
async function diff(...words: readonly string[]) {
  const { exitCode, stdout, stderr } = await run('diff', ['--json', ...words]);
  const items = stdout.split('\n').flatMap(line => (line === '' ? [] : [JSON.parse(line)]));
  for (const item of items) expect(diffSchema(item)).toEqual([]);
  return { exitCode, stderr, items: items.slice(1, -1), summary: items.at(-1) };
}

beforeAll(async () => {
  const [first, second] = [at('first'), at('second')];
  mkdirSync(join(first, 'd/same'), { recursive: true });
  writeFileSync(join(first, 'd/same/file'), 'same');
  writeFileSync(join(first, 'd-e'), 'between d and what is in it, by its bytes');
  writeFileSync(join(first, 'long'), 'x'.repeat(3_000_000));
  writeFileSync(join(first, 'written'), new Uint8Array(100_000));
  writeFileSync(join(first, 'gone'), 'gone');
  symlinkSync('there', join(first, 'link'));
  writeFileSync(join(first, 'kind'), 'a file');
  const time = new Date('2024-05-06T07:08:09Z');
  cpSync(first, second, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  // What copies files may fill their holes.
  for (const side of [first, second]) {
    writeFileSync(join(side, 'sparse'), '');
    truncateSync(join(side, 'sparse'), 2 ** 40);
  }
  const change = (name: string, text: string) => {
    writeFileSync(join(second, name), text);
    for (const side of [first, second]) utimesSync(join(side, name), time, time);
  };
  change('long', `${'x'.repeat(2_345_678)}y${'x'.repeat(3_000_000 - 2_345_679)}`);
  rmSync(join(second, 'gone'));
  mkdirSync(join(second, 'new/inner'), { recursive: true });
  rmSync(join(second, 'link'));
  symlinkSync('elsewhere', join(second, 'link'));
  rmSync(join(second, 'kind'));
  mkdirSync(join(second, 'kind'));
  // Zeroes that are stored on one side, and a hole on the other.
  writeFileSync(join(second, 'written'), '');
  truncateSync(join(second, 'written'), 100_000);
  writeFileSync(join(second, 'd/same/file'), 'SAME');
  for (const [name, side] of [
    ['a', first],
    ['a2', first],
    ['b', second],
  ] as const)
    await succeed('format', [`--source=${side}`, '--fs_size=64M', at(`${name}.img`)]);
});

describe('two filesystems', () => {
  test('of the same files are equal, whatever else they are', async () => {
    expect(await diff(at('a.img'), at('a2.img'))).toMatchObject({ exitCode: 0, items: [], summary: { changed: 0 } });
    expect(await run('diff', [at('a.img'), at('a.img')])).toMatchObject({ exitCode: 0, stdout: '' });
    const superblocks = await diff('--superblock', at('a.img'), at('a2.img'));
    expect(superblocks.exitCode).toBe(1);
    const [{ kind, changes }] = superblocks.items;
    expect(kind).toBe('superblock');
    expect(changes.map(({ what }: { what: string }) => what)).toContain('external_uuid');
  });

  test('each change is found, and nothing else', async () => {
    const { exitCode, items, summary } = await diff('--no_times', at('a.img'), at('b.img'));
    expect(exitCode).toBe(1);
    const changed = (path: string, ...changes: readonly object[]) => ({ kind: 'changed', path, changes });
    expect(items).toEqual([
      { kind: 'only', side: 'first', path: 'gone', type: 'reg' },
      { kind: 'only', side: 'second', path: 'new', type: 'dir' },
      changed('d/same/file', { what: 'contents', first: 'byte 0', second: 'byte 0' }),
      expect.objectContaining({ path: 'kind' }),
      changed(
        'link',
        { what: 'size', first: '5', second: '9' },
        { what: 'target', first: 'there', second: 'elsewhere' },
      ),
      changed('long', { what: 'contents', first: 'byte 2345678', second: 'byte 2345678' }),
    ]);
    expect(items[3].changes).toContainEqual({ what: 'type', first: 'reg', second: 'dir' });
    expect(summary).toMatchObject({ changed: 4, only_first: 1, only_second: 1, losses: 0 });
    const shallow = await diff('--no_times', '--no_contents', at('a.img'), at('b.img'));
    expect(shallow.summary.changed).toBe(2);
    expect((await diff('--no_times', at('a.img'), at('b.img'), 'd')).items.map(({ path }) => path)).toEqual([
      'd/same/file',
    ]);
  });

  test('for people', async () => {
    const { stdout } = await run('diff', ['--no_times', at('a.img'), at('b.img')]);
    expect(stdout.split('\n')).toEqual([
      '- /gone',
      '+ /new/',
      '~ /d/same/file: contents from byte 0',
      expect.stringContaining('~ /kind: type reg → dir, mode '),
      '~ /link: size 5 → 9, target there → elsewhere',
      '~ /long: contents from byte 2345678',
      expect.stringMatching(/^4 changed, 1 only in the first, 1 only in the second; \d+ compared$/),
      '',
    ]);
    expect(await run('diff', ['-q', at('a.img'), at('b.img')])).toMatchObject({ exitCode: 1, stdout: '' });
  });

  test('attributes and times', async () => {
    copyFileSync(at('a.img'), at('c.img'));
    await succeed('set-file-option', ['--compression=zstd', at('c.img'), 'd']);
    await succeed('put', [at('c.img'), join(folder, 'first/d-e'), 'new\u001b[2Jname\n']);
    const { items } = await diff(at('a.img'), at('c.img'));
    expect(items[0]).toMatchObject({ kind: 'changed', path: '' });
    expect(items[1]).toMatchObject({ kind: 'only', side: 'second', path: 'new\u001b[2Jname\n' });
    expect(items[2]).toMatchObject({
      path: 'd',
      changes: [{ what: 'option compression', first: null, second: 'zstd' }],
    });
    const { stdout } = await run('diff', [at('a.img'), at('c.img')]);
    expect(stdout).toContain('+ /new\\x1b[2Jname\\x0a\n');
    expect(stdout).toMatch(/^~ \/: mtime 20\d\d-\S+Z → 20\d\d-\S+Z$/m);
  });
});

describe('snapshots of one filesystem', () => {
  test('a subvolume, and snapshots that were made of it', () =>
    withTestImage('upgraded', async ([image]) => {
      expect(await diff(`${image}@2`, `${image}@volume@2`)).toMatchObject({
        exitCode: 1,
        items: [
          expect.anything(),
          { kind: 'only', side: 'second', path: 'file-2' },
          { kind: 'only', side: 'first', path: 'renamed' },
        ],
      });
      const names = (await diff('--no_times', `${image}@volume@1`, `${image}@volume`)).items.map(({ path }) => path);
      expect(names).toEqual(['file-0', 'file-2', 'renamed', 'file-1', 'file-3']);
    }));

  test('what is not there, or cannot be meant', () =>
    withTestImage('basic', async ([image]) => {
      for (const word of [`${image}@99`, `${image}@nowhere`, `${image}@snapshot:7`, `${image}@`]) {
        expect(await run('diff', [image!, word])).toMatchObject({ exitCode: 2, stdout: '' });
      }
    }));
});

test('what cannot be read is said, and the exit code is neither equal nor different', async () => {
  const bytes = readFileSync(at('a.img'));
  const place = bytes.indexOf('x'.repeat(4096));
  expect(place).toBeGreaterThan(0);
  bytes[place + 100]! ^= 1;
  writeFileSync(at('damaged.img'), bytes);
  const { exitCode, items, summary, stderr } = await diff(at('a.img'), at('damaged.img'));
  expect({ exitCode, items }).toEqual({ exitCode: 3, items: [] });
  expect(summary.losses).toBe(1);
  expect(stderr).toContain('"long, extents ');
  expect(stderr).toContain('cannot be compared');
});
