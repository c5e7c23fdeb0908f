// Reading against a real kernel: filesystems of every kind that we format are filled by Linux with thousands of files, stopped cleanly or
// in the midst of writes, and read by us as they were left. Then the kernel mounts copies, after its own journal replay, and says what is
// in them. Both have to agree on everything: paths, types, modes, owners, sizes, links, times, contents, targets, attributes.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { loadChecksums, loadCompression, openFilesystem } from '@bcachefs-ts/core/engine';
import { restoreCommand } from '@bcachefs-ts/files';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { differences, scratchFolder } from '../support/folder-manifest.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import {
  caseNamed,
  compareManifests,
  type ManifestEntry,
  type RunResult,
  resultOf,
  runInKernel,
  type Step,
  unlockKey,
} from './vm/index.ts';
import { entryKey } from './vm/manifest.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;
const PASSPHRASE = 'correct horse';

interface Kind {
  readonly name: string;
  /** Words of the format command; DEV0, DEV1… are its images. */
  readonly format: readonly string[];
  readonly devices?: number;
  readonly isEncrypted?: boolean;
  /** How much the standard workload writes: 8 MiB. */
  readonly fillBytes?: number;
}

// biome-ignore format: a table
const allKinds: readonly Kind[] = [
  { name: 'plain', format: ['--fs_size=320M', 'DEV0'] },
  { name: 'zstd', format: ['--compression=zstd', '--fs_size=320M', 'DEV0'] },
  { name: 'lz4', format: ['--compression=lz4', '--data_checksum=xxhash', '--str_hash=crc32c', '--fs_size=320M', 'DEV0'] },
  { name: 'gzip', format: ['--compression=gzip', '--data_checksum=crc64', '--str_hash=crc64', '--fs_size=320M', 'DEV0'], fillBytes: 2 * MIB },
  { name: 'encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4', '--fs_size=320M', 'DEV0'], isEncrypted: true },
  { name: 'three', format: ['--replicas=2', '--fs_size=320M', 'DEV0', '--fs_size=256M', 'DEV1', '--fs_size=320M', 'DEV2'], devices: 3 },
  { name: 'small-nodes', format: ['--btree_node_size=16k', '--block_size=512', '--fs_size=320M', 'DEV0'] },
];
/** The others are other code paths of the same readers. */
const FEW = ['encrypted', 'three'];
const kinds = sampleOf('what the kernel has filled', allKinds, FEW);

/** An ACL as setxattr takes it: owner rwx, user 1000 r-x, group r--, mask r-x, others nothing. */
// biome-ignore format: a row for each entry
const ACL = Uint8Array.of(
  ...[2, 0, 0, 0],
  ...[[0x01, 7, -1], [0x02, 5, 1000], [0x04, 4, -1], [0x10, 5, -1], [0x20, 0, -1]].flatMap(([tag, perm, id]) => [
    ...[tag!, 0, perm!, 0],
    ...new Uint8Array(Int32Array.of(id!).buffer),
  ]),
);

