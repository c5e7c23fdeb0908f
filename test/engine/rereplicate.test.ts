// Copies that are missing are made: after a member has died or was taken out by force, and where more are wanted than before. Files are what
// they were, every rule of the checker holds after each commit, and a second run finds nothing to do.

import {
  checkInvariants,
  dropExtraReplicas,
  dropExtraSteps,
  FileEdit,
  type Filesystem,
  type FilesystemWriter,
  findingText,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type MemoryDevice,
  NoSpaceError,
  planDropExtra,
  planRereplicate,
  removeMember,
  replicas,
  rereplicate,
  rereplicateSteps,
  sbBits,
  seededRandom,
  withBits,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { dataCopies, nodeCopies, spoil } from '../support/bad-copies.ts';
import { writerOn } from '../support/commits.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { sampleOf, sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`copies that are made: TEST_SEED=${seed}`);
const text = new TextEncoder();
const TOP = 'a model';

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

/** Opened without those that are missing. */
const degraded = (devices: readonly MemoryDevice[], key: Uint8Array | undefined): Filesystem =>
  writerOn(devices, key, seed, { allowMissing: true }).writer.filesystem;

const findings = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);

function change(writer: FilesystemWriter, options: ConstructorParameters<typeof FileEdit>[1], model: FileModel): void {
  const edit = new FileEdit(writer, options);
  const root = edit.files.root();
  const top =
    edit.files.lookup(root, text.encode(TOP)) ?? edit.files.create(root, text.encode(TOP), { mode: 0o040755 });
  for (let i = 0; i < sized(25, 40, 200); i++) model.step(edit, top);
  edit.commit();
}

/** How many members that are there have a good copy of each key and node, at the least. */
function fewestCopies(filesystem: Filesystem): number {
  const there = (copies: readonly { readonly dev: number; readonly isCached: boolean }[]) =>
    new Set(
      copies.filter(({ dev, isCached }) => !isCached && filesystem.device(dev) !== undefined).map(({ dev }) => dev),
    ).size;
  return Math.min(...[...dataCopies(filesystem), ...nodeCopies(filesystem)].map(there));
}

function expectComplete(devices: readonly MemoryDevice[], key: Uint8Array | undefined, copies: number): Filesystem {
  const filesystem = degraded(devices, key);
  expect(findings(filesystem)).toEqual([]);
  expect(fewestCopies(filesystem)).toBe(copies);
  const nothing = { count: 0, readBytes: 0, writtenBytes: 0 };
  expect(planRereplicate(filesystem)).toMatchObject({ extents: nothing, indirect: nothing, nodes: nothing });
  return filesystem;
}

// biome-ignore format: a table
const allKinds = [
  { name: 'two copies on three', members: 3, copies: 2, options: { metadata_replicas: '2', data_replicas: '2' } },
  { name: 'two copies on three, compressed', members: 3, copies: 2, options: { compression: 'zstd', metadata_replicas: '2', data_replicas: '2' } },
  { name: 'three copies on four, encrypted', members: 4, copies: 3, options: { compression: 'lz4', metadata_replicas: '3', data_replicas: '3' }, isEncrypted: true },
  { name: 'two copies on four, without checksums', members: 4, copies: 2, options: { metadata_replicas: '2', data_replicas: '2', data_checksum: 'none' } },
];
const kinds = sampleOf('copies that are made', allKinds, ['two copies on three, compressed']);

