// --undo_file of every command that writes, and undo: afterwards the devices are what they were, byte for byte. What is refused has changed
// nothing.

import {
  appendFileSync, closeSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, statSync,
  symlinkSync, truncateSync, writeFileSync, writeSync,
} from 'node:fs'; // biome-ignore format: one line of names
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandName, run, succeed } from '../support/cli.ts';
import { scratchFolder } from '../support/folder-manifest.ts';
import { withTestImage } from '../support/images.ts';
import { MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { validator } from '../support/schemas.ts';

const SIZE = 16 * MIB;
const EPOCH = { SOURCE_DATE_EPOCH: '1700000000' };

let folder = '';
const file = (name: string) => join(folder, name);
/** Two filesystems: of one encrypted member, and of two. */
const originals: Record<'one' | 'two', readonly string[]> = { one: [], two: [] };

beforeAll(async () => {
  folder = mkdtempSync(join(scratchFolder, 'undo-'));
  writeFileSync(file('pw'), 'correct horse');
  writeFileSync(file('new-pw'), 'battery staple');
  const source = file('source');
  mkdirSync(join(source, 'directory'), { recursive: true });
  writeFileSync(join(source, 'name'), 'contents');
  writeFileSync(file('long'), Buffer.alloc(100_000, 'no zeroes here. '));
  originals.one = [file('one.0')];
  originals.two = [file('two.0'), file('two.1')];
  const common = ['-q', `--fs_size=${SIZE}`, '--block_size=4k', '--bucket_size=32k', '--btree_node_size=32k'];
  await succeed('format', [
    ...common, '--superblock_size=64k', '--encrypted', `--passphrase_file=${file('pw')}`, `--source=${source}`, file('one.0'),
  ]); // biome-ignore format: one line of words
  await succeed('format', [
    ...common, '--superblock_size=64k', '--replicas=2', `--source=${source}`, file('two.0'), `--fs_size=${SIZE}`, file('two.1'),
  ]); // biome-ignore format: one line of words
  for (const fs of ['one', 'two'] as const) {
    await succeed('subvolume create', ['-q', ...key(fs), originals[fs].join(':'), '/volume']);
  }
  await succeed('image create', ['-q', `--source=${source}`, file('small')]);
  mkdirSync(file('other'));
  for (let nr = 0; nr < 30; nr++)
    writeFileSync(join(file('other'), `file-${nr}`), Buffer.alloc(250_000, `file ${nr} `));
}, patient(120_000));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const key = (fs: 'one' | 'two') => (fs === 'one' ? [`--passphrase_file=${file('pw')}`] : []);

function copies(fs: 'one' | 'two'): string[] {
  return originals[fs].map((original, nr) => {
    const copy = file(`copy.${nr}`);
    copyFileSync(original, copy);
    return copy;
  });
}

function freshName(name: string): string {
  const path = file(name);
  rmSync(path, { force: true });
  return path;
}

const contentsOf = (paths: readonly string[]) => paths.map(path => readFileSync(path));

/** Compared here: what a failed `toEqual` would print of two files is the files. */
function areSame(paths: readonly string[], before: readonly Buffer[]): boolean {
  return paths.every((path, nr) => readFileSync(path).equals(before[nr]!));
}

function overwrite(path: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

interface Case {
  readonly command: CommandName;
  readonly words: (images: readonly string[], fs: 'one' | 'two') => readonly string[];
  readonly only?: 'one';
  /** The first superblock is lost. */
  readonly damaged?: boolean;
}

const change =
  (...words: readonly string[]) =>
  (images: readonly string[], fs: 'one' | 'two') => [...key(fs), images.join(':'), ...words];

/** Every command that writes to a filesystem that is there. */
const cases: readonly Case[] = [
  { command: 'put', words: (images, fs) => [...key(fs), images.join(':'), file('long'), '/long'] },
  { command: 'mkdir', words: change('/new') },
  { command: 'rm', words: change('/name') },
  { command: 'mv', words: change('/name', '/other') },
  { command: 'set-file-option', words: (images, fs) => [...key(fs), '--compression=lz4', images.join(':'), '/name'] },
  { command: 'subvolume create', words: change('/new') },
  { command: 'subvolume snapshot', words: change('/volume', '/new') },
  { command: 'subvolume delete', words: change('/volume') },
  { command: 'set-fs-option', words: images => ['--nocow', ...images] },
  { command: 'reset-counters', words: images => images },
  { command: 'strip-alloc', words: images => images },
  { command: 'recovery-pass', words: images => ['--set=check_topology', ...images] },
  {
    command: 'set-passphrase',
    words: images => [...key('one'), `--new_passphrase_file=${file('new-pw')}`, ...images],
    only: 'one',
  },
  { command: 'remove-passphrase', words: images => [...key('one'), ...images], only: 'one' },
  { command: 'recover-super', words: images => ['--yes', images[0]!], damaged: true },
  { command: 'format', words: images => ['-q', '--force', ...images] },
  { command: 'format', words: images => ['-q', '--force', '--seed=again', '--fs_label=seeded', ...images] },
  { command: 'format', words: images => ['-q', '--force', `--source=${file('other')}`, ...images] },
];

/** @returns the devices that it was given */
async function changed({ command, words }: Case, fs: 'one' | 'two', images: readonly string[], undo: string) {
  const given = words(images, fs);
  const { exitCode, stderr } = await run(command, [`--undo_file=${undo}`, ...given]);
  expect(exitCode, stderr).toBe(0);
  return images.filter(image => given.some(word => word.split(':').includes(image)));
}

describe('undo puts back, byte for byte', () => {
  const rows = cases.flatMap((one, nr) =>
    (['one', 'two'] as const).map(fs => ({ ...one, fs, name: `${nr}: ${one.command}, ${fs}` })),
  );
  const sensible = rows.filter(({ only, fs }) => only === undefined || only === fs);

  test.each(sensible.map(row => [row.name, row] as const))(
    '%s',
    async (_, row) => {
      const images = copies(row.fs);
      if (row.damaged) overwrite(images[0]!, 4096, Buffer.alloc(512));
      const before = contentsOf(images);
      const undo = freshName('undo');
      const touched = await changed(row, row.fs, images, undo);
      expect(statSync(undo).mode & 0o777).toBe(0o600);
      const after = contentsOf(images);
      expect(areSame(images, before)).toBe(false);

      const look = await succeed('undo', ['-n', undo, ...touched]);
      expect(look).toMatch(/^Dry run, nothing was written: would undo /);
      expect(areSame(images, after)).toBe(true);

      expect(await succeed('undo', [undo, ...touched.toReversed()])).toMatch(/^Undid /);
      expect(areSame(images, before)).toBe(true);
      expect(await succeed('undo', [undo, ...touched])).toContain('nothing was written');
      expect(areSame(images, before)).toBe(true);
    },
    patient(60_000),
  );

  test('image update, which makes an image larger and smaller', async () => {
    for (const to of ['other', 'source'] as const) {
      const image = file('updated');
      if (to === 'other') copyFileSync(file('small'), image);
      const before = readFileSync(image);
      const undo = freshName('undo');
      await succeed('image update', ['-q', `--undo_file=${undo}`, `--source=${file(to)}`, image]);
      const after = readFileSync(image);
      expect(await succeed('undo', [undo, image])).toContain(`its size is ${before.length} bytes again`);
      expect(areSame([image], [before])).toBe(true);
      writeFileSync(image, after);
    }
  });

  test('fsck, which replays a journal', async () => {
    await withTestImage('unclean', async images => {
      const before = contentsOf(images);
      const undo = freshName('undo');
      await run('fsck', ['-y', `--undo_file=${undo}`, ...images]);
      expect(areSame(images, before)).toBe(false);
      expect(await succeed('undo', [undo, ...images])).toMatch(/^Undid fsck of /);
      expect(areSame(images, before)).toBe(true);
    });
  });

  test('format of an image file that was not there: it is empty again', async () => {
    const [image, undo] = [freshName('made'), freshName('undo')];
    await succeed('format', ['-q', `--undo_file=${undo}`, '--fs_size=16M', image]);
    await succeed('undo', [undo, image]);
    expect(statSync(image).size).toBe(0);
  });

  test('several commands, the last one first', async () => {
    const images = copies('two');
    const [before, undos] = [contentsOf(images), [freshName('undo-0'), freshName('undo-1')]];
    await succeed('mkdir', [`--undo_file=${undos[0]}`, images.join(':'), '/a']);
    const between = contentsOf(images);
    await succeed('rm', [`--undo_file=${undos[1]}`, images.join(':'), '/name']);
    const after = contentsOf(images);
    const { exitCode, stderr } = await run('undo', [undos[0]!, ...images]);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(
      /^undo: \S+copy\.0: is not as mkdir left it: the sector at byte \d+ was changed since, so nothing can be undone\n$/,
    );
    expect(areSame(images, after)).toBe(true);
    await succeed('undo', [undos[1]!, ...images]);
    expect(areSame(images, between)).toBe(true);
    await succeed('undo', [undos[0]!, ...images]);
    expect(areSame(images, before)).toBe(true);
  });

  test('a command writes the same with an undo file and without', async () => {
    const written = async (words: readonly string[]) => {
      const images = copies('two');
      await succeed('put', ['-q', '-r', ...words, '--seed=same', images.join(':'), file('other'), '/other'], {
        env: EPOCH,
      });
      return contentsOf(images);
    };
    const plain = await written([]);
    const recorded = await written([`--undo_file=${freshName('undo')}`]);
    expect(recorded.every((bytes, nr) => bytes.equals(plain[nr]!))).toBe(true);
  });

  test('devices under other names, and as JSON', async () => {
    const images = copies('two');
    const before = contentsOf(images);
    const undo = freshName('undo');
    await succeed('mkdir', [`--undo_file=${undo}`, images.join(':'), '/a']);
    const moved = images.map(image => `${image}.moved`);
    for (const [nr, image] of images.entries()) renameSync(image, moved[nr]!);
    const shown = JSON.parse(await succeed('undo', ['--json', undo, moved.toReversed().join(':')]));
    expect(validator('undo')(shown)).toEqual([]);
    expect(shown).toMatchObject({
      schema: 'bcachefs-ts/undo',
      version: 1,
      command: 'mkdir',
      finished: true,
      action: 'undone',
    });
    expect(shown.devices).toMatchObject([
      { path: moved[1], path_then: images[1], size: SIZE, size_found: SIZE },
      { path: moved[0], path_then: images[0], size: SIZE, size_found: SIZE },
    ]);
    expect(areSame(moved, before)).toBe(true);
  });
});

describe('the undo file', () => {
  test.each<[string, (path: string) => void]>([
    ['a file', path => writeFileSync(path, 'mine')],
    ['a link', path => symlinkSync('nowhere', path)],
    ['a folder', path => mkdirSync(path)],
  ])('is a new one: %s that is there is left alone', async (_, make) => {
    const images = copies('two');
    const before = contentsOf(images);
    const undo = freshName('there');
    make(undo);
    const commands: readonly (readonly [CommandName, readonly string[]])[] = [
      ['mkdir', [images.join(':'), '/new']],
      ['set-fs-option', ['--nocow', ...images]],
      ['format', ['--force', ...images]],
    ];
    for (const [command, words] of commands) {
      const { exitCode, stderr } = await run(command, [`--undo_file=${undo}`, ...words]);
      expect([exitCode, stderr.split('\n')[0]]).toEqual([
        2,
        `${command}: ${undo} is there already; an undo file is always a new one`,
      ]);
    }
    expect(areSame(images, before)).toBe(true);
    expect(existsSync(file('nowhere'))).toBe(false);
    rmSync(undo, { recursive: true });
  });

  test('a folder that is not there is a device error, and nothing was written', async () => {
    const images = copies('two');
    const before = contentsOf(images);
    const { exitCode, stderr } = await run('mkdir', [`--undo_file=${file('none/undo')}`, images.join(':'), '/new']);
    expect([exitCode, stderr]).toEqual([5, expect.stringContaining('no such file or directory')]);
    expect(areSame(images, before)).toBe(true);
  });

  test.each<[string, CommandName, readonly string[]]>([
    ['nothing is to be done', 'put', ['--dry_run']],
    ['it is refused', 'mv', []],
  ])('is gone again when %s', async (_, command, more) => {
    const images = copies('two');
    const undo = freshName('undo');
    await run(command, [...more, `--undo_file=${undo}`, images.join(':'), file('long'), '/nowhere/at/all']);
    expect(existsSync(undo)).toBe(false);
  });
});

describe('undo refuses, and changes nothing', () => {
  async function prepared() {
    const images = copies('two');
    const undo = freshName('undo');
    await succeed('put', [`--undo_file=${undo}`, images.join(':'), file('long'), '/long']);
    return { images, undo, after: contentsOf(images) };
  }

  test.each<[string, number, RegExp, (images: string[], undo: string) => string[] | undefined]>([
    ['not all devices', 2, /put has changed \S+copy\.1 as well: name all devices/, ([first]) => [first!]],
    [
      'a device twice over',
      2,
      /copy\.0\.copy: is not one of the devices|copy\.0\.copy: is not as put left it/,
      ([first, second]) => {
        copyFileSync(first!, `${first}.copy`);
        return [first!, second!, `${first}.copy`];
      },
    ],
    [
      'another filesystem',
      2,
      /one\.0: is part of another filesystem than the one that put has changed/,
      () => [file('one.0')],
    ],
    [
      'no filesystem at all',
      2,
      /blank: is not as put left it/,
      () => {
        writeFileSync(file('blank'), Buffer.alloc(SIZE));
        return [file('blank')];
      },
    ],
    [
      'a device of another size',
      2,
      new RegExp(`has ${SIZE + 512} bytes, expected ${SIZE} as put left it`),
      images => {
        appendFileSync(images[0]!, Buffer.alloc(512));
        return images;
      },
    ],
    ['no undo file', 3, /pw: is not an undo file/, images => [file('pw'), ...images]],
    [
      'an empty file',
      3,
      /is empty: the command was stopped before it wrote anything/,
      (images, undo) => {
        truncateSync(undo, 0);
        return images;
      },
    ],
    [
      'a header that is damaged',
      3,
      /the checksum of its header is wrong/,
      (images, undo) => {
        overwrite(undo, 60, Buffer.from('x'));
        return images;
      },
    ],
    [
      'a version of later programs',
      4,
      /is an undo file of version 2, this program knows 1/,
      (images, undo) => {
        overwrite(undo, 16, Uint8Array.of(2));
        return images;
      },
    ],
    [
      'saved contents that are damaged',
      3,
      /the checksum of what it has saved is wrong/,
      (images, undo) => {
        overwrite(undo, firstContents(undo), Buffer.from('x'.repeat(16)));
        return images;
      },
    ],
    [
      'a batch that is damaged',
      3,
      /what it has saved is damaged at byte 4096/,
      (images, undo) => {
        overwrite(undo, 4096 + 100, Buffer.from('x'.repeat(16)));
        return images;
      },
    ],
  ])('%s', async (_, code, message, prepare) => {
    // biome-ignore format: rows
    const { images, undo } = await prepared();
    const given = prepare(images, undo) ?? images;
    const words = given[0] === file('pw') ? given : [undo, ...given];
    const now = contentsOf(images);
    const { exitCode, stderr } = await run('undo', words);
    expect([exitCode, stderr]).toEqual([code, expect.stringMatching(message)]);
    expect(
      stderr
        .trim()
        .split('\n')
        .filter(line => line !== '' && !line.includes('--help')),
    ).toHaveLength(1);
    expect(areSame(images, now)).toBe(true);
  });

  test('what was written to the filesystem since, by anything', async () => {
    const { images, undo } = await prepared();
    await succeed('reset-counters', images);
    const now = contentsOf(images);
    const { exitCode, stderr } = await run('undo', [undo, ...images]);
    expect([exitCode, stderr]).toEqual([2, expect.stringMatching(/is not as put left it/)]);
    expect(areSame(images, now)).toBe(true);
  });
});

/** Where the first block that was saved is in an undo file: past the head of the first batch, which is past the header. */
function firstContents(undo: string): number {
  const headBytes = readFileSync(undo).readUInt32LE(4096 + 28);
  return 4096 + Math.ceil(headBytes / 4096) * 4096;
}