/** What the standard workload lacks: ACLs, options of inodes, thousands of entries, space that is promised, nested and deleted subvolumes. */
function moreSteps(seed: number): readonly Step[] {
  const random = (path: string, sizeBytes: number, offset?: number): Step => ({
    ...{ do: 'write', path, sizeBytes, pattern: { kind: 'random', seed: `${seed}.${path}.${offset}` } },
    ...(offset === undefined ? {} : { offset }),
  });
  const text = (path: string, sizeBytes: number): Step => ({
    ...{ do: 'write', path, sizeBytes, pattern: { kind: 'text', seed: `${seed}.${path}` } },
  });
  // biome-ignore format: a step on a line
  return [
    { do: 'sh', script: 'mkdir thousands; i=0; while [ $i -lt 3000 ]; do : > thousands/entry-$i; i=$((i+1)); done', timeoutSeconds: 200 },
    { do: 'sh', script: 'cd thousands; rm entry-1[0-9][0-9]; mkdir d; mv entry-2[0-9][0-9] d; i=0; while [ $i -lt 300 ]; do echo $i > d/new-$i; i=$((i+1)); done' },
    { do: 'mkdir', path: 'acl' },
    text('acl/file', 900),
    { do: 'setxattr', path: 'acl/file', name: 'system.posix_acl_access', value: ACL },
    { do: 'setxattr', path: 'acl', name: 'system.posix_acl_default', value: ACL },
    text('acl/inherits', 10),
    ...(['compression:zstd', 'compression:gzip', 'data_checksum:crc64', 'data_checksum:none', 'nocow:1'] as const).flatMap((option): Step[] => {
      const [name, value] = option.split(':') as [string, string];
      const path = `set-${name}-${value}`;
      return [{ do: 'mkdir', path }, { do: 'setOption', path, option: name, value }, text(`${path}/text`, 70_000), random(`${path}/random`, 40_000)];
    }),
    { do: 'setProject', path: 'acl/inherits', project: 77 },
    { do: 'setFlags', path: 'acl/file', flags: 0x80 },
    { do: 'fallocate', path: 'promised', mode: 'allocate', offset: 0, length: 300_000 },
    random('promised', 5_000, 100_000),
    { do: 'fsync', path: 'promised' },
    random('shared', 200_000),
    { do: 'clone', source: 'shared', path: 'shared-2' },
    { do: 'clone', source: 'shared-2', path: 'shared-3' },
    { do: 'clone', source: 'shared-2', path: 'shared-3', range: { from: 8192, to: 65536, length: 40960 } },
    { do: 'fallocate', path: 'shared', mode: 'punch-hole', offset: 20_480, length: 40_960 },
    random('shared-2', 9_000, 30_000),
    { do: 'truncate', path: 'shared-3', sizeBytes: 150_001 },
    { do: 'subvolumeCreate', path: 'outer' },
    ...[1, 2, 3, 4, 5, 6].map(nr => random(`outer/f${nr}`, 30_000 * nr)),
    { do: 'link', source: 'outer/f1', path: 'outer/f1-again' },
    { do: 'subvolumeCreate', path: 'outer/inner' },
    random('outer/inner/f', 50_000),
    { do: 'snapshot', source: 'outer', path: 'snap-1', readOnly: true },
    { do: 'snapshot', source: 'outer', path: 'snap-2' },
    random('snap-2/f2', 20_000, 10_000),
    { do: 'unlink', path: 'snap-2/f1' },
    { do: 'clone', source: 'outer/f3', path: 'snap-2/f3-clone' },
    { do: 'setxattr', path: 'snap-2/f4', name: 'user.in', value: 'snap-2' },
    { do: 'snapshot', source: 'snap-2', path: 'snap-3' },
    random('snap-3/f2', 6_000, 12_345),
    { do: 'truncate', path: 'snap-3/f5', sizeBytes: 1_000 },
    { do: 'fallocate', path: 'snap-3/f6', mode: 'punch-hole', offset: 4_096, length: 65_536 },
    { do: 'rename', source: 'snap-3/f4', path: 'snap-3/renamed' },
    { do: 'snapshot', source: 'snap-3', path: 'snap-3/below', readOnly: true },
    { do: 'subvolumeDelete', path: 'snap-2' },
    random('outer/f5', 4_000, 70_000),
    { do: 'unlink', path: 'outer/f6' },
    { do: 'symlink', target: `../${'long/'.repeat(60)}`, path: 'outer/link' },
  ];
}

const ends = { clean: 'cleanly', unclean: 'in the midst of writes' } as const;
type End = keyof typeof ends;

interface Filled {
  readonly name: string;
  readonly kind: Kind;
  readonly end: End;
  readonly images: readonly string[];
  readonly disks: readonly string[];
}

function endSteps(end: End, seed: number): readonly Step[] {
  if (end === 'clean') return [{ do: 'umount' }];
  // Half of them go down right after an fsync, the others wherever the writer is.
  const last: Step =
    seed % 2 === 0
      ? { do: 'crashAfterFsync', path: 'last', sizeBytes: 50_000, seed }
      : { do: 'reset', afterSeconds: 1 };
  return [
    { do: 'sh', script: 'rm -r churn; mv small smaller' },
    { do: 'startWriter', seed },
    { do: 'sleep', seconds: 1 },
    last,
  ];
}

