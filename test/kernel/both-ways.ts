// Writing against a real kernel, whichever judges the metadata version: Linux fills filesystems, our engine changes them at random in several commits (its own files against a
// model, the kernel's in place), then Linux checks and reads them: no complaint, everything as we read it. Then Linux changes as much in
// turn, ours and its own, and we read and check what it has left. There and back twice: the second time on top of the first.

import {
  checkInvariants,
  FileEdit,
  type Filesystem,
  FilesystemWriter,
  findingText,
  openFilesystem,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { changeTheirs, dropTheirs } from '../support/change-theirs.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { type Formatted, FormattedKinds } from './formatted-kinds.ts';
import { withoutFalseAlarms } from './vm/false-alarms.ts';
import { caseNamed, compareManifests, type KernelSeries, type RunResult, resultOf } from './vm/index.ts';
import { entryKey } from './vm/manifest.ts';
import type { KernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;

const problemsOf = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);

const ROUNDS = [1, 2] as const;
type Round = (typeof ROUNDS)[number];
/** The files of a round's model; those of the first are files as any other in the second. */
const topOf = (round: Round) => `changed here ${round}`;

const COMMITS = 4;
/** Random operations of the engine, and as many of the kernel, in each round. Only what was really done counts. */
const OPERATIONS = sized(120, 160, 1000);
/** Of what the kernel has made, this many files and subvolumes are changed with each commit. */
const OF_THEIRS = 60;
/** What the model and the agent do, each at least once. */
const MODEL_KINDS = [
  'make',
  'write',
  'resize',
  'remove',
  'link',
  'rename',
  'attribute',
  'subvolume',
  'snapshot',
  'dropSubvolume',
];
const KERNEL_KINDS = [
  'create',
  'write',
  'truncate',
  'allocate',
  'clone',
  'unlink',
  'rename',
  'link',
  'set_attribute',
  'snapshot',
];

const text = new TextEncoder();

export interface BothWays {
  readonly suite: KernelSuite;
  readonly series: KernelSeries;
  readonly kinds: readonly Formatted[];
  /** Words that `format` gets before the kind's. */
  readonly format?: readonly string[];
}

/** Defines the suite. */
export function bothWays({ suite, series, kinds, format = [] }: BothWays): void {
  suite('what we write is what the kernel reads', () => {
    const seed = testSeed();
    console.info(`Linux ${series} reads and writes: TEST_SEED=${seed}`);
    const made = new FormattedKinds('write', kinds, series);
    const { all } = made;
    type One = (typeof all)[number];
    const keyOf = (one: One) => made.keyOf(one);
    const looks = new Map<string, RunResult>();
    const looksOf = (round: Round, whose: 'ours' | 'theirs') => {
      const found = looks.get(`${whose} ${round}`);
      if (found === undefined) throw new Error('the kernel has not looked: a test before this one has failed');
      return found;
    };

    function changeByEngine(one: One, round: Round): void {
      made.open(one, (set, key) => {
        const random = randomFrom(seed + round);
        let clock = (1_800_000_000n + BigInt(round) * 1_000_000n) * 10n ** 9n;
        const now = () => (clock += 1_000_003n);
        const options = { random: seededRandom(`${seed} ${round}`), now };
        const writer = new FilesystemWriter(set, { key, random: options.random, now: () => clock / 10n ** 9n });
        const model = new FileModel(random);
        const top = topOf(round);
        const countDone = () => Object.values(model.done).reduce((sum, count) => sum + count, 0);
        for (let commit = 1; commit <= COMMITS; commit++) {
          const edit = new FileEdit(writer, options);
          const root = edit.files.root();
          const name = text.encode(top);
          const directory = edit.files.lookup(root, name) ?? edit.files.create(root, name, { mode: 0o040755 });
          const goal = (OPERATIONS * commit) / COMMITS;
          // Some that are chosen are not possible, or refused as they have to be.
          for (let tries = 0; countDone() < goal && tries < 10 * OPERATIONS; tries++) model.step(edit, directory);
          expect(countDone()).toBe(goal);
          expect(changeTheirs(edit, random, top, OF_THEIRS)).toBeGreaterThan(OF_THEIRS / 2);
          if (commit === COMMITS) model.complete(edit, directory);
          if (commit % 2 === 0) dropTheirs(edit, top);
          edit.commit();
          expect(problemsOf(writer.filesystem)).toEqual([]);
          expect(treeText(writer.filesystem, top)).toEqual(model.text());
        }
        // More, where some kind was not drawn.
        expect(countDone()).toBeGreaterThanOrEqual(OPERATIONS);
        for (const kind of MODEL_KINDS) expect(model.done[kind], kind).toBeGreaterThan(0);
      });
    }

    beforeAll(async () => {
      await made.format(...format);
      await made.run(
        (one, nr) => [
          { do: 'mount', disks: one.disks, ...keyOf(one) },
          { do: 'fill', seed: nr, sizeBytes: 4 * MIB, subvolumes: true, timeoutSeconds: 200 },
          { do: 'umount' },
        ],
        true,
      );
    }, patient(1_000_000));

    describe.each(ROUNDS)('round %d', round => {
      describe('after our changes', () => {
        test.each(all)(
          `$name: ${OPERATIONS} operations in ${COMMITS} commits`,
          one => changeByEngine(one, round),
          patient(400_000),
        );
        test(
          'the kernel has looked',
          async () => void looks.set(`ours ${round}`, await made.look()),
          patient(1_000_000),
        );
        test.each(all)('$name: no complaint', one => noComplaint(one, round, 'ours'));
        test.each(all)(
          '$name: everything is as we read it',
          one => compareWithUs(one, round, 'ours'),
          patient(200_000),
        );
      });

      describe('after the kernel has changed it in turn', () => {
        test('the kernel has changed and looked', { timeout: patient(2_000_000) }, async () => {
          const changed = await made.runAndLook((one, nr) => [
            { do: 'mount', disks: one.disks, ...keyOf(one) },
            {
              do: 'change',
              as: 'change',
              operations: OPERATIONS,
              each: KERNEL_KINDS,
              seed: (seed + 10 * nr + round) % 2 ** 31,
              timeoutSeconds: 300,
            },
            { do: 'umount', timeoutSeconds: 120 },
          ]);
          looks.set(`theirs ${round}`, changed);
        });
        test.each(all)(`$name: ${OPERATIONS} operations were done`, ({ name }) => {
          const { counts } = resultOf(caseNamed(looksOf(round, 'theirs'), name), 'change');
          expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(OPERATIONS);
          for (const kind of KERNEL_KINDS) expect(counts[kind], kind).toBeGreaterThan(0);
        });
        test.each(all)('$name: no complaint', one => noComplaint(one, round, 'theirs'));
        test.each(all)(
          '$name: everything is as we read it',
          one => compareWithUs(one, round, 'theirs'),
          patient(200_000),
        );
      });
    });

    function noComplaint(one: One, round: Round, whose: 'ours' | 'theirs'): void {
      const { fsck } = resultOf(caseNamed(looksOf(round, whose), one.name), 'fsck');
      expect(fsck?.mounted).toBe(true);
      expect(withoutFalseAlarms(fsck?.complaints ?? [])).toEqual([]);
    }

    function compareWithUs(one: One, round: Round, whose: 'ours' | 'theirs'): void {
      const expected = resultOf(caseNamed(looksOf(round, whose), one.name), 'seen').manifest ?? [];
      const data = new Map(expected.map(entry => [entryKey(entry), entry.data]));
      const filesystem = openFilesystem(one.images, made.passphraseOf(one));
      try {
        const { entries, complaints } = treeManifest(filesystem, key => data.get(key));
        expect(complaints).toEqual([]);
        expect(compareManifests(entries, expected, { ignore: ['data'] })).toEqual([]);
        expect(expected.length).toBeGreaterThan(100);
        expect(problemsOf(filesystem)).toEqual([]);
      } finally {
        filesystem.close();
      }
    }
  });
}
