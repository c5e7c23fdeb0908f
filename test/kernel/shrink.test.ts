// Members made smaller, against a real kernel: Linux fills filesystems and lets holes in them, our engine shrinks a member as far as it
// goes and its file is cut off; then Linux checks and reads them, mounts them for writing, writes a little, and checks once more.

import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import {
  type BlockDevice,
  checkInvariants,
  DeviceError,
  FaultyDevice,
  FilesystemWriter,
  findingText,
  members,
  OverlayDevice,
  openDevice,
  openMembers,
  type ShrinkReport,
  seededRandom,
  shrinkMember,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { FormattedKinds } from './formatted-kinds.ts';
import { caseNamed, compareManifests, type RunResult, resultOf, runInKernel, type Step } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;

interface Kind {
  readonly name: string;
  readonly format: readonly string[];
  readonly fillBytes: number;
  readonly devices?: number;
  /** The member that gets smaller. */
  readonly member?: number;
  readonly isEncrypted?: boolean;
  /** The kernel has put files where the end will be. */
  readonly isMoved?: boolean;
}

// biome-ignore format: a table
const allKinds: readonly Kind[] = [
  { name: 'empty', format: ['--fs_size=320M', 'DEV0'], fillBytes: 0 },
  { name: 'plain', format: ['--fs_size=320M', 'DEV0'], fillBytes: 24 * MIB },
  { name: 'full', format: ['--bucket_size=32k', '--fs_size=96M', 'DEV0'], fillBytes: 48 * MIB, isMoved: true },
  { name: 'nodes-in-buckets', format: ['--bucket_size=64k', '--btree_node_size=16k', '--fs_size=128M', 'DEV0'], fillBytes: 70 * MIB, isMoved: true },
  { name: 'encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4', '--bucket_size=32k', '--fs_size=96M', 'DEV0'], fillBytes: 40 * MIB, isEncrypted: true, isMoved: true },
  { name: 'two', format: ['--replicas=2', '--bucket_size=32k', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1'], devices: 2, member: 1, fillBytes: 40 * MIB, isMoved: true },
  { name: 'large-buckets', format: ['--bucket_size=512k', '--fs_size=1G', 'DEV0'], fillBytes: 60 * MIB },
];
const FEW = ['full', 'two'];
const kinds = sampleOf('members that get smaller', allKinds, FEW);

kernelSuite('members made smaller', () => {
  const made = new FormattedKinds('shrink', kinds);
  const { all, folder } = made;
  type One = (typeof all)[number];
  const keyOf = (one: One) => made.keyOf(one);
  const seen: { before?: RunResult; after?: RunResult } = {};
  const reports = new Map<string, ShrinkReport>();

  beforeAll(async () => {
    await made.format();
    seen.before = await made.runAndLook((one, nr) => [
      { do: 'mount', disks: one.disks, ...keyOf(one) },
      ...(one.fillBytes === 0 ? [] : fillWithHoles(one.fillBytes, nr)),
      { do: 'umount' },
    ]);
  }, patient(1_000_000));

  test.each(all)('$name: shrunk', one => {
    const { images, name, member = 0 } = one;
    made.open(one, (set, key) => {
      const writer = new FilesystemWriter(set, { key, random: seededRandom(name), now: () => 1_800_000_000n });
      const { nbuckets } = members(writer.filesystem.sb)[member]!;
      const report = shrinkMember(writer, member, 'min');
      reports.set(name, report);
      console.info(`${name}: ${nbuckets} buckets, ${JSON.stringify(report)}`);
      expect(report.bucketCount).toBeLessThan(nbuckets);
      if (one.isMoved) expect(report.movedBytes).toBeGreaterThan(MIB);
      expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
    });
    truncateSync(images[member]!, reports.get(name)!.sizeBytes);
  });

  test('the kernel has looked, written, and looked again', { timeout: patient(1_000_000) }, async () => {
    seen.after = await made.run(
      (one, nr) => [
        ...made.lookSteps(one),
        { do: 'mount', disks: one.disks, ...keyOf(one) },
        { do: 'write', path: 'small file', content: 'there is room for this\n', fsync: true },
        { do: 'write', path: 'another', pattern: { kind: 'random', seed: nr }, sizeBytes: 200_000, fsync: true },
        { do: 'mkdir', path: 'directory' },
        { do: 'umount' },
        { do: 'mount', disks: one.disks, ...keyOf(one) },
        { do: 'unlink', path: 'another' },
        { do: 'umount' },
        ...made.lookSteps(one, 'written, '),
      ],
      true,
    );
  });

  describe.each(all)('$name', one => {
    test.each(['fsck', 'written, fsck'])('no complaint: %s', which => {
      const fsck = resultOf(caseNamed(seen.after!, one.name), which).fsck;
      expect(fsck?.mounted).toBe(true);
      expect(fsck?.complaints).toEqual([]);
    });
    test('every file is what it was', () => {
      const [before, after] = [seen.before!, seen.after!].map(
        run => resultOf(caseNamed(run, one.name), 'seen').manifest ?? [],
      );
      expect(before!.length).toBeGreaterThan(one.fillBytes === 0 ? 0 : 100);
      expect(compareManifests(after!, before!)).toEqual([]);
    });
  });

  test('cut off before the last superblock: the kernel goes on, and its fsck gives back what is not listed', {
    timeout: patient(600_000),
  }, async () => {
    const path = join(folder, 'cut-off.img');
    const disks = ['cut-off'];
    const inKernel = (steps: readonly Step[]) =>
      runInKernel({ disks: [{ name: 'cut-off', path }], cases: [{ name: 'cut-off', steps }], timeoutSeconds: 600 });
    await succeed('format', ['--bucket_size=32k', '--fs_size=96M', path]);
    await inKernel([{ do: 'mount', disks }, ...fillWithHoles(20 * MIB, 1), { do: 'umount' }]);

    // Nodes of one that was cut off may be live: the next one draws other numbers for its own.
    const shrink = (device: BlockDevice, drawn = 'cut off') => {
      const options = { random: seededRandom(drawn), now: () => 1_800_000_000n };
      return shrinkMember(new FilesystemWriter(openMembers([device]), options), 0, 'min');
    };
    const device = openDevice(path, { write: true });
    const { commits } = shrink(new OverlayDevice(device));
    // The first copy is written twice in each commit.
    const fault = { kind: 'write-error', offset: 4096, length: 512, skip: 2 * commits - 1 } as const;
    expect(() => shrink(new FaultyDevice(device, [fault]))).toThrow(DeviceError);
    device.close();

    const run = await inKernel([
      { do: 'mount', disks },
      { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
      { do: 'write', path: 'written', pattern: { kind: 'random', seed: 2 }, sizeBytes: MIB, fsync: true },
      { do: 'umount' },
      { do: 'fsck', disks, fixErrors: true, as: 'repair', timeoutSeconds: 200 },
      { do: 'fsck', disks, as: 'after', timeoutSeconds: 200 },
    ]);
    const cut = caseNamed(run, 'cut-off');
    expect(resultOf(cut, 'seen').manifest?.length).toBeGreaterThan(100);
    const repaired = resultOf(cut, 'repair').fsck?.complaints.map(({ text }) => text) ?? [];
    expect(repaired.join('\n')).toContain('hole in alloc btree missing in freespace btree');
    expect(resultOf(cut, 'after').fsck?.complaints).toEqual([]);

    const again = openDevice(path, { write: true });
    try {
      shrink(again, 'again');
      const writer = new FilesystemWriter(openMembers([again]), { random: seededRandom('x'), now: () => 0n });
      expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
    } finally {
      again.close();
    }
  });
});

/** A large file first and files all over the device then, of which the large one and every third go. */
function fillWithHoles(sizeBytes: number, seed: number): Step[] {
  const eachBytes = Math.floor(sizeBytes / 100);
  return [
    { do: 'sh', script: `noise ${Math.floor(sizeBytes / 2)} > ballast; sync`, timeoutSeconds: 300 },
    { do: 'fill', seed, sizeBytes: Math.min(sizeBytes, 4 * MIB), subvolumes: true, timeoutSeconds: 200 },
    {
      do: 'sh',
      script: `mkdir many; i=0; while [ $i -lt 60 ]; do noise ${eachBytes} > many/$i; i=$((i+1)); done; sync
        rm ballast; i=0; while [ $i -lt 60 ]; do rm many/$i; i=$((i+3)); done; sync`,
      timeoutSeconds: 300,
    },
  ];
}
