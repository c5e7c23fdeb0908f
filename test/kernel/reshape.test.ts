// `device set-state`, `resize` and `resize-journal`, judged by a real kernel: which members a mount asks for in each state, and filesystems that
// a kernel filled, made larger and smaller, with longer and shorter journals. Afterwards the kernel's fsck is silent, the files are what they
// were, the kernel writes more, and its fsck is silent once more.

import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MountNeed, mountVerdict, openDevice, openMembers } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { copySparse } from '../support/sparse.ts';
import { caseNamed, compareManifests, type RunResult, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-devices-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, `${name}.img`);

/** The words of `device …` that are done one after the other, to copies of one filesystem. */
interface Reshaping {
  readonly name: string;
  readonly words: readonly (readonly ['resize' | 'resize-journal', string])[];
}

// biome-ignore format: a table
const reshapings: readonly Reshaping[] = [
  { name: 'twice', words: [['resize', '96M']] },
  { name: 'thousand-times', words: [['resize', '48G']] },
  { name: 'odd-tail', words: [['resize', '77777777']] },
  { name: 'larger-and-smaller', words: [['resize', '400M'], ['resize', 'min']] },
  { name: 'journal-8192', words: [['resize', '400M'], ['resize-journal', '128M']] },
  { name: 'journal-8', words: [['resize', '400M'], ['resize-journal', '128M'], ['resize-journal', '128k'], ['resize', 'min']] },
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
const givenOf = ({ name, isMissing }: StateRow) => (isMissing ? [0, 1] : [0, 1, 2]).map(nr => path(`${name}${nr}`));

kernelSuite('members reshaped', () => {
  let filled: RunResult;
  let looked: RunResult;
  let written: RunResult;

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
    for (const { name, words } of reshapings) {
      copySparse(path('one'), path(name));
      for (const [command, size] of words) await succeed(`device ${command}`, ['-y', path(name), path(name), size]);
    }
    for (const row of stateRows) {
      for (const nr of [0, 1, 2]) copySparse(three[nr]!, path(`${row.name}${nr}`));
      const words = ['-y', '--force', row.state, givenOf(row).join(':'), '2'];
      await succeed('device set-state', row.isMissing ? ['--allow_missing', ...words] : words);
    }
    looked = await runInKernel({
      disks: [
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
          ] as const,
        })),
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
    written = await runInKernel({
      disks: reshapings.map(({ name }) => ({ name, path: path(name) })),
      cases: reshapings.map(({ name }) => ({
        name,
        steps: [{ do: 'fsck', disks: [name], as: 'fsck', timeoutSeconds: 300 }] as const,
      })),
      timeoutSeconds: 900,
    });
  }, patient(1_500_000));

  describe.each(reshapings)('$name', ({ name }) => {
    test('the kernel has no complaint, neither before nor after it writes', () => {
      for (const run of [looked, written]) {
        const { fsck } = resultOf(caseNamed(run, name), 'fsck');
        expect(fsck?.mounted).toBe(true);
        expect(fsck?.complaints).toEqual([]);
      }
    });
    test('every file is what it was', () => {
      const before = resultOf(caseNamed(filled, 'one'), 'seen').manifest ?? [];
      expect(before.length).toBeGreaterThan(20);
      expect(compareManifests(resultOf(caseNamed(looked, name), 'seen').manifest ?? [], before)).toEqual([]);
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
});
