// `device set-state`, `resize` and `resize-journal`, judged by a real kernel: which members a mount asks for in each state, and filesystems that
// a kernel filled, made larger and smaller, with longer and shorter journals. Afterwards the kernel's fsck is silent, the files are what they
// were, the kernel writes more, and its fsck is silent once more.

import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type FileDevice,
  type MountNeed,
  mountVerdict,
  openDevice,
  openFilesystem,
  openMembers,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { withTestImage } from '../support/images.ts';
import { sized } from '../support/long.ts';
import { MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { copySparse } from '../support/sparse.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { caseNamed, compareManifests, type RunResult, resultOf, runInKernel } from './vm/index.ts';
import { entryKey, type ManifestEntry } from './vm/manifest.ts';
import { kernelSuite } from './vm/suite.ts';

const SECTOR_BYTES = 512;
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-devices-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, `${name}.img`);

/** The words of `device …` that are done one after the other, to copies of one filesystem. */
interface Reshaping {
  readonly name: string;
  /** What is reshaped; `one` when left out. */
  readonly of?: 'unclean';
  readonly words: readonly (readonly ['resize' | 'resize-journal', string])[];
}

/** A kernel's check takes a second for each 70,000 buckets. */
const FAR_LARGER = sized('4800M', '4800M', '48G');

// biome-ignore format: a table
const reshapings: readonly Reshaping[] = [
  { name: 'twice', words: [['resize', '96M']] },
  { name: 'far-larger', words: [['resize', FAR_LARGER]] },
  { name: 'odd-tail', words: [['resize', '77777777']] },
  { name: 'larger-and-smaller', words: [['resize', '400M'], ['resize', 'min']] },
  { name: 'journal-8192', words: [['resize', '400M'], ['resize-journal', '128M']] },
  { name: 'journal-8', words: [['resize', '400M'], ['resize-journal', '128M'], ['resize-journal', '128k'], ['resize', 'min']] },
  // A kernel was cut off in the midst of writes: what its journal has is replayed first.
  { name: 'unclean', of: 'unclean', words: [['resize-journal', '2M'], ['resize-journal', '256k']] },
];

/** What members are given to a mount, with the third one in a state; by DEVICES: a kernel refuses it, or mounts it with an option. */
interface StateRow {
  readonly name: string;
  readonly state: 'rw' | 'ro' | 'failed' | 'spare';
  readonly isMissing: boolean;
  readonly need: MountNeed;
}

// biome-ignore format: a table
const stateRows: readonly StateRow[] = [
  { name: 'rw', state: 'rw', isMissing: true, need: 'degraded' },
  { name: 'ro', state: 'ro', isMissing: true, need: 'degraded' },
  { name: 'failed', state: 'failed', isMissing: true, need: 'nothing' },
  { name: 'spare', state: 'spare', isMissing: true, need: 'degraded' },
  { name: 'failed-there', state: 'failed', isMissing: false, need: 'nothing' },
  { name: 'ro-there', state: 'ro', isMissing: false, need: 'nothing' },
];
const three = [0, 1, 2].map(nr => path(`three${nr}`));

/** Members that do not agree, or are damaged: the images that are given to a mount, made from the three. */
interface OddRow {
  readonly name: string;
  readonly make: (images: readonly string[]) => Promise<readonly string[]>;
  /** What a mount of them needs; a kernel that refuses says `words`. */
  readonly need: 'nothing' | 'nothing helps';
  readonly words?: RegExp;
  /** Whether ours reads their files. */
  readonly isRead: boolean;
}

function changed(image: string, body: (device: FileDevice) => void): void {
  const device = openDevice(image, { write: true });
  body(device);
  device.close();
}

