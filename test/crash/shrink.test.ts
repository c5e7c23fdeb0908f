// A member that is made smaller, cut off anywhere: the files are what they were, the filesystem is as large as it was or as it is to be, and
// asking for the same again completes it. Only between the last journal entry and the last superblock the buckets that go are in no list.

import {
  CorruptError,
  checkInvariants,
  FileEdit,
  findingText,
  getBits,
  loadChecksums,
  members,
  sbBits,
  shrinkMember,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`cut off while shrinking: TEST_SEED=${seed}`);
beforeAll(loadChecksums);

const text = new TextEncoder();
const TOP = 'changed here';

/** Of buckets for a superblock copy, before it counts or after. */
const WITH_OTHER_PLACE = ['alloc_key_data_type_wrong', 'alloc_key_dirty_sectors_wrong'];
/** Of buckets that are about to go. */
const WITHOUT_END = ['freespace_hole_missing', 'freespace_key_wrong', 'accounting_mismatch'];

describe(`power cuts (seed ${seed})`, () => {
  test.each([1, 2])('%d members', { timeout: patient(300_000) }, memberCount => {
    const random = randomFrom(seed);
    const { devices } = formattedImage({ members: memberCount });
    const { writer, options } = writerOn(devices, undefined, seed);
    const model = new FileModel(random);
    for (const step of ['ballast', 'files', 'no ballast'] as const) {
      const edit = new FileEdit(writer, options);
      const root = edit.files.root();
      if (step === 'no ballast') edit.files.remove(root, text.encode('ballast'));
      else if (step === 'ballast') {
        const ref = edit.files.create(root, text.encode('ballast'), { mode: 0o100644 });
        edit.content.write(ref, 0, new Uint8Array(34 * memberCount * MIB).fill(7));
      } else {
        const ref = edit.files.create(root, text.encode('kept'), { mode: 0o100644 });
        edit.content.write(ref, 0, new Uint8Array(MIB).fill(8));
        const top = edit.files.create(root, text.encode(TOP), { mode: 0o040755 });
        for (let i = 0; i < 60; i++) model.step(edit, top);
      }
      edit.commit();
    }
    const { nbuckets } = members(writer.filesystem.sb)[0]!;

    const cuts = new PowerCuts(devices);
    const report = shrinkMember(writerOn(cuts.devices, undefined, seed).writer, 0, 'min');
    expect(report.movedBytes).toBeGreaterThan(0);
    expect(report.bucketCount).toBeLessThan(nbuckets);
    const expected = model.text();
    const seen = { old: 0, between: 0, new: 0 };
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      const isLate = cut.events > cuts.count - 25;
      if (!isLate && random.below(sized(20, 10, 1)) !== 0) continue;
      const left = cuts.after(cut);
      const { filesystem } = writerOn(left, undefined, seed).writer;
      const found = members(filesystem.sb)[0]!.nbuckets;
      expect([nbuckets, report.bucketCount], cutText(cut)).toContain(found);
      expect(treeText(filesystem, TOP), cutText(cut)).toEqual(expected);
      const { findings } = checkInvariants(filesystem);
      const isBetween = found === nbuckets && findings.length > 0;
      const isClean = getBits(filesystem.sb.flags, sbBits.CLEAN) === 1;
      const allowed = isBetween ? [...WITH_OTHER_PLACE, ...(isClean ? [] : WITHOUT_END)] : [];
      const others = findings.filter(({ error }) => !allowed.includes(error));
      expect(others.map(findingText), cutText(cut)).toEqual([]);
      seen[isBetween ? 'between' : found === nbuckets ? 'old' : 'new']++;

      const again = writerOn(left, undefined, seed + 1).writer;
      const isEndLost = findings.some(({ error }) => error === 'freespace_hole_missing');
      if (isEndLost) expect(() => shrinkMember(again, 0, report.bucketCount + 8), cutText(cut)).toThrow(CorruptError);
      if (found !== report.bucketCount) shrinkMember(again, 0, report.bucketCount);
      expect(members(again.filesystem.sb)[0]!.nbuckets).toBe(report.bucketCount);
      expect(checkInvariants(again.filesystem).findings.map(findingText), cutText(cut)).toEqual([]);
      expect(treeText(again.filesystem, TOP), cutText(cut)).toEqual(expected);
    }
    console.info(`${memberCount} members: ${cuts.count} events, ${JSON.stringify(seen)}`);
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0);
  });
});
