// image update as a user calls it: after random changes to a tree, an image that is updated has what the tree has, and what a new image of it
// would have; files that did not change keep their place; an image that is the same already keeps every byte; and whatever goes wrong,
// the image has its old files.

import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkInvariants,
  decodeExtentEntries,
  FileEdit,
  FilesystemWriter,
  FileTree,
  findingText,
  keyTypes,
  loadChecksums,
  loadCompression,
  makeBpos,
  members,
  openDevice,
  openFilesystem,
  openMembers,
  roundDown,
  sectorsToBytes,
  seededRandom,
  viewOf,
} from '@bcachefs-ts/core/engine';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { compareManifests, type ManifestEntry } from '../kernel/vm/manifest.ts';
import { ChangingTree } from '../support/changing-tree.ts';
import { run, succeed } from '../support/cli.ts';
import { asCopied, hostManifest, OF_THE_HOST } from '../support/host-manifest.ts';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { type Random, randomFrom, testSeed } from '../support/random.ts';
import { whyNoPython } from '../support/read-tar.ts';
import { validator } from '../support/schemas.ts';
import { makeSourceTree } from '../support/source-tree.ts';
import { copySparse, hashFile } from '../support/sparse.ts';
import { treeManifest } from '../support/tree-manifest.ts';

const FIXED = { env: { SOURCE_DATE_EPOCH: '1600000000' } };
const seed = testSeed();
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-update-'));
const work = join(folder, 'work');
const at = (...names: string[]) => join(work, ...names);
const hashOf = (path: string) => hashFile(path);

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});
beforeEach(() => mkdirSync(work));
afterEach(() => rmSync(work, { recursive: true }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Incompressible, made fast. */
function randomBytes(random: Random, count: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(count / 4));
  let state = random.below(2 ** 31) + 1;
  for (let i = 0; i < words.length; i++) {
    state = Math.imul(state, 1_664_525) + 1_013_904_223;
    words[i] = state ^ (state >>> 15);
  }
  return new Uint8Array(words.buffer, 0, count);
}

/** What is in an image, after every list in it was checked. */
function contentsOf(path: string): readonly ManifestEntry[] {
  const filesystem = openFilesystem([path]);
  try {
    expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
    expect(filesystem.replay.from).toBe('clean');
    const { entries, complaints } = treeManifest(filesystem, () => undefined);
    expect(complaints).toEqual([]);
    return entries;
  } finally {
    filesystem.close();
  }
}

/** Of each file, by its path: where its data is on the device, in bytes. */
function placesOf(path: string): Map<string, readonly number[]> {
  const filesystem = openFilesystem([path]);
  try {
    const byInode = new Map<number, number[]>();
    for (const { k, value } of filesystem.btree('extents').keys()) {
      if (k.type !== keyTypes.idOf('extent')) continue;
      const inum = k.p[4]! * 2 ** 32 + k.p[3]!;
      const places = byInode.get(inum) ?? [];
      byInode.set(inum, places);
      for (const entry of decodeExtentEntries(value))
        if (entry.type === 'ptr') places.push(sectorsToBytes(entry.offset));
    }
    const tree = FileTree.open(filesystem);
    return new Map(
      [...tree.walk()].flatMap(({ path: name, node }) => {
        const places = node === undefined ? undefined : byInode.get(Number(node.inum));
        return places === undefined ? [] : [[Buffer.from(name).toString('latin1'), places] as const];
      }),
    );
  } finally {
    filesystem.close();
  }
}

/** Where the last superblock copy begins, whose buckets have nothing else in them, and which goes wherever the image ends; in bytes. */
function endOfData(path: string): number {
  const filesystem = openFilesystem([path]);
  try {
    const { sb } = filesystem;
    const { sb_offset, nr_superblocks } = sb.layout;
    const [member] = members(sb);
    const bucketSectors = member!.bucket_size;
    return sectorsToBytes(roundDown(Number(sb_offset[nr_superblocks - 1]), bucketSectors));
  } finally {
    filesystem.close();
  }
}

const update = async (words: readonly string[], options = {}) => {
  const { stdout, stderr, exitCode } = await run('image update', ['--json', ...words], options);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout);
};

const ofCounts = (counts: Record<string, number>) =>
  Object.fromEntries(Object.entries(counts).filter(([, n]) => n !== 0));

