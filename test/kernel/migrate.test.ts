// ext4 filesystems that a kernel has filled, migrated: the same kernel mounts them as bcachefs, finds every file as it was, its own check is silent, and
// it can go on working; it does not mount ext4 any more. Rolled back they are ext4 again, finished they are bcachefs only. Those that no kernel here can
// mount or make are held to the folder that they were filled from.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadChecksums, loadCompression, openDevice, readBytes } from '@bcachefs-ts/core/engine';
import { openExt4 } from '@bcachefs-ts/ext4';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { e2, e2fsckSays, whyNoE2fsprogs } from '../support/ext4.ts';
import { asCopied, hostManifest, OF_THE_HOST } from '../support/host-manifest.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { testSeed } from '../support/random.ts';
import { makeMigrated, migratedKinds } from './ext4-to-migrate.ts';
import {
  type Case,
  caseNamed,
  compareManifests,
  type ManifestEntry,
  type RunResult,
  resultOf,
  runInKernel,
  type Step,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;

const FEW = ['usual', '1k'];
const kinds = sampleOf('ext4 filesystems that are migrated', migratedKinds, FEW);
const stages = ['migrated', 'finished'] as const;
/** What ext4 used is deleted too early. */
const deletedKind = kinds.find(({ name }) => FEW.includes(name))!.name;

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
      ...(data === undefined || entry.path === 'rest' || entry.path?.startsWith('ranges/') ? {} : { data }),
    }));
/** mke2fs takes whole seconds from the host, and puts lost+found into the root last. */
const inSeconds = (entry: ManifestEntry): ManifestEntry => ({
  ...entry,
  mtime_ns: entry.path === '.' ? '0' : `${BigInt(entry.mtime_ns) / 1_000_000_000n}`,
});
/** What debugfs writes has the time at which it did. */
const WRITTEN_LATER = ['twin 1', 'twin 2', 'protected'];
/** Without a superblock at its usual place a kernel says so, and reads the layout. */
const allow = [/error reading default superblock/];

/** All room that there is gets used, and the filesystem is found again afterwards. */
const DELETION: Case = {
  name: 'deleted',
  steps: [
    { do: 'mount', disks: ['deleted'] },
    { do: 'setFlags', path: '.migrated/ext4', flags: 0 },
    { do: 'unlink', path: '.migrated/ext4' },
    { do: 'umount' },
    { do: 'mount', disks: ['deleted'] },
    // Until there is no more room.
    { do: 'sh', script: '! head -c 300000000 /dev/zero > most && sync', timeoutSeconds: 300 },
    { do: 'umount' },
    { do: 'mount', disks: ['deleted'], readOnly: true, options: 'nochanges' },
    { do: 'manifest', as: 'seen', timeoutSeconds: 600 },
    { do: 'umount' },
    { do: 'fsck', as: 'fsck', disks: ['deleted'] },
  ],
};

