// restore against the reference images: the restored folder is what the kernel, or the tool that filled the image, says is in it.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Collected, runCli } from '@bcachefs-ts/command';
import { restoreCommand } from '@bcachefs-ts/files';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { built } from '../support/built.ts';
import { fixture, fixtureNames, someFixtures, whyNoFixtures } from '../support/fixtures.ts';
import { allPaths, differences, type ManifestEntry, scratchFolder } from '../support/folder-manifest.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(scratchFolder, 'restore-fixture-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Outcome extends Collected {
  readonly result: {
    readonly intact: boolean;
    readonly verdicts: Readonly<Record<string, number>>;
    readonly files: readonly { readonly path: string; readonly verdict: string; readonly restored: boolean }[];
    readonly not_kept: readonly {
      readonly kind: string;
      readonly count: number;
      readonly reason: string;
      readonly paths: string[];
    }[];
    readonly damages: readonly string[];
    readonly totals: { readonly resumed: number };
  };
  readonly out: string;
  /** Files of which attributes were not kept, as they are printed. */
  readonly unkept: ReadonlySet<string>;
}

async function restore(
  images: readonly string[],
  words: readonly string[] = [],
  passphrase: string | null = null,
): Promise<Outcome> {
  const out = join(folder, 'out');
  const env = passphrase === null ? {} : { BCACHEFS_PASSPHRASE: passphrase };
  const ran = await runCli(restoreCommand, ['--json', ...words, images.join(':'), out], { env });
  const result = ran.stdout === '' ? undefined : JSON.parse(ran.stdout);
  if (result === undefined) throw new Error(`exit code ${ran.exitCode}: ${ran.stderr}`);
  const attributes = (result as Outcome['result']).not_kept.filter(({ kind }) => kind === 'xattrs' || kind === 'acls');
  return { ...ran, result, out, unkept: new Set(attributes.flatMap(({ paths }) => paths)) };
}

const names = whyNoFixtures === undefined ? fixtureNames() : [];
const hasManifest = (name: string): boolean => {
  try {
    return fixture(name).readManifest().length > 0;
  } catch {
    return false;
  }
};
const whole = names.filter(name => !name.startsWith('dmg-') && hasManifest(name));

describe.skipIf(whyNoFixtures !== undefined)('restored is what is there', () => {
  test('there are as many fixtures as were counted', () => {
    expect(whole.length).toBeGreaterThanOrEqual(40);
  });

  test.each(someFixtures('reference images restored', whole))('%s', async name => {
    const { images, json, readManifest } = fixture(name);
    const { exitCode, result, out, stderr, unkept } = await restore(images, [], json.passphrase);
    expect({ stderr, damages: result.damages, files: result.files }).toMatchObject({ damages: [], files: [] });
    expect(exitCode).toBe(0);
    const entries = readManifest<ManifestEntry>();
    expect(differences(out, entries, { unkept })).toEqual([]);
    expect(result.verdicts.intact).toBe(entries.length);
  });
});

describe.skipIf(whyNoFixtures !== undefined)('a member is missing', () => {
  test.each([0, 1, 2, 3, 4])('any one of five, with erasure coding: without member %i', async absent => {
    const { images, readManifest } = fixture('ec-1.39');
    const { exitCode, result, out, unkept } = await restore(images.filter((_, i) => i !== absent));
    expect(result.files.filter(({ verdict }) => verdict !== 'intact')).toEqual([]);
    expect(exitCode).toBe(0);
    expect(differences(out, readManifest<ManifestEntry>(), { unkept })).toEqual([]);
  });

  test.each([0, 1, 2])(
    'one of three with two replicas: what has one only is named, without member %i',
    async absent => {
      const { images, readManifest } = fixture('multi3-r2');
      const { exitCode, result, out, unkept } = await restore(images.filter((_, i) => i !== absent));
      const lost = result.files.filter(({ verdict }) => verdict !== 'intact').map(({ path }) => path);
      expect(exitCode).toBe(lost.length === 0 ? 0 : 1);
      // Only what the image keeps in one copy may be lost.
      expect(lost.filter(path => !path.startsWith('one/'))).toEqual([]);
      expect(differences(out, readManifest<ManifestEntry>(), { unkept, absent: new Set(lost) })).toEqual([]);
    },
  );
});