describe.runIf(whyNoPython === undefined)(`random changes (seed ${seed})`, () => {
  const rounds = sized(3, 3, 12);
  test.each([
    ['plain', []],
    ['compressed', ['--compression=zstd', '--bucket_size=16k', '--btree_node_size=16k']],
    ['no checksums', ['--data_checksum=none', '--block_size=4k', '--bucket_size=64k']],
  ])('%s', { timeout: patient(200_000) }, async (_, words) => {
    const random = randomFrom(seed);
    const source = at('source');
    makeSourceTree(source, { seed, files: 60, crowds: 1 });
    // More than the smallest image has room for.
    mkdirSync(join(source, 'ballast'));
    for (let nr = 0; nr < 30; nr++)
      writeFileSync(join(source, 'ballast', `${nr}`), randomBytes(random, 100_000 + random.below(500_000)));
    const tree = new ChangingTree(source, random);
    const image = at('image');
    await succeed('image create', [`--source=${source}`, ...words, image]);
    for (let round = -1; round < rounds; round++) {
      const before = placesOf(image);
      const known = new Map(hostManifest(source).map(entry => [entry.path ?? '', entry]));
      const isFirst = round < 0;
      if (isFirst) writeFileSync(join(source, 'one more'), 'one more');
      const done = isFirst ? ['made one more'] : tree.change(random.pick([1, 5, 25]));
      const what = `round ${round}: ${done.join(', ')}`;
      const result = await update([`--source=${source}`, image]);
      const found = contentsOf(image);
      const expected = hostManifest(source);
      expect(
        compareManifests(asCopied(found), asCopied(expected), { ignore: [...OF_THE_HOST, 'options'] }),
        what,
      ).toEqual([]);

      const fresh = at('fresh');
      await succeed('image create', [`--source=${source}`, ...words, '--force', fresh]);
      expect(compareManifests(found, contentsOf(fresh), { ignore: [...OF_THE_HOST, 'options'] }), what).toEqual([]);
      console.info(`${statSync(image).size} bytes, a new one ${statSync(fresh).size}, ${result.written_bytes} written`);

      // Files with the same contents as before are where they were, but for those that had to leave the end.
      const after = placesOf(image);
      const end = endOfData(image);
      let kept = 0;
      for (const entry of expected) {
        const path = entry.path ?? '';
        const places = before.get(path);
        const old = known.get(path);
        if (places === undefined || old === undefined || old.ino !== entry.ino) continue;
        if (old.sha256 !== entry.sha256 || old.size !== entry.size) continue;
        // A new name that comes before the others has the file written for it, and the others become names of that one.
        if (old.nlink !== entry.nlink) continue;
        const isWhole = places.every(place => place < end);
        if (isWhole) expect(after.get(path), `${what}: ${path}`).toEqual(places);
        if (isWhole) kept++;
      }
      // Where much was removed, most may have had to leave the end.
      if (isFirst) expect(kept, what).toBeGreaterThan(10);

      const bytes = hashOf(image);
      const again = await update([`--source=${source}`, image]);
      expect([again.commit, again.written_bytes, again.size], what).toEqual([null, 0, result.size]);
      expect(hashOf(image), what).toBe(bytes);
    }
  });
});

describe('directories that go', () => {
  /** Changes the files of an image without a look at what files may be. */
  function changed(image: string, change: (edit: FileEdit) => void): void {
    const device = openDevice(image, { write: true });
    try {
      const random = seededRandom('image');
      const writer = new FilesystemWriter(openMembers([device]), { random, now: () => 1_700_000_000n });
      const edit = new FileEdit(writer, { random, now: () => 1_700_000_000_000_000_000n });
      change(edit);
      edit.commit();
    } finally {
      device.close();
    }
  }
  const bytesOf = (text: string) => new TextEncoder().encode(text);
  const DIRECTORY = { mode: 0o040755 };

  test('however deep they are', async () => {
    const [source, image] = [at('source'), at('image')];
    mkdirSync(source);
    writeFileSync(join(source, 'kept'), 'kept');
    await succeed('image create', ['--fs_size=64M', `--source=${source}`, image]);
    changed(image, ({ files }) => {
      let directory = files.create(files.root(), bytesOf('deep'), DIRECTORY);
      for (let level = 0; level < 3000; level++) directory = files.create(directory, bytesOf('d'), DIRECTORY);
    });
    copySparse(image, at('other'));
    expect(ofCounts((await update([`--source=${source}`, image])).removed)).toEqual({ directories: 3001 });
    expect(contentsOf(image).map(({ path }) => path)).not.toContain('deep');
    await succeed('rm', ['-r', at('other'), '/deep']);
    expect(contentsOf(at('other')).map(({ path }) => path)).not.toContain('deep');
  });

  test('one that is inside of itself stops it, and the old files stay', async () => {
    const [source, image] = [at('source'), at('image')];
    mkdirSync(source);
    writeFileSync(join(source, 'kept'), 'kept');
    await succeed('image create', [`--source=${source}`, image]);
    changed(image, edit => {
      const { files, tx } = edit;
      const outer = files.create(files.root(), bytesOf('outer'), DIRECTORY);
      const inner = files.create(outer, bytesOf('inner'), DIRECTORY);
      files.create(inner, bytesOf('loop'), DIRECTORY);
      files.flush();
      const [entry] = tx.btree('dirents').keys({
        from: makeBpos(inner.inum, 0n, 0),
        to: makeBpos(inner.inum, 2n ** 64n - 1n, 2 ** 32 - 1),
      });
      const value = entry!.value.slice();
      // bch_dirent begins with the number of the inode that it leads to.
      viewOf(value).setBigUint64(0, outer.inum, true);
      tx.update('dirents', { ...entry!, value });
    });
    writeFileSync(join(source, 'new'), 'new');
    const names = async () => (await run('ls', [image])).stdout;
    const before = await names();
    const { exitCode, stderr } = await run('image update', [`--source=${source}`, image]);
    expect([exitCode, stderr]).toEqual([3, 'update: outer/inner/loop: leads back to a directory that it is in\n']);
    expect(await names()).toBe(before);
  });
});