const odd: readonly OddRow[] = [
  {
    name: 'one missed the last superblocks',
    async make(images) {
      const kept = `${images[2]!}.kept`;
      copySparse(images[2]!, kept);
      await succeed('set-fs-option', ['--data_replicas=1', ...images]);
      return [images[0]!, images[1]!, kept];
    },
    need: 'nothing',
    isRead: true,
  },
  {
    name: 'one has lost its first superblock',
    make(images) {
      changed(images[2]!, device => device.write(8 * SECTOR_BYTES, new Uint8Array(8 * SECTOR_BYTES)));
      return Promise.resolve(images);
    },
    need: 'nothing',
    isRead: true,
  },
  {
    name: 'one was removed while it was missing',
    async make(images) {
      await succeed('device remove', ['-y', '--allow_missing', images.slice(0, 2).join(':'), '2']);
      return images;
    },
    need: 'nothing',
    isRead: true,
  },
  {
    name: 'one is shorter than its buckets',
    make(images) {
      changed(images[2]!, device => device.setSize(device.sizeBytes - 16 * 1024));
      return Promise.resolve(images);
    },
    need: 'nothing helps',
    words: /device too small/,
    isRead: true,
  },
  {
    name: 'one is there twice',
    make(images) {
      copySparse(images[2]!, `${images[2]!}.again`);
      return Promise.resolve([...images, `${images[2]!}.again`]);
    },
    need: 'nothing helps',
    words: /already have device online in slot 2/,
    isRead: false,
  },
];
function manifestOf(images: readonly string[]): readonly ManifestEntry[] {
  const filesystem = openFilesystem(images);
  try {
    const { entries, complaints } = treeManifest(filesystem, () => undefined);
    expect(complaints).toEqual([]);
    return entries;
  } finally {
    filesystem.close();
  }
}

const oddDisks = new Map<string, readonly { readonly name: string; readonly path: string }[]>();
const givenOf = ({ name, isMissing }: StateRow) => (isMissing ? [0, 1] : [0, 1, 2]).map(nr => path(`${name}${nr}`));

