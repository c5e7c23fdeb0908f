// Members that are emptied: what lay on them is on the others, files are what they were, and every rule of the checker holds after each batch.

import {
  addMembers,
  checkInvariants,
  contentsOf,
  evacuateMembers,
  evacuateSteps,
  FileEdit,
  type Filesystem,
  type FilesystemWriter,
  findingText,
  loadChecksums,
  loadCompression,
  loadCompressors,
  MemoryDevice,
  memberBits,
  NoSpaceError,
  planAdd,
  planEvacuate,
  removeSteps,
  replicas,
  UsageError,
  withBits,
  withMember,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { dataCopies, spoil } from '../support/bad-copies.ts';
import { writerOn } from '../support/commits.ts';
import { openOn } from '../support/cut-states.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { sampleOf, sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`members that are emptied: TEST_SEED=${seed}`);
const SECTOR_BYTES = 512;
const text = new TextEncoder();
const TOP = 'a model';

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const findings = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);

// biome-ignore format: a table
const allKinds = [
  { name: 'one copy on two', members: 2, options: {} },
  { name: 'one copy on three, compressed', members: 3, options: { compression: 'zstd', metadata_replicas: '2' } },
  { name: 'two copies on two', members: 2, options: { metadata_replicas: '2', data_replicas: '2' } },
  { name: 'two copies on three', members: 3, options: { metadata_replicas: '2', data_replicas: '2' } },
  { name: 'two copies on four, encrypted', members: 4, options: { metadata_replicas: '3', data_replicas: '2', compression: 'lz4' }, isEncrypted: true },
];
const kinds = sampleOf('members that are emptied', allKinds, ['one copy on two', 'two copies on three']);

/** Random files; a large one, so that there is something to move. */
function change(writer: FilesystemWriter, options: ConstructorParameters<typeof FileEdit>[1], model: FileModel): void {
  const edit = new FileEdit(writer, options);
  const root = edit.files.root();
  const known = edit.files.lookup(root, text.encode(TOP));
  const top = known ?? edit.files.create(root, text.encode(TOP), { mode: 0o040755 });
  for (let i = 0; i < sized(25, 40, 200); i++) model.step(edit, top);
  edit.commit();
}

describe.each(kinds)('$name', ({ name, members: count, options, isEncrypted = false }) => {
  test.each(Array.from({ length: count }, (_, nr) => nr))('member %d', { timeout: patient(120_000) }, dev => {
    const random = randomFrom(seed + dev);
    const { devices, key } = formattedImage({ members: count, sizeBytes: 32 * MIB, options, isEncrypted });
    const model = new FileModel(random);
    const { writer, options: own } = writerOn(devices, key, seed);
    for (let round = 0; round < 3; round++) change(writer, own, model);
    const before = contentsOf(writer.filesystem, dev);
    const parts = [...writer.filesystem.btree('extents').keys()].length;
    const plan = planEvacuate(writer.filesystem, [dev]);
    expect(plan.contents).toEqual([before]);

    const steps = evacuateSteps(writer, [dev], { keysPerCommit: 200 });
    let commits = 0;
    for (;;) {
      const { done, value } = steps.next();
      expect(findings(writer.filesystem)).toEqual([]);
      if (!done) {
        commits++;
        continue;
      }
      expect(value).toMatchObject({ commits, left: [], leftCount: 0 });
      // Keys that share compressed sectors count for a part of them each, rounded up.
      const gone = value.movedBytes + value.droppedBytes + value.fewerCopiesBytes;
      expect(gone).toBeGreaterThan(before.userBytes - SECTOR_BYTES * parts);
      const hasFewer = name === 'two copies on two';
      expect(value.fewerCopiesBytes > 0).toBe(hasFewer && before.userBytes > 0);
      expect(plan.fewerCopiesBytes > 0).toBe(hasFewer);
      break;
    }
    const left = openOn(devices, key);
    expect(contentsOf(left, dev)).toEqual({ dev, userBytes: 0, btreeBytes: 0, cachedBytes: 0 });
    expect(replicas(left.sb).filter(({ devs }) => devs.includes(dev))).toEqual([]);
    expect(treeText(left, TOP)).toEqual(model.text());

    // Nothing goes there while it is ro; done again, nothing is left to do.
    const again = writerOn(devices, key, seed + 1);
    change(again.writer, again.options, model);
    expect(contentsOf(again.writer.filesystem, dev)).toEqual({ dev, userBytes: 0, btreeBytes: 0, cachedBytes: 0 });
    expect(evacuateMembers(again.writer, [dev])).toMatchObject({ movedBytes: 0, commits: 1, leftCount: 0 });
    expect(findings(openOn(devices, key))).toEqual([]);
    expect(treeText(openOn(devices, key), TOP)).toEqual(model.text());
  });
});

test('two members at once', { timeout: patient(60_000) }, () => {
  const random = randomFrom(seed);
  const options = { metadata_replicas: '2', data_replicas: '2' };
  const { devices } = formattedImage({ members: 4, sizeBytes: 32 * MIB, options });
  const model = new FileModel(random);
  const { writer, options: own } = writerOn(devices, undefined, seed);
  for (let round = 0; round < 3; round++) change(writer, own, model);
  evacuateMembers(writer, [1, 2]);
  const left = openOn(devices);
  for (const dev of [1, 2]) expect(contentsOf(left, dev)).toMatchObject({ userBytes: 0, btreeBytes: 0 });
  expect(findings(left)).toEqual([]);
  expect(treeText(left, TOP)).toEqual(model.text());
});

