// ext4 filesystems that a kernel has filled, migrated: the same kernel mounts them as bcachefs, finds every file as it was, its own check is silent, and
// it can go on working; it does not mount ext4 any more. Rolled back they are ext4 again, finished they are bcachefs only.

import { constants, copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadChecksums, loadCompression } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { e2fsckSays, hasE2fsprogs, runE2fs, usedBlocks } from '../support/ext4-images.ts';
import { asCopied } from '../support/host-manifest.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { testSeed } from '../support/random.ts';
import { caseNamed, compareManifests, type ManifestEntry, type RunResult, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;

// biome-ignore format: a kind on a line
const all = [
  { name: 'usual', words: ['-t', 'ext4', '-b', '4096'] },
  { name: '1k', words: ['-t', 'ext4', '-b', '1024', '-O', 'project,ea_inode', '-I', '256'] },
  { name: '2k', words: ['-t', 'ext4', '-b', '2048', '-O', 'inline_data', '-I', '512'] },
  { name: 'bigalloc', words: ['-t', 'ext4', '-b', '4096', '-O', 'bigalloc'] },
  { name: 'ext2', words: ['-t', 'ext2', '-b', '4096'] },
  { name: 'ext3', words: ['-t', 'ext3', '-b', '1024'] },
] as const;
const kinds = sampleOf('ext4 filesystems that the kernel made', all, ['usual', '1k']);

/** Numbers of inodes and sizes on disk are a filesystem's own. */
const OWN = ['ino', 'blocks', 'options', 'subvol'] as const;
/** sync, immutable, append, nodump, noatime */
const KEPT_FLAGS = 0xf8;
/** What both have: ext4 says in the flags how it keeps a file, and lost+found of the root is in both. */
const comparable = (entries: readonly ManifestEntry[]) =>
  asCopied(entries)
    .filter(({ path = '' }) => path !== '.migrated' && !path.startsWith('.migrated/'))
    .map(({ data, ...entry }) => ({
      ...entry,
      flags: (entry.flags ?? 0) & KEPT_FLAGS,
      // What is allocated and never written is data to ext4, and a hole here.
      ...(data === undefined || entry.path?.startsWith('ranges/') ? {} : { data }),
    }));
/** Without a superblock at its usual place a kernel says so, and reads the layout. */
const allow = [/error reading default superblock/];

kernelSuite.skipIf(!hasE2fsprogs)('ext4 that becomes bcachefs', () => {
  const seed = testSeed();
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-kernel-migrate-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }), patient(60_000));
  const imageOf = (name: string, what: string) => join(folder, `${name}.${what}.img`);
  let filled: RunResult;
  let looks: RunResult;

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    for (const { name, words } of kinds) {
      writeFileSync(imageOf(name, 'ext4'), '');
      truncateSync(imageOf(name, 'ext4'), 160 * MIB);
      expect(runE2fs('mke2fs', '-q', '-F', ...words, imageOf(name, 'ext4'))).toBe(0);
    }
    const ext4Of = ({ name }: { readonly name: string }) => (name.startsWith('ext') ? name : 'ext4');
    filled = await runInKernel({
      extraModules: ['ext4'],
      disks: kinds.map(({ name }) => ({ name, path: imageOf(name, 'ext4') })),
      cases: kinds.map(kind => ({
        name: kind.name,
        steps: [
          { do: 'sh', script: `mount -t ${ext4Of(kind)} /disks/${kind.name} /mnt` },
          // It ends where it would share extents, which ext4 cannot.
          { do: 'fill', seed: Number(seed) % 1000, sizeBytes: 12 * MIB, subvolumes: false, allowFailure: true },
          { do: 'sh', script: 'cd /; umount /mnt' },
          { do: 'sh', script: `mount -t ${ext4Of(kind)} -o ro /disks/${kind.name} /mnt` },
          { do: 'manifest', as: 'filled', timeoutSeconds: 300 },
          { do: 'sh', script: 'cd /; umount /mnt' },
        ],
      })),
      timeoutSeconds: 900,
    });
    for (const { name } of kinds) {
      const copy = (what: string) =>
        copyFileSync(imageOf(name, 'ext4'), imageOf(name, what), constants.COPYFILE_FICLONE);
      copy('migrated');
      await succeed('migrate', ['-y', '--verify=data', imageOf(name, 'migrated')]);
      copyFileSync(imageOf(name, 'migrated'), imageOf(name, 'finished'), constants.COPYFILE_FICLONE);
      await succeed('migrate finish', ['-y', imageOf(name, 'finished')]);
    }
    const stages = ['migrated', 'finished'] as const;
    looks = await runInKernel({
      extraModules: ['ext4'],
      disks: kinds.flatMap(({ name }) =>
        stages.map(stage => ({ name: `${name}-${stage}`, path: imageOf(name, stage) })),
      ),
      cases: kinds.flatMap(({ name }) =>
        stages.map(stage => {
          const disks = [`${name}-${stage}`];
          return {
            name: `${name} ${stage}`,
            steps: [
              { do: 'sh', script: `! mount -t ext4 -o ro /disks/${disks[0]} /mnt` },
              { do: 'mount', disks, readOnly: true, options: 'nochanges' },
              { do: 'manifest', as: 'seen', timeoutSeconds: 300 },
              { do: 'umount' },
              { do: 'fsck', as: 'fsck', disks },
              { do: 'mount', disks },
              {
                do: 'write',
                path: 'written by bcachefs',
                pattern: { kind: 'random' },
                sizeBytes: 3 * MIB,
                fsync: true,
              },
              { do: 'mkdir', path: 'made by bcachefs' },
              { do: 'umount' },
              { do: 'fsck', as: 'fsck afterwards', disks },
            ],
          } as const;
        }),
      ),
      timeoutSeconds: 1200,
    });
  }, patient(1_500_000));

  describe.each(kinds)('$name', ({ name }) => {
    test.each(['migrated', 'finished'])(
      '%s, it has every file of ext4, and the kernel has nothing to complain of',
      stage => {
        const before = resultOf(caseNamed(filled, name), 'filled').manifest ?? [];
        expect(before.length).toBeGreaterThan(100);
        const outcome = caseNamed(looks, `${name} ${stage}`);
        const seen = comparable(resultOf(outcome, 'seen').manifest ?? []);
        expect(compareManifests(seen, comparable(before), { ignore: OWN })).toEqual([]);
        for (const look of ['fsck', 'fsck afterwards']) {
          const { fsck } = resultOf(outcome, look);
          const complaints = fsck?.complaints.filter(
            ({ text }) => stage === 'finished' || !allow.some(one => one.test(text)),
          );
          expect({ mounted: fsck?.mounted, complaints }).toEqual({ mounted: true, complaints: [] });
        }
      },
    );

    test('after bcachefs has been written to, a rollback gives ext4 as it was', {
      timeout: patient(120_000),
    }, async () => {
      const image = imageOf(name, 'migrated');
      const { exitCode, stderr } = await run('migrate rollback', ['-y', image]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: expect.any(String) });
      expect(e2fsckSays(image)).toBe('');
      const { blockBytes, isFree } = usedBlocks(imageOf(name, 'ext4'));
      const [before, after] = [readFileSync(imageOf(name, 'ext4')), readFileSync(image)];
      const differing: number[] = [];
      for (let block = 0; block * blockBytes < before.length; block++) {
        const at = block * blockBytes;
        const isSame = before.compare(after, at, at + blockBytes, at, at + blockBytes) === 0;
        if (!isSame && !isFree(block)) differing.push(block);
      }
      expect(differing).toEqual([]);
    });
  });
});
