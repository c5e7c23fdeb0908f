// Filesystems filled from a directory, an archive or an ext4 filesystem when they are made: a kernel that has never seen them mounts them without writing, finds
// every file as the host has it, its own check has nothing to say, and it can go on working with them.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkInvariants, findingText, loadChecksums, loadCompression, openFilesystem } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandName, succeed } from '../support/cli.ts';
import { makeExt4, whyNoE2fsprogs } from '../support/ext4.ts';
import { asCopied, hostManifest, OF_THE_HOST } from '../support/host-manifest.ts';
import { isLong, isSoak, sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { testSeed } from '../support/random.ts';
import { makeSourceTree } from '../support/source-tree.ts';
import {
  caseNamed,
  compareManifests,
  type ManifestEntry,
  type RunResult,
  resultOf,
  runInKernel,
  unlockKey,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const PASSPHRASE = 'correct horse';

interface Kind {
  readonly name: string;
  readonly command: CommandName;
  readonly words: readonly string[];
  readonly from: 'folder' | 'archive' | 'ext4';
  readonly devices?: number;
}

const VOLUMES = ['--subvol=volume', '--subvol=volume/nested:ro'];

// biome-ignore format: a kind on a line
const allKinds: readonly Kind[] = [
  { name: 'min', command: 'image create', from: 'folder', words: ['DEV0'] },
  { name: 'sized', command: 'format', from: 'folder', words: [...VOLUMES, '--compression=zstd', '--fs_size=400M', 'DEV0'] },
  { name: 'encrypted', command: 'image create', from: 'folder', words: ['--encrypted', '--passphrase_file=PASSPHRASE', ...VOLUMES, 'DEV0'] },
  { name: 'pair', command: 'format', from: 'archive', words: ['--replicas=2', '--compression=lz4', '--fs_size=300M', 'DEV0', '--fs_size=256M', 'DEV1'], devices: 2 },
  { name: 'ext4', command: 'image create', from: 'ext4', words: ['DEV0'] },
    { name: 'min-4k', command: 'image create', from: 'archive', words: ['--block_size=4k', '--btree_node_size=256k', '--bucket_size=512k', '--compression=gzip', 'DEV0'] },
    { name: 'small-nodes', command: 'image create', from: 'folder', words: ['--block_size=512', '--btree_node_size=16k', '--bucket_size=64k', 'DEV0'] },
    { name: 'no-checksums', command: 'image create', from: 'folder', words: ['--data_checksum=none', '--metadata_checksum=xxhash', '--str_hash=crc64', 'DEV0'] },
];
if (whyNoE2fsprogs !== undefined) console.warn(`filled from ext4 skipped: ${whyNoE2fsprogs}`);
const kinds = sampleOf(
  'filled when they are made',
  allKinds.filter(({ from }) => from !== 'ext4' || whyNoE2fsprogs === undefined),
  ['min', 'sized', 'encrypted', 'pair', 'ext4'],
);

/** mke2fs takes whole seconds from the host. */
const inSeconds = (entry: ManifestEntry): ManifestEntry => ({
  ...entry,
  // It puts lost+found into the root last.
  mtime_ns: entry.path === '.' ? '0' : `${BigInt(entry.mtime_ns) / 1_000_000_000n}`,
});

kernelSuite('filesystems filled when they are made', () => {
  const seed = testSeed();
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-populate-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }), patient(120_000));
  /** A tree of files, and where one of the kinds takes it from there, an archive of it and an ext4 filesystem. */
  const treeIn = (name: string) => ({
    folder: join(folder, name),
    archive: join(folder, `${name}.tar`),
    ext4: join(folder, `${name}.ext4`),
  });
  const trees = { usual: treeIn('source'), crowded: treeIn('crowded') };
  const passphraseFile = join(folder, 'passphrase');
  const all = kinds.map(kind => {
    const disks = Array.from({ length: kind.devices ?? 1 }, (_, i) => `${kind.name}.${i}`);
    return {
      ...kind,
      disks,
      images: disks.map(disk => join(folder, `${disk}.img`)),
      isEncrypted: kind.name === 'encrypted',
    };
  });
  type One = (typeof all)[number];
  /** Enough for several commits. One kind takes them in one of three long runs: an emulated kernel needs a minute to list them. */
  const crowded = isLong && seed % 3 === 0 ? all[seed % all.length] : undefined;
  const treeOf = (one: One) => (isSoak || one === crowded ? trees.crowded : trees.usual);
  const keyOf = ({ isEncrypted, images }: One) => (isEncrypted ? { key: unlockKey(images[0]!, PASSPHRASE) } : {});
  const expected = new Map<string, readonly ManifestEntry[]>();
  const expectedOf = (one: One) => expected.get(treeOf(one).folder) ?? [];
  let looks: RunResult;

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    writeFileSync(passphraseFile, PASSPHRASE);
    for (const tree of new Set(all.map(treeOf))) {
      makeSourceTree(tree.folder, { seed, files: 300, crowds: tree === trees.crowded ? 200 : 20 });
      const { status, stderr } = spawnSync(
        'tar',
        [
          '--xattrs',
          '--xattrs-include=*',
          '--acls',
          '--format=posix',
          '--numeric-owner',
          '-C',
          tree.folder,
          '-cf',
          tree.archive,
          '.',
        ],
        { encoding: 'utf8' },
      );
      if (status !== 0) throw new Error(stderr);
      if (all.some(one => one.from === 'ext4' && treeOf(one) === tree))
        makeExt4(tree.ext4, { size: '600M', words: ['-t', 'ext4', '-b', '4096', '-N', '40000'] }, tree.folder);
      expected.set(tree.folder, asCopied(hostManifest(tree.folder)));
    }
    for (const one of all) {
      const { command, words, from, images } = one;
      const filled = words.map(word =>
        word.replace('PASSPHRASE', passphraseFile).replace(/^DEV(\d)$/, (_, nr: string) => images[Number(nr)]!),
      );
      await succeed(command, [`--source=${treeOf(one)[from]}`, ...filled]);
    }
    looks = await runInKernel({
      disks: all.flatMap(one => one.disks.map((name, i) => ({ name, path: one.images[i]!, throwaway: true }))),
      cases: all.map(one => ({
        name: one.name,
        steps: [
          { do: 'mount', disks: one.disks, readOnly: true, options: 'nochanges', ...keyOf(one) },
          { do: 'manifest', as: 'seen', timeoutSeconds: 300 },
          { do: 'umount' },
          { do: 'fsck', as: 'fsck', disks: one.disks, ...keyOf(one) },
          { do: 'mount', disks: one.disks, ...keyOf(one) },
          { do: 'write', path: 'written by the kernel', pattern: { kind: 'text' }, sizeBytes: 100_000, fsync: true },
          { do: 'umount' },
          { do: 'fsck', as: 'fsck afterwards', disks: one.disks, ...keyOf(one) },
        ],
      })),
      timeoutSeconds: 1200,
    });
  }, patient(1_500_000));

  describe.each(all)('$name', one => {
    test('the kernel finds the files of the host', () => {
      const found = asCopied(resultOf(caseNamed(looks, one.name), 'seen').manifest ?? []);
      expect(found.length).toBeGreaterThan(300);
      // Names in other subvolumes are files of their own.
      const isParted = one.words.some(word => word.startsWith('--subvol'));
      const ignore = [...OF_THE_HOST, 'options', ...(isParted ? (['nlink'] as const) : [])] as const;
      // Archives cannot hold sockets.
      const kept = expectedOf(one).filter(({ type }) => one.from !== 'archive' || type !== 'sock');
      const timed = (entries: readonly ManifestEntry[]) => (one.from === 'ext4' ? entries.map(inSeconds) : entries);
      expect(compareManifests(timed(found), timed(kept), { ignore })).toEqual([]);
    });

    test('the kernel has nothing to complain of, before and after its own changes', () => {
      const outcome = caseNamed(looks, one.name);
      expect(resultOf(outcome, 'fsck').fsck).toMatchObject({ mounted: true, complaints: [] });
      expect(resultOf(outcome, 'fsck afterwards').fsck).toMatchObject({ mounted: true, complaints: [] });
    });

    test('every list follows from the keys', () => {
      const passphrase = one.isEncrypted ? new TextEncoder().encode(PASSPHRASE) : undefined;
      const filesystem = openFilesystem(one.images, { passphrase });
      try {
        expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
      } finally {
        filesystem.close();
      }
    });
  });

  const smallest = all.filter(({ name }) => name === 'min');
  test.each(smallest)('$name: as small as its files allow is not much larger than they are', one => {
    const files = expectedOf(one);
    const bytes = files.reduce(
      (sum, { type, size, path }) => sum + (type === 'reg' && path !== 'few/holes' ? size : 0),
      0,
    );
    // A name, an inode, an extent, a backpointer and what is lost to the end of a block, of each file.
    expect(statSync(one.images[0]!).size).toBeLessThan(bytes * 1.1 + files.length * 2048 + 24 * 2 ** 20);
  });
});
