// Members made larger, against a real kernel: Linux puts files into filesystems, our engine takes in the room that their files have got
// since; then Linux checks and reads them, writes more than there was room for before, and checks once more. And what a power cut leaves
// of a growing is mounted, written to, repaired, and grown after all.

import { statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import {
  checkInvariants,
  FilesystemWriter,
  findingText,
  growMember,
  members,
  openDevice,
  openMembers,
  sectorsToBytes,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { writerOn } from '../support/commits.ts';
import { isLong, sampleOf } from '../support/long.ts';
import { loadImage, MIB, saveImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, type PowerCut, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { FormattedKinds } from './formatted-kinds.ts';
import { caseNamed, compareManifests, type RunResult, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

interface Kind {
  readonly name: string;
  readonly format: readonly string[];
  readonly times: number;
  readonly devices?: number;
  /** The member that gets larger. */
  readonly member?: number;
  readonly isEncrypted?: boolean;
}

// biome-ignore format: a table
const allKinds: readonly Kind[] = [
  { name: 'small', format: ['--bucket_size=16k', '--btree_node_size=16k', '--fs_size=12M', 'DEV0'], times: 4 },
  { name: 'plain', format: ['--fs_size=96M', 'DEV0'], times: 3 },
  { name: 'a-little', format: ['--fs_size=96M', 'DEV0'], times: 1.25 },
  { name: 'encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4', '--bucket_size=32k', '--fs_size=48M', 'DEV0'], isEncrypted: true, times: 4 },
  { name: 'two', format: ['--replicas=2', '--bucket_size=32k', '--fs_size=160M', 'DEV0', '--fs_size=48M', 'DEV1'], devices: 2, member: 1, times: 3 },
];
const kinds = sampleOf('members that get larger', allKinds, ['small', 'two']);

/** A file was made in it and taken away. */
const OF_THE_ROOT = { ignore: ['mtime_ns', 'ctime_ns'] as const };

const seed = testSeed();
console.info(`members made larger: TEST_SEED=${seed}`);

kernelSuite('members made larger', () => {
  const made = new FormattedKinds('grow', kinds);
  const { all, folder } = made;
  type One = (typeof all)[number];
  const keyOf = (one: One) => made.keyOf(one);
  const seen: { before?: RunResult; after?: RunResult } = {};

  beforeAll(async () => {
    await made.format();
    seen.before = await made.runAndLook((one, nr) => [
      { do: 'mount', disks: one.disks, ...keyOf(one) },
      { do: 'fill', seed: nr, sizeBytes: MIB, subvolumes: true, timeoutSeconds: 200 },
      {
        do: 'sh',
        script: `noise ${Math.floor(statSync(one.images.at(-1)!).size / 4)} > ballast; sync`,
        timeoutSeconds: 300,
      },
      { do: 'umount' },
    ]);
  }, patient(1_000_000));

  /** Half of what came: with what is there already, more than there was room for. */
  const more = ({ images, times, member = 0 }: One): number =>
    Math.floor((statSync(images[member]!).size * (1 - 1 / times)) / 2);

  test.each(all)('$name: grown', one => {
    const { images, name, member = 0, times } = one;
    truncateSync(images[member]!, Math.floor(statSync(images[member]!).size * times));
    made.open(one, (set, key) => {
      const writer = new FilesystemWriter(set, { key, random: seededRandom(name), now: () => 1_800_000_000n });
      const { bucket_size } = members(writer.filesystem.sb)[member]!;
      const report = growMember(
        writer,
        member,
        Math.floor(set.members[member]!.device.sizeBytes / sectorsToBytes(bucket_size)),
      );
      console.info(`${name}: ${JSON.stringify(report)}`);
      expect(report.commits).toBe(3);
      expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
    });
  });

  test('the kernel has looked, written, and looked again', { timeout: patient(1_000_000) }, async () => {
    seen.after = await made.run(
      one => [
        ...made.lookSteps(one),
        { do: 'mount', disks: one.disks, ...keyOf(one) },
        {
          do: 'sh',
          script: `noise ${more(one)} > more && sync && test $(stat -c %s more) = ${more(one)}`,
          timeoutSeconds: 300,
        },
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
      expect(before!.length).toBeGreaterThan(20);
      expect(compareManifests(after!, before!)).toEqual([]);
      const written = resultOf(caseNamed(seen.after!, one.name), 'written, seen').manifest ?? [];
      expect(written.length).toBe(before!.length + 1);
    });
  });

  describe(`cut off (seed ${seed})`, () => {
    const states = [
      'before',
      'new buckets in no list',
      'a place without its copy',
      'an old place without its copy',
    ] as const;
    const cutOff = new Map<
      (typeof states)[number],
      { readonly cut: PowerCut; readonly path: string; readonly disk: string }
    >();

    test('the kernel goes on with each, and repairs it', { timeout: patient(1_000_000) }, async () => {
      const random = randomFrom(seed);
      const start = join(folder, 'start.img');
      await succeed('format', ['--bucket_size=16k', '--btree_node_size=16k', '--fs_size=12M', start]);
      await runInKernel({
        disks: [{ name: 'start', path: start }],
        cases: [
          {
            name: 'start',
            steps: [
              { do: 'mount', disks: ['start'] },
              { do: 'fill', seed: 1, sizeBytes: MIB, subvolumes: true, timeoutSeconds: 200 },
              { do: 'umount' },
            ],
          },
        ],
        timeoutSeconds: 300,
      });
      const image = loadImage(start);
      image.setSize(40 * MIB);
      const cuts = new PowerCuts([image]);
      growMember(writerOn(cuts.devices, undefined, seed).writer, 0, (40 * MIB) / 16_384);
      const found = new Map<(typeof states)[number], PowerCut[]>();
      for (const cut of cuts.points(random)) {
        const { filesystem } = writerOn(cuts.after(cut), undefined, seed).writer;
        const rules = new Set(checkInvariants(filesystem).findings.map(({ error }) => error));
        const isOld = members(filesystem.sb)[0]!.nbuckets < (40 * MIB) / 16_384;
        const { layout } = openMembers(cuts.after(cut)).newest.sb;
        const isMoved = Number(layout.sb_offset[2]) > (12 * MIB) / 512;
        if (rules.size === 0 && !isOld) continue;
        const state = isOld
          ? states[0]
          : rules.has('freespace_hole_missing')
            ? states[1]
            : isMoved
              ? states[3]
              : states[2];
        found.set(state, [...(found.get(state) ?? []), cut]);
      }
      for (const [state, some] of found) {
        const cut = random.pick(some);
        const disk = `cut-${states.indexOf(state)}`;
        const path = join(folder, `${disk}.img`);
        saveImage(cuts.after(cut)[0]!, path);
        cutOff.set(state, { cut, disk, path });
        console.info(`${state}: ${cutText(cut)}`);
      }
      expect([...cutOff.keys()].sort()).toEqual([...states].sort());

      const cases = [...cutOff.values()];
      const run = await runInKernel({
        disks: [{ name: 'start', path: start }, ...cases.map(({ disk, path }) => ({ name: disk, path }))],
        cases: [
          {
            name: 'start',
            steps: [
              { do: 'mount', disks: ['start'], readOnly: true, options: 'nochanges' },
              { do: 'manifest', as: 'seen' },
              { do: 'umount' },
            ],
          },
          ...cases.map(({ disk }) => ({
            name: disk,
            steps: [
              { do: 'mount', disks: [disk] },
              { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
              { do: 'write', path: 'written', pattern: { kind: 'random', seed: 2 }, sizeBytes: MIB, fsync: true },
              { do: 'umount' },
              { do: 'mount', disks: [disk] },
              { do: 'unlink', path: 'written' },
              { do: 'umount' },
            ] as const,
          })),
        ],
        timeoutSeconds: 900,
      });
      const files = resultOf(caseNamed(run, 'start'), 'seen').manifest ?? [];
      expect(files.length).toBeGreaterThan(20);
      for (const [state, { disk }] of cutOff) {
        expect(compareManifests(resultOf(caseNamed(run, disk), 'seen').manifest ?? [], files), state).toEqual([]);
      }
      // Half are grown after all by us, half are repaired by the kernel.
      for (const { path } of cases) {
        if (!isLong && random.below(2) === 0) continue;
        const device = openDevice(path, { write: true });
        try {
          growMember(writerOn([device], undefined, seed).writer, 0, (40 * MIB) / 16_384);
        } finally {
          device.close();
        }
      }
      const checked = await runInKernel({
        disks: cases.map(({ disk, path }) => ({ name: disk, path })),
        cases: cases.map(({ disk }) => ({
          name: disk,
          steps: [
            { do: 'fsck', disks: [disk], fixErrors: true, as: 'repair', timeoutSeconds: 200 },
            { do: 'fsck', disks: [disk], as: 'after', timeoutSeconds: 200 },
            { do: 'mount', disks: [disk] },
            { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
            { do: 'umount' },
          ],
        })),
        timeoutSeconds: 900,
      });
      for (const [state, { disk }] of cutOff) {
        const one = caseNamed(checked, disk);
        console.info(`${state}: ${JSON.stringify(resultOf(one, 'repair').fsck?.complaints.map(({ text }) => text))}`);
        expect(resultOf(one, 'after').fsck?.complaints, state).toEqual([]);
        expect(compareManifests(resultOf(one, 'seen').manifest ?? [], files, OF_THE_ROOT), state).toEqual([]);
      }
    });
  });
});
