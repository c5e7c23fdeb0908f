// Copies damaged on filesystems that a kernel has filled, with two and three replicas, compressed and encrypted, then scrubbed: a kernel
// finds nothing to repair, and every file is what it was. The same of images with one bad copy that were damaged elsewhere.

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { chooseCopies, dataCopies, nodeCopies, spoil } from '../support/bad-copies.ts';
import { run } from '../support/cli.ts';
import { openOn } from '../support/cut-states.ts';
import { damagedDevices, whyNoDamage } from '../support/damage.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { FormattedKinds } from './formatted-kinds.ts';
import { caseNamed, compareManifests, type RunResult, resultOf, runInKernel } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const seed = testSeed();
const MIB = 2 ** 20;

interface Kind {
  readonly name: string;
  readonly format: readonly string[];
  readonly devices: number;
  readonly isEncrypted?: boolean;
}

// biome-ignore format: a table
const allKinds: readonly Kind[] = [
  { name: 'two', format: ['--replicas=2', '--fs_size=192M', 'DEV0', '--fs_size=192M', 'DEV1'], devices: 2 },
  { name: 'three', format: ['--replicas=3', '--fs_size=128M', 'DEV0', '--fs_size=128M', 'DEV1', '--fs_size=128M', 'DEV2'], devices: 3 },
  { name: 'two-of-three', format: ['--replicas=2', '--data_checksum=crc64', '--fs_size=128M', 'DEV0', '--fs_size=128M', 'DEV1', '--fs_size=128M', 'DEV2'], devices: 3 },
  { name: 'compressed', format: ['--replicas=2', '--compression=zstd', '--data_checksum=xxhash', '--fs_size=128M', 'DEV0', '--fs_size=128M', 'DEV1'], devices: 2 },
  { name: 'encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--replicas=2', '--compression=lz4', '--fs_size=192M', 'DEV0', '--fs_size=192M', 'DEV1'], devices: 2, isEncrypted: true },
];
const FEW = ['two-of-three', 'encrypted'];
const kinds = sampleOf('scrubbed filesystems', allKinds, FEW);

/** Of the images that were damaged elsewhere, those where another copy is good. */
const DAMAGED = ['extent-data-corrupt-one', 'replica-one-zero'];

interface Elsewhere {
  readonly name: string;
  readonly paths: readonly string[];
  readonly disks: readonly string[];
}

if (whyNoDamage !== undefined) console.warn(`the verdict of a kernel on scrubbed images skipped: ${whyNoDamage}`);

kernelSuite(`scrubbed filesystems (seed ${seed})`, () => {
  const made = new FormattedKinds('scrub', kinds);
  const { all, folder } = made;
  const seen: { before?: RunResult; after?: RunResult } = {};
  const elsewhere: Elsewhere[] = [];

  beforeAll(async () => {
    await made.format();
    seen.before = await made.run(
      (one, nr) => [
        { do: 'mount', disks: one.disks, ...made.keyOf(one) },
        { do: 'fill', seed: nr, sizeBytes: 4 * MIB, subvolumes: true, timeoutSeconds: 300 },
        { do: 'sh', script: 'noise 3000000 > large; cp --reflink=always large shared; sync' },
        // As it is on the disks: 6.12 may show another ctime of a file that has lost a link until it is read again.
        { do: 'umount' },
        { do: 'mount', disks: one.disks, readOnly: true, ...made.keyOf(one) },
        { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
        { do: 'umount' },
      ],
      true,
    );
  }, patient(900_000));

  test.each(all)('$name: damaged and scrubbed', { timeout: patient(120_000) }, async one => {
    const { images, name, isEncrypted } = one;
    const words: string[] = [];
    if (isEncrypted) {
      const file = join(folder, 'passphrase of scrub');
      writeFileSync(file, made.passphraseOf(one).passphrase ?? '');
      words.push(`--passphrase_file=${file}`);
    }
    const random = randomFrom(seed);
    const count = made.open(one, ({ members }, key) => {
      const devices = members.toSorted((a, b) => a.sb.dev_idx - b.sb.dev_idx).map(({ device }) => device);
      const filesystem = openOn(devices, key);
      const bad = chooseCopies([...dataCopies(filesystem), ...nodeCopies(filesystem)], random, 20);
      for (const copy of bad) spoil(devices, copy, random);
      return bad.length;
    });
    expect(count).toBeGreaterThan(20);
    const scrubbed = await run('scrub', [...words, ...images]);
    expect(scrubbed.exitCode, scrubbed.stdout).toBe(1);
    const again = await run('scrub', ['-n', ...words, ...images]);
    expect(again.exitCode, again.stdout).toBe(0);
    console.info(`${name}: ${count} places damaged: ${scrubbed.stdout.trimEnd().split('\n').at(-1)}`);
  });

  test.skipIf(whyNoDamage !== undefined).each(DAMAGED)('%s: scrubbed', { timeout: patient(60_000) }, async name => {
    const paths = damagedDevices(name, folder);
    elsewhere.push({ name, paths, disks: paths.map((_, nr) => `${name}-${nr}`) });
    const scrubbed = await run('scrub', paths);
    expect(scrubbed.exitCode, scrubbed.stdout).toBe(1);
  });

  test('the kernel has looked', { timeout: patient(900_000) }, async () => {
    seen.after = await runInKernel({
      disks: [
        ...all.flatMap(({ disks, images }) => disks.map((name, i) => ({ name, path: images[i]!, throwaway: true }))),
        ...elsewhere.flatMap(({ disks, paths }) =>
          disks.map((name, i) => ({ name, path: paths[i]!, throwaway: true })),
        ),
      ],
      cases: [
        ...all.map(one => ({ name: one.name, steps: made.lookSteps(one) })),
        ...elsewhere.map(({ name, disks }) => ({
          name,
          steps: [
            { do: 'fsck' as const, disks, as: 'fsck', timeoutSeconds: 200 },
            { do: 'mount' as const, disks, readOnly: true, options: 'nochanges' },
            { do: 'manifest' as const, as: 'seen', timeoutSeconds: 200 },
            { do: 'umount' as const },
          ],
        })),
      ],
      timeoutSeconds: 900,
    });
    for (const { paths } of elsewhere) for (const path of paths) rmSync(path);
  });

  const looked = [...kinds.map(({ name }) => name), ...(whyNoDamage === undefined ? DAMAGED : [])];
  test.each(looked)('%s: no complaint of the kernel, and no file that cannot be read', name => {
    const found = caseNamed(seen.after!, name);
    const { fsck } = resultOf(found, 'fsck');
    expect(fsck?.mounted).toBe(true);
    expect(fsck?.complaints).toEqual([]);
    expect(found.log.filter(line => /csum|checksum|decompress|read error/.test(line))).toEqual([]);
  });

  test.each(kinds.map(({ name }) => name))('%s: every file is what it was', name => {
    const [before, after] = [seen.before!, seen.after!].map(
      result => resultOf(caseNamed(result, name), 'seen').manifest ?? [],
    );
    expect(before!.length).toBeGreaterThan(100);
    expect(compareManifests(after!, before!)).toEqual([]);
  });
});
