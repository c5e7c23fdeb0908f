// format --source and image create as a user calls them: what is in the image is what the source has, the same bytes whatever kind of source
// it came from, and whatever goes wrong leaves no half image.

import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkInvariants,
  findingText,
  loadChecksums,
  loadCompression,
  openFilesystem,
  superblockProblems,
} from '@bcachefs-ts/core/engine';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ManifestEntry } from '../kernel/vm/manifest.ts';
import { compareManifests } from '../kernel/vm/manifest.ts';
import { run, succeed } from '../support/cli.ts';
import { asCopied, hostManifest, OF_THE_HOST } from '../support/host-manifest.ts';
import { testSeed } from '../support/random.ts';
import { whyNoPython } from '../support/read-tar.ts';
import { validator } from '../support/schemas.ts';
import { makeSourceTree } from '../support/source-tree.ts';
import { hashFile } from '../support/sparse.ts';
import { treeManifest } from '../support/tree-manifest.ts';

if (whyNoPython !== undefined) console.warn(`some tests of images with files skipped: ${whyNoPython}`);
const FIXED = { env: { SOURCE_DATE_EPOCH: '1600000000' } };

const seed = testSeed();
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-image-'));
const source = join(folder, 'source');
const archive = join(folder, 'source.tar');
/** 12 MiB. */
const large = join(folder, 'large');
/** Of one test. */
const work = join(folder, 'work');
const at = (name: string) => join(work, name);
const hashOf = (path: string) => hashFile(path);

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  makeSourceTree(source, { seed, files: 120, crowds: 3 });
  mkdirSync(large);
  writeFileSync(join(large, 'file'), Buffer.alloc(12 * 2 ** 20, 'no hole'));
  const words = [
    '--xattrs',
    '--xattrs-include=*',
    '--acls',
    '--format=posix',
    '--numeric-owner',
    '-C',
    source,
    '-cf',
    archive,
    '.',
  ];
  const { status, stderr } = spawnSync('tar', words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
});
beforeEach(() => mkdirSync(work));
afterEach(() => rmSync(work, { recursive: true }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What is in an image, after every list in it was checked. */
function contentsOf(path: string): ManifestEntry[] {
  const filesystem = openFilesystem([path]);
  try {
    expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
    expect(filesystem.set.members.flatMap(({ sb }) => superblockProblems(sb, {}))).toEqual([]);
    expect(filesystem.replay.from).toBe('clean');
    const { entries, complaints } = treeManifest(filesystem, () => undefined);
    expect(complaints).toEqual([]);
    return [...entries];
  } finally {
    filesystem.close();
  }
}
const pathsOf = (entries: readonly ManifestEntry[]): string[] => entries.map(({ path = '?' }) => path).toSorted();

describe.runIf(whyNoPython === undefined)(`what a source has (seed ${seed})`, () => {
  test.each([
    ['small', []],
    ['compressed, in buckets smaller than an extent', ['--compression=zstd', '--fs_size=96M']],
    ['with blocks of 4k', ['--block_size=4k', '--bucket_size=256k']],
  ])('%s', async (name, words) => {
    const image = at('contents.img');
    await succeed('image create', [`--source=${source}`, ...words, image]);
    const found = contentsOf(image);
    expect(
      compareManifests(asCopied(found), asCopied(hostManifest(source)), { ignore: [...OF_THE_HOST, 'options'] }),
    ).toEqual([]);
    // All times are the host's.
    expect(
      compareManifests(found, hostManifest(source), {
        ignore: ['ino', 'blocks', 'btime_ns', 'data', 'flags', 'size', 'nlink', 'subvol', 'options', 'projid'],
      }),
    ).toEqual([]);
    if (name === 'small') expect(statSync(image).size).toBeLessThan(40 * 2 ** 20);
  });
});

describe('the same bytes', () => {
  test('of a folder, an archive, and an archive on standard input', async () => {
    const words = ['--seed=ci', '--exclude=socket', '--compression=lz4'];
    const images = ['folder', 'archive', 'pipe'].map(at);
    await succeed('image create', [...words, `--source=${source}`, images[0]!], FIXED);
    await succeed('image create', [...words, `--source=${archive}`, images[1]!], FIXED);
    const hashes = images.slice(0, 2).map(hashOf);
    expect(new Set(hashes).size).toBe(1);
    await succeed('image create', [...words, '--force', `--source=${source}`, images[0]!], FIXED);
    expect(hashOf(images[0]!)).toBe(hashes[0]);
    const entries = contentsOf(images[0]!);
    const limit = 1_600_000_000n * 1_000_000_000n;
    for (const { mtime_ns, ctime_ns, btime_ns } of entries) {
      expect(BigInt(mtime_ns)).toBeLessThanOrEqual(limit);
      expect([ctime_ns, btime_ns]).toEqual([`${limit}`, `${limit}`]);
    }
  });

  test('over whatever the image file held before', async () => {
    const words = ['--seed=ci', '--source', source, '--fs_size=64M'];
    await succeed('format', [...words, at('fresh')], FIXED);
    writeFileSync(at('used'), Buffer.alloc(64 * 2 ** 20, 'old bytes'));
    await succeed('format', [...words, '--force', at('used')], FIXED);
    expect(hashOf(at('used'))).toBe(hashOf(at('fresh')));
  });
});

describe('options', () => {
  test('owners, maps, exclusions and subvolumes', async () => {
    const small = at('small');
    mkdirSync(join(small, 'a', 'b'), { recursive: true });
    for (const name of ['a/one.o', 'a/b/two.c', 'three.c', 'a/b/three.o']) writeFileSync(join(small, name), name);
    const image = at('options.img');
    await succeed('image create', [
      `--source=${small}`,
      '--owner=7:8',
      '--exclude=*.o',
      '--exclude=/three.c',
      '--subvol=a',
      '--subvol=a/b:ro',
      image,
    ]);
    const entries = contentsOf(image);
    expect(pathsOf(entries)).toEqual(['.', 'a', 'a/b', 'a/b/two.c', 'lost+found']);
    expect(entries.filter(({ path }) => path !== 'lost+found').map(({ uid, gid }) => [uid, gid])).toEqual(
      Array(4).fill([7, 8]),
    );
    expect(JSON.parse(await succeed('subvolume list', ['--json', image]))).toMatchObject({
      subvolumes: [{ path: '' }, { path: 'a', read_only: false }, { path: 'a/b', read_only: true }],
    });
    const { exitCode, stderr } = await run('mkdir', [image, 'a/b/c']);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('read-only')]);
    const ids = process.getuid?.() === 0 ? [0, 0] : [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
    await succeed('image create', [
      '--force',
      `--source=${small}`,
      `--uid_map=${ids[0]}:5000:1`,
      `--gid_map=${ids[1]}:6000:1`,
      image,
    ]);
    expect(contentsOf(image).find(({ path }) => path === 'a/b/two.c')).toMatchObject({ uid: 5000, gid: 6000 });
  });

  test('JSON says what was made', async () => {
    const image = at('json.img');
    const { stdout, exitCode } = await run('image create', ['--json', `--source=${source}`, image]);
    expect(exitCode).toBe(0);
    const made = JSON.parse(stdout);
    expect(validator('format')({ ...made, schema: 'bcachefs-ts/image-create' })).toEqual([]);
    const files = contentsOf(image);
    expect(made).toMatchObject({
      devices: [{ path: image, size: statSync(image).size, created: true }],
      files: { directories: files.filter(({ type }) => type === 'dir').length - 1, subvolumes: 0 },
    });
    expect(made.devices[0].buckets * made.devices[0].bucket_size).toBe(statSync(image).size);
  });
});

describe('nothing half', () => {
  const left = () => readdirSync(work).filter(name => name.includes('.img'));

  test.each([
    ['a source that is not there', [`--source=${at('nowhere')}`], 'nowhere'],
    [
      'a subvolume that is not there',
      [`--source=${source}`, '--subvol=few/nothing'],
      'few/nothing is not in the source',
    ],
    ['a size that is too small', [`--source=${large}`, '--fs_size=8M'], 'no space'],
    ['half an archive', [`--source=${at('half.tar')}`], 'half.tar'],
    ['an owner that is not a number', [`--source=${source}`, '--owner=root'], 'UID:GID'],
    ['one map twice', [`--source=${source}`, '--uid_map=0:1:5', '--uid_map=4:9:1'], 'overlap'],
    ['no source', [], '--source'],
  ])('%s', async (_, words, message) => {
    const whole = readFileSync(archive);
    writeFileSync(at('half.tar'), whole.subarray(0, whole.length / 2));
    const { exitCode, stderr, stdout } = await run('image create', [...words, at('out.img')]);
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('bug in');
    expect(exitCode).not.toBe(0);
    expect(exitCode).toBeLessThan(64);
    expect(stdout).toBe('');
    expect(left()).toEqual([]);
  });

  test('an image that is there stays, until --force has a whole one in its place', async () => {
    const image = at('kept.img');
    writeFileSync(image, 'precious');
    const refused = await run('image create', [`--source=${source}`, image]);
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining('--force')]);
    const failed = await run('image create', ['--force', `--source=${large}`, '--fs_size=8M', image]);
    expect(failed.exitCode).not.toBe(0);
    expect(readFileSync(image, 'utf8')).toBe('precious');
    writeFileSync(`${image}.partial`, 'of a run that was killed');
    await succeed('image create', ['--force', `--source=${source}`, image]);
    expect(contentsOf(image).length).toBeGreaterThan(100);
    expect(left()).toEqual(['kept.img']);
  });

  test('format looks at the source before it overwrites anything', async () => {
    const image = at('format.img');
    await succeed('format', ['--fs_label=old', '--fs_size=64M', image]);
    const before = hashOf(image);
    const { exitCode } = await run('format', ['--force', `--source=${at('nowhere')}`, image]);
    expect(exitCode).not.toBe(0);
    expect(hashOf(image)).toBe(before);
  });

  test.each([
    ['--fs_size=min needs files', ['--fs_size=min', 'DEV'], '--source'],
    [
      '--fs_size=min is for one device',
      [`--source=${source}`, '--fs_size=min', 'DEV', '--fs_size=64M', 'DEV2'],
      'one device',
    ],
    [
      'superblocks alone hold no files',
      [`--source=${source}`, '--no_initialize', '--fs_size=64M', 'DEV'],
      '--no_initialize',
    ],
    ['owners of nothing', ['--owner=1:1', '--fs_size=64M', 'DEV'], '--source'],
  ])('%s', async (_, words, message) => {
    const { exitCode, stderr } = await run(
      'format',
      words.map(word => word.replace('DEV', at('dev.img'))),
    );
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining(message)]);
    expect(left()).toEqual([]);
  });

  test('an image inside of its own source is not in itself', async () => {
    const inside = at('inside');
    mkdirSync(inside);
    writeFileSync(join(inside, 'file'), 'contents');
    for (let round = 0; round < 2; round++) {
      await succeed('image create', ['--force', `--source=${inside}`, join(inside, 'own.img')]);
      expect(pathsOf(contentsOf(join(inside, 'own.img')))).toEqual(['.', 'file', 'lost+found']);
    }
    expect(existsSync(join(inside, 'own.img.partial'))).toBe(false);
  });
});