kernelSuite('members reshaped', () => {
  let filled: RunResult;
  let looked: RunResult;
  /** What our reader sees of the image before it is reshaped. */
  let unclean: readonly ManifestEntry[];

  beforeAll(async () => {
    const small = ['--bucket_size=16k', '--btree_node_size=16k'];
    await succeed('format', [...small, '--fs_size=48M', path('one')]);
    await succeed('format', [...small, '--replicas=2', '--fs_size=48M', ...three]);
    const fill = (name: string, disks: readonly string[]) => ({
      name,
      steps: [
        { do: 'mount', disks },
        { do: 'fill', seed: 1, sizeBytes: MIB, subvolumes: true, timeoutSeconds: 200 },
        // As it is on the disks: 6.12 may show another ctime of a file that has lost a link until it is read again.
        { do: 'umount' },
        { do: 'mount', disks, readOnly: true },
        { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
        { do: 'umount' },
      ] as const,
    });
    const disks = ['one', 'three0', 'three1', 'three2'];
    filled = await runInKernel({
      disks: disks.map(name => ({ name, path: path(name) })),
      cases: [fill('one', ['one']), fill('three', disks.slice(1))],
      timeoutSeconds: 900,
    });
    await withTestImage('unclean', ([image]) => {
      copySparse(image!, path('of-unclean'));
      return Promise.resolve();
    });
    unclean = manifestOf([path('of-unclean')]);
    for (const { name, of, words } of reshapings) {
      copySparse(path(of === undefined ? 'one' : `of-${of}`), path(name));
      for (const [command, size] of words) await succeed(`device ${command}`, ['-y', path(name), path(name), size]);
    }
    for (const row of stateRows) {
      for (const nr of [0, 1, 2]) copySparse(three[nr]!, path(`${row.name}${nr}`));
      const words = ['-y', '--force', row.state, givenOf(row).join(':'), '2'];
      await succeed('device set-state', row.isMissing ? ['--allow_missing', ...words] : words);
    }
    for (const [at, row] of odd.entries()) {
      const images = [0, 1, 2].map(nr => path(`odd${at}.${nr}`));
      for (const [nr, image] of images.entries()) copySparse(three[nr]!, image);
      const given = await row.make(images);
      oddDisks.set(
        row.name,
        given.map((path, nr) => ({ name: `odd${at}.${nr}`, path })),
      );
    }
    looked = await runInKernel({
      disks: [
        ...[...oddDisks.values()].flat(),
        ...reshapings.map(({ name }) => ({ name, path: path(name) })),
        ...stateRows.flatMap(row => givenOf(row).map((each, nr) => ({ name: `${row.name}${nr}`, path: each }))),
      ],
      cases: [
        ...reshapings.map(({ name }) => ({
          name,
          steps: [
            { do: 'fsck', disks: [name], as: 'fsck', timeoutSeconds: 300 },
            { do: 'mount', disks: [name] },
            { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
            { do: 'write', path: 'written', pattern: { kind: 'random', seed: 2 }, sizeBytes: MIB, fsync: true },
            { do: 'umount' },
            { do: 'fsck', disks: [name], as: 'written', timeoutSeconds: 300 },
          ] as const,
        })),
        ...odd.map(({ name, need }) => {
          const disks = oddDisks.get(name)!.map(disk => disk.name);
          const plain = { do: 'mount', disks, readOnly: true, options: 'nochanges' } as const;
          const seen = [plain, { do: 'manifest', as: 'seen', timeoutSeconds: 200 }, { do: 'umount' }] as const;
          return { name, steps: need === 'nothing' ? seen : ([{ ...plain, expectFailure: true }] as const) };
        }),
        ...stateRows.map(row => {
          const disks = givenOf(row).map((_, nr) => `${row.name}${nr}`);
          const plain = { do: 'mount', disks, readOnly: true, options: 'nochanges' } as const;
          return {
            name: `state ${row.name}`,
            steps:
              row.need === 'nothing'
                ? ([plain, { do: 'manifest', as: 'seen', timeoutSeconds: 200 }, { do: 'umount' }] as const)
                : ([
                    { ...plain, expectFailure: true },
                    { ...plain, options: `nochanges,${row.need}` },
                    { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
                    { do: 'umount' },
                  ] as const),
          };
        }),
      ],
      timeoutSeconds: 1500,
    });
  }, patient(1_500_000));

  describe.each(reshapings)('$name', ({ name, of }) => {
    test('the kernel has no complaint, neither before nor after it writes', () => {
      for (const which of ['fsck', 'written']) {
        const { fsck } = resultOf(caseNamed(looked, name), which);
        expect(fsck?.mounted).toBe(true);
        expect(fsck?.complaints).toEqual([]);
      }
    });
    test('every file is what it was', () => {
      const before = of === undefined ? (resultOf(caseNamed(filled, 'one'), 'seen').manifest ?? []) : unclean;
      expect(before.length).toBeGreaterThan(of === undefined ? 20 : 3);
      const ignore = of === undefined ? {} : ({ ignore: ['data'] } as const);
      expect(compareManifests(resultOf(caseNamed(looked, name), 'seen').manifest ?? [], before, ignore)).toEqual([]);
    });
  });

  test('an image that is smaller than before is cut', () => {
    expect(statSync(path('larger-and-smaller')).size).toBeLessThan(48 * MIB);
  });

  test.each(stateRows)('$state, missing $isMissing: a mount needs $need, as is said', row => {
    const devices = givenOf(row).map(each => openDevice(each, { write: false }));
    const set = openMembers(devices);
    const present = new Set(set.members.map(({ sb }) => sb.dev_idx));
    expect(mountVerdict(set.newest.sb, present).need).toBe(row.need);
    for (const device of devices) device.close();
    const before = resultOf(caseNamed(filled, 'three'), 'seen').manifest ?? [];
    expect(compareManifests(resultOf(caseNamed(looked, `state ${row.name}`), 'seen').manifest ?? [], before)).toEqual(
      [],
    );
  });

  test.each(odd)('$name: $need', ({ name, need, words, isRead }) => {
    const given = oddDisks.get(name)!.map(({ path }) => path);
    const before = resultOf(caseNamed(filled, 'three'), 'seen').manifest ?? [];
    const kernel = caseNamed(looked, name);
    if (need === 'nothing') expect(compareManifests(resultOf(kernel, 'seen').manifest ?? [], before)).toEqual([]);
    if (words !== undefined) expect(kernel.steps.flatMap(({ log }) => log).join('\n')).toMatch(words);
    const devices = given.map(image => openDevice(image, { write: false }));
    try {
      if (isRead) {
        const data = new Map(before.map(entry => [entryKey(entry), entry.data]));
        const { entries, complaints } = treeManifest(openFilesystem(given), path => data.get(path));
        expect(complaints).toEqual([]);
        expect(compareManifests(entries, before, { ignore: ['data'] })).toEqual([]);
      } else expect(() => openMembers(devices)).toThrow(UsageError);
    } finally {
      for (const device of devices) device.close();
    }
  });
});
