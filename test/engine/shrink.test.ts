// Members that are made smaller: random filesystems that our format makes and that a kernel made, shrunk as far as they go. Afterwards the
// files are what they were, the checker of everything derived finds nothing, and the device may be cut off.

import {
  allocDevices,
  type Bpos,
  BucketAllocator,
  bposInode,
  bposText,
  bucketContents,
  checkInvariants,
  decodeExtentEntries,
  type ExtentPtr,
  encodeExtentPtr,
  FileEdit,
  type Filesystem,
  FilesystemTriggers,
  type FilesystemWriter,
  FileTree,
  findingText,
  getBits,
  type Key,
  keyTypes,
  loadChecksums,
  loadCompression,
  loadCompressors,
  MemoryDevice,
  makeKey,
  members,
  moveBucketData,
  openMembers,
  sbBits,
  shrinkMember,
  smallestBucketCount,
  viewOf,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import type { ManifestEntry } from '../kernel/vm/manifest.ts';
import { type CommitOptions, writerOn } from '../support/commits.ts';
import { writableFixtures } from '../support/engine.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { whyNoFixtures } from '../support/fixtures.ts';
import { sized, someOf } from '../support/long.ts';
import { type FormattedOptions, fixtureImage, formattedImage, MIB } from '../support/memory-images.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';

const seed = testSeed();
console.info(`shrink: TEST_SEED=${seed}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const TOP = 'changed here';
const STEPS = 150;
const ROUNDS = 3;
/** With so many, nodes find no room in between, and fewer are moved at once. */
const EXTENTS = sized(6000, 6000, 24_000);

const problemsOf = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);

const ZEROES = Buffer.alloc(MIB);

/** The same bytes on a device that ends sooner. */
function cutOff(device: MemoryDevice, sizeBytes: number): MemoryDevice {
  const result = new MemoryDevice(sizeBytes, { name: device.name });
  const piece = new Uint8Array(MIB);
  for (let at = 0; at < sizeBytes; at += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, sizeBytes - at));
    device.read(at, part);
    if (part.length < piece.length || !ZEROES.equals(part)) result.write(at, part);
  }
  return result;
}

/** Every file with its bytes, read through its checksums. What a kernel would say of holes in large files is not asked. */
function files(filesystem: Filesystem): readonly ManifestEntry[] {
  const { entries, complaints } = treeManifest(filesystem, () => undefined);
  expect(complaints.filter(line => !line.endsWith('where the kernel has none'))).toEqual([]);
  return entries;
}

function fill(writer: FilesystemWriter, model: FileModel, options: CommitOptions, steps: number) {
  const edit = new FileEdit(writer, options);
  const name = new TextEncoder().encode(TOP);
  const root = edit.files.root();
  const top = edit.files.lookup(root, name) ?? edit.files.create(root, name, { mode: 0o040755 });
  for (let step = 0; step < steps; step++) model.step(edit, top);
  edit.commit();
}

const text = new TextEncoder();

/** Bytes that cannot be compressed, made fast. */
function noise(sizeBytes: number): Uint8Array {
  const words = new Uint32Array(sizeBytes / 4);
  let state = 0x9e3779b9;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer);
}

/** A file that keeps others from the start of the device. */
function addBallast(writer: FilesystemWriter, options: CommitOptions, name: string, sizeBytes: number): void {
  const edit = new FileEdit(writer, options);
  const ref = edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 });
  edit.content.write(ref, 0, noise(sizeBytes));
  edit.commit();
}

function dropBallast(writer: FilesystemWriter, options: CommitOptions, name: string): void {
  const edit = new FileEdit(writer, options);
  edit.files.remove(edit.files.root(), text.encode(name));
  edit.commit();
}

// biome-ignore format: a table
const allKinds: readonly (FormattedOptions & { readonly name: string; readonly member?: number })[] = [
  { name: 'plain', options: {} },
  { name: 'small nodes', options: { btree_node_size: '8k' } },
  { name: 'zstd', options: { compression: 'zstd' } },
  { name: 'encrypted', options: { compression: 'lz4' }, isEncrypted: true },
  { name: 'two members', members: 2, member: 1, options: { metadata_replicas: '2' } },
  { name: 'larger', sizeBytes: 96 * MIB, options: { btree_node_size: '32k' } },
];
const kinds = someOf('members that shrink', allKinds);

describe(`what our format made (seed ${seed})`, () => {
  test.each(kinds)('$name', ({ member = 0, ...kind }) => {
    const { devices, key } = formattedImage({ sizeBytes: 64 * MIB, ...kind });
    const random = randomFrom(seed);
    const { writer, options } = writerOn(devices, key, seed);
    const model = new FileModel(random);
    const { nbuckets } = members(writer.filesystem.sb)[member]!;
    for (let round = 0; round < ROUNDS; round++) {
      const ballastMib = round === 0 ? 34 * devices.length : random.below(4);
      addBallast(writer, options, `ballast ${round}`, ballastMib * MIB);
      fill(writer, model, options, STEPS);
      if (round === 0) addBallast(writer, options, 'kept', MIB);
    }
    for (let round = 0; round < ROUNDS; round++) dropBallast(writer, options, `ballast ${round}`);
    const kept = files(writer.filesystem);
    const least = smallestBucketCount(writer.filesystem, member);
    const report = shrinkMember(writer, member, 'min');
    console.info(`${kind.name}: ${nbuckets} buckets, ${JSON.stringify(report)}`);
    expect(report.bucketCount).toBe(least);
    expect(least).toBeLessThan(nbuckets);
    expect(report.movedBytes).toBeGreaterThan(0);
    expect(problemsOf(writer.filesystem)).toEqual([]);

    const cut = devices.map((device, dev) => (dev === member ? cutOff(device, report.sizeBytes) : device));
    const again = writerOn(cut, key, seed + 1);
    for (const { sb } of openMembers(cut).members) expect(members(sb)[member]!.nbuckets).toBe(least);
    expect(problemsOf(again.writer.filesystem)).toEqual([]);
    expect(files(again.writer.filesystem)).toEqual(kept);
    expect(treeText(again.writer.filesystem, TOP)).toEqual(model.text());
    fill(again.writer, model, again.options, 10);
    expect(problemsOf(again.writer.filesystem)).toEqual([]);
    expect(treeText(again.writer.filesystem, TOP)).toEqual(model.text());
  });
});

test('many small extents move in many commits', () => {
  const { devices } = formattedImage({
    sizeBytes: 64 * MIB,
    bucketBytes: 16 * 1024,
    options: { btree_node_size: '8k', gc_reserve_percent: '5' },
  });
  const { writer, options } = writerOn(devices, undefined, seed);
  addBallast(writer, options, 'ballast', 26 * MIB);
  addBallast(writer, options, 'kept', 1 * MIB);
  const edit = new FileEdit(writer, options);
  const ref = edit.files.create(edit.files.root(), text.encode('scattered'), { mode: 0o100644 });
  for (let block = 0; block < EXTENTS; block++) edit.content.write(ref, 1024 * ((block * 7919) % EXTENTS), noise(512));
  edit.commit();
  dropBallast(writer, options, 'ballast');
  // They go where they may stay, so that others have to be made beside them.
  moveAll(writer, 'nodes');
  const kept = files(writer.filesystem);
  const report = shrinkMember(writer, 0, 'min', { keysPerCommit: EXTENTS / 6 });
  console.info(`scattered: ${JSON.stringify(report)}`);
  expect(report.commits).toBeGreaterThan(8);
  const { filesystem } = writerOn([cutOff(devices[0]!, report.sizeBytes)], undefined, seed).writer;
  expect(problemsOf(filesystem)).toEqual([]);
  expect(files(filesystem)).toEqual(kept);
});

test('cached copies where the end will be are dropped, stale ones too', () => {
  const { devices } = formattedImage({ members: 2, options: { metadata_replicas: '2' } });
  const { writer, options } = writerOn(devices, undefined, seed);
  addBallast(writer, options, 'ballast', 70 * MIB);
  addBallast(writer, options, 'kept', MIB);
  // Some buckets are emptied, so that pointers of their old generation are stale.
  addBallast(writer, options, 'gone', 4 * MIB);
  const old = pointersOf(writer.filesystem, 'gone');
  dropBallast(writer, options, 'gone');
  const edit = new FileEdit(writer, options);
  const { tx, allocator } = edit;
  const extents = [...tx.btree('extents').keys()].filter(key => isOf(writer.filesystem, key, 'kept'));
  const counts = { cached: 0, stale: 0 };
  for (const [nr, key] of extents.entries()) {
    if (extentPointers(key).some(({ dev }) => dev === 1)) continue;
    const where = nr % 3 === 0 ? old.find(({ dev }) => dev === 1) : allocator.allocateOn(1, key.k.size);
    if (where === undefined) throw new Error('a bucket was emptied');
    counts[nr % 3 === 0 ? 'stale' : 'cached']++;
    const word = new Uint8Array(8);
    viewOf(word).setBigUint64(0, encodeExtentPtr({ ...where, cached: true }), true);
    tx.update('extents', makeKey(key.k.type, key.k.p, Uint8Array.of(...key.value, ...word), key.k));
  }
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(0);
  edit.commit();
  dropBallast(writer, options, 'ballast');
  expect(problemsOf(writer.filesystem)).toEqual([]);
  const kept = files(writer.filesystem);

  const report = shrinkMember(writer, 1, 'min', { keysPerCommit: 10 });
  const cut = devices.map((device, dev) => (dev === 1 ? cutOff(device, report.sizeBytes) : device));
  const { filesystem } = writerOn(cut, undefined, seed).writer;
  expect(problemsOf(filesystem)).toEqual([]);
  expect(files(filesystem)).toEqual(kept);
  expect(pointersOf(filesystem, 'kept').filter(({ cached }) => cached)).toEqual([]);
});

function inodeOf(filesystem: Filesystem, name: string): bigint {
  const node = FileTree.open(filesystem).lookup(name);
  return node.inum;
}

const isOf = (filesystem: Filesystem, { k }: Key, name: string): boolean =>
  bposInode(k.p) === inodeOf(filesystem, name);

const extentPointers = ({ k, value }: Key): readonly ExtentPtr[] =>
  k.type === keyTypes.idOf('extent') ? decodeExtentEntries(value).filter(entry => entry.type === 'ptr') : [];

const pointersOf = (filesystem: Filesystem, name: string): readonly ExtentPtr[] =>
  [...filesystem.btree('extents').keys()].filter(key => isOf(filesystem, key, name)).flatMap(extentPointers);

describe.skipIf(whyNoFixtures !== undefined)('what a kernel made', () => {
  test.each(whyNoFixtures === undefined ? writableFixtures() : [])('%s', name => {
    const { devices, key } = fixtureImage(name);
    const { writer } = writerOn(devices, key, seed);
    const kept = files(writer.filesystem);
    const reports = openMembers(devices).members.map(({ sb }) => {
      const { nbuckets } = members(writer.filesystem.sb)[sb.dev_idx]!;
      const least = smallestBucketCount(writer.filesystem, sb.dev_idx);
      const report = shrinkMember(writer, sb.dev_idx, 'min');
      console.info(`${name}: ${nbuckets} buckets, ${JSON.stringify(report)}`);
      expect(report.bucketCount).toBe(least);
      expect(problemsOf(writer.filesystem)).toEqual([]);
      return report;
    });
    const cut = devices.map((device, at) => cutOff(device, reports[at]!.sizeBytes));
    const again = writerOn(cut, key, seed + 1);
    expect(problemsOf(again.writer.filesystem)).toEqual([]);
    expect(files(again.writer.filesystem)).toEqual(kept);
  });
});

/** All nodes, and all data if asked for, in a commit for each device, as if every bucket had to go. */
function moveAll(writer: FilesystemWriter, what: 'nodes' | 'everything'): number {
  let sectors = 0;
  for (const device of allocDevices(writer.filesystem.sb)) {
    if (device === undefined) continue;
    const { filesystem } = writer;
    const triggers = new FilesystemTriggers(filesystem.sb, {
      journalSeq: writer.nextSeq,
      readClock: 1n,
      writeClock: 1n,
    });
    const tx = writer.begin(triggers);
    const replicas = getBits(filesystem.sb.flags, sbBits.META_REPLICAS_WANT);
    const allocator = new BucketAllocator(filesystem, triggers, { replicas, target: 0 });
    const rewrite = new Map<number, Bpos[][]>();
    for (const contents of bucketContents(filesystem, device, 0, device.bucketEnd)) {
      for (const { btree, level, pos } of contents.references) {
        if (level === 0) continue;
        const levels = rewrite.get(btree) ?? [[], [], [], []];
        rewrite.set(btree, levels);
        levels[level - 1]!.push(pos);
      }
      const rules = { place: (length: number) => allocator.allocateOn(device.index, length) };
      if (what === 'everything') sectors += moveBucketData(tx, device, rules, contents).sectors;
    }
    writer.commit({ tx, allocator, superblock: sb => triggers.needs.applyTo(sb), rewrite });
  }
  return sectors;
}

describe.skipIf(whyNoFixtures !== undefined)('everything moves', () => {
  test.each(whyNoFixtures === undefined ? writableFixtures() : [])('%s', name => {
    const { devices, key } = fixtureImage(name);
    const { writer } = writerOn(devices, key, seed);
    const kept = files(writer.filesystem);
    const before = nodePlaces(writer.filesystem);
    // The fresh ones hold no files.
    expect(moveAll(writer, 'everything') > 0).toBe(!name.startsWith('fresh'));
    expect(nodePlaces(writer.filesystem).filter(place => before.includes(place))).toEqual([]);
    expect(problemsOf(writer.filesystem)).toEqual([]);
    expect(files(writer.filesystem)).toEqual(kept);
  });
});

/** Where nodes are: backpointers of a level above 0. */
const nodePlaces = (filesystem: Filesystem): string[] =>
  [...filesystem.btree('backpointers').keys()].filter(({ value }) => value[1] !== 0).map(({ k }) => bposText(k.p));