test('refused: the last one, and what there is no room for', () => {
  const { devices } = formattedImage({ members: 2, sizeBytes: 32 * MIB });
  const { writer, options } = writerOn(devices, undefined, seed);
  const edit = new FileEdit(writer, options);
  const ref = edit.files.create(edit.files.root(), text.encode('large'), { mode: 0o100644 });
  edit.content.write(ref, 0, new Uint8Array(40 * MIB).fill(9));
  edit.commit();
  const kept = devices.map(device => device.clone());
  expect(() => evacuateMembers(writer, [0, 1])).toThrow(UsageError);
  expect(() => evacuateMembers(writer, [1])).toThrow(NoSpaceError);
  expect(() => evacuateMembers(writer, [2])).toThrow(UsageError);
  for (const [nr, device] of devices.entries()) {
    const [a, b] = [device, kept[nr]!].map(one => {
      const bytes = new Uint8Array(one.sizeBytes);
      one.read(0, bytes);
      return Buffer.from(bytes);
    });
    expect(a!.equals(b!)).toBe(true);
  }
  // With room for it, it is done.
  const smaller = new FileEdit(writer, options);
  smaller.files.remove(smaller.files.root(), text.encode('large'));
  smaller.commit();
  expect(evacuateMembers(writer, [1]).leftCount).toBe(0);
  expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
});

test('the only good copy stays, where no other member may have it', { timeout: patient(60_000) }, () => {
  const options = { metadata_replicas: '2', data_replicas: '2' };
  const { devices } = formattedImage({ members: 2, sizeBytes: 32 * MIB, options });
  const { writer, options: own } = writerOn(devices, undefined, seed);
  const edit = new FileEdit(writer, own);
  for (const name of ['a', 'b', 'c']) {
    const ref = edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 });
    edit.content.write(ref, 0, new Uint8Array(100_000).fill(name.charCodeAt(0)));
  }
  edit.commit();
  const random = randomFrom(seed);
  const [bad] = dataCopies(writer.filesystem);
  const copy = bad?.find(({ dev }) => dev === 1);
  expect(copy).toBeDefined();
  spoil(devices, copy!, random);
  const report = evacuateMembers(writerOn(devices, undefined, seed + 1).writer, [0]);
  expect(report.leftCount).toBe(1);
  expect(report.left[0]).toMatchObject({ dev: 0, level: 0 });
});

test('where copies may go is known before: a member that has one already takes no other', () => {
  const options = { metadata_replicas: '2', data_replicas: '2' };
  const { devices } = formattedImage({ members: 3, sizeBytes: 32 * MIB, options });
  const fill = (state: number, name: string, mib: number) => {
    const { writer, options: own } = writerOn(devices, undefined, seed);
    writer.editSuperblocks(sb =>
      withMember(sb, 2, member => ({ ...member, flags: withBits([member.flags], memberBits.STATE, state)[0]! })),
    );
    if (mib === 0) return writer;
    const edit = new FileEdit(writer, own);
    const ref = edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 });
    edit.content.write(ref, 0, new Uint8Array(mib * MIB).fill(9));
    edit.commit();
    return writer;
  };
  fill(1, 'both', 8);
  let writer = fill(0, '', 0);
  writer.editSuperblocks(sb =>
    withMember(sb, 1, member => ({ ...member, flags: withBits([member.flags], memberBits.STATE, 1)[0]! })),
  );
  // 1 has the other copies and takes nothing; 2 does.
  const plan = planEvacuate(writer.filesystem, [0], { types: ['user'] });
  expect(plan).toMatchObject({ fewerCopiesBytes: 0, movedBytes: 8 * MIB });
  expect(evacuateMembers(writer, [0]).movedBytes).toBe(8 * MIB);
  writer = writerOn(devices, undefined, seed).writer;
  expect(findings(writer.filesystem)).toEqual([]);
});

test('what waits for a target waits no longer when the last member of it is emptied, and again when one joins', {
  timeout: patient(60_000),
}, () => {
  const { devices } = formattedImage({
    members: 3,
    sizeBytes: 48 * MIB,
    targets: { foreground_target: 'ssd', background_target: 'hdd' },
    each: nr => ({ label: nr === 2 ? 'hdd.a' : `ssd.${nr}` }),
  });
  const { writer, options } = writerOn(devices, undefined, seed);
  const edit = new FileEdit(writer, options);
  const ref = edit.files.create(edit.files.root(), text.encode('waits'), { mode: 0o100644 });
  edit.content.write(ref, 0, new Uint8Array(300_000).fill(7));
  edit.commit();
  const waiting = (filesystem: Filesystem) => [...filesystem.btree('reconcile_work').keys()].length;
  expect(waiting(writer.filesystem)).toBeGreaterThan(0);
  for (const steps = removeSteps(writer, 2); ; ) {
    const { done } = steps.next();
    expect(findings(writer.filesystem)).toEqual([]);
    if (done) break;
  }
  expect(waiting(writer.filesystem)).toBe(0);
  const joining = {
    device: new MemoryDevice(64 * MIB, { name: 'new' }),
    label: 'hdd.b',
    durability: 1,
    discard: false,
    dataAllowed: 0b11100,
    signatures: [],
  };
  const own = { random: options.random, now: () => 1_900_000_000n };
  const plan = planAdd(writer.filesystem, [joining], { random: own.random, nowSeconds: own.now() });
  const { filesystem } = addMembers(writer, plan, own);
  expect(findings(filesystem)).toEqual([]);
  expect(waiting(filesystem)).toBeGreaterThan(0);
});
