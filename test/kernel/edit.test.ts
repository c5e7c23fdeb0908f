// Filesystems that no kernel has ever seen, made and filled by the commands alone: a kernel mounts them without writing, its own check has
// nothing to say, and it reads what we read.

import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BatchedEdit,
  checkInvariants,
  FilesystemWriter,
  findingText,
  loadChecksums,
  loadCompression,
  loadCompressors,
  masterKey,
  openDevice,
  openFilesystem,
  openMembers,
  systemRandom,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { caseNamed, compareManifests, type RunResult, resultOf, runInKernel, unlockKey } from './vm/index.ts';
import { entryKey } from './vm/manifest.ts';
import { kernelSuite } from './vm/suite.ts';

const PASSPHRASE = 'correct horse';
const FILES = 400;

const kinds = [
  { name: 'plain', format: ['--fs_size=256M', 'DEV0'], devices: 1 },
  { name: 'encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--fs_size=256M', 'DEV0'], devices: 1 },
  { name: 'pair', format: ['--replicas=2', '--compression=zstd', '--fs_size=256M', 'DEV0', '--fs_size=256M', 'DEV1'], devices: 2 },
] as const; // biome-ignore format: a kind on a line

kernelSuite('filesystems made by commands', () => {
  const seed = testSeed();
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-edit-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const passphraseFile = join(folder, 'passphrase');
  const all = kinds.map(kind => {
    const disks = Array.from({ length: kind.devices }, (_, i) => `${kind.name}.${i}`);
    const images = disks.map(disk => join(folder, `${disk}.img`));
    return { ...kind, disks, images, isEncrypted: kind.name === 'encrypted' };
  });
  type One = (typeof all)[number];
  const keyOf = ({ isEncrypted, images }: One) => (isEncrypted ? { key: unlockKey(images[0]!, PASSPHRASE) } : {});
  let looks: RunResult;

  async function make({ format, images, isEncrypted }: One, source: string) {
    const words = format.map(word =>
      word.replace('PASSPHRASE', passphraseFile).replace(/^DEV(\d)$/, (_, nr: string) => images[Number(nr)]!),
    );
    await succeed('format', words);
    const fs = images.join(':');
    const secret = isEncrypted ? [`--passphrase_file=${passphraseFile}`] : [];
    await succeed('mkdir', [...secret, '-p', fs, 'home/anna/papers']);
    await succeed('put', [...secret, '-r', fs, source, 'home/anna']);
    await succeed('subvolume create', [...secret, fs, 'volume']);
    await succeed('put', [...secret, '-r', fs, join(source, 'few'), 'volume']);
    await succeed('subvolume snapshot', [...secret, '-r', fs, 'volume', 'volume@1']);
    await succeed('rm', [...secret, '-r', fs, 'volume/few/sub', 'home/anna/source/f7']);
    await succeed('mv', [...secret, fs, 'home/anna/source/few', 'home/anna/papers/few']);
    await succeed('put', [...secret, '-f', fs, join(source, 'f3'), 'volume/few/f0']);
    await succeed('subvolume snapshot', [...secret, fs, 'volume', 'volume@2']);
    await succeed('subvolume create', [...secret, fs, 'short-lived']);
    await succeed('put', [...secret, fs, join(source, 'f1'), 'short-lived/f1']);
    await succeed('subvolume delete', [...secret, fs, 'short-lived']);
    await succeed('subvolume delete', [...secret, fs, 'volume@1']);
    changeInParts(images, isEncrypted);
  }

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    await loadCompressors();
    writeFileSync(passphraseFile, PASSPHRASE);
    const source = join(folder, 'source');
    fillSource(source, seed);
    for (const one of all) await make(one, source);
    looks = await runInKernel({
      disks: all.flatMap(one => one.disks.map((name, i) => ({ name, path: one.images[i]!, throwaway: true }))),
      cases: all.map(one => ({
        name: one.name,
        steps: [
          { do: 'mount', disks: one.disks, readOnly: true, options: 'nochanges', ...keyOf(one) },
          { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
          { do: 'umount' },
          { do: 'fsck', as: 'fsck', disks: one.disks, timeoutSeconds: 200, ...keyOf(one) },
        ],
      })),
      timeoutSeconds: 900,
    });
  }, patient(600_000));

  describe.each(all)('$name', one => {
    test('the kernel has nothing to complain of', () => {
      expect(resultOf(caseNamed(looks, one.name), 'fsck').fsck!.complaints).toEqual([]);
    });

    test('the kernel reads what we read', () => {
      const expected = resultOf(caseNamed(looks, one.name), 'seen').manifest ?? [];
      const data = new Map(expected.map(entry => [entryKey(entry), entry.data]));
      const passphrase = one.isEncrypted ? new TextEncoder().encode(PASSPHRASE) : undefined;
      const filesystem = openFilesystem(one.images, { passphrase });
      try {
        const { entries, complaints } = treeManifest(filesystem, key => data.get(key));
        expect(complaints).toEqual([]);
        expect(compareManifests(entries, expected, { ignore: ['data'] })).toEqual([]);
        expect(expected.length).toBeGreaterThan(FILES);
        expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
      } finally {
        filesystem.close();
      }
    });
  });
});