kernelSuite('what we read is what the kernel reads', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-read-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const all: readonly Filled[] = kinds.flatMap(kind =>
    (['clean', 'unclean'] as const).map(end => {
      const name = `${kind.name}.${end}`;
      const disks = Array.from({ length: kind.devices ?? 1 }, (_, i) => `${name}.${i}`);
      return { name, kind, end, disks, images: disks.map(disk => join(folder, `${disk}.img`)) };
    }),
  );
  const keyOf = ({ kind, images }: Filled) =>
    kind.isEncrypted === true ? { key: unlockKey(images[0]!, PASSPHRASE) } : {};
  let looks: RunResult;

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    const passphraseFile = join(folder, 'passphrase');
    writeFileSync(passphraseFile, PASSPHRASE);
    for (const { kind, images } of all) {
      const words = kind.format.map(word =>
        word.replace('PASSPHRASE', passphraseFile).replace(/^DEV(\d)$/, (_, nr: string) => images[Number(nr)]!),
      );
      await succeed('format', words);
    }
    const disks = all.flatMap(one => one.disks.map((name, i) => ({ name, path: one.images[i]! })));
    await runInKernel({
      disks,
      cases: all.map((one, seed) => ({
        name: one.name,
        steps: [
          { do: 'mount', disks: one.disks, ...keyOf(one) },
          { do: 'fill', seed, sizeBytes: one.kind.fillBytes ?? 8 * MIB, subvolumes: true, timeoutSeconds: 200 },
          ...moreSteps(seed),
          ...endSteps(one.end, seed >> 1),
        ],
      })),
      timeoutSeconds: 900,
    });
    // The images stay as they were left: what the kernel replays goes to copies that are thrown away.
    looks = await runInKernel({
      disks: disks.map(disk => ({ ...disk, throwaway: true })),
      cases: all.map(one => ({
        name: one.name,
        steps: [
          { do: 'mount', disks: one.disks, readOnly: true, ...keyOf(one) },
          { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
          { do: 'umount' },
        ],
      })),
      timeoutSeconds: 900,
    });
  }, patient(1_000_000));

  const seenIn = ({ name }: Filled): readonly ManifestEntry[] =>
    resultOf(caseNamed(looks, name), 'seen').manifest ?? [];

  describe.each(all)('$kind.name, stopped $end', filled => {
    test('through the library', { timeout: patient(120_000) }, () => {
      const expected = seenIn(filled);
      const data = new Map(expected.map(entry => [entryKey(entry), entry.data]));
      const filesystem = openFilesystem(filled.images, passphraseOf(filled.kind));
      try {
        expect(filesystem.replay.from).toBe(filled.end === 'clean' ? 'clean' : 'journal');
        const { entries, complaints } = treeManifest(filesystem, key => data.get(key));
        expect(complaints).toEqual([]);
        expect(compareManifests(entries, expected, { ignore: ['data'] })).toEqual([]);
        expect(expected.length).toBeGreaterThan(3500);
      } finally {
        filesystem.close();
      }
    });

    test('through restore', { timeout: patient(120_000) }, async () => {
      const scratch = mkdtempSync(join(scratchFolder, 'bcachefs-ts-read-'));
      try {
        const out = join(scratch, 'out');
        mkdirSync(out);
        const env = filled.kind.isEncrypted === true ? { BCACHEFS_PASSPHRASE: PASSPHRASE } : {};
        const ran = await runCli(restoreCommand, ['--json', filled.images.join(':'), out], { env });
        expect(ran.stderr).toBe('');
        const report = JSON.parse(ran.stdout);
        expect(report.damages).toEqual([]);
        expect(ran.exitCode).toBe(0);
        const unkept = new Set<string>(
          report.not_kept
            .filter(({ kind }: { kind: string }) => kind === 'xattrs' || kind === 'acls')
            .flatMap(({ paths }: { paths: string[] }) => paths),
        );
        expect(differences(out, seenIn(filled), { unkept })).toEqual([]);
      } finally {
        rmSync(scratch, { recursive: true, force: true });
      }
    });
  });

  /** The proof that something was left to replay: without its journal an unclean filesystem would read otherwise. */
  test('the unclean ones had keys to replay', () => {
    for (const filled of all.filter(({ end }) => end === 'unclean')) {
      const filesystem = openFilesystem(filled.images, passphraseOf(filled.kind));
      expect(filesystem.replay.overlay.size, filled.name).toBeGreaterThan(100);
      filesystem.close();
    }
  });
});

function passphraseOf({ isEncrypted }: Kind): { readonly passphrase?: Uint8Array } {
  return isEncrypted === true ? { passphrase: new TextEncoder().encode(PASSPHRASE) } : {};
}
