// Dumps, judged by a real kernel: what is undumped mounts read-only, has the same names, attributes and sizes, and the kernel's check
// says of it what it says of the original. Only the contents of files are gone.

import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { testImageContents, testImages } from '../support/images.ts';
import { sampleOf, sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import {
  caseNamed,
  type FsckReport,
  KernelFailure,
  type ManifestEntry,
  type RunResult,
  resultOf,
  runInKernel,
  unlockKey,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;

/** Reference images: unclean ones, several members, snapshots, encryption, and some that are damaged. */
const ALL_FIXTURES = [
  ...['multi3-r2', 'dmg-nlink', 'unclean-busy', 'encrypted-unclean', 'snapshots'],
  ...['reflink', 'dmg-orphan', 'dmg-leaf-csum', 'dmg-alloc'],
].map(name => ({ name }));
const FIXTURES = sampleOf('reference images dumped', ALL_FIXTURES, ['multi3-r2', 'dmg-nlink']).map(({ name }) => name);

interface Dumped {
  readonly name: string;
  readonly originals: readonly string[];
  readonly copies: readonly string[];
  readonly passphrase: string | undefined;
}

const EIO = 5;

/** Far more than is written to it: a check of 8 TiB takes 40 seconds in an emulated machine. */
const LARGE_BYTES = sized(16, 64, 8192) * 2 ** 30;
const FSCK_SECONDS = 240;

/** The kernel leaves out messages when there are many. */
const isOfTheLog = (text: string) => /callbacks suppressed$|^btree_node_read_work: rewriting btree node /.test(text);

/** The pointers to the replicas that were left out are still there; the kernel finds zeroes and takes the other one. */
const isOfMissingReplica = (text: string) => /bad magic: want \w+, got 0$|^retry(ing read| success)$/.test(text);

kernelSuite('dump', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-kernel-dump-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const dumped: Dumped[] = [];
  let checks: RunResult;
  let looks: RunResult;

  const keyOf = ({ originals, passphrase }: Dumped) =>
    passphrase === undefined ? {} : { key: unlockKey(originals[0]!, passphrase) };

  async function dump(
    name: string,
    originals: readonly string[],
    passphrase: string | undefined,
    ...options: string[]
  ) {
    const env = passphrase === undefined ? {} : { BCACHEFS_PASSPHRASE: passphrase };
    const words = ['--noexcl', '-o', join(folder, name), ...options, ...originals];
    const { exitCode, stderr } = await run('dump', words, { env });
    expect(exitCode, stderr).toBe(0);
    const files = originals.length === 1 ? [`${name}.qcow2`] : originals.map((_, i) => `${name}.${i}.qcow2`);
    const paths = files.map(file => join(folder, file));
    await succeed('undump', paths);
    dumped.push({ name, originals, copies: paths.map(path => path.replace('.qcow2', '')), passphrase });
  }

  /** A kernel has filled it a little. */
  async function dumpLarge() {
    const large = join(folder, 'large.img');
    await succeed('format', [`--fs_size=${LARGE_BYTES}`, large]);
    await runInKernel({
      disks: [{ name: 'large', path: large }],
      steps: [
        { do: 'mount', disks: ['large'] },
        { do: 'fill', sizeBytes: 4 * MIB, subvolumes: true },
        { do: 'umount' },
      ],
    });
    await dump('large', [large], undefined);
  }

  beforeAll(async () => {
    for (const { name, devices, passphrase } of testImages) {
      const images = testImageContents(name).map((contents, i) => {
        const path = join(folder, `${devices[i]}.img`);
        writeFileSync(path, contents);
        return path;
      });
      await dump(name, images, passphrase);
      if (name === 'multi') await dump('single_replica', images, passphrase, '--single_replica');
      if (name === 'unclean') await dump('nojournal', images, passphrase, '--nojournal');
    }
    if (whyNoFixtures === undefined) {
      for (const name of FIXTURES) {
        const { images, json } = fixture(name);
        await dump(name, images, json.passphrase ?? undefined);
      }
    }
    await dumpLarge();

    const disksOf = (one: Dumped, of: 'originals' | 'copies') =>
      one[of].map((path, i) => ({ name: `${one.name}.${of}.${i}`, path, throwaway: true }));
    const sides = dumped.flatMap(one => (['originals', 'copies'] as const).map(of => ({ one, of })));
    const disks = sides.flatMap(({ one, of }) => disksOf(one, of));
    checks = await runInKernel({
      disks,
      cases: sides.map(({ one, of }) => ({
        name: `${one.name} ${of}`,
        steps: [
          {
            do: 'fsck',
            as: 'fsck',
            disks: disksOf(one, of).map(({ name }) => name),
            timeoutSeconds: FSCK_SECONDS,
            ...keyOf(one),
          },
        ],
      })),
      timeoutSeconds: 900,
      failures: 'return',
    });
    looks = await runInKernel({
      disks,
      cases: dumped.flatMap(one =>
        (['originals', 'copies'] as const).map(of => ({
          name: `${one.name} ${of}`,
          steps: [
            {
              do: 'mount',
              disks: disksOf(one, of).map(({ name }) => name),
              readOnly: true,
              options: 'nochanges,errors=continue',
              ...keyOf(one),
            } as const,
            { do: 'manifest', as: 'names', hashes: false } as const,
            {
              do: 'sh',
              as: 'contents',
              // Not the sparse file of 1 TiB: reading its hole takes hours in an emulated machine.
              script:
                'for f in $(find /mnt -type f -size +64k -size -65536k | head -3); do cat "$f" >/dev/null 2>&1 || echo unreadable; done',
            } as const,
            { do: 'umount' } as const,
          ],
        })),
      ),
      timeoutSeconds: 900,
      failures: 'return',
    });
  }, patient(1_200_000));

  const names = [
    ...testImages.map(({ name }) => name),
    'single_replica',
    'nojournal',
    ...(whyNoFixtures === undefined ? FIXTURES : []),
    'large',
  ];

  test.each(names)('the kernel says the same of the dump of %s', name => {
    const reportOf = (side: string) => resultOf(caseNamed(checks, `${name} ${side}`), 'fsck').fsck!;
    const expected = reportOf('originals');
    const found = reportOf('copies');
    const plain = ({ mounted, error, passes, complaints }: FsckReport) => ({
      mounted,
      error,
      passes,
      complaints: complaints
        // An inode that this fsck has already rewritten has the sequence number that the journal had by then: a matter of time.
        .map(({ text }) => text.replace(/ on vd[a-z]+ /, ' on DISK ').replace(/journal_seq=\d+/g, 'journal_seq=SEQ'))
        .filter(text => !isOfTheLog(text) && !(name === 'single_replica' && isOfMissingReplica(text))),
    });
    expect(plain(found)).toEqual(plain(expected));
    expect(found.mounted).toBe(true);
  });

  test.each(names)('the dump of %s has the same names, and no contents', name => {
    const original = caseNamed(looks, `${name} originals`);
    const copy = caseNamed(looks, `${name} copies`);
    const manifest = (of: typeof copy): readonly ManifestEntry[] => resultOf(of, 'names').manifest ?? [];
    // Some that are damaged are mounted by a check only, which the other test has.
    if (!name.startsWith('dmg-')) {
      const failed = [original, copy].filter(({ ok }) => !ok);
      if (failed.length > 0) throw new KernelFailure({ ...looks, cases: failed });
      expect(manifest(original).length).toBeGreaterThan(0);
      expect(resultOf(original, 'contents').stdout).toBe('');
    }
    // The targets of long symbolic links are contents too.
    const lost = new Set(
      manifest(copy).flatMap(({ path, type, read_errno }) => (type === 'lnk' && read_errno === EIO ? [path] : [])),
    );
    const kept = (entries: readonly ManifestEntry[]) =>
      entries.map(({ target, read_errno, ...rest }) => (lost.has(rest.path) ? rest : { ...rest, target, read_errno }));
    expect(kept(manifest(copy))).toEqual(kept(manifest(original)));
    for (const { path, size } of manifest(original)) if (lost.has(path)) expect(size).toBeGreaterThan(64);
  });

  test('reading what was left out is an error, not zeroes', () => {
    expect(resultOf(caseNamed(looks, 'large copies'), 'contents').stdout).toContain('unreadable');
  });

  test('the dump of a large filesystem is small', () => {
    expect(statSync(join(folder, 'large')).size).toBe(LARGE_BYTES);
    expect(statSync(join(folder, 'large.qcow2')).size).toBeLessThan(64 * MIB);
  });
});