/** Files made, changed and removed in one commit of many parts, as a large tree is. */
function changeInParts(images: readonly string[], isEncrypted: boolean): void {
  const set = openMembers(images.map(path => openDevice(path, { write: true })));
  const key = isEncrypted ? masterKey(set.newest.sb, new TextEncoder().encode(PASSPHRASE)) : undefined;
  const now = () => BigInt(Date.now()) * 1_000_000n;
  const writer = new FilesystemWriter(set, { key, random: systemRandom, now: () => now() / 1_000_000_000n });
  try {
    const batches = new BatchedEdit(writer, { random: systemRandom, now, isOneCommit: true, changesMax: 200 });
    const name = (text: string) => new TextEncoder().encode(text);
    const root = batches.edit.files.root();
    const directory = batches.edit.files.create(root, name('in parts'), { mode: 0o040755 });
    let parts = 0;
    const step = () => {
      const { edit } = batches;
      batches.step();
      if (batches.edit !== edit) parts++;
    };
    for (let nr = 0; nr < 600; nr++) {
      const { files, content } = batches.edit;
      const file = files.create(directory, name(`f${nr}`), { mode: 0o100644 });
      content.write(file, 0, name(`file ${nr} `.repeat(nr % 7 === 0 ? 20_000 : nr)));
      step();
    }
    for (let nr = 0; nr < 600; nr++) {
      const { files, content } = batches.edit;
      if (nr % 3 === 0) files.remove(directory, name(`f${nr}`));
      else if (nr % 3 === 1) files.rename(directory, name(`f${nr}`), root, name(`moved ${nr}`));
      else content.write(files.lookup(directory, name(`f${nr}`))!, 5000, name('changed'));
      step();
    }
    expect(parts).toBeGreaterThan(10);
    batches.finish();
  } finally {
    writer.filesystem.close();
  }
}

/** Files of many sizes, one with holes, links of both kinds, and a folder of a few. */
function fillSource(folder: string, seed: number): void {
  const random = randomFrom(seed);
  mkdirSync(join(folder, 'few', 'sub'), { recursive: true });
  for (let nr = 0; nr < FILES; nr++) {
    const size = random.pick([0, 1, 100, 4096, 5000, 70_000, 300_000]);
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) bytes[i] = random.below(nr % 2 === 0 ? 256 : 4);
    writeFileSync(join(folder, `f${nr}`), bytes);
    if (nr % 20 === 0) writeFileSync(join(folder, 'few', `f${nr}`), bytes);
    if (nr % 40 === 0) writeFileSync(join(folder, 'few', 'sub', `f${nr}`), bytes);
  }
  linkSync(join(folder, 'f5'), join(folder, 'f5 too'));
  symlinkSync('../f5', join(folder, 'few', 'link'));
  truncateSync(join(folder, 'f9'), 2 ** 24);
}
