// Members that leave: moved off first, given up, or missing. No key, no counter and no superblock names them afterwards, every rule of the checker
// holds after each commit, and files are what they were, but for what had no other copy.

import {
  BchBackpointer,
  type BlockDevice,
  backpointerBpos,
  beginChange,
  bposInode,
  btrees,
  CorruptError,
  checkInvariants,
  FileEdit,
  type Filesystem,
  type FilesystemWriter,
  filesDependingOn,
  findingText,
  getBits,
  keyTypes,
  loadChecksums,
  loadCompression,
  loadCompressors,
  lostKeys,
  makeBpos,
  makeKey,
  memberAlive,
  memberBits,
  members,
  pathText,
  planRemove,
  reflinkP,
  removeMember,
  removeSteps,
  replicas,
  rulesOf,
  shrinkSteps,
  UsageError,
  withBits,
  withMember,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { openOn } from '../support/cut-states.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { isLong, sampleOf, sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`members that leave: TEST_SEED=${seed}`);
const text = new TextEncoder();
const TOP = 'a model';

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const dependingOn = (filesystem: Filesystem, dev: number) => [
  ...filesDependingOn(filesystem, new Set([dev]), damage => {
    throw damage;
  }),
];
const findings = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);

// biome-ignore format: a table
const allKinds = [
  { name: 'one copy on two', members: 2, options: {} },
  { name: 'two copies on two, compressed', members: 2, options: { compression: 'lz4', metadata_replicas: '2', data_replicas: '2' } },
  { name: 'two copies on three', members: 3, options: { metadata_replicas: '2', data_replicas: '2' } },
  { name: 'three copies on three, encrypted', members: 3, options: { metadata_replicas: '3', data_replicas: '3' }, isEncrypted: true },
];
const kinds = sampleOf('members that leave', allKinds, ['one copy on two', 'two copies on three']);

function change(writer: FilesystemWriter, options: ConstructorParameters<typeof FileEdit>[1], model: FileModel): void {
  const edit = new FileEdit(writer, options);
  const root = edit.files.root();
  const known = edit.files.lookup(root, text.encode(TOP));
  const top = known ?? edit.files.create(root, text.encode(TOP), { mode: 0o040755 });
  for (let i = 0; i < sized(25, 40, 200); i++) model.step(edit, top);
  edit.commit();
}

function filled(kind: (typeof allKinds)[number], nr: number) {
  const { members: count, options, isEncrypted = false } = kind;
  const { devices, key } = formattedImage({ members: count, sizeBytes: 32 * MIB, options, isEncrypted });
  const model = new FileModel(randomFrom(seed + nr));
  const { writer, options: own } = writerOn(devices, key, seed);
  for (let round = 0; round < 3; round++) change(writer, own, model);
  return { devices, key, model, writer };
}

/** Nothing of the filesystem names it. */
function expectGone(left: readonly BlockDevice[], key: Uint8Array | undefined, dev: number): Filesystem {
  const filesystem = openOn(left, key);
  expect(filesystem.set.missing).toEqual([]);
  expect(memberAlive(members(filesystem.sb)[dev]!)).toBe(false);
  expect(replicas(filesystem.sb).filter(({ devs }) => devs.includes(dev))).toEqual([]);
  for (const name of ['alloc', 'freespace', 'need_discard', 'bucket_gens', 'backpointers'] as const) {
    const keys = [...filesystem.btree(name).keys()].filter(({ k }) => k.p[3] === dev && k.p[4] === 0);
    expect(keys.map(({ k }) => [name, ...k.p])).toEqual([]);
  }
  expect(findings(filesystem)).toEqual([]);
  return filesystem;
}

describe.each(kinds)('$name', kind => {
  const all = Array.from({ length: kind.members }, (_, nr) => nr);

  test.each(isLong ? all : [seed % kind.members])('member %d', { timeout: patient(120_000) }, dev => {
    const { devices, key, model, writer } = filled(kind, dev);
    expect(planRemove(writer.filesystem, dev)).toMatchObject({ isMissing: false, lostBytes: 0 });
    for (const steps = removeSteps(writer, dev, { keysPerCommit: 500 }); ; ) {
      const { done, value } = steps.next();
      expect(findings(writer.filesystem)).toEqual([]);
      if (!done) continue;
      expect(value).toMatchObject({ isRemoved: true, lostKeys: 0 });
      break;
    }
    const left = devices.filter((_, nr) => nr !== dev);
    expect(treeText(expectGone(left, key, dev), TOP)).toEqual(model.text());
    // What is on it is not a superblock any more.
    expect(() => openOn([devices[dev]!], key)).toThrow();
    const again = writerOn(left, key, seed + 1);
    change(again.writer, again.options, model);
    expect(treeText(expectGone(left, key, dev), TOP)).toEqual(model.text());
  });

  if (!('data_replicas' in kind.options)) return;
  test('a missing member', { timeout: patient(120_000) }, () => {
    const dev = seed % kind.members;
    const { devices, key, model } = filled(kind, 10);
    const left = devices.filter((_, nr) => nr !== dev);
    const { writer } = writerOn(left, key, seed, { allowMissing: true });
    expect(lostKeys(writer.filesystem, dev)).toEqual([]);
    for (const steps = removeSteps(writer, dev, { keysPerCommit: 500 }); ; ) {
      const { done, value } = steps.next();
      expect(findings(writer.filesystem)).toEqual([]);
      if (!done) continue;
      expect(value).toMatchObject({ isRemoved: true, lostKeys: 0 });
      break;
    }
    expect(treeText(expectGone(left, key, dev), TOP)).toEqual(model.text());
    // Given along again, it is not one of them.
    expect(() => writerOn(devices, key, seed)).toThrow(/not part of the filesystem any more/);
  });
});

