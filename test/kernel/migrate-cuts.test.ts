// Power cuts in a migration, in its rollback and in its end, against a real kernel: what is left mounts as ext4 or as bcachefs with all files, its
// check has nothing to say, and what was begun can be completed. The last commit of finish has a window in which buckets are marked for
// superblocks that are not there yet: a kernel that repairs in it must not lose anything either.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BlockDevice, loadChecksums, type MemoryDevice } from '@bcachefs-ts/core/engine';
import { migrationState } from '@bcachefs-ts/migrate';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { e2fsckSays, makeExt4, whyNoE2fsprogs } from '../support/ext4.ts';
import { makeSmallTree } from '../support/ext4-trees.ts';
import { asCopied, hostManifest, OF_THE_HOST } from '../support/host-manifest.ts';
import { sized } from '../support/long.ts';
import { loadImage, saveImage } from '../support/memory-images.ts';
import { finishIt, migrateIt, rollItBack } from '../support/migrations.ts';
import { patient } from '../support/patience.ts';
import { cutText, type PowerCut, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import {
  caseNamed,
  compareManifests,
  type ManifestEntry,
  type RunResult,
  resultOf,
  runInKernel,
  type Step,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const acts = ['migrating', 'rolling back', 'finishing'] as const;
/** Of each act; the last ones are in the commit. */
const COUNTS = { migrating: sized(1, 1, 13), 'rolling back': sized(0, 1, 13), finishing: sized(1, 1, 24) } as const;
const names = acts.flatMap(act => Array.from({ length: COUNTS[act] }, (_, nr) => ({ act, name: `${act} ${nr}` })));
const LAST_EVENTS = 14;

/** A copy of the superblock of which a part arrived, and what a kernel says where the usual place is empty. */
const isOfSuperblocks = (text: string): boolean => /^error reading default superblock/.test(text);

interface Sample {
  readonly cut: PowerCut;
  readonly isBcachefs: boolean;
  readonly image: string;
  /** Completed after the cut. */
  readonly completed: string;
}

kernelSuite.skipIf(whyNoE2fsprogs !== undefined)('power cuts in migrations', () => {
  const seed = testSeed();
  console.info(`power cuts in migrations for the kernel: TEST_SEED=${seed}`);
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-migrate-cuts-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const tree = join(folder, 'tree');
  const samples = new Map<string, Sample>();
  let looks: RunResult;

  function takeSamples(act: (typeof acts)[number], base: MemoryDevice, run: (device: BlockDevice) => unknown): void {
    const random = randomFrom(seed + acts.indexOf(act));
    const cuts = new PowerCuts([base]);
    run(cuts.devices[0]!);
    const all = [...cuts.points(random, 2)];
    const last = all.filter(({ events }) => events > cuts.count - LAST_EVENTS);
    for (const { name } of names.filter(one => one.act === act)) {
      const cut = random.pick(random.below(4) === 0 ? all : last);
      const [device] = cuts.after(cut) as [MemoryDevice];
      const image = join(folder, `${name}.img`);
      saveImage(device, image);
      const state = migrationState(device);
      const isBcachefs = state.kind === 'migrated' || state.kind === 'bcachefs';
      if (act !== 'finishing') rollItBack(device);
      else if (state.kind === 'migrated' || (state.kind === 'bcachefs' && state.hasExt4Magic)) finishIt(device);
      const completed = join(folder, `${name}.completed.img`);
      saveImage(device, completed);
      samples.set(name, { cut, isBcachefs, image, completed });
    }
  }

  beforeAll(async () => {
    await loadChecksums();
    makeSmallTree(tree, 1);
    const original = join(folder, 'original.img');
    const blockSize = ['4096', '1024'][Number(seed) % 2]!;
    makeExt4(original, { size: '72M', words: ['-t', 'ext4', '-b', blockSize] }, tree);
    const before = loadImage(original);
    const migrated = before.clone();
    migrateIt(migrated);
    takeSamples('migrating', before, migrateIt);
    takeSamples('rolling back', migrated, rollItBack);
    takeSamples('finishing', migrated, finishIt);
    const diskOf = (name: string) => name.replaceAll(' ', '-');
    const looked = ({ isBcachefs }: Sample, disk: string): readonly Step[] =>
      isBcachefs
        ? [
            { do: 'fsck', as: 'fsck', disks: [disk] },
            { do: 'fsck', as: 'repair', disks: [disk], fixErrors: true },
            { do: 'mount', disks: [disk] },
            { do: 'manifest', as: 'seen' },
            { do: 'write', path: 'new', pattern: { kind: 'text' }, sizeBytes: 100_000, fsync: true },
            { do: 'umount' },
            { do: 'fsck', as: 'fsck afterwards', disks: [disk] },
          ]
        : [
            { do: 'sh', script: `mount -t ext4 -o ro /disks/${disk} /mnt` },
            { do: 'manifest', as: 'seen' },
            { do: 'sh', script: 'cd /; umount /mnt' },
          ];
    looks = await runInKernel({
      extraModules: ['ext4'],
      disks: names.flatMap(({ name }) => [
        { name: diskOf(name), path: samples.get(name)!.image, throwaway: true },
        { name: `${diskOf(name)}-completed`, path: samples.get(name)!.completed, throwaway: true },
      ]),
      cases: names.flatMap(({ name, act }) => [
        { name, steps: looked(samples.get(name)!, diskOf(name)) },
        {
          name: `${name} completed`,
          steps: looked({ ...samples.get(name)!, isBcachefs: act === 'finishing' }, `${diskOf(name)}-completed`),
        },
      ]),
      timeoutSeconds: 1200,
    });
  }, patient(900_000));

  const comparable = (entries: readonly ManifestEntry[]) =>
    asCopied(entries)
      .filter(({ path = '' }) => !path.startsWith('.migrated') && path !== 'lost+found' && path !== 'new')
      .map(entry => ({
        ...entry,
        mtime_ns: entry.path === '.' ? '0' : `${BigInt(entry.mtime_ns) / 1_000_000_000n}`,
      }));

  describe.each(names)('$name', ({ name, act }) => {
    const where = () => `${cutText(samples.get(name)!.cut)}, TEST_SEED=${seed}`;

    test.each([name, `${name} completed`])('%s: the kernel finds every file', which => {
      const seen = comparable(resultOf(caseNamed(looks, which), 'seen').manifest ?? []);
      const expected = comparable(hostManifest(tree));
      expect(compareManifests(seen, expected, { ignore: [...OF_THE_HOST, 'options'] }), where()).toEqual([]);
    });

    test.each([name, `${name} completed`])('%s: it has nothing to complain of', which => {
      const isCompleted = which !== name;
      for (const { step, fsck } of caseNamed(looks, which).steps) {
        if (fsck === undefined) continue;
        expect(fsck.mounted, `${step.as} ${where()}`).toBe(true);
        // Between the journal entry and the superblocks of the last commit, buckets are marked for these.
        if (act === 'finishing' && !isCompleted && step.as !== 'fsck afterwards') continue;
        const complaints = fsck.complaints.filter(({ text }) => !isOfSuperblocks(text));
        expect({ as: step.as, complaints }, where()).toEqual({ as: step.as, complaints: [] });
      }
    });

    test('what is ext4 is clean', () => {
      const { isBcachefs, image, completed } = samples.get(name)!;
      expect(isBcachefs ? '' : e2fsckSays(image), where()).toBe('');
      expect(act === 'finishing' ? '' : e2fsckSays(completed), where()).toBe('');
    });
  });
});
