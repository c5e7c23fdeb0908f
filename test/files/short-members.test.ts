// Members that cannot take what will be written: cut off, read-only, gone, of another filesystem. Each command that writes either works, or
// is refused and has not changed a byte on any member; commands that read go on, and say so.

import { createHash } from 'node:crypto';
import {
  closeSync, copyFileSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync, writeSync,
} from 'node:fs'; // biome-ignore format: one line of names
import { join } from 'node:path';
import {
  type BlockDevice, DeviceError, editSuperblock, FilesystemWriter, type MemoryDevice, openMembers, readBytes, seededRandom, withCountersReset,
} from '@bcachefs-ts/core/engine'; // biome-ignore format: one line of names
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandName, run, succeed } from '../support/cli.ts';
import { scratchFolder } from '../support/folder-manifest.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';

const PASSPHRASE = 'correct horse';
const SIZE = 16 * MIB;
/** From nothing but the first superblock copy to one sector less than all of it. */
const CUTS = [0, 4096, 8192, MIB, 3 * MIB, SIZE / 2, SIZE - 3 * MIB, SIZE - MIB, SIZE - 4096, SIZE - 512];

let folder = '';
const file = (name: string) => join(folder, name);
/** Two filesystems: of one encrypted member, and of two. */
const originals: Record<'one' | 'two', readonly string[]> = { one: [], two: [] };

beforeAll(async () => {
  folder = mkdtempSync(join(scratchFolder, 'short-'));
  writeFileSync(file('pw'), PASSPHRASE);
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
    const words = ['-q', ...key(fs), originals[fs].join(':'), '/volume'];
    await succeed('subvolume create', words);
  }
}, patient(120_000));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const key = (fs: 'one' | 'two') => (fs === 'one' ? [`--passphrase_file=${file('pw')}`] : []);

interface Case {
  readonly command: CommandName;
  readonly words: (images: readonly string[], fs: 'one' | 'two') => readonly string[];
  readonly only?: 'one';
  /** What is damaged before it is cut. */
  readonly damaged?: boolean;
}

const change =
  (...words: readonly string[]) =>
  (images: readonly string[], fs: 'one' | 'two') => [...key(fs), images.join(':'), ...words];
const put: Case['words'] = (images, fs) => [...key(fs), images.join(':'), file('long'), '/long'];

/** Every command that writes to a filesystem that is there. */
const cases: readonly Case[] = [
  { command: 'put', words: put },
  { command: 'mkdir', words: change('/new') },
  { command: 'rm', words: change('/name') },
  { command: 'mv', words: change('/name', '/other') },
  { command: 'subvolume create', words: change('/new') },
  { command: 'subvolume snapshot', words: change('/volume', '/new') },
  { command: 'subvolume delete', words: change('/volume') },
  { command: 'set-fs-option', words: images => ['--nocow', ...images] },
  { command: 'reset-counters', words: images => images },
  { command: 'recovery-pass', words: images => ['--set=check_nlinks', ...images] },
  {
    command: 'set-passphrase',
    words: images => [...key('one'), `--new_passphrase_file=${file('new-pw')}`, ...images],
    only: 'one',
  },
  { command: 'remove-passphrase', words: images => [...key('one'), ...images], only: 'one' },
  { command: 'recover-super', words: images => ['--yes', images.at(-1)!], damaged: true },
];

/** Copies of the members, the last of them cut. */
function cutCopies(fs: 'one' | 'two', sizeBytes: number, isDamaged: boolean): readonly string[] {
  const copies = originals[fs].map((original, nr) => {
    const copy = file(`copy.${nr}`);
    copyFileSync(original, copy);
    return copy;
  });
  const last = copies.at(-1)!;
  if (isDamaged) {
    const fd = openSync(last, 'r+');
    writeSync(fd, Buffer.alloc(512), 0, 512, 4096);
    closeSync(fd);
  }
  truncateSync(last, sizeBytes);
  return copies;
}

const contentsOf = (paths: readonly string[]) => paths.map(path => readFileSync(path));

/** Compared here: what a failed `toEqual` would print of two files is the files. */
function expectUnchanged(paths: readonly string[], before: readonly Buffer[], why: string): void {
  for (const [nr, path] of paths.entries())
    expect(readFileSync(path).equals(before[nr]!), `${path}: ${why}`).toBe(true);
}