test('data that is only there: given up, it reads as an error, and all else is what it was', {
  timeout: patient(60_000),
}, () => {
  const { devices } = formattedImage({ members: 2, sizeBytes: 32 * MIB, options: { metadata_replicas: '2' } });
  const { writer, options } = writerOn(devices, undefined, seed);
  const edit = new FileEdit(writer, options);
  for (let nr = 0; nr < 20; nr++) {
    const ref = edit.files.create(edit.files.root(), text.encode(`file ${nr}`), { mode: 0o100644 });
    edit.content.write(ref, 0, new Uint8Array(200_000).fill(nr + 1));
  }
  edit.commit();
  const dev = seed % 2;
  const isMissing = seed % 4 < 2;
  const left = devices.filter((_, nr) => nr !== dev);
  const again = writerOn(isMissing ? left : devices, undefined, seed, { allowMissing: isMissing }).writer;
  const plan = planRemove(again.filesystem, dev, { isForced: true });
  expect(plan.lostBytes).toBeGreaterThan(0);
  const lost = lostKeys(again.filesystem, dev);
  expect(lost.length).toBeGreaterThan(0);
  const inodes = new Set(lost.map(({ pos }) => bposInode(pos)));
  expect(new Set(dependingOn(again.filesystem, dev).map(({ inum }) => inum))).toEqual(inodes);
  expect(removeMember(again, dev, { isForced: true })).toMatchObject({ isRemoved: true, lostKeys: lost.length });
  const filesystem = expectGone(left, undefined, dev);
  for (const { btree, pos } of lost) expect(filesystem.btree(btree).get(pos)?.k.type).toBe(2);
});

test('the last member, and metadata that is only there, stay', () => {
  const { devices } = formattedImage({ members: 2, sizeBytes: 32 * MIB, options: { metadata_replicas: '2' } });
  const { writer } = writerOn(devices, undefined, seed);
  removeMember(writer, 1);
  expect(() => removeMember(writer, 0)).toThrow(UsageError);
  expect(() => removeMember(writer, 0, { isForced: true })).toThrow(UsageError);
  expect(() => removeMember(writer, 1)).toThrow(UsageError);
});

test('a missing member that has failed is failed until it is gone', () => {
  const options = { metadata_replicas: '2', data_replicas: '2' };
  const { devices } = formattedImage({ members: 3, sizeBytes: 32 * MIB, options });
  const left = devices.slice(0, 2);
  const { writer } = writerOn(left, undefined, seed, { allowMissing: true });
  const stateOf = () => getBits([members(writer.filesystem.sb)[2]!.flags], memberBits.STATE);
  writer.editSuperblocks(sb =>
    withMember(sb, 2, member => ({ ...member, flags: withBits([member.flags], memberBits.STATE, 2)[0]! })),
  );
  for (const steps = removeSteps(writer, 2); ; ) {
    const { done } = steps.next();
    expect(stateOf()).toBe(2);
    if (done) break;
  }
  expect(memberAlive(members(writer.filesystem.sb)[2]!)).toBe(false);
});

test('files that depend on a member: in every subvolume that sees any of what is there', () => {
  const { devices } = formattedImage({ sizeBytes: 32 * MIB });
  const change = (make: (edit: FileEdit) => void) => {
    const { writer, options } = writerOn(devices, undefined, seed);
    const edit = new FileEdit(writer, options);
    make(edit);
    edit.commit();
  };
  const named = (edit: FileEdit) => edit.files.lookup(edit.files.root(), text.encode('file'))!;
  change(edit => {
    const ref = edit.files.create(edit.files.root(), text.encode('file'), { mode: 0o100644 });
    edit.content.write(
      ref,
      0,
      new Uint8Array(600_000).map((_, at) => at >> 12),
    );
  });
  change(edit => {
    const root = edit.files.root();
    edit.files.createSnapshot(root, text.encode('snapshot'), root.subvolume);
  });
  // The first keys of before are seen in the snapshot only, the others in both.
  change(edit => edit.content.write(named(edit), 0, new Uint8Array(200_000).fill(7)));
  const found = dependingOn(openOn(devices), 0).map(({ references }) =>
    references.flatMap(({ paths }) => paths.map(({ path }) => pathText(path))).sort(),
  );
  expect(found.sort((one, other) => one.length - other.length)).toEqual([['/file'], ['/file', '/snapshot/file']]);
});

