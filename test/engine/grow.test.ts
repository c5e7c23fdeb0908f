// Members that are made larger: what our format made and what a kernel made. Afterwards the files are what they were, the checker of
// everything derived finds nothing, the new room is used, and shrinking gives it back.

import {
  checkInvariants,
  DeviceError,
  FileEdit,
  type Filesystem,
  findingText,
  growMember,
  loadChecksums,
  loadCompression,
  loadCompressors,
  members,
  NoSpaceError,
  openMember,
  scanForSuperblocks,
  sectorsToBytes,
  shrinkMember,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import type { ManifestEntry } from '../kernel/vm/manifest.ts';
import { writerOn } from '../support/commits.ts';
import { writableFixtures } from '../support/engine.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { whyNoFixtures } from '../support/fixtures.ts';
import { type FormattedOptions, fixtureImage, formattedImage, MIB } from '../support/memory-images.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';

const seed = testSeed();
console.info(`grow: TEST_SEED=${seed}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const TOP = 'changed here';
const text = new TextEncoder();
const problemsOf = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);
/** Every file with its bytes. What a kernel would say of holes in large files is not asked. */
const files = (filesystem: Filesystem): readonly ManifestEntry[] => {
  const { entries, complaints } = treeManifest(filesystem, () => undefined);
  expect(complaints.filter(line => !line.endsWith('where the kernel has none'))).toEqual([]);
  return entries;
};
const lastCopyEnd = ({ sb }: { sb: ReturnType<typeof openMember>['sb'] }): number =>
  Number(sb.layout.sb_offset[sb.layout.nr_superblocks - 1]) + 2 ** sb.layout.sb_max_size_bits;

// biome-ignore format: a table
const kinds: readonly (FormattedOptions & { readonly name: string; readonly member?: number; readonly times: number })[] = [
  { name: 'plain', options: {}, times: 2 },
  { name: 'a little', options: {}, times: 1.01 },
  { name: 'a thousand times', sizeBytes: 8 * MIB, bucketBytes: 16_384, options: { btree_node_size: '16k' }, times: 1000 },
  { name: 'encrypted', options: { compression: 'lz4' }, isEncrypted: true, times: 3 },
  { name: 'two members', members: 2, member: 1, options: { metadata_replicas: '2' }, times: 2 },
];

describe(`what our format made (seed ${seed})`, () => {
  test.each(kinds)('$name', ({ member = 0, times, ...kind }) => {
    const { devices, key } = formattedImage({ sizeBytes: 32 * MIB, ...kind });
    const { writer, options } = writerOn(devices, key, seed);
    const model = new FileModel(randomFrom(seed));
    const change = (of: typeof writer, steps: number, at: typeof options) => {
      const edit = new FileEdit(of, at);
      const root = edit.files.root();
      const top =
        edit.files.lookup(root, text.encode(TOP)) ?? edit.files.create(root, text.encode(TOP), { mode: 0o40755 });
      for (let i = 0; i < steps; i++) model.step(edit, top);
      edit.commit();
    };
    change(writer, 100, options);
    const { nbuckets, bucket_size } = members(writer.filesystem.sb)[member]!;
    const count = Math.floor(nbuckets * times);
    const bucketBytes = sectorsToBytes(bucket_size);
    const { layout: oldLayout } = openMember(devices[member]!).sb;
    expect(() => growMember(writer, member, count)).toThrow(DeviceError);
    devices[member]!.setSize(count * bucketBytes + 5000);
    expect(() => growMember(writer, member, nbuckets - 1)).toThrow(UsageError);
    expect(growMember(writer, member, count)).toMatchObject({ bucketCount: count, sizeBytes: count * bucketBytes });
    expect(problemsOf(writer.filesystem)).toEqual([]);
    expect(treeText(writer.filesystem, TOP)).toEqual(model.text());
    expect(growMember(writer, member, count).commits).toBe(0);

    const again = writerOn(devices, key, seed + 1);
    expect(members(again.writer.filesystem.sb)[member]!.nbuckets).toBe(count);
    // The backup is at the new end, and nothing that looks like one is where it was.
    // Where it would reach into its old place, it stays there.
    const last = lastCopyEnd(openMember(devices[member]!));
    const hasRoom = (count - nbuckets) * bucket_size >= 2 ** oldLayout.sb_max_size_bits + bucket_size;
    if (hasRoom) expect(count * bucket_size - last).toBeLessThan(bucket_size);
    else expect(openMember(devices[member]!).sb.layout).toEqual(oldLayout);
    const { layout } = openMember(devices[member]!).sb;
    const found = scanForSuperblocks(devices[member]!, { scanBytes: 64 * MIB }).map(({ sector }) => BigInt(sector));
    expect(found).toEqual(layout.sb_offset.slice(0, layout.nr_superblocks));
    change(again.writer, 60, again.options);
    const { bucketCount, sizeBytes } = shrinkMember(again.writer, member, 'min');
    expect(bucketCount).toBeLessThan(count);
    devices[member]!.setSize(sizeBytes);
    const cut = writerOn(devices, key, seed + 2).writer;
    expect(problemsOf(cut.filesystem)).toEqual([]);
    expect(treeText(cut.filesystem, TOP)).toEqual(model.text());
  });
});

test('the room that came is given to data', () => {
  const { devices } = formattedImage({ sizeBytes: 12 * MIB, bucketBytes: 16_384, options: { btree_node_size: '16k' } });
  const { writer, options } = writerOn(devices, undefined, seed);
  const put = () => {
    const edit = new FileEdit(writer, options);
    edit.content.write(edit.files.create(edit.files.root(), text.encode('large'), { mode: 0o100644 }), 0, large);
    edit.commit();
  };
  const large = new Uint8Array(20 * MIB).fill(3);
  expect(put).toThrow(NoSpaceError);
  devices[0]!.setSize(40 * MIB);
  growMember(writer, 0, (40 * MIB) / 16_384);
  put();
  expect(problemsOf(writer.filesystem)).toEqual([]);
});

describe.skipIf(whyNoFixtures !== undefined)('what a kernel made', () => {
  test.each(whyNoFixtures === undefined ? writableFixtures() : [])('%s', name => {
    const { devices, key } = fixtureImage(name);
    const { writer } = writerOn(devices, key, seed);
    const kept = files(writer.filesystem);
    for (const [dev, device] of devices.entries()) {
      const index = openMember(device).sb.dev_idx;
      const { nbuckets, bucket_size } = members(writer.filesystem.sb)[index]!;
      device.setSize(3 * nbuckets * sectorsToBytes(bucket_size));
      expect(growMember(writer, index, 3 * nbuckets).commits, `member ${dev}`).toBeGreaterThan(0);
      expect(problemsOf(writer.filesystem)).toEqual([]);
    }
    const again = writerOn(devices, key, seed + 1).writer;
    expect(problemsOf(again.filesystem)).toEqual([]);
    expect(files(again.filesystem)).toEqual(kept);
  });
});
