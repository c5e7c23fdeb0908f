// An image that is made of a folder and brought up to date with it several times, while the folder changes at random: after each time Linux
// 6.12 checks it, finds what the folder had, mounts it for writing and works with it, and its check has nothing to say before and after.

import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadChecksums, loadCompression } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ChangingTree } from '../support/changing-tree.ts';
import { succeed } from '../support/cli.ts';
import { asCopied, hostManifest, OF_THE_HOST } from '../support/host-manifest.ts';
import { sampleOf, sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { makeSourceTree } from '../support/source-tree.ts';
import {
  caseNamed,
  compareManifests,
  type ManifestEntry,
  type RunResult,
  resultOf,
  runInKernel,
  unlockKey,
} from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const PASSPHRASE = 'correct horse';
const ROUNDS = sized(2, 3, 4);

// biome-ignore format: a table
const allKinds: readonly { readonly name: string; readonly words: readonly string[]; readonly isEncrypted?: boolean }[] = [
  { name: 'plain', words: [] },
  { name: 'zstd', words: ['--compression=zstd'] },
  { name: 'encrypted', words: ['--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4'], isEncrypted: true },
  { name: 'blocks-4k', words: ['--block_size=4k', '--bucket_size=64k'] },
  { name: 'volumes', words: ['--subvol=volume', '--subvol=volume/nested:ro'] },
];
const kinds = sampleOf('images brought up to date', allKinds, ['plain', 'encrypted']);

const seed = testSeed();
console.info(`images brought up to date: TEST_SEED=${seed}`);

kernelSuite(`images brought up to date (seed ${seed})`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-updated-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  interface Stage {
    readonly name: string;
    readonly path: string;
    readonly files: readonly ManifestEntry[];
    readonly done: readonly string[];
    readonly isEncrypted: boolean;
  }
  const stages: Stage[] = [];
  let looks: RunResult;

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    const passphrase = join(folder, 'passphrase');
    writeFileSync(passphrase, PASSPHRASE);
    for (const { name, words, isEncrypted = false } of kinds) {
      const source = join(folder, `${name}.source`);
      makeSourceTree(source, { seed, files: 60, crowds: 1 });
      mkdirSync(join(source, 'ballast'));
      for (let nr = 0; nr < 12; nr++)
        writeFileSync(join(source, 'ballast', `${nr}`), Buffer.alloc(400_000, `${nr} ballast `));
      const tree = new ChangingTree(source, randomFrom(seed), { keeps: ['volume', 'volume/nested'] });
      const image = join(folder, `${name}.img`);
      const own = words.map(word => word.replace('PASSPHRASE', passphrase));
      await succeed('image create', [`--source=${source}`, ...own, image]);
      const unlock = isEncrypted ? [`--passphrase_file=${passphrase}`] : [];
      for (let round = 0; round < ROUNDS; round++) {
        const done = tree.change(20);
        await succeed('image update', [`--source=${source}`, ...unlock, image]);
        const path = join(folder, `${name}.${round}.img`);
        copyFileSync(image, path);
        stages.push({ name: `${name}.${round}`, path, files: hostManifest(source), done, isEncrypted });
        console.info(`${name}.${round}: ${statSync(path).size} bytes`);
      }
    }
    looks = await runInKernel({
      disks: stages.map(({ name, path }) => ({ name, path, throwaway: true })),
      cases: stages.map(({ name, path, isEncrypted }) => {
        const key = isEncrypted ? { key: unlockKey(path, PASSPHRASE) } : {};
        const disks = [name];
        return {
          name,
          steps: [
            { do: 'fsck', as: 'fsck', disks, timeoutSeconds: 200, ...key },
            { do: 'mount', disks, ...key },
            { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
            { do: 'write', path: 'written', pattern: { kind: 'text' }, sizeBytes: 100_000, fsync: true },
            { do: 'umount' },
            { do: 'fsck', as: 'fsck afterwards', disks, timeoutSeconds: 200, ...key },
          ],
        };
      }),
      timeoutSeconds: 1200,
    });
  }, patient(1_500_000));

  describe.each(kinds)('$name', ({ name }) => {
    test.each(Array.from({ length: ROUNDS }, (_, round) => [round]))('time %d', round => {
      const stage = stages.find(each => each.name === `${name}.${round}`)!;
      const what = stage.done.join(', ');
      const outcome = caseNamed(looks, stage.name);
      expect(outcome, what).toMatchObject({ ok: true, ended: 'done' });
      expect(resultOf(outcome, 'fsck').fsck, what).toMatchObject({ mounted: true, complaints: [] });
      const found = resultOf(outcome, 'seen').manifest ?? [];
      // Names that lead into another subvolume are files of their own there.
      const ignore = [...OF_THE_HOST, 'options', ...(name === 'volumes' ? (['nlink'] as const) : [])] as const;
      expect(compareManifests(asCopied(found), asCopied(stage.files), { ignore: [...ignore] }), what).toEqual([]);
      expect(resultOf(outcome, 'fsck afterwards').fsck, what).toMatchObject({ mounted: true, complaints: [] });
    });
  });
});
