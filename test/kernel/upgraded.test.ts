// Filesystems that were made long ago and upgraded by the 6.12 kernel, as most people's are: every command that writes works on them,
// random changes too (a thousand of them in the soak), the kernel's own check has nothing to say before and after, it reads what we read,
// and goes on writing.
// Ours were made older than they are (test/support/older.ts); the reference images of version 1.3 come from the release of that time.

import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkInvariants,
  FILE_TYPE_REG,
  FileEdit,
  FilesystemWriter,
  FileTree,
  findingText,
  loadChecksums,
  loadCompression,
  loadCompressors,
  openDevice,
  openFilesystem,
  openMembers,
  seededRandom,
  versionOf,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { changeTheirs, dropTheirs } from '../support/change-theirs.ts';
import { type CommandName, run, runForBytes, succeed } from '../support/cli.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { copySparse, fixture, whyNoFixtures } from '../support/fixtures.ts';
import { testImageContents, testImages } from '../support/images.ts';
import { sized } from '../support/long.ts';
import { makeOlder } from '../support/older.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { withoutFalseAlarms } from './vm/false-alarms.ts';
import {
  caseNamed,
  compareManifests,
  type Disk,
  type RunResult,
  resultOf,
  runInKernel,
  type Step,
  unlockKey,
} from './vm/index.ts';
import { entryKey } from './vm/manifest.ts';
import { kernelSuite } from './vm/suite.ts';

interface Kind {
  readonly name: string;
  /** Makes its images in a folder, as a kernel finds them that is to upgrade them. */
  readonly make: (pathOf: (nr: number) => string) => Promise<readonly string[]>;
  /** The oldest version on disk. */
  readonly made: Parameters<typeof versionOf>[0];
  readonly passphrase?: string;
  /** What the kernel does after the upgrade, and what ends it. */
  readonly end: readonly Step[];
  /** Random changes beside the commands. */
  readonly operations: number;
  /** It has inodes of the first type, which Linux 6.12 damages when it goes on writing: see older.ts. */
  readonly isOldest?: boolean;
}

const UMOUNT: readonly Step[] = [{ do: 'umount', timeoutSeconds: 120 }];
const OPERATIONS = sized(200, 400, 1000);
const COMMITS = 4;
const OF_THEIRS = 20;

const ofTestImage =
  (name: string): Kind['make'] =>
  async pathOf => {
    const paths = testImageContents(name).map((contents, nr) => {
      writeFileSync(pathOf(nr), contents);
      return pathOf(nr);
    });
    const { passphrase } = testImages.find(image => image.name === name)!;
    makeOlder(paths, { passphrase, hasOldestInodes: false });
    return paths;
  };

const ofFixture =
  (name: string): Kind['make'] =>
  async pathOf =>
    fixture(name).images.map((image, nr) => {
      copySparse(image, pathOf(nr));
      return pathOf(nr);
    });

async function makeLarge(pathOf: (nr: number) => string): Promise<readonly string[]> {
  const path = pathOf(0);
  await succeed('format', ['--compression=lz4', '--fs_size=256M', path]);
  await succeed('subvolume create', [path, 'volume']);
  const source = pathOf(1);
  mkdirSync(source);
  for (let nr = 0; nr < 60; nr++) writeFileSync(join(source, `file-${nr}`), `${nr} `.repeat(50 * nr));
  await succeed('put', ['-r', path, source, 'volume/files']);
  await succeed('subvolume snapshot', [path, 'volume', 'volume@1']);
  await succeed('rm', [path, 'volume/files/file-7']);
  await succeed('subvolume snapshot', ['-r', path, 'volume', 'volume@2']);
  makeOlder([path]);
  return [path];
}

