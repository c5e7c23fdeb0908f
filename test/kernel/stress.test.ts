// A random workload by the kernel, as fsstress does it: several processes at once make, write, cut, punch, clone, link, rename, snapshot and
// delete on filesystems that we made and filled. Afterwards the kernel's own check is silent, and what we read is what it reads.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkInvariants, findingText, openFilesystem } from '@bcachefs-ts/core/engine';
import { beforeAll, expect, test } from 'vitest';
import { sized, someOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { type Formatted, FormattedKinds } from './formatted-kinds.ts';
import { withoutFalseAlarms } from './vm/false-alarms.ts';
import { caseNamed, compareManifests, type RunResult, resultOf } from './vm/index.ts';
import { entryKey } from './vm/manifest.ts';
import { kernelSuite } from './vm/suite.ts';

const PROCESSES = 3;
/** Operations of each process, however slow the machine is. */
const EACH = 30;
/** Of random operations, on all filesystems together. */
const SECONDS = sized(5, 7, 30);

// biome-ignore format: a table
const allKinds: readonly Formatted[] = [
  { name: 'compressed, in small nodes', devices: 1, format: ['--compression=zstd', '--btree_node_size=16k', '--block_size=512', '--fs_size=512M', 'DEV0'] },
  { name: 'encrypted', devices: 1, isEncrypted: true, format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4', '--fs_size=512M', 'DEV0'] },
  { name: 'two copies on three', devices: 3, format: ['--replicas=2', '--fs_size=512M', 'DEV0', '--fs_size=512M', 'DEV1', '--fs_size=512M', 'DEV2'] },
  { name: 'other hashes and checksums', devices: 1, format: ['--str_hash=crc64', '--data_checksum=xxhash', '--metadata_checksum=crc64', '--compression=gzip', '--fs_size=512M', 'DEV0'] },
  { name: 'quotas, large buckets', devices: 1, format: ['--usrquota', '--grpquota', '--prjquota', '--bucket_size=512k', '--fs_size=512M', 'DEV0'] },
];
const kinds = someOf('a random workload by the kernel', allKinds);

kernelSuite('a random workload by the kernel', () => {
  const seed = testSeed();
  const made = new FormattedKinds('stress', kinds);
  const { all, folder } = made;
  type One = (typeof all)[number];
  const keyOf = (one: One) => made.keyOf(one);
  let run: RunResult | undefined;
  const caseOf = ({ name }: One) => {
    if (run === undefined) throw new Error('the kernel has not worked: a test before this one has failed');
    return caseNamed(run, name);
  };

  beforeAll(async () => {
    const source = join(folder, 'source');
    fillSource(source, seed);
    await made.format(`--source=${source}`);
  }, patient(300_000));

  test(`${SECONDS} seconds, then a check and a look`, { timeout: patient(900_000) }, async () => {
    const seeds = all.map((_, nr) => (seed + 100 * nr) % 2 ** 31);
    console.info(`a random workload by the kernel: TEST_SEED=${seed}, seeds of the filesystems ${seeds.join(', ')}`);
    run = await made.run(
      (one, nr) => [
        { do: 'mount', disks: one.disks, ...keyOf(one) },
        {
          do: 'stress',
          as: 'stress',
          seconds: SECONDS / all.length,
          atLeast: EACH,
          processes: PROCESSES,
          seed: seeds[nr]!,
          timeoutSeconds: 240,
        },
        { do: 'umount', timeoutSeconds: 120 },
        ...made.lookSteps(one),
      ],
      true,
    );
  });

  test.each(all)('$name: work was done, and the kernel has no complaint', one => {
    const { ok, steps } = caseOf(one);
    expect(ok, JSON.stringify(steps.at(-1))).toBe(true);
    const { counts } = resultOf(caseOf(one), 'stress');
    console.info(`${one.name}: ${Object.values(counts).reduce((sum, count) => sum + count, 0)} operations`);
    expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(PROCESSES * EACH);
    const { fsck } = resultOf(caseOf(one), 'fsck');
    expect(fsck?.mounted).toBe(true);
    expect(withoutFalseAlarms(fsck?.complaints ?? [])).toEqual([]);
  });

  test.each(all)('$name: everything is as we read it', { timeout: patient(120_000) }, one => {
    const expected = resultOf(caseOf(one), 'seen').manifest ?? [];
    const data = new Map(expected.map(entry => [entryKey(entry), entry.data]));
    const filesystem = openFilesystem(one.images, made.passphraseOf(one));
    try {
      const { entries, complaints } = treeManifest(filesystem, key => data.get(key));
      expect(complaints).toEqual([]);
      expect(compareManifests(entries, expected, { ignore: ['data'] })).toEqual([]);
      expect(expected.length).toBeGreaterThan(50);
      expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
    } finally {
      filesystem.close();
    }
  });
});

/** A folder for each process, with files of several sizes in it. */
function fillSource(source: string, seed: number): void {
  const random = randomFrom(seed);
  for (let nr = 0; nr < PROCESSES; nr++) {
    const inner = join(source, `p${nr}`, 'sub');
    mkdirSync(inner, { recursive: true });
    for (let file = 0; file < 16; file++) {
      const bytes = new Uint8Array(random.pick([0, 100, 5000, 70_000, 140_000]));
      for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(file % 2 === 0 ? 256 : 3);
      writeFileSync(join(file % 3 === 0 ? inner : join(source, `p${nr}`), `f${file}`), bytes);
    }
  }
}
