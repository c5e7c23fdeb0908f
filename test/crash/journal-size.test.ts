// A journal that is made longer or shorter, cut off at every write: the files are what they were, the journal has the old length or the new
// one, at most some buckets are marked that nothing uses, and asking for the same again completes it.

import {
  checkInvariants,
  FileEdit,
  type FilesystemWriter,
  findingText,
  getBits,
  loadChecksums,
  type MemoryDevice,
  resizeJournalSteps,
  sbBits,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { journalRanges, writerOn } from '../support/commits.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { type Random, randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`cut off while a journal changes: TEST_SEED=${seed}`);
beforeAll(loadChecksums);

const TOP = 'changed here';
/** Of buckets that are marked and in no list. */
const UNLISTED = ['alloc_key_data_type_wrong', 'alloc_key_dirty_sectors_wrong', 'accounting_mismatch'];

function resized(writer: FilesystemWriter, dev: number, count: number): number {
  for (const steps = resizeJournalSteps(writer, dev, count); ; ) {
    const { done, value } = steps.next();
    if (done) return value.steps;
  }
}

/** Devices that a commit was cut off on, so that there is a journal to be replayed. */
function cutOff(devices: readonly MemoryDevice[], random: Random): readonly MemoryDevice[] {
  const cuts = new PowerCuts(devices);
  const { writer, options } = writerOn(cuts.devices, undefined, seed + 5);
  const edit = new FileEdit(writer, options);
  edit.files.create(
    edit.files.lookup(edit.files.root(), new TextEncoder().encode(TOP))!,
    new TextEncoder().encode('late'),
    {
      mode: 0o100644,
    },
  );
  edit.commit();
  const isUnclean = (left: readonly MemoryDevice[]) =>
    getBits(writerOn(left, undefined, seed).writer.filesystem.sb.flags, sbBits.CLEAN) === 0;
  const ends = Array.from({ length: cuts.count }, (_, nr) => cuts.after({ events: nr + 1 })).filter(isUnclean);
  expect(ends.length).toBeGreaterThan(0);
  return ends[random.below(ends.length)]!;
}

describe.each([1, 2])(`%d members (seed ${seed})`, memberCount => {
  test.each([
    [8, 40],
    [40, 8],
  ])('from %d buckets to %d', { timeout: patient(300_000) }, (before, after) => {
    const dev = memberCount - 1;
    const random = randomFrom(seed);
    const options = { btree_node_size: '16k', metadata_replicas: `${memberCount}` };
    const { devices } = formattedImage({ members: memberCount, sizeBytes: 12 * MIB, bucketBytes: 16 * 1024, options });
    const { writer, options: commitOptions } = writerOn(devices, undefined, seed);
    const model = new FileModel(randomFrom(seed));
    const edit = new FileEdit(writer, commitOptions);
    const top = edit.files.create(edit.files.root(), new TextEncoder().encode(TOP), { mode: 0o040755 });
    for (let i = 0; i < 20; i++) model.step(edit, top);
    edit.commit();
    resized(writer, dev, before);
    // Half of the time it was cut off before: what its journal has is replayed first.
    const isUnclean = random.below(2) === 0;
    const begun = isUnclean ? cutOff(devices, random) : devices.map(device => device.clone());
    const expected = isUnclean ? treeText(writerOn(begun, undefined, seed).writer.filesystem, TOP) : model.text();

    const cuts = new PowerCuts(begun);
    resized(writerOn(cuts.devices, undefined, seed).writer, dev, after);
    const seen = { old: 0, unlisted: 0, new: 0 };
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      const isWhole = cut.sectorsOfLast === undefined && cut.arrived === undefined;
      if (
        random.below(isWhole ? sized(memberCount * memberCount, memberCount, 1) : sized(12 * memberCount, 12, 1)) !== 0
      )
        continue;
      const left = cuts.after(cut);
      const { filesystem } = writerOn(left, undefined, seed).writer;
      const length = journalRanges(left[dev]!).length;
      expect([before, after], cutText(cut)).toContain(length);
      expect(treeText(filesystem, TOP), cutText(cut)).toEqual(expected);
      const findings = checkInvariants(filesystem).findings;
      expect(findings.filter(({ error }) => !UNLISTED.includes(error)).map(findingText), cutText(cut)).toEqual([]);
      seen[findings.length > 0 ? 'unlisted' : length === before ? 'old' : 'new']++;

      const again = writerOn(left, undefined, seed + 1).writer;
      resized(again, dev, after);
      expect(journalRanges(left[dev]!).length, cutText(cut)).toBe(after);
      expect(checkInvariants(again.filesystem).findings.map(findingText), cutText(cut)).toEqual([]);
      expect(treeText(again.filesystem, TOP), cutText(cut)).toEqual(expected);
      expect(resized(again, dev, after), cutText(cut)).toBe(0);
    }
    console.info(`${memberCount} members, ${before} to ${after}: ${cuts.count} events, ${JSON.stringify(seen)}`);
    const least = sized(memberCount, memberCount, 1) === 1 ? 1 : 0;
    for (const count of Object.values(seen)) expect(count).toBeGreaterThanOrEqual(least);
  });
});