const own: readonly Kind[] = [
  {
    name: 'large',
    make: makeLarge,
    made: 'freespace',
    end: [{ do: 'fill', sizeBytes: 2 ** 20, subvolumes: true, timeoutSeconds: 200 }, ...UMOUNT],
    operations: OPERATIONS,
    isOldest: true,
  },
  { name: 'multi', make: ofTestImage('multi'), made: 'freespace', end: UMOUNT, operations: 0 },
  {
    name: 'encrypted',
    make: ofTestImage('encrypted'),
    made: 'freespace',
    passphrase: 'correct horse',
    end: UMOUNT,
    operations: 0,
  },
  {
    name: 'unclean',
    make: ofTestImage('basic'),
    made: 'freespace',
    end: [
      { do: 'write', path: 'last', content: 'before the power went\n', fsync: true },
      { do: 'crashAfterFsync', path: 'later', sizeBytes: 8192 },
    ],
    operations: 0,
  },
];
const reference: readonly Kind[] = ['u103-plain', 'u103-basic', 'u103-2dev'].map(name => ({
  name,
  make: ofFixture(name),
  made: 'rebalance_work',
  end: UMOUNT,
  operations: name === 'u103-plain' ? sized(80, 120, 240) : 0,
}));
const kinds = whyNoFixtures === undefined ? [...own, ...reference] : own;
if (whyNoFixtures !== undefined) console.warn(`filesystems of version 1.3 are left out: ${whyNoFixtures}`);

const bytesOf = (text: string) => new TextEncoder().encode(text);