describe('what is reported', () => {
  /** A small folder, and an image of it. */
  async function made(...words: string[]): Promise<{ source: string; image: string }> {
    const [source, image] = [at('source'), at('image')];
    mkdirSync(join(source, 'a', 'b'), { recursive: true });
    writeFileSync(join(source, 'a', 'file'), 'old contents');
    writeFileSync(join(source, 'a', 'b', 'gone'), 'x'.repeat(5000));
    writeFileSync(join(source, 'kept'), 'y'.repeat(5000));
    utimesSync(join(source, 'kept'), 1.7e9, 1.7e9);
    await succeed('image create', [`--source=${source}`, ...words, image]);
    return { source, image };
  }

  function change(source: string): void {
    writeFileSync(join(source, 'a', 'file'), 'new contents');
    rmSync(join(source, 'a', 'b'), { recursive: true });
    writeFileSync(join(source, 'new'), 'z'.repeat(7000));
    linkSync(join(source, 'new'), join(source, 'a', 'link'));
    symlinkSync('new', join(source, 'symlink'));
  }

  test('as JSON and for people, and by a dry run, which writes nothing', async () => {
    const { source, image } = await made();
    change(source);
    const bytes = hashOf(image);
    const dry = await update(['--dry_run', `--source=${source}`, image]);
    expect(hashOf(image)).toBe(bytes);
    const sizeBefore = statSync(image).size;
    const copy = at('copy');
    copyFileSync(image, copy);
    const real = await update([`--source=${source}`, image]);
    for (const result of [dry, real])
      expect(validator('image-update')({ ...result, schema: 'bcachefs-ts/image-update' })).toEqual([]);
    expect(ofCounts(real.added)).toEqual({ files: 1, links: 1, symlinks: 1, data_bytes: 7000 });
    expect(ofCounts(real.removed)).toEqual({ files: 1, directories: 1, data_bytes: 5000 });
    // The root and /a have other times.
    expect(ofCounts(real.changed)).toEqual({ files: 1, directories: 2, data_bytes: 12 });
    expect(real).toMatchObject({ unchanged: 1, written_bytes: 7012, dry_run: false, size_before: sizeBefore });
    expect({ ...dry, dry_run: false, commit: real.commit, size: real.size }).toEqual(real);
    const { stdout } = await run('image update', [`--source=${source}`, copy]);
    expect(stdout).toContain('Added: 1 file, 1 hard link, 1 symlink (6.8 KiB)\n');
    expect(stdout.split('\n').length).toBeLessThan(9);
    expect((await run('image update', [`--source=${source}`, copy])).stdout).toContain(`${copy} is up to date`);
  });

  test('times are trusted when that is asked for, and no newer than the fixed one', async () => {
    const { source, image } = await made();
    const file = join(source, 'kept');
    writeFileSync(file, 'Y'.repeat(5000));
    utimesSync(file, 1.7e9, 1.7e9);
    expect(await update(['--trust_times', `--source=${source}`, image])).toMatchObject({
      written_bytes: 0,
      commit: null,
    });
    // Everything is newer than that: all have the same time.
    const fixed = await update(['--trust_times', `--source=${source}`, image], FIXED);
    expect(fixed.written_bytes).toBe(5000);
  });

  test('the same bytes from equal images and equal files', async () => {
    const source = at('source');
    makeSourceTree(source, { seed, files: 30 });
    await succeed('image create', ['--seed=1', `--source=${source}`, at('a')], FIXED);
    copyFileSync(at('a'), at('b'));
    new ChangingTree(source, randomFrom(seed)).change(15);
    for (const name of ['a', 'b']) await update(['--seed=2', `--source=${source}`, at(name)], FIXED);
    expect(hashOf(at('a'))).toBe(hashOf(at('b')));
    expect(await update(['--seed=3', `--source=${source}`, at('a')], FIXED)).toMatchObject({ commit: null });
    expect(hashOf(at('a'))).toBe(hashOf(at('b')));
  });

  test('an archive is as good as a folder', async () => {
    const { source, image } = await made();
    change(source);
    const archive = at('archive.tar');
    const { status } = spawnSync('tar', ['--format=posix', '-C', source, '-cf', archive, '.']);
    expect(status).toBe(0);
    await update([`--source=${archive}`, image]);
    expect(await update([`--source=${source}`, image])).toMatchObject({ commit: null, written_bytes: 0 });
  });

  test('subvolumes stay subvolumes, read-only ones too; one that the source does not have stops it', async () => {
    const { source, image } = await made('--subvol=a:ro');
    change(source);
    await update([`--source=${source}`, image]);
    const list = async () => JSON.parse((await run('subvolume list', ['--json', image])).stdout).subvolumes;
    const shown = (subvolumes: { path: string; read_only: boolean }[]) =>
      subvolumes.map(({ path, read_only }) => [path, read_only]);
    expect(shown(await list())).toContainEqual(['a', true]);
    expect(await update([`--source=${source}`, image])).toMatchObject({ commit: null });

    await succeed('subvolume snapshot', [image, '/', 'before']);
    const before = contentsOf(image);
    writeFileSync(join(source, 'kept'), 'changed');
    const { exitCode, stderr } = await run('image update', [`--source=${source}`, image]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('before is a subvolume in the image')]);
    expect(compareManifests(contentsOf(image), before)).toEqual([]);
    await succeed('subvolume delete', [image, 'before']);
    await update([`--source=${source}`, image]);
  });

  test('encrypted images are encrypted on', async () => {
    writeFileSync(at('pw'), 'secret\n');
    const { source, image } = await made('--encrypted', `--passphrase_file=${at('pw')}`);
    const needle = 'cannot be read by anybody '.repeat(400);
    writeFileSync(join(source, 'new'), needle);
    expect(
      (await run('image update', [`--source=${source}`, '--seed=1', `--passphrase_file=${at('pw')}`, image])).exitCode,
    ).toBe(2);
    await update([`--passphrase_file=${at('pw')}`, `--source=${source}`, image]);
    expect(readFileSync(image).includes(needle.slice(0, 200))).toBe(false);
    expect(await update([`--passphrase_file=${at('pw')}`, `--source=${source}`, image])).toMatchObject({
      commit: null,
    });
  });

  test('an image that cannot be updated keeps every byte', async () => {
    const { source, image } = await made();
    change(source);
    const [a, b, stripped, dirty] = ['a.img', 'b.img', 'stripped', 'old'].map(name => at(name));
    await succeed('format', ['--fs_size=64M', '--replicas=2', a!, b!]);
    copyFileSync(image, stripped!);
    await succeed('strip-alloc', [stripped!]);
    copyFileSync(image, dirty!);
    truncateSync(dirty!, statSync(dirty!).size - 65_536);
    for (const [words, paths] of [
      [`${a}:${b}`, [a, b]],
      [stripped, [stripped]],
      [dirty, [dirty]],
    ] as const) {
      const before = paths.map(path => hashOf(path!));
      const { exitCode, stderr } = await run('image update', [`--source=${source}`, words!]);
      expect(exitCode, stderr).not.toBe(0);
      expect(paths.map(path => hashOf(path!))).toEqual(before);
    }
  });

  test('what goes wrong late leaves the old files, and no larger image', async () => {
    const { source, image } = await made();
    const { size } = statSync(image);
    writeFileSync(join(source, 'a', 'file'), Buffer.alloc(3_000_000, 'new'));
    // Reported when the root is left, last of all.
    await succeed('subvolume create', [image, 'zz']);
    const before = contentsOf(image);
    const { exitCode } = await run('image update', [`--source=${source}`, image]);
    expect(exitCode).toBe(2);
    expect(compareManifests(contentsOf(image), before)).toEqual([]);
    expect(statSync(image).size).toBeLessThanOrEqual(size * 1.1);
  });
});
