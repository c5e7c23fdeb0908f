// Sanitised dumps, judged by a real kernel: undumped, they mount read-only, every name and attribute that the kernel lists can be looked
// up, the tree has the shape of the original, and the kernel's check says of it what it says of the original.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { testImageContents, testImages } from '../support/images.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import {
  type Case,
  caseNamed,
  type FsckReport,
  kernelFsckAll,
  type ManifestEntry,
  type RunResult,
  resultOf,
  runInKernel,
  unlockKey,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

/** Large directories, snapshots, hard links, encryption, unclean ones, every string hash, and some that are damaged. */
const FEW = ['snapshots', 'encrypted-unclean', 'dmg-hash'];
const ALL_FIXTURES = [
  ...[...FEW, 'basic', 'unclean-busy', 'multi3-r2', 'csum-crc64'],
  ...['dmg-nlink', 'dmg-orphan', 'dmg-missing-target', 'dmg-dup-dirent'],
].map(name => ({ name }));
const FIXTURES = sampleOf('reference images sanitised', ALL_FIXTURES, FEW).map(({ name }) => name);
const DAMAGED = /^fixture\.dmg-/;

interface Sanitised {
  readonly name: string;
  readonly originals: readonly string[];
  readonly copies: readonly string[];
  readonly passphrase: string | undefined;
  readonly level: Level;
}

type Level = 'filenames' | 'all';

kernelSuite('sanitised dumps', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-kernel-sanitise-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const all: Sanitised[] = [];
  let verdicts: Map<string, FsckReport>;
  let looks: RunResult;

  // With `all` a copy has a key of its own, in the clear.
  const keyOf = ({ originals, passphrase, level }: Sanitised, of: 'originals' | 'copies') =>
    passphrase === undefined || (level === 'all' && of === 'copies')
      ? {}
      : { key: unlockKey(originals[0]!, passphrase) };

  async function sanitise(name: string, originals: readonly string[], passphrase: string | undefined, level: Level) {
    const env = passphrase === undefined ? {} : { BCACHEFS_PASSPHRASE: passphrase };
    const words = ['-o', join(folder, name), `--sanitize=${level}`, '--noexcl', ...originals];
    const { exitCode, stderr } = await run('dump', words, { env });
    expect(exitCode, stderr).toBe(0);
    const files = originals.length === 1 ? [`${name}.qcow2`] : originals.map((_, i) => `${name}.${i}.qcow2`);
    const paths = files.map(file => join(folder, file));
    await succeed('undump', paths);
    all.push({ name, originals, copies: paths.map(path => path.replace('.qcow2', '')), passphrase, level });
  }

  beforeAll(async () => {
    for (const { name, devices, passphrase } of testImages) {
      const images = testImageContents(name).map((contents, i) => {
        const path = join(folder, `${devices[i]}.img`);
        writeFileSync(path, contents);
        return path;
      });
      await sanitise(name, images, passphrase, 'all');
    }
    if (whyNoFixtures === undefined) {
      for (const name of FIXTURES) {
        const { images, json } = fixture(name);
        await sanitise(`fixture.${name}`, images, json.passphrase ?? undefined, 'filenames');
      }
    }
    verdicts = await kernelFsckAll(
      all.flatMap(one => [
        { name: `${one.name}, original`, images: one.originals, ...keyOf(one, 'originals') },
        { name: one.name, images: one.copies, ...keyOf(one, 'copies') },
      ]),
      900,
    );
    const disksOf = (one: Sanitised, of: 'originals' | 'copies') =>
      one[of].map((path, i) => ({ name: `${one.name}.${of}.${i}`, path, throwaway: true }));
    const look = (one: Sanitised, of: 'originals' | 'copies'): Case => {
      const disks = disksOf(one, of).map(({ name }) => name);
      return {
        name: `${one.name} ${of}`,
        steps: [
          { do: 'mount', disks, readOnly: true, options: 'nochanges,errors=continue', ...keyOf(one, of) },
          { do: 'manifest', as: 'names', hashes: false },
          { do: 'umount' },
        ],
      };
    };
    looks = await runInKernel({
      disks: all.flatMap(one => [...disksOf(one, 'originals'), ...disksOf(one, 'copies')]),
      cases: all.flatMap(one => [look(one, 'originals'), look(one, 'copies')]),
      timeoutSeconds: 900,
      failures: 'return',
    });
  }, patient(1_200_000));

  const names = [
    ...testImages.map(({ name }) => name),
    ...(whyNoFixtures === undefined ? FIXTURES.map(name => `fixture.${name}`) : []),
  ];

  test.each(names)('the kernel says the same of %s', name => {
    const expected = verdicts.get(`${name}, original`)!;
    const found = verdicts.get(name)!;
    expect(found.mounted).toBe(true);
    expect(plain(found)).toEqual(plain(expected));
  });

  // Of damaged ones the kernel shows what it pleases.
  test.each(names.filter(name => !DAMAGED.test(name)))('the tree of %s has its shape', name => {
    const entriesOf = (of: 'originals' | 'copies'): readonly ManifestEntry[] =>
      resultOf(caseNamed(looks, `${name} ${of}`), 'names').manifest ?? [];
    const originals = entriesOf('originals');
    const copies = entriesOf('copies');
    expect(originals.length).toBeGreaterThan(1);
    expect(shape(copies)).toEqual(shape(originals));
    // No file is called what it was.
    const known = new Set(
      originals.map(({ path }) => path).filter(path => path !== undefined && path.length > 3 && path !== 'lost+found'),
    );
    expect(copies.map(({ path }) => path).filter(path => known.has(path))).toEqual([]);
  });
});

/** Without names and the positions that come from them. */
const plain = ({ mounted, error, passes, complaints }: FsckReport) => ({
  mounted,
  error,
  passes,
  complaints: complaints.map(({ text }) => text.split('\n', 1)[0]!.replace(/[:=] .*| \d.*/, '')).toSorted(),
});

/** What is left of entries without names and contents, in an order that does not depend on names. */
function shape(entries: readonly ManifestEntry[]): readonly string[] {
  return entries
    .map(({ path, path_b64, type, ino, mode, uid, size, nlink, xattrs }) => {
      const depth = (path ?? Buffer.from(path_b64 ?? '', 'base64').toString('latin1')).split('/').length;
      return `${ino} ${type} ${mode} ${uid} ${size} ${nlink} depth ${depth} xattrs ${Object.keys(xattrs ?? {}).length}`;
    })
    .toSorted();
}