kernelSuite.skipIf(whyNoE2fsprogs !== undefined)('ext4 that becomes bcachefs', () => {
  const seed = testSeed();
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-kernel-migrate-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }), patient(60_000));
  const imageOf = (name: string, what: string) => join(folder, `${name}.${what}.img`);
  const treeOf = (name: string) => join(folder, `${name}.tree`);
  const diskOf = (name: string) => name.replaceAll(' ', '-');
  const byKernel = kinds.filter(({ steps }) => steps !== undefined);
  let filled: RunResult | undefined;
  let looks: RunResult;

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    for (const kind of kinds) makeMigrated(kind, imageOf(kind.name, 'ext4'), treeOf(kind.name));
    const fill = (kind: (typeof kinds)[number]): readonly Step[] => [
      { do: 'sh', script: `mount -t ${kind.type} /disks/${diskOf(kind.name)} /mnt` },
      // It ends where it would share extents, which ext4 cannot.
      { do: 'fill', seed: Number(seed) % 1000, sizeBytes: 12 * MIB, subvolumes: false, allowFailure: true },
      ...(kind.steps ?? []),
      { do: 'sh', script: 'cd /; umount /mnt' },
      { do: 'sh', script: `mount -t ${kind.type} -o ro /disks/${diskOf(kind.name)} /mnt` },
      { do: 'manifest', as: 'filled', timeoutSeconds: 600 },
      { do: 'sh', script: 'cd /; umount /mnt' },
    ];
    if (byKernel.length > 0)
      filled = await runInKernel({
        extraModules: ['ext4'],
        disks: byKernel.map(({ name }) => ({ name: diskOf(name), path: imageOf(name, 'ext4') })),
        cases: byKernel.map(kind => ({ name: kind.name, steps: fill(kind) })),
        timeoutSeconds: 1800,
      });
    for (const { name, accepts = [] } of kinds) {
      copy(imageOf(name, 'ext4'), imageOf(name, 'migrated'));
      await succeed('migrate', ['-y', '--verify=data', ...accepts, imageOf(name, 'migrated')]);
      for (const other of ['finished', ...(name === deletedKind ? ['deleted'] : [])])
        copy(imageOf(name, 'migrated'), imageOf(name, other));
      await succeed('migrate finish', ['-y', imageOf(name, 'finished')]);
    }
    const written = (disks: readonly string[], mayFail: boolean): readonly Step[] => [
      { do: 'mount', disks },
      {
        do: 'write',
        path: 'written by bcachefs',
        pattern: { kind: 'random' },
        sizeBytes: 3 * MIB,
        fsync: true,
        allowFailure: mayFail,
      },
      { do: 'mkdir', path: 'made by bcachefs', allowFailure: mayFail },
      { do: 'umount' },
      { do: 'fsck', as: 'fsck afterwards', disks },
    ];
    looks = await runInKernel({
      extraModules: ['ext4'],
      disks: [
        { name: 'deleted', path: imageOf(deletedKind, 'deleted') },
        ...kinds.flatMap(({ name }) =>
          stages.map(stage => ({ name: `${diskOf(name)}-${stage}`, path: imageOf(name, stage) })),
        ),
      ],
      cases: [
        DELETION,
        ...kinds.flatMap(({ name, isFull = false }) =>
          stages.map(stage => {
            const disks = [`${diskOf(name)}-${stage}`];
            return {
              name: `${name} ${stage}`,
              steps: [
                { do: 'sh', script: `! mount -t ext4 -o ro /disks/${disks[0]} /mnt` },
                { do: 'mount', disks, readOnly: true, options: 'nochanges' },
                { do: 'manifest', as: 'seen', timeoutSeconds: 600 },
                { do: 'umount' },
                { do: 'fsck', as: 'fsck', disks },
                ...(isFull && stage === 'migrated' ? [] : written(disks, isFull)),
              ],
            } as const;
          }),
        ),
      ],
      timeoutSeconds: 2400,
    });
  }, patient(1_500_000));

  const before = ({ name, steps }: (typeof kinds)[number]): readonly ManifestEntry[] =>
    steps === undefined ? hostManifest(treeOf(name)) : (resultOf(caseNamed(filled!, name), 'filled').manifest ?? []);

  test('what ext4 used is deleted before it is finished: that ends the way back, and does no harm', async () => {
    const outcome = caseNamed(looks, 'deleted');
    const paths = (resultOf(outcome, 'seen').manifest ?? []).map(({ path }) => path);
    const kind = kinds.find(({ name }) => name === deletedKind)!;
    expect(paths).toEqual(expect.arrayContaining(before(kind).map(({ path }) => path)));
    const { fsck } = resultOf(outcome, 'fsck');
    const complaints = fsck?.complaints.filter(({ text }) => !allow.some(one => one.test(text)));
    expect({ mounted: fsck?.mounted, complaints }).toEqual({ mounted: true, complaints: [] });
    const image = imageOf(deletedKind, 'deleted');
    const { exitCode, stderr } = await run('migrate rollback', ['-y', image]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/there is no way back|e2fsck -f/);
    await succeed('migrate finish', ['-y', image]);
    await succeed('fsck', ['-n', image]);
  });

  describe.each(kinds)('$name', kind => {
    const { name, steps } = kind;
    test.each(stages)('%s, it has every file of ext4, and the kernel has nothing to complain of', stage => {
      const expected = comparable(before(kind));
      expect(expected.length).toBeGreaterThan(100);
      const outcome = caseNamed(looks, `${name} ${stage}`);
      const seen = comparable(resultOf(outcome, 'seen').manifest ?? []);
      if (steps === undefined) {
        const timed = (entries: readonly ManifestEntry[]) =>
          entries
            .filter(({ path }) => path !== 'lost+found')
            .map(inSeconds)
            .map(entry =>
              WRITTEN_LATER.includes(entry.path ?? '') ? { ...entry, mtime_ns: '0', atime_ns: '0' } : entry,
            );
        expect(compareManifests(timed(seen), timed(expected), { ignore: [...OF_THE_HOST, 'options'] })).toEqual([]);
      } else expect(compareManifests(seen, expected, { ignore: OWN })).toEqual([]);
      for (const { step, fsck } of outcome.steps) {
        const { as } = step;
        if (as === undefined || fsck === undefined) continue;
        const complaints = fsck.complaints.filter(
          ({ text }) => stage === 'finished' || !allow.some(one => one.test(text)),
        );
        expect({ as, mounted: fsck.mounted, complaints }).toEqual({ as, mounted: true, complaints: [] });
      }
    });

    test('finished, it is to blkid what a new bcachefs is', async () => {
      // A low-level look: what udev takes a disk for. Versions before 2.39 know no bcachefs, and find nothing.
      const typeOf = (image: string) => e2('blkid', ['-p', '-o', 'value', '-s', 'TYPE', image], [0, 2]).trim();
      const fresh = join(folder, 'fresh.img');
      await succeed('format', ['--quiet', '--force', '--fs_size=64M', fresh]);
      expect(typeOf(imageOf(name, 'finished'))).toBe(typeOf(fresh));
      expect(typeOf(imageOf(name, 'ext4'))).toBe(kind.type);
    });

    test('after bcachefs has been written to, a rollback gives ext4 as it was', {
      timeout: patient(120_000),
    }, async () => {
      const image = imageOf(name, 'migrated');
      const { exitCode, stderr } = await run('migrate rollback', ['-y', image]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: expect.any(String) });
      expect(e2fsckSays(image)).toBe('');
      expect(differences(imageOf(name, 'ext4'), image)).toEqual([]);
    });
  });
});

/** It stays sparse. */
function copy(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['--reflink=auto', '--sparse=auto', from, to], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

/** Where something differs that the first, an ext4 filesystem, has in use: bytes at which a piece begins. */
function differences(original: string, other: string): number[] {
  const [before, after] = [original, other].map(path => openDevice(path, { write: false })) as [Device, Device];
  const differing: number[] = [];
  try {
    const ext4 = openExt4(before);
    const { blockBytes } = ext4.facts;
    for (const { block, blocks } of ext4.usage().map.usedRuns()) {
      const end = (block + blocks) * blockBytes;
      for (let at = block * blockBytes; at < end; at += MIB) {
        const length = Math.min(MIB, end - at);
        if (Buffer.compare(readBytes(before, at, length), readBytes(after, at, length)) !== 0) differing.push(at);
      }
    }
  } finally {
    before.close();
    after.close();
  }
  return differing;
}
type Device = ReturnType<typeof openDevice>;