interface Damage {
  /** Paths of the manifest that cannot be restored, and those whose contents or links are not what they were. */
  readonly absent?: readonly string[];
  readonly damaged?: readonly string[];
  /** The verdicts that are not "intact", as `PATH: VERDICT`. */
  readonly verdicts?: readonly string[];
  readonly exitCode: number;
  /** Parts of what is reported about the metadata. */
  readonly reported?: readonly string[];
}

const below = (top: string, ...names: string[]): string[] => [top, ...names.map(name => `${top}/${name}`)];
const loop = below('a', 'b', 'b/c', 'b/c/d', 'b/c/d/f5', 'b/c/f4', 'b/f1link', 'b/f3', 'f1', 'f2', 'x', 'x/f1link2');

/** What the damage of each image takes away. Everything else is restored as it was. */
const damages: Readonly<Record<string, Damage>> = {
  'dmg-alloc': { exitCode: 0 },
  'dmg-alloc-root': { exitCode: 0 },
  'dmg-backpointer': { exitCode: 0 },
  'dmg-data-csum': { exitCode: 1, absent: ['a/b/c/f4'], verdicts: ['a/b/c/f4: holes'] },
  'dmg-dirent-type': { exitCode: 1, reported: ['says dir, the inode is of type reg'] },
  'dmg-dirloop': { exitCode: 1, absent: loop, reported: ['leads back to a directory', '1 file or folder has no name'] },
  'dmg-dup-dirent': { exitCode: 1, verdicts: ['a/f2: not_written'], reported: ['a second f2'] },
  'dmg-hash': { exitCode: 1, reported: ['no lookup finds it here'] },
  'dmg-leaf-csum': { exitCode: 1, absent: ['big/zone_02026'], reported: ['the bset at', 'dirent at 409', 'no name'] },
  'dmg-missing-target': {
    exitCode: 1,
    absent: ['a/b/f3'],
    verdicts: ['a/b/f3: unreadable'],
    reported: ['which is missing'],
  },
  // The link count in the inode is wrong: what it says is one file is not looked for under other names.
  'dmg-nlink': { exitCode: 0, damaged: ['a/b/f1link', 'a/f1', 'a/x/f1link2'] },
  'dmg-orphan': {
    exitCode: 1,
    absent: below('a/b', 'c', 'c/d', 'c/d/f5', 'c/f4', 'f3').slice(1),
    reported: ['2 files or folders have no name'],
  },
  'dmg-reflink': { exitCode: 0 },
  // The size in the inode is wrong: it decides.
  'dmg-size': { exitCode: 0, damaged: ['a/b/c/f4'] },
  'dmg-subvol': {
    exitCode: 1,
    absent: ['sv', 'sv/s1'],
    verdicts: ['sv: unreadable'],
    reported: ['subvolume 2, which is missing'],
  },
};