test('shared data that is only there takes with it no more than itself', { timeout: patient(60_000) }, () => {
  const { devices } = formattedImage({ members: 2, sizeBytes: 32 * MIB, options: { metadata_replicas: '2' } });
  const { writer, options } = writerOn(devices, undefined, seed);
  const edit = new FileEdit(writer, options);
  const ref = edit.files.create(edit.files.root(), text.encode('shared'), { mode: 0o100644 });
  const written = new Uint8Array(1_000_000).map((_, at) => at >> 12);
  edit.content.write(ref, 0, written);
  edit.commit();
  // All of it becomes shared, and one key refers to it.
  const change = beginChange(writer);
  const keys = [...change.tx.btree('extents').keys()].filter(({ k }) => bposInode(k.p) === ref.inum);
  let end = 0;
  for (const { k, value } of keys) {
    end += k.size;
    const shared = new Uint8Array(8 + value.length);
    shared.set(value, 8);
    change.tx.update('reflink', makeKey(keyTypes.idOf('reflink_v'), makeBpos(0n, BigInt(end), 0), shared, k));
    change.tx.delete('extents', k.p);
  }
  const pointer = reflinkP.encode({
    idx: 0n,
    error: false,
    may_update_options: false,
    unknown_flags: 0n,
    front_pad: 0,
    back_pad: 0,
  });
  change.tx.update(
    'extents',
    makeKey(keyTypes.idOf('reflink_p'), keys.at(-1)!.k.p, pointer, { ...keys.at(-1)!.k, size: end }),
  );
  change.commit();
  expect(findings(writer.filesystem)).toEqual([]);
  const lost = lostKeys(writer.filesystem, 1);
  expect(lost.length).toBeGreaterThan(0);
  expect(lost.length).toBeLessThan(keys.length);
  const lostSectors = lost.reduce((sum, { btree, pos }) => sum + writer.filesystem.btree(btree).get(pos)!.k.size, 0);
  const [file, ...others] = dependingOn(writer.filesystem, 1);
  expect([file?.inum, file?.bytes, others]).toEqual([ref.inum, lostSectors * 512, []]);
  expect(file?.references.flatMap(({ paths }) => paths.map(({ path }) => pathText(path)))).toEqual(['/shared']);
  expect(removeMember(writer, 1, { isForced: true })).toMatchObject({ isRemoved: true, lostKeys: lost.length });
  const filesystem = expectGone(devices.slice(0, 1), undefined, 1);
  const sectorsOf = (name: 'error' | 'reflink_p') =>
    [...filesystem.btree('extents').keys()]
      .filter(({ k }) => k.type === keyTypes.idOf(name) && bposInode(k.p) === ref.inum)
      .reduce((sum, { k }) => sum + k.size, 0);
  expect([sectorsOf('error'), sectorsOf('reflink_p')]).toEqual([lostSectors, end - lostSectors]);
});

describe.each([0, 1, 2, 4])('a backpointer of level %d that leads to nothing', level => {
  test.each(['moved', 'given up', 'made smaller'] as const)('%s', what => {
    const { devices } = formattedImage({ members: 2, sizeBytes: 48 * MIB, options: { metadata_replicas: '2' } });
    const { writer } = writerOn(devices, undefined, seed);
    const change = beginChange(writer);
    const value = [...change.tx.btree('backpointers').keys()].at(-1)!.value.slice();
    value[BchBackpointer.offset.btree_id] = 0;
    value[BchBackpointer.offset.level] = level;
    const at = backpointerBpos(1, 600 * 128, 0, rulesOf(writer.filesystem.sb));
    change.tx.store(btrees.idOf('backpointers'), makeKey(keyTypes.idOf('backpointer'), at, value));
    change.commit();
    const steps =
      what === 'made smaller'
        ? shrinkSteps(writer, 1, 'min')
        : removeSteps(writer, 1, { isForced: what === 'given up' });
    const carryOut = () => {
      for (let nr = 0; nr < 10; nr++) if (steps.next().done) return true;
      return false;
    };
    // Only data that is given up is not looked for by its backpointers.
    if (level > 0 || what !== 'given up') expect(carryOut).toThrow(CorruptError);
    else {
      expect(carryOut()).toBe(true);
      expectGone(devices.slice(0, 1), undefined, 1);
    }
  });
});
