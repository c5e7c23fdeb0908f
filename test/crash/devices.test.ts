// Arrays that are reshaped, cut off anywhere, each member losing what it had not flushed: the files are what they were, the member is one or
// is not, and asking for the same again completes it. Only between the last journal entry and the last superblock a member that leaves is
// one of which nothing is known.

import {
  type BlockDevice,
  begunReplacement,
  checkInvariants,
  completeReplace,
  contentsOf,
  evacuateMembers,
  FileEdit,
  type FilesystemWriter,
  findingText,
  getBits,
  isReplaceUnfinished,
  joinedBefore,
  loadChecksums,
  MemoryDevice,
  memberAlive,
  members,
  openMember,
  openMembers,
  planReplace,
  planReplaceMissing,
  planRereplicate,
  probeSignatures,
  readBytes,
  removeMember,
  replaceMissingSteps,
  replaceSteps,
  sbBits,
  wipeMember,
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
const ONE_OF = sized(60, 50, 1);

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

  test.each(COUNTS)('a member of %d that is replaced', { timeout: patient(300_000) }, count => {
    const { random, devices, model } = filled(count);
    const dev = seed % count;
    const fresh = new MemoryDevice(48 * MIB, { name: 'new' });
    const cuts = new PowerCuts([...devices, fresh]);
    const recorded = cuts.devices.slice(0, count);
    const { writer, options } = writerOn(recorded, undefined, seed);
    replaceMember(writer, dev, cuts.devices[count]!, options);
    const expected = model.text();
    // Its first superblock copy, but the beginning of that.
    const turn = cuts.events.findIndex(({ device, offset }) => device === count && offset === 4096 + 512) + 1;
    expect(turn).toBeGreaterThan(0);
    const seen = { old: 0, both: 0, new: 0 };
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      // Of the copies, and of the growing, one is as good as another.
      const isTurn = cut.events > turn - 3 && cut.events < turn + 12;
      const isWhole = cut.sectorsOfLast === undefined && cut.arrived === undefined;
      // Only at the end the old one has left.
      const isSeen = isWhole && (isTurn || cut.events === cuts.count);
      if (!isSeen && random.below(isTurn ? sized(12, 10, 1) : 4 * ONE_OF) !== 0) continue;
      const left = cuts.after(cut);
      const given = left.filter(isReadable);
      const mounted = mountedOf(given);
      const { filesystem } = writerOn(mounted, undefined, seed + 1).writer;
      expect(filesystem.set.missing, cutText(cut)).toEqual([]);
      expect(treeText(filesystem, TOP), cutText(cut)).toEqual(expected);
      const isNew = mounted.includes(left[count]!);
      seen[!isNew ? 'old' : given.length > count ? 'both' : 'new']++;

      const begun = isReadable(left[count]!)
        ? begunReplacement(given.filter(one => one !== left[count]).map(openMember), openMember(left[count]!))
        : undefined;
      expect(begun !== undefined, cutText(cut)).toBe(isNew);
      if (begun === undefined) {
        const again = writerOn(left.slice(0, count), undefined, seed + 1);
        replaceMember(again.writer, dev, left[count]!, again.options);
      } else {
        if (begun.old !== undefined) wipeMember(begun.old);
        completeReplace(writerOn(left.filter(isReadable), undefined, seed + 1).writer, dev);
      }
      expect(left.map(isReadable), cutText(cut)).toEqual(left.map((_, nr) => nr !== dev));
      const done = writerOn(left.filter(isReadable), undefined, seed + 2).writer.filesystem;
      expect(isReplaceUnfinished(done, dev), cutText(cut)).toBe(false);
      expect(members(done.sb)[dev]!.nbuckets * members(done.sb)[dev]!.bucket_size * 512).toBe(48 * MIB);
      expect(checkInvariants(done).findings.map(findingText), cutText(cut)).toEqual([]);
      expect(treeText(done, TOP), cutText(cut)).toEqual(expected);
    }
    console.info(`replaced: ${cuts.count} events, turn at ${turn}, ${JSON.stringify(seen)}`);
    for (const number of Object.values(seen)) expect(number).toBeGreaterThan(0);
  });

  test('a missing member that is replaced', { timeout: patient(300_000) }, () => {
    const { random, devices, model } = filled(3);
    const dev = seed % 3;
    const present = devices.filter((_, nr) => nr !== dev);
    const cuts = new PowerCuts([...present, new MemoryDevice(48 * MIB, { name: 'new' })]);
    replaceMissing(cuts.devices.slice(0, 2), cuts.devices[2]!, dev, seed);
    const expected = model.text();
    const seen = { before: 0, joined: 0, gone: 0 };
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      const isEnd = cut.events <= 1 || cut.events === cuts.count;
      const isTurn = cut.events < 30 || cut.events > cuts.count - 25;
      if (!isEnd && random.below(isTurn ? sized(16, 12, 1) : 4 * ONE_OF) !== 0) continue;
      const left = cuts.after(cut);
      const fresh = left[2]!;
      const old = left.slice(0, 2);
      const isMember = isReadable(fresh) && joinedBefore(old.map(openMember), openMember(fresh)) === 'member';
      const { writer } = writerOn(isMember ? left : old, undefined, seed + 1, { allowMissing: true });
      const { filesystem } = writer;
      expect(treeText(filesystem, TOP), cutText(cut)).toEqual(expected);
      const isGone = !memberAlive(members(filesystem.sb)[dev]!);
      seen[!isMember ? 'before' : isGone ? 'gone' : 'joined']++;
      replaceMissing(old, fresh, dev, seed + 1);
      const done = writerOn(left, undefined, seed + 2).writer.filesystem;
      expect(done.set.missing, cutText(cut)).toEqual([]);
      expect(checkInvariants(done).findings.map(findingText), cutText(cut)).toEqual([]);
      expect(treeText(done, TOP), cutText(cut)).toEqual(expected);
      expect(planRereplicate(done), cutText(cut)).toMatchObject({ extents: { count: 0 }, nodes: { count: 0 } });
    }
    console.info(`missing, replaced: ${cuts.count} events, ${JSON.stringify(seen)}`);
    for (const number of Object.values(seen)) expect(number).toBeGreaterThan(0);
  });
});

