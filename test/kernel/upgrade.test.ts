// Filesystems that `upgrade` has taken to another version, and one whose upgrade was cut off, before the kernel that has that version: its
// check is silent, it reads what was there, and goes on writing.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  changeVersionSteps,
  checkInvariants,
  findingText,
  getBits,
  loadChecksums,
  openFilesystem,
  openMembers,
  parseVersion,
  planVersionChange,
  sbBits,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { loadImage, saveImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { PowerCuts } from '../support/power-cuts.ts';
import { randomFrom } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { compareManifests, resultOf, runInKernel, type Step } from './vm/index.ts';
import { kernelSuite, kernelSuiteOf } from './vm/suite.ts';

const LATER = '6.16';
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-upgrade-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(loadChecksums);

/** A filesystem with files, some of them shared by snapshots. */
async function filled(name: string, version: string): Promise<string> {
  const [image, file] = [join(folder, name), join(folder, 'file')];
  writeFileSync(file, 'some words, again and again\n'.repeat(20_000));
  await succeed('format', ['-q', `--version=${version}`, '--fs_size=128M', '--compression=lz4', image]);
  await succeed('mkdir', ['-p', image, 'a/b/c']);
  for (const path of ['a/one', 'a/b/two', 'a/b/c/three']) await succeed('put', [image, file, path]);
  await succeed('subvolume create', [image, 'volume']);
  await succeed('put', [image, file, 'volume/four']);
  await succeed('subvolume snapshot', [image, 'volume', 'snapshot']);
  await succeed('rm', [image, 'volume/four']);
  return image;
}

const seenOf = (image: string) => {
  const filesystem = openFilesystem([image]);
  const { entries, complaints } = treeManifest(filesystem, () => undefined);
  const found = checkInvariants(filesystem).findings.map(findingText);
  filesystem.close();
  expect([complaints, found]).toEqual([[], []]);
  return entries;
};

const MIB = 2 ** 20;
/** It is looked at, changed, and looked at again. */
const steps = (disk: string): readonly Step[] => [
  { do: 'fsck', disks: [disk], as: `${disk} first` },
  { do: 'mount', disks: [disk], options: 'version_upgrade=none' },
  { do: 'manifest', as: `${disk} seen` },
  { do: 'write', path: 'a/new', pattern: { kind: 'random', seed: 1 }, sizeBytes: MIB },
  { do: 'unlink', path: 'a/one' },
  { do: 'umount' },
  { do: 'fsck', disks: [disk], as: `${disk} again` },
];

interface Judged {
  readonly path: string;
  /** What is to be seen on it, where that cannot be said from what is there. */
  readonly expected?: ReturnType<typeof seenOf>;
}

async function judge(series: '6.12' | '6.16', images: Readonly<Record<string, Judged>>, before: readonly Step[] = []) {
  const expected = Object.entries(images).map(
    ([name, { path, expected: known }]) => [name, known ?? seenOf(path)] as const,
  );
  const result = await runInKernel({
    series,
    disks: Object.entries(images).map(([name, { path }]) => ({ name, path })),
    steps: [...before, ...Object.keys(images).flatMap(steps)],
  });
  for (const [name, entries] of expected) {
    for (const which of ['first', 'again'])
      expect(resultOf(result, `${name} ${which}`).fsck?.complaints, `${name} ${which}`).toEqual([]);
    const seen = resultOf(result, `${name} seen`).manifest ?? [];
    expect(compareManifests(entries, seen, { ignore: ['data'] })).toEqual([]);
    // What the kernel has done to it is sound by our rules too; but its own upgrade loses the counters of inodes, of which it says nothing.
    const { path, expected: known } = images[name]!;
    if (known === undefined) seenOf(path);
  }
}

/** The superblock says that the upgrade has begun, and no journal entry has its btrees yet. */
async function cutOff(): Promise<Judged> {
  const path = await filled('cut', '1.13');
  const expected = seenOf(path);
  const cuts = new PowerCuts([loadImage(path)]);
  const set = openMembers(cuts.devices);
  const plan = planVersionChange(set.newest.sb, { to: parseVersion('1.28') });
  const all = changeVersionSteps(set, plan, { random: seededRandom('cut'), now: () => 1_800_000_000n, key: undefined });
  while (all.next().done !== true);
  const begun = [...cuts.points(randomFrom(1))].find(cut => {
    const { version, flags } = openMembers(cuts.after(cut)).newest.sb;
    return version === plan.to && getBits(flags, sbBits.VERSION_UPGRADE_COMPLETE) !== version;
  });
  saveImage(cuts.after(begun!)[0]!, path);
  return { path, expected };
}

(await kernelSuiteOf(LATER))('upgraded', () => {
  test('1.13 to 1.28, done and cut off', { timeout: patient(400_000) }, async () => {
    const path = await filled('up', '1.13');
    await succeed('upgrade', ['--yes', '--to=1.28', path]);
    // Upgrading itself, Linux 6.16 misreads the counters of 1.13, and is done after the second mount.
    const completed = { do: 'fsck', disks: ['cut'], fixErrors: true } as const;
    await judge(LATER, { up: { path }, cut: await cutOff() }, [completed, completed]);
  });
});

kernelSuite('taken back', () => {
  test('1.28 to 1.13', { timeout: patient(400_000) }, async () => {
    const path = await filled('back', '1.28');
    await succeed('upgrade', ['--yes', '--to=1.13', path]);
    await judge('6.12', { back: { path } });
  });
});