describe.each(kinds)('$name', ({ members: count, copies, options, isEncrypted = false }) => {
  const made = () => {
    const { devices, key } = formattedImage({ members: count, sizeBytes: 32 * MIB, options, isEncrypted });
    const model = new FileModel(randomFrom(seed));
    const { writer, options: own } = writerOn(devices, key, seed);
    for (let round = 0; round < 3; round++) change(writer, own, model);
    const random = seededRandom(`${seed}`);
    // On every member.
    write(writer, own, 'abcdefgh', 300_000, bytes => bytes.set(random.bytes(bytes.length)));
    return { devices, key, model };
  };

  test('a member is missing', { timeout: patient(120_000) }, () => {
    const { devices, key, model } = made();
    const gone = seed % count;
    const left = devices.filter((_, nr) => nr !== gone);
    const { writer } = writerOn(left, key, seed + 1, { allowMissing: true });
    expect(fewestCopies(writer.filesystem)).toBe(copies - 1);
    let commits = 0;
    const steps = rereplicateSteps(writer, { keysPerCommit: 2000, bytesPerCommit: MIB });
    for (;;) {
      const { done, value } = steps.next();
      expect(findings(writer.filesystem)).toEqual([]);
      if (done) {
        expect(value).toMatchObject({ left: [], leftCount: 0, commits });
        expect(value.writtenBytes).toBeGreaterThan(0);
        expect(value.droppedBytes).toBeGreaterThan(0);
        break;
      }
      commits++;
      // As after a crash: what is there is whole, and the rest is done by another run.
      if (commits % 5 === 1) expect(treeText(degraded(left, key), TOP)).toEqual(model.text());
    }
    const filesystem = expectComplete(left, key, copies);
    expect(treeText(filesystem, TOP)).toEqual(model.text());
    expect(replicas(filesystem.sb).filter(({ devs }) => devs.includes(gone))).toEqual([]);
    // The member turns up again.
    const back = writerOn(devices, key, seed + 2).writer.filesystem;
    expect(findings(back)).toEqual([]);
    expect(treeText(back, TOP)).toEqual(model.text());
  });

  test('a member was taken out by force', { timeout: patient(120_000) }, () => {
    const { devices, key, model } = made();
    const gone = (seed + 1) % count;
    removeMember(writerOn(devices, key, seed + 1).writer, gone, { isForced: true });
    const left = devices.filter((_, nr) => nr !== gone);
    expect(rereplicate(writerOn(left, key, seed + 2).writer)).toMatchObject({ leftCount: 0, droppedBytes: 0 });
    expect(treeText(expectComplete(left, key, copies), TOP)).toEqual(model.text());
  });
});

const small = (data: string, members: number) =>
  formattedImage({ members, sizeBytes: 32 * MIB, options: { metadata_replicas: data, data_replicas: data } });

/** Files, by default of one byte each. */
function write(
  writer: FilesystemWriter,
  own: ConstructorParameters<typeof FileEdit>[1],
  names: string,
  sizeBytes: number,
  fill?: (bytes: Uint8Array) => void,
): void {
  const edit = new FileEdit(writer, own);
  for (const name of names) {
    const ref = edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 });
    const bytes = new Uint8Array(sizeBytes).fill(name.charCodeAt(0));
    fill?.(bytes);
    edit.content.write(ref, 0, bytes);
  }
  edit.commit();
}

test('more copies are wanted than before', { timeout: patient(60_000) }, () => {
  const { devices } = small('1', 2);
  const { writer, options } = writerOn(devices, undefined, seed);
  write(writer, options, 'abcdef', 300_000);
  writer.editSuperblocks(sb => ({
    ...sb,
    flags: withBits(withBits(sb.flags, sbBits.DATA_REPLICAS_WANT, 2), sbBits.META_REPLICAS_WANT, 2),
  }));
  expect(fewestCopies(writer.filesystem)).toBe(1);
  const plan = planRereplicate(writer.filesystem);
  const report = rereplicate(writer);
  expect(report).toMatchObject({ leftCount: 0, droppedBytes: 0 });
  expect(plan.extents.writtenBytes + plan.nodes.writtenBytes).toBe(report.writtenBytes);
  expectComplete(devices, undefined, 2);

  // And fewer again.
  const again = writerOn(devices, undefined, seed + 1).writer;
  expect(planDropExtra(again.filesystem)).toMatchObject({ extents: { count: 0 }, nodes: { count: 0 } });
  again.editSuperblocks(sb => ({
    ...sb,
    flags: withBits(withBits(sb.flags, sbBits.DATA_REPLICAS_WANT, 1), sbBits.META_REPLICAS_WANT, 1),
  }));
  const extra = planDropExtra(again.filesystem);
  expect(extra.extents.count).toBeGreaterThan(0);
  expect(extra.nodes.count).toBeGreaterThan(0);
  for (const steps = dropExtraSteps(again, { keysPerCommit: 2000 }); ; ) {
    const { done, value } = steps.next();
    expect(findings(again.filesystem)).toEqual([]);
    if (!done) continue;
    expect(value).toMatchObject({ droppedBytes: extra.extents.droppedBytes, leftCount: 0 });
    break;
  }
  const counts = [...dataCopies(again.filesystem), ...nodeCopies(again.filesystem)].map(({ length }) => length);
  expect(new Set(counts)).toEqual(new Set([1]));
});

