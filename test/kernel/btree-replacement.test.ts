// Btrees that are built from their keys, judged by a real kernel: Linux fills filesystems, each of their btrees is put in the place of
// itself, one commit after the other and all in one; then Linux checks and reads them, writes, and checks again.

import { FilesystemWriter, replaceBtrees, seededRandom } from '@bcachefs-ts/core/engine';
import { beforeAll, expect, test } from 'vitest';
import { ALL, DERIVED, INDEPENDENT, madeAgain, madeUncounted } from '../support/btree-replacement.ts';
import { someOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { FormattedKinds } from './formatted-kinds.ts';
import { caseNamed, compareManifests, type RunResult, resultOf } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;

type Way = (writer: FilesystemWriter) => void;

const oneByOne: Way = writer => {
  for (const name of [...DERIVED, ...INDEPENDENT]) replaceBtrees(writer, madeAgain(writer.filesystem, [name]));
};
const inParts: Way = writer => {
  const { parts } = replaceBtrees(writer, madeAgain(writer.filesystem, ALL), { nodesPerPart: 8 });
  expect(parts).toBeGreaterThan(2);
};
const uncounted: Way = writer => {
  replaceBtrees(writer, madeUncounted(writer.filesystem, DERIVED));
};

interface Kind {
  readonly name: string;
  readonly format: readonly string[];
  readonly way: Way;
  readonly devices?: number;
  readonly isEncrypted?: boolean;
}

// biome-ignore format: a table
const allKinds: readonly Kind[] = [
  { name: 'one-by-one', format: ['--fs_size=128M', 'DEV0'], way: oneByOne },
  { name: 'in-parts', format: ['--btree_node_size=16k', '--block_size=512', '--fs_size=128M', 'DEV0'], way: inParts },
  { name: 'two', format: ['--replicas=2', '--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1'], way: uncounted, devices: 2, isEncrypted: true },
];

const kinds = someOf('btrees built from their keys', allKinds);

kernelSuite('btrees built from their keys', () => {
  const made = new FormattedKinds('replacement', kinds);
  const { all } = made;
  type One = (typeof all)[number];
  const keyOf = (one: One) => made.keyOf(one);
  let filled: RunResult;

  beforeAll(async () => {
    await made.format();
    filled = await made.run(
      (one, nr) => [
        { do: 'mount', disks: one.disks, ...keyOf(one) },
        { do: 'fill', seed: nr, sizeBytes: 6 * MIB },
        { do: 'umount' },
        // As it is on the disks: 6.12 may show another ctime of a file that has lost a link until it is read again.
        { do: 'mount', disks: one.disks, ...keyOf(one) },
        { do: 'manifest', as: 'filled' },
        { do: 'umount' },
      ],
      true,
    );
  }, patient(600_000));

  test('are what they were to a kernel, which goes on with them', { timeout: patient(600_000) }, async () => {
    for (const one of all) {
      made.open(one, (set, key) => {
        one.way(new FilesystemWriter(set, { key, random: seededRandom(one.name), now: () => 1_800_000_000n }));
      });
    }
    const seen = await made.run(
      (one, nr) => [
        { do: 'fsck', disks: one.disks, as: 'fsck', timeoutSeconds: 200, ...keyOf(one) },
        { do: 'mount', disks: one.disks, ...keyOf(one) },
        { do: 'manifest', as: 'seen' },
        { do: 'write', path: 'another', pattern: { kind: 'random', seed: nr }, sizeBytes: 2 * MIB, fsync: true },
        { do: 'umount' },
        { do: 'fsck', disks: one.disks, as: 'written', timeoutSeconds: 200, ...keyOf(one) },
      ],
      true,
    );
    for (const { name } of all) {
      const one = caseNamed(seen, name);
      expect(resultOf(one, 'fsck').fsck!.complaints, name).toEqual([]);
      const expected = resultOf(caseNamed(filled, name), 'filled').manifest!;
      expect(expected.length).toBeGreaterThan(400);
      expect(compareManifests(resultOf(one, 'seen').manifest!, expected), name).toEqual([]);
      expect(resultOf(one, 'written').fsck!.complaints, name).toEqual([]);
    }
  });
});