describe('a member shorter than its superblock says', () => {
  const rows = cases.flatMap(one =>
    (['one', 'two'] as const).map(fs => ({ ...one, fs, name: `${one.command}, ${fs}` })),
  );
  const sensible = rows.filter(({ only, fs }) => only === undefined || only === fs);

  test.each(sensible.map(row => [row.name, row] as const))(
    '%s: refused without a byte changed, at ten lengths',
    async (_, { command, words, fs, damaged }) => {
      for (const sizeBytes of CUTS) {
        const images = cutCopies(fs, sizeBytes, damaged ?? false);
        const before = contentsOf(images);
        const { exitCode, stderr } = await run(command, words(images, fs));
        expect([3, 5], `${sizeBytes} bytes: ${stderr}`).toContain(exitCode);
        expect(stderr.trim().split('\n'), `${sizeBytes} bytes`).toHaveLength(1);
        expectUnchanged(images, before, `${sizeBytes} bytes: ${stderr}`);
      }
      // And it is the length that is refused.
      const whole = cutCopies(fs, SIZE, damaged ?? false);
      await succeed(command, words(whole, fs));
    },
    patient(120_000),
  );

  test('recover-super of a member from another one, on a file that is too short for it', async () => {
    const [first, second] = cutCopies('two', SIZE - 512, true);
    const before = contentsOf([first!, second!]);
    for (const more of [[], [`--dev_size=${SIZE}`]]) {
      const words = ['--yes', `--src_device=${first}`, '--dev_idx=1', ...more, second!];
      expect((await run('recover-super', words)).exitCode).not.toBe(0);
      expectUnchanged([first!, second!], before, words.join(' '));
    }
  });

  test.each(['ls', 'tree', 'show-super', 'list', 'fs usage'] as const)(
    '%s goes on, and says it in one line',
    async command => {
      const images = cutCopies('two', SIZE - 512, false);
      const [, last] = images;
      const words =
        command === 'show-super' ? [last!] : command === 'list' ? ['--btree=inodes', ...images] : [images.join(':')];
      const text = await run(command, words);
      expect(text.exitCode).toBe(0);
      const line = new RegExp(
        `${last}: has ${SIZE - 512} bytes, but the superblock gives member 1 \\(.*\\) ${SIZE}: its end is missing`,
      );
      expect(text.stderr.split('\n').filter(one => line.test(one))).toHaveLength(1);
      const json = await run(command, ['--json', ...words]);
      const warnings = json.stderr
        .trim()
        .split('\n')
        .map(one => JSON.parse(one) as { schema: string; message: string });
      expect(
        warnings.filter(({ schema, message }) => schema === 'bcachefs-ts/warning' && line.test(message)),
      ).toHaveLength(1);
    },
  );
});

describe('its kind: a change is refused before anything is written, not in its middle', () => {
  const digestOf = (devices: readonly MemoryDevice[]) =>
    devices.map(device =>
      createHash('sha256')
        .update(readBytes(device, 0, device.sizeBytes))
        .digest('hex'),
    );

  test('when the second member is open for reading only', () => {
    const { devices } = formattedImage({ members: 2, sizeBytes: SIZE });
    const [first, second] = devices;
    const before = digestOf(devices);
    const { name, sizeBytes, logicalSectorBytes } = second!;
    const readOnly: BlockDevice = {
      ...{ name, sizeBytes, logicalSectorBytes, physicalSectorBytes: 0, rotational: undefined, writable: false },
      read: (offset, into) => second!.read(offset, into),
      write: (offset, from) => second!.write(offset, from),
      flush: () => {},
      close: () => {},
    };
    const set = openMembers([first!, readOnly]);
    expect(() => editSuperblock(set, withCountersReset, { now: 1n })).toThrow(DeviceError);
    expect(() => new FilesystemWriter(set, { random: seededRandom('x'), now: () => 1n })).toThrow(
      /is open for reading only; nothing was written/,
    );
    expect(digestOf(devices)).toEqual(before);
  });

  test("when a member has gone, or is another filesystem's", async () => {
    const [first, second] = cutCopies('two', SIZE, false);
    const [other] = originals.one;
    const before = contentsOf([first!, second!, other!]);
    for (const words of [[`${first}:${file('gone')}`], [`${first}:${other}`], [first!]]) {
      expect((await run('mkdir', [...words, '/new'])).exitCode, words.join()).not.toBe(0);
      expect((await run('set-fs-option', ['--nocow', ...words])).exitCode, words.join()).not.toBe(0);
      expectUnchanged([first!, second!, other!], before, words.join(' '));
    }
  });
});
