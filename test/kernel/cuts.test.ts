// Power cuts in the middle of commits, against a real kernel: it mounts what is left, recovering as it sees fit, reads the old files or the
// new ones as we read them, writes, and its check has nothing to say, neither before nor after.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ByteRange,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type MemoryDevice,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commitsOf, journalRanges, wornImage, writerOn } from '../support/commits.ts';
import { type Milestone, openOn, statesOf, tryCuts } from '../support/cut-states.ts';
import { isLong, someOf } from '../support/long.ts';
import { formattedImage, type MemoryImage, PASSPHRASE, saveImage, testImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, type PowerCut, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { caseNamed, compareManifests, type RunResult, resultOf, runInKernel, unlockKey } from './vm/index.ts';
import { entryKey } from './vm/manifest.ts';
import { kernelSuite } from './vm/suite.ts';

interface Kind {
  readonly name: string;
  readonly image: () => MemoryImage;
  /** Random changes in the first commit. */
  readonly steps: number;
  /** How many cuts of each sort. */
  readonly counts: Readonly<Partial<Record<Sort, number>>>;
}

/** Before the commit counts, after it, and with a superblock or the journal entry of which a part arrived. */
type Sort = 'before' | 'after' | 'superblock' | 'journal';
const sorts: readonly Sort[] = ['before', 'after', 'superblock', 'journal'];

// biome-ignore format: a table
const allKinds: readonly Kind[] = [
  { name: 'ours', image: () => formattedImage({ options: { compression: 'zstd' } }), steps: 60, counts: isLong ? { before: 1, after: 1, superblock: 1, journal: 1 } : { superblock: 1, journal: 1 } },
  { name: 'two', image: () => formattedImage({ members: 2, options: { metadata_replicas: '2', data_replicas: '2' } }), steps: 40, counts: isLong ? { before: 1, after: 1, superblock: 1, journal: 1 } : { after: 1 } },
  { name: 'worn', image: () => wornImage(1), steps: 20, counts: isLong ? { journal: 1 } : {} },
  { name: 'unclean', image: () => testImage('unclean'), steps: 8, counts: isLong ? { after: 1 } : {} },
  { name: 'kernels', image: () => testImage('basic'), steps: 8, counts: isLong ? { before: 1 } : {} },
  { name: 'encrypted', image: () => formattedImage({ isEncrypted: true }), steps: 40, counts: isLong ? { after: 1 } : {} },
];
/** An everyday run has some of them only as it is. */
const kinds = isLong ? someOf('power cuts for the kernel', allKinds) : allKinds;

/** What a kernel says of the journal entry or the superblock that was being written; it has what was there before, or another copy. */
const isOfTornWrite = (text: string): boolean =>
  /^(journal checksum error, type \w+: got \w+ should be \w+|invalid journal checksum, seq \d+.*)$/.test(text) ||
  /^error reading default superblock: checksum error, type \w+: got \w+ should be \w+$/.test(text);

const FIRST_SUPERBLOCK = { offset: 4096, length: 8192 };

interface Sample {
  readonly name: string;
  readonly cut: PowerCut;
  readonly key: Uint8Array | undefined;
  readonly devices: readonly MemoryDevice[];
  readonly disks: readonly string[];
  readonly images: readonly string[];
}

kernelSuite('power cuts in the middle of commits', () => {
  const seed = testSeed();
  console.info(`power cuts for the kernel: TEST_SEED=${seed}`);
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-cuts-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const names = kinds.flatMap(({ name, counts }) =>
    sorts.flatMap(sort => Array.from({ length: counts[sort] ?? 0 }, (_, nr) => `${name}.${sort}${nr}`)),
  );
  const samples = new Map<string, Sample>();
  let looks: RunResult;

  /** Cuts that leave work for a mount: of one commit of files or of subvolumes, before it counts and after it. */
  function takeSamples({ name, image, steps, counts }: Kind): void {
    const random = randomFrom(seed);
    const { devices, key } = image();
    const cuts = new PowerCuts(devices);
    const states = statesOf(key);
    const { writer, options } = writerOn(cuts.devices, key, seed);
    const here = (): Milestone => ({ events: cuts.count, state: states.of(cuts.after({ events: cuts.count })) });
    const milestones = [here()];
    for (const { edit } of commitsOf(writer, random, options, steps)) {
      edit().commit();
      milestones.push(here());
    }
    const { events } = cuts;
    const found: Record<Sort, PowerCut[]> = { before: [], after: [], superblock: [], journal: [] };
    const journals = devices.map(journalRanges);
    const { wrong } = tryCuts({
      cuts,
      milestones,
      states,
      random,
      onCut: (cut, _, at) => {
        const last = events[cut.events - 1];
        if (last?.kind === 'write' && cut.sectorsOfLast !== undefined && cut.sectorsOfLast > 0) {
          const isIn = ({ offset, length }: ByteRange) => offset <= last.offset && last.offset < offset + length;
          if (isIn(FIRST_SUPERBLOCK)) found.superblock.push(cut);
          if (journals[last.device]?.some(isIn)) found.journal.push(cut);
        }
        if (openOn(cuts.after(cut), key).replay.from === 'clean') return;
        found[milestones[at]!.events > cut.events ? 'after' : 'before'].push(cut);
      },
    });
    expect(wrong).toEqual([]);
    for (const sort of sorts) {
      for (let nr = 0; nr < (counts[sort] ?? 0); nr++) {
        const cut = random.pick(found[sort]);
        const sample = `${name}.${sort}${nr}`;
        const left = cuts.after(cut);
        const disks = left.map((_, member) => `${sample}.${member}`);
        const images = disks.map(disk => join(folder, `${disk}.img`));
        for (const [member, device] of left.entries()) saveImage(device, images[member]!);
        samples.set(sample, { name: sample, cut, key, devices: left, disks, images });
      }
    }
  }

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    await loadCompressors();
    for (const kind of kinds) if (Object.keys(kind.counts).length > 0) takeSamples(kind);
    const all = [...samples.values()];
    looks = await runInKernel({
      disks: all.flatMap(({ disks, images }) =>
        disks.map((name, member) => ({ name, path: images[member]!, throwaway: true })),
      ),
      cases: all.map(({ name, disks, images, key }) => {
        const unlock = key === undefined ? {} : { key: unlockKey(images[0]!, PASSPHRASE) };
        return {
          name,
          steps: [
            { do: 'fsck', disks, as: 'as it was left', timeoutSeconds: 100, ...unlock },
            { do: 'mount', disks, ...unlock },
            { do: 'manifest', as: 'seen', timeoutSeconds: 100 },
            { do: 'mkdir', path: 'written by the kernel' },
            {
              do: 'write',
              path: 'written by the kernel/file',
              pattern: { kind: 'text' },
              sizeBytes: 20_000,
              fsync: true,
            },
            { do: 'umount' },
            { do: 'fsck', disks, as: 'after a mount', timeoutSeconds: 100, ...unlock },
          ],
        };
      }),
      timeoutSeconds: 600,
    });
  }, patient(600_000));

  describe.each(names)('%s', name => {
    const sampleOf = () => samples.get(name)!;
    const whereOf = () => `${cutText(sampleOf().cut)}, TEST_SEED=${seed}`;

    test('the kernel reads what we read', () => {
      const { devices, key } = sampleOf();
      const expected = resultOf(caseNamed(looks, name), 'seen').manifest ?? [];
      const data = new Map(expected.map(entry => [entryKey(entry), entry.data]));
      const { entries, complaints } = treeManifest(openOn(devices, key), path => data.get(path));
      expect(complaints, whereOf()).toEqual([]);
      expect(compareManifests(entries, expected, { ignore: ['data'] }), whereOf()).toEqual([]);
      expect(expected.length).toBeGreaterThan(1);
    });

    test.each(['as it was left', 'after a mount'])('it has nothing to complain of, %s', when => {
      const { fsck } = resultOf(caseNamed(looks, name), when);
      const complaints = (fsck?.complaints ?? []).filter(
        ({ text }) => when === 'after a mount' || !isOfTornWrite(text),
      );
      expect(complaints, whereOf()).toEqual([]);
      expect(fsck?.mounted, whereOf()).toBe(true);
    });
  });
});
