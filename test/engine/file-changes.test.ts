// Random changes of files, names, attributes, subvolumes and snapshots on filesystems that a kernel made, against a plain model of a tree:
// before and after each commit the files are what the model says, and the checker of everything derived finds nothing.

import {
  checkInvariants,
  FileEdit,
  type Filesystem,
  FilesystemWriter,
  findingText,
  loadChecksums,
  loadCompression,
  loadCompressors,
  OverlayDevice,
  openMembers,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { findingsOf, openFixture, writableFixtures } from '../support/engine.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { whyNoFixtures } from '../support/fixtures.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`file changes: TEST_SEED=${seed}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const BATCHES = 3;
const STEPS = 80;
const TOP = 'changed here';

const problemsOf = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);

describe.skipIf(whyNoFixtures !== undefined)(`file changes (seed ${seed})`, () => {
  test.each(whyNoFixtures === undefined ? writableFixtures() : [])('%s', name => {
    const random = randomFrom(seed);
    const original = openFixture(name);
    try {
      const devices = original.set.members.map(({ device }) => new OverlayDevice(device));
      let clock = 1_700_000_000_000_000_000n;
      const now = () => (clock += 1_000_003n);
      const options = { random: seededRandom(`${seed}`), now };
      const writer = new FilesystemWriter(openMembers(devices), {
        key: original.key,
        ...options,
        now: () => clock / 10n ** 9n,
      });
      const model = new FileModel(random);
      for (let batch = 0; batch < BATCHES; batch++) {
        const edit = new FileEdit(writer, options);
        const name = new TextEncoder().encode(TOP);
        const root = edit.files.root();
        const top = batch === 0 ? edit.files.create(root, name, { mode: 0o040755 }) : edit.files.lookup(root, name)!;
        for (let step = 0; step < STEPS; step++) model.step(edit, top);
        edit.content.flush();
        expect(treeText(edit.tx, TOP)).toEqual(model.text());
        expect(findingsOf(writer.filesystem, { ...pick(edit), seq: writer.nextSeq })).toEqual([]);
        edit.commit();
        expect(treeText(writer.filesystem, TOP)).toEqual(model.text());
        expect(problemsOf(writer.filesystem)).toEqual([]);
      }
      console.info(`${name}: ${JSON.stringify(model.done)}`);
    } finally {
      original.close();
    }
  });
});

const pick = ({ tx, triggers, allocator, files }: FileEdit) => ({ tx, triggers, allocator, table: files.table });