/** What `device replace` does when the old one is missing, with what it finds. */
function replaceMissing(present: readonly BlockDevice[], fresh: BlockDevice, dev: number, nr: number): void {
  const isMember = isReadable(fresh) && joinedBefore(present.map(openMember), openMember(fresh)) === 'member';
  const { writer, options } = writerOn(isMember ? [...present, fresh] : present, undefined, nr, { allowMissing: true });
  if (!memberAlive(members(writer.filesystem.sb)[dev]!)) {
    writer.editSuperblocks(sb => sb);
    return;
  }
  const own = { random: options.random, now: () => options.now() / 10n ** 9n, allowMissing: true, keysPerCommit: 300 };
  const replacing = isMember
    ? { dev: openMember(fresh).sb.dev_idx }
    : { device: fresh, signatures: probeSignatures(fresh) };
  const plan = planReplaceMissing(writer, dev, replacing, own);
  for (const _ of replaceMissingSteps(writer, plan, own));
}

function replaceMember(
  writer: FilesystemWriter,
  dev: number,
  device: BlockDevice,
  { random, now }: ReturnType<typeof writerOn>['options'],
): void {
  const options = { random, now: () => now() / 10n ** 9n, signatures: probeSignatures(device) };
  for (const _ of replaceSteps(writer, planReplace(writer.filesystem, dev, device), device, options));
}

const isReadable = (device: BlockDevice): boolean => {
  if (!mayHaveSuperblock(device)) return false;
  try {
    openMember(device);
    return true;
  } catch {
    return false;
  }
};

const MAGIC = Buffer.from('c68573f666ce90a9d96a60cf803df7ef', 'hex');

/** Looks where something was written, and nowhere else: a search of all of an empty device takes as long as the rest of the test. */
const mayHaveSuperblock = (device: BlockDevice): boolean =>
  !(device instanceof MemoryDevice) ||
  device.writtenRanges().some(({ offset, length }) => Buffer.from(readBytes(device, offset, length)).includes(MAGIC));

/** What a kernel takes of the devices that it is given: never two with one index. Source: bch2_fs_open and bch2_dev_in_fs, v1.13.0. */
function mountedOf<D extends BlockDevice>(given: readonly D[]): readonly D[] {
  const opened = given.map(openMember);
  const best = opened.reduce((a, b) => (b.sb.seq > a.sb.seq ? b : a)).sb;
  const taken = given.filter((_, nr) => {
    const { sb } = opened[nr]!;
    if (sb === best) return true;
    const believed = members(best)[sb.dev_idx]!.seq;
    const isSplit = (sb.seq === best.seq && sb.write_time !== best.write_time) || (believed !== 0 && believed < sb.seq);
    return !isSplit;
  });
  const indexes = taken.map(device => openMember(device).sb.dev_idx);
  expect(new Set(indexes).size, `${indexes}`).toBe(taken.length);
  return taken;
}