describe.skipIf(whyNoFixtures !== undefined)('damaged images', () => {
  test.each(Object.entries(damages))('%s: all but what is damaged', async (name, expected) => {
    const { images, readManifest } = fixture(name);
    const { result, out, unkept, exitCode } = await restore(images);
    expect(result.files.map(({ path, verdict }) => `${path}: ${verdict}`)).toEqual(expected.verdicts ?? []);
    expect(result.damages).toEqual((expected.reported ?? []).map(part => expect.stringContaining(part)));
    expect(exitCode).toBe(expected.exitCode);
    const absent = new Set(expected.absent);
    const found = differences(out, readManifest<ManifestEntry>(), { unkept });
    const unexpected = found.filter(text => !absent.has(text.replace(/: absent$/, '')));
    const others = unexpected.filter(text => !(expected.damaged ?? []).some(path => text.startsWith(`${path}: `)));
    expect(others).toEqual([]);
    expect(found.filter(text => text.endsWith(': absent')).length).toBe(absent.size);
  });

  test('every damaged image is looked at', () => {
    const others = ['dmg-dirents-root', 'dmg-root'];
    expect(names.filter(name => name.startsWith('dmg-'))).toEqual([...Object.keys(damages), ...others].toSorted());
  });

  test('dmg-data-csum: with --ignore_errors the damaged file is there, with the bytes that fail', async () => {
    const { images, readManifest } = fixture('dmg-data-csum');
    const { result, out, exitCode } = await restore(images, ['--ignore_errors']);
    expect(exitCode).toBe(1);
    expect(result.files).toMatchObject([
      { path: 'a/b/c/f4', verdict: 'checksum', restored: true, suspect_bytes: 65536, ranges: [[0, 65536]] },
    ]);
    expect(differences(out, readManifest<ManifestEntry>(), { damaged: new Set(['a/b/c/f4']) })).toEqual([]);
  });

  test('dmg-orphan: --orphans brings what lost its names', async () => {
    const { images, readManifest } = fixture('dmg-orphan');
    const { out, exitCode } = await restore(images, ['--orphans']);
    expect(exitCode).toBe(0);
    const found = 'lost+found.restored';
    const moved = readManifest<ManifestEntry>().map(entry => {
      const path = entry.path
        ?.replace(/^a\/b\/c(?=\/|$)/, `${found}/1073741836`)
        .replace(/^a\/b\/f3$/, `${found}/1073741841`);
      return path === undefined ? entry : { ...entry, path };
    });
    expect(differences(out, moved)).toEqual([`${found}: not in the manifest`]);
  });

  test('dmg-dirents-root: without names everything is an orphan', async () => {
    const { images, readManifest } = fixture('dmg-dirents-root');
    const { out, exitCode, result } = await restore(images, ['--orphans']);
    expect(exitCode).toBe(1);
    const files = readManifest<ManifestEntry>().filter(({ type, subvol }) => type === 'reg' && subvol === 1);
    const inums = new Set(files.map(({ ino }) => ino));
    const restored = new Set(allPaths(join(out, 'lost+found.restored')));
    expect([...inums].filter(inum => !restored.has(String(inum)))).toEqual([]);
    expect(result.damages).toHaveLength(1);
  });

  test('dmg-root: without a root nothing is restored, and that is said', async () => {
    const { images } = fixture('dmg-root');
    const { exitCode, stderr } = await runCli(restoreCommand, [...images, join(folder, 'out')]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 3, stderr: 'restore: /, inodes: its inode 4096 is missing\n' });
    const { result } = await restore(images, ['--orphans']);
    expect(result.damages).toContainEqual(expect.stringContaining('its inode 4096 is missing'));
    expect(result.verdicts.intact).toBe(0);
  });
});

describe.skipIf(whyNoFixtures !== undefined)('an interrupted restore', () => {
  test.each(['SIGKILL', 'SIGINT'] as const)('goes on after %s', async signal => {
    const { images, readManifest } = fixture('unclean-busy');
    const out = join(folder, 'out');
    const child = spawn(process.execPath, [built('bcachefs'), 'restore', '--quiet', ...images, out], {
      stdio: 'ignore',
    });
    const ended = new Promise<number | null>(resolve => child.on('exit', resolve));
    const done = () => Number(readFileOr(join(out, '.bcachefs-restore/done'), '0'));
    while (done() < 500 && child.exitCode === null) await new Promise(resolve => setTimeout(resolve, 5));
    child.kill(signal);
    expect(await ended).toBe(signal === 'SIGINT' ? 130 : null);
    const before = done();
    expect(before).toBeGreaterThanOrEqual(500);

    const { exitCode, result, unkept } = await restore(images);
    expect(exitCode).toBe(0);
    expect(result).toMatchObject({ resumed: true });
    expect(result.totals.resumed).toBeGreaterThan(300);
    expect(differences(out, readManifest<ManifestEntry>(), { unkept })).toEqual([]);
  });
});

function readFileOr(path: string, other: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return other;
  }
}