test('of copies that are too many a good one stays', { timeout: patient(60_000) }, () => {
  const { devices } = small('3', 3);
  const { writer, options } = writerOn(devices, undefined, seed);
  write(writer, options, 'abcd', 100_000);
  writer.editSuperblocks(sb => ({ ...sb, flags: withBits(sb.flags, sbBits.DATA_REPLICAS_WANT, 1) }));
  const all = dataCopies(writer.filesystem);
  const random = randomFrom(seed);
  // Of each the first copy is the good one, which is not the one that would stay; of the first key none is.
  for (const copies of all) for (const copy of copies.slice(1)) spoil(devices, copy, random);
  for (const copies of all.slice(0, 1)) for (const copy of copies) spoil(devices, copy, random);
  const report = dropExtraReplicas(writerOn(devices, undefined, seed + 1).writer);
  expect(report).toMatchObject({ leftCount: 1, left: [{ why: 'no good copy', level: 0 }] });
  const after = dataCopies(degraded(devices, undefined));
  expect(after.map(({ length }) => length)).toEqual([3, ...all.slice(1).map(() => 1)]);
  for (const [nr, [copy]] of after.entries()) if (nr > 0) expect(copy).toEqual(all[nr]![0]);
});

test('a bad copy is neither a source nor counted', { timeout: patient(60_000) }, () => {
  const { devices } = small('3', 4);
  const { writer, options } = writerOn(devices, undefined, seed);
  write(writer, options, 'abcdef', 100_000);
  const random = randomFrom(seed);
  const gone = 3;
  // The copies that would be read first.
  const damaged = dataCopies(writer.filesystem).filter(copies => copies.some(({ dev }) => dev === gone));
  expect(damaged.length).toBeGreaterThan(0);
  for (const copies of damaged) spoil(devices, copies.find(({ dev }) => dev !== gone)!, random);
  const left = devices.slice(0, gone);
  // One good copy, one bad one, and one member without.
  const report = rereplicate(writerOn(left, undefined, seed + 1, { allowMissing: true }).writer);
  expect(report.leftCount).toBeGreaterThan(0);
  expect(report.left.every(({ why, level }) => why === 'no member' && level === 0)).toBe(true);
  for (const copies of dataCopies(degraded(left, undefined))) {
    const good = copies.filter(({ dev, offset, length }) => {
      if (dev === gone) return false;
      const bytes = new Uint8Array(length);
      left[dev]!.read(offset, bytes);
      return bytes.every(byte => byte === bytes[0] || byte === 0);
    });
    expect(good.length).toBeGreaterThanOrEqual(2);
  }
});

test('refused without room, and nothing is changed', () => {
  const { devices } = small('1', 2);
  const { writer, options } = writerOn(devices, undefined, seed);
  write(writer, options, 'a', 36 * MIB);
  writer.editSuperblocks(sb => ({ ...sb, flags: withBits(sb.flags, sbBits.DATA_REPLICAS_WANT, 2) }));
  const kept = devices.map(device => device.clone());
  expect(() => rereplicate(writer)).toThrow(NoSpaceError);
  for (const [nr, device] of devices.entries()) {
    const [a, b] = [device, kept[nr]!].map(one => {
      const bytes = new Uint8Array(one.sizeBytes);
      one.read(0, bytes);
      return Buffer.from(bytes);
    });
    expect(a!.equals(b!)).toBe(true);
  }
});

test('where no member is left for a copy, that is said', { timeout: patient(60_000) }, () => {
  const { devices } = small('2', 2);
  const { writer, options } = writerOn(devices, undefined, seed);
  write(writer, options, 'abc', 100_000);
  const left = [devices[0]!];
  const without = writerOn(left, undefined, seed + 1, { allowMissing: true }).writer;
  const before = dataCopies(without.filesystem);
  const report = rereplicate(without);
  expect(report).toMatchObject({ commits: 0, writtenBytes: 0, droppedBytes: 0 });
  expect(report.leftCount).toBeGreaterThanOrEqual(before.length);
  expect(new Set(report.left.map(({ why }) => why))).toEqual(new Set(['no member']));
});
