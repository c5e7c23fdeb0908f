// Arrays that are reshaped, cut off anywhere, each member losing what it had not flushed: the files are what they were, the member is one or
// is not, and asking for the same again completes it. Only between the last journal entry and the last superblock a member that leaves is
// one of which nothing is known.

import {
  checkInvariants,
  contentsOf,
  evacuateMembers,
  FileEdit,
  findingText,
  getBits,
  loadChecksums,
  type MemoryDevice,
  memberAlive,
  members,
  openMembers,
  removeMember,
  sbBits,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { isSoak, sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`cut off while arrays are reshaped: TEST_SEED=${seed}`);
beforeAll(loadChecksums);

const text = new TextEncoder();
const TOP = 'changed here';
/** Of the buckets of a member whose keys are gone, and whose slot is not empty yet. */
const WITHOUT_MEMBER = [
  'alloc_key_data_type_wrong',
  'alloc_key_dirty_sectors_wrong',
  'freespace_key_wrong',
  'accounting_mismatch',
];

/** How many members there are. */
const COUNTS = isSoak ? [2, 3] : [2 + (seed % 2)];
/** Of so many cuts one is tried: all of them take a quarter of an hour. */
const ONE_OF = sized(60, 25, 1);

function filled(count: number) {
  const random = randomFrom(seed);
  const options = { metadata_replicas: '2', data_replicas: '2' };
  const { devices } = formattedImage({ members: count, sizeBytes: 32 * MIB, options: count > 2 ? options : {} });
  const { writer, options: own } = writerOn(devices, undefined, seed);
  const model = new FileModel(random);
  const edit = new FileEdit(writer, own);
  const top = edit.files.create(edit.files.root(), text.encode(TOP), { mode: 0o040755 });
  for (let i = 0; i < 60; i++) model.step(edit, top);
  edit.commit();
  return { random, devices, model };
}

/** All that belong to it. */
const membersOf = (devices: readonly MemoryDevice[]): readonly MemoryDevice[] => {
  const readable = devices.filter((_, nr) => {
    try {
      openMembers([devices[nr]!]);
      return true;
    } catch {
      return false;
    }
  });
  const { sb } = openMembers(readable).newest;
  return readable.filter(device => memberAlive(members(sb)[openMembers([device]).newest.sb.dev_idx]!));
};

describe(`power cuts (seed ${seed})`, () => {
  test.each(COUNTS)('a member of %d that is emptied', { timeout: patient(300_000) }, count => {
    const { random, devices, model } = filled(count);
    const dev = seed % count;
    const cuts = new PowerCuts(devices);
    evacuateMembers(writerOn(cuts.devices, undefined, seed).writer, [dev], { keysPerCommit: 300 });
    const expected = model.text();
    let tried = 0;
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      if (random.below(ONE_OF) !== 0) continue;
      tried++;
      const left = cuts.after(cut);
      const { writer } = writerOn(left, undefined, seed + 1);
      expect(treeText(writer.filesystem, TOP), cutText(cut)).toEqual(expected);
      expect(checkInvariants(writer.filesystem).findings.map(findingText), cutText(cut)).toEqual([]);
      evacuateMembers(writer, [dev]);
      expect(contentsOf(writer.filesystem, dev), cutText(cut)).toMatchObject({ userBytes: 0, btreeBytes: 0 });
      expect(checkInvariants(writer.filesystem).findings.map(findingText), cutText(cut)).toEqual([]);
      expect(treeText(writer.filesystem, TOP), cutText(cut)).toEqual(expected);
    }
    console.info(`emptied: ${cuts.count} events, ${tried} cuts`);
    expect(tried).toBeGreaterThan(0);
  });

  test.each(COUNTS)('a member of %d that leaves', { timeout: patient(300_000) }, count => {
    const { random, devices, model } = filled(count);
    const dev = seed % count;
    const cuts = new PowerCuts(devices);
    removeMember(writerOn(cuts.devices, undefined, seed).writer, dev, { keysPerCommit: 300 });
    const expected = model.text();
    const seen = { member: 0, between: 0, gone: 0 };
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      const isLate = cut.events > cuts.count - 25;
      if (!isLate && random.below(ONE_OF) !== 0) continue;
      const left = membersOf(cuts.after(cut));
      const { writer } = writerOn(left, undefined, seed + 1);
      const { filesystem } = writer;
      expect(filesystem.set.missing, cutText(cut)).toEqual([]);
      expect(treeText(filesystem, TOP), cutText(cut)).toEqual(expected);
      const isMember = memberAlive(members(filesystem.sb)[dev]!);
      const { findings } = checkInvariants(filesystem);
      const isBetween = isMember && findings.length > 0;
      const isClean = getBits(filesystem.sb.flags, sbBits.CLEAN) === 1;
      const allowed = isBetween && !isClean ? WITHOUT_MEMBER : [];
      const others = findings.filter(({ error }) => !allowed.includes(error));
      expect(others.map(findingText), cutText(cut)).toEqual([]);
      seen[isBetween ? 'between' : isMember ? 'member' : 'gone']++;
      if (isMember) expect(removeMember(writer, dev).isRemoved, cutText(cut)).toBe(true);
      expect(memberAlive(members(writer.filesystem.sb)[dev]!)).toBe(false);
      expect(checkInvariants(writer.filesystem).findings.map(findingText), cutText(cut)).toEqual([]);
      expect(treeText(writer.filesystem, TOP), cutText(cut)).toEqual(expected);
    }
    console.info(`left: ${cuts.count} events, ${JSON.stringify(seen)}`);
    for (const number of Object.values(seen)) expect(number).toBeGreaterThan(0);
  });
});