kernelSuite('filesystems that a kernel has upgraded', () => {
  const seed = testSeed();
  console.info(`upgraded filesystems: TEST_SEED=${seed}`);
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-upgraded-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const passphraseFile = join(folder, 'passphrase');
  const images = new Map<string, readonly string[]>();
  let upgrades: RunResult;
  let looks: RunResult;

  const imagesOf = ({ name }: Kind): readonly string[] => images.get(name) ?? [];
  const diskNames = (one: Kind) => imagesOf(one).map((_, nr) => `${one.name}.${nr}`);
  const disksOf = (one: Kind, throwaway: boolean): Disk[] =>
    imagesOf(one).map((path, nr) => ({ name: `${one.name}.${nr}`, path, throwaway }));
  const keyOf = (one: Kind) =>
    one.passphrase === undefined ? {} : { key: unlockKey(imagesOf(one)[0]!, one.passphrase) };
  const open = (one: Kind) => {
    const passphrase = one.passphrase === undefined ? undefined : bytesOf(one.passphrase);
    return openFilesystem(imagesOf(one), { passphrase });
  };
  function problemsOf(one: Kind): readonly string[] {
    const filesystem = open(one);
    try {
      return checkInvariants(filesystem).findings.map(findingText);
    } finally {
      filesystem.close();
    }
  }

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    await loadCompressors();
    writeFileSync(passphraseFile, own.find(({ passphrase }) => passphrase !== undefined)!.passphrase!);
    for (const one of kinds) images.set(one.name, await one.make(nr => join(folder, `${one.name}.${nr}`)));
    for (const one of kinds) {
      const { exitCode, stderr } = await run('mkdir', [imagesOf(one).join(':'), 'too-early'], {
        env: { BCACHEFS_PASSPHRASE: one.passphrase ?? '' },
      });
      expect([exitCode, stderr]).toEqual([4, expect.stringContaining('mount it for writing once with Linux 6.12')]);
    }
    upgrades = await runInKernel({
      disks: kinds.flatMap(one => disksOf(one, false)),
      cases: kinds.map(one => ({
        name: one.name,
        steps: [
          { do: 'mount', disks: diskNames(one), options: 'version_upgrade=compatible', as: 'mount', ...keyOf(one) },
          ...one.end,
          { do: 'fsck', disks: diskNames(one), as: 'fsck', ...keyOf(one) },
        ],
      })),
      timeoutSeconds: 600,
    });
  }, patient(600_000));

  describe.each(kinds)('$name', one => {
    const secret = one.passphrase === undefined ? [] : [`--passphrase_file=${passphraseFile}`];
    const onMembers = (command: CommandName, words: readonly string[]) =>
      succeed(command, [...words, ...imagesOf(one)]);

    test('the kernel has upgraded it, and what is older is still in it', () => {
      expect(resultOf(caseNamed(upgrades, one.name), 'fsck').fsck!.complaints).toEqual([]);
      const filesystem = open(one);
      const { sb } = filesystem;
      filesystem.close();
      expect(sb).toMatchObject({
        version: versionOf('inode_has_child_snapshots'),
        version_min: versionOf(one.made),
      });
      expect(problemsOf(one)).toEqual([]);
    });

    test('every command that writes', async () => {
      const FS = imagesOf(one).join(':');
      const source = join(folder, `${one.name}-source`);
      mkdirSync(join(source, 'sub'), { recursive: true });
      for (const name of ['a', 'b', 'sub/c'])
        writeFileSync(join(source, name), `${name} of ${one.name}\n`.repeat(2000));
      const does = (command: CommandName, ...words: readonly string[]) => succeed(command, [...secret, ...words]);

      await does('mkdir', '-p', FS, 'made/deep');
      await does('put', '-r', FS, source, 'made/source');
      const [theirs] = theirFiles(one);
      await does('put', '-f', FS, join(source, 'a'), theirs!);
      const { stdoutBytes } = await runForBytes('cat', [...secret, FS, theirs!]);
      expect(Buffer.from(stdoutBytes).equals(readFileSync(join(source, 'a')))).toBe(true);
      await does('subvolume create', FS, 'made/volume');
      await does('put', FS, join(source, 'b'), 'made/volume/b');
      await does('subvolume snapshot', '-r', FS, 'made/volume', 'made/frozen');
      await does('subvolume snapshot', FS, '/', 'made/all');
      await does('mv', FS, 'made/volume', 'made/deep/volume');
      await does('mv', FS, 'made/source/sub/c', 'made/deep/c');
      await does('rm', '-r', FS, 'made/source/sub', 'made/all/made');
      await does('subvolume delete', FS, 'made/frozen');
      await does('set-file-option', '--compression=lz4', FS, 'made/source');
      await does('set-file-option', '--compression=zstd', FS, theirs!);
      expect(problemsOf(one)).toEqual([]);

      await onMembers('set-fs-option', ['--journal_flush_delay=500', '--fs_label=upgraded']);
      await onMembers('reset-counters', []);
      if (one.passphrase !== undefined) {
        // There and back: the file with it stays true.
        const other = join(folder, 'other-passphrase');
        writeFileSync(other, 'battery staple');
        await onMembers('set-passphrase', [...secret, `--new_passphrase_file=${other}`]);
        await onMembers('set-passphrase', [`--passphrase_file=${other}`, `--new_passphrase_file=${passphraseFile}`]);
      }
      expect(problemsOf(one)).toEqual([]);
    });

    test('a change is undone, and what is damaged on purpose is repaired', async () => {
      const members = imagesOf(one);
      const bytes = () => members.map(path => createHash('sha256').update(readFileSync(path)).digest('hex'));
      const before = bytes();
      const undoFile = join(folder, `${one.name}.undo`);
      await succeed('mkdir', [...secret, `--undo_file=${undoFile}`, members.join(':'), 'undone']);
      expect(bytes()).not.toEqual(before);
      await succeed('undo', [undoFile, ...members]);
      expect(bytes()).toEqual(before);

      await onMembers('recovery-pass', ['--set=check_nlinks']);
      await onMembers('recovery-pass', ['--unset=check_nlinks']);
      await succeed('corrupt', [...secret, `--seed=${seed}`, members.join(':'), 'inode-nlink-high', 'dirent-hash']);
      const fsck = async (word: string) => (await run('fsck', [...secret, word, ...members])).exitCode;
      expect([await fsck('-n'), await fsck('-y'), await fsck('-n')]).toEqual([4, 1, 0]);
      expect(problemsOf(one)).toEqual([]);
    });

    if (one.operations > 0)
      test(`${one.operations} random changes in ${COMMITS} commits`, () => {
        changeAtRandom(one);
      });
  });

  /** Paths of files that were there before, and may be changed. */
  function theirFiles(one: Kind): readonly string[] {
    const filesystem = open(one);
    try {
      const tree = FileTree.open(filesystem);
      const paths: string[] = [];
      for (const { path, node, entry } of tree.walk()) {
        if (node === undefined || entry?.type !== FILE_TYPE_REG || tree.stat(node).sizeBytes === 0n) continue;
        const isReadOnly = tree.table.subvolume(node.subvolume)?.isReadOnly ?? true;
        const text = Buffer.from(path).toString();
        if (!isReadOnly && /^[\w/.@-]+$/.test(text) && !text.startsWith('made/')) paths.push(text);
      }
      return paths;
    } finally {
      filesystem.close();
    }
  }

  function changeAtRandom(one: Kind): void {
    const devices = imagesOf(one).map(path => openDevice(path, { write: true }));
    try {
      const random = randomFrom(seed);
      let clock = 1_800_000_000n * 10n ** 9n;
      const options = { random: seededRandom(`upgraded ${seed}`), now: () => (clock += 1_000_003n) };
      const now = () => clock / 10n ** 9n;
      const writer = new FilesystemWriter(openMembers(devices), { random: options.random, now });
      const model = new FileModel(random);
      const countDone = () => Object.values(model.done).reduce((sum, count) => sum + count, 0);
      for (let commit = 1; commit <= COMMITS; commit++) {
        const edit = new FileEdit(writer, options);
        const root = edit.files.root();
        const top =
          edit.files.lookup(root, bytesOf('top')) ?? edit.files.create(root, bytesOf('top'), { mode: 0o040755 });
        const goal = (one.operations * commit) / COMMITS;
        for (let tries = 0; countDone() < goal && tries < 10 * one.operations; tries++) model.step(edit, top);
        expect(countDone()).toBe(goal);
        expect(changeTheirs(edit, random, 'top', OF_THEIRS)).toBe(OF_THEIRS);
        if (commit === COMMITS) dropTheirs(edit, 'top');
        edit.commit();
        expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
        expect(treeText(writer.filesystem, 'top')).toEqual(model.text());
      }
    } finally {
      for (const device of devices) device.close();
    }
  }

  describe('the kernel', () => {
    const stripped = 'large-stripped';

    test(
      'has looked, and has changed them in turn',
      async () => {
        const [large] = kinds;
        const path = join(folder, stripped);
        copySparse(imagesOf(large!)[0]!, path);
        await succeed('strip-alloc', [path]);
        looks = await runInKernel({
          disks: [...kinds.flatMap(one => disksOf(one, true)), { name: stripped, path, throwaway: true }],
          cases: [
            ...kinds.map(one => {
              const disks = diskNames(one);
              const key = keyOf(one);
              const steps: readonly Step[] = [
                { do: 'fsck', disks, as: 'fsck', timeoutSeconds: 200, ...key },
                { do: 'mount', disks, readOnly: true, options: 'nochanges', ...key },
                { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
                { do: 'umount' },
              ];
              const changes: readonly Step[] = [
                { do: 'mount', disks, ...key },
                { do: 'change', operations: 40, seed: seed % 2 ** 31, timeoutSeconds: 200 },
                { do: 'umount', timeoutSeconds: 120 },
                { do: 'fsck', disks, as: 'changed', timeoutSeconds: 200, ...key },
              ];
              return { name: one.name, steps: one.isOldest ? steps : [...steps, ...changes] };
            }),
            {
              name: stripped,
              steps: [
                { do: 'mount', disks: [stripped] },
                { do: 'umount' },
                { do: 'fsck', disks: [stripped], as: 'fsck', timeoutSeconds: 200 },
              ],
            },
          ],
          timeoutSeconds: 900,
        });
      },
      patient(1_000_000),
    );

    test.each(kinds)('$name: no complaint, and it reads what we read', one => {
      const result = caseNamed(looks, one.name);
      expect(withoutFalseAlarms(resultOf(result, 'fsck').fsck!.complaints)).toEqual([]);
      const expected = resultOf(result, 'seen').manifest ?? [];
      const data = new Map(expected.map(entry => [entryKey(entry), entry.data]));
      const filesystem = open(one);
      try {
        const { entries, complaints } = treeManifest(filesystem, key => data.get(key));
        expect(complaints).toEqual([]);
        expect(compareManifests(entries, expected, { ignore: ['data'] })).toEqual([]);
        expect(expected.length).toBeGreaterThan(10);
      } finally {
        filesystem.close();
      }
    });

    test.each(kinds.filter(({ isOldest }) => !isOldest))('$name: no complaint after its own changes', ({ name }) => {
      expect(withoutFalseAlarms(resultOf(caseNamed(looks, name), 'changed').fsck!.complaints)).toEqual([]);
    });

    test('no complaint of what it has rebuilt after strip-alloc', () => {
      // Nothing says any more of which generation a bucket is that was free: 6.12 begins again at 0, and brings these into line later.
      const { complaints } = resultOf(caseNamed(looks, stripped), 'fsck').fsck!;
      const others = complaints.filter(({ text }) => !text.startsWith('incorrect gen in bucket_gens btree'));
      expect(withoutFalseAlarms(others)).toEqual([]);
    });
  });
});
