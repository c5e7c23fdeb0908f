// Changes while members are missing: what is there takes them, keys and buckets of the missing ones stay, and when they are back everything is
// where it was left, by every rule of the checker.

import {
  checkInvariants,
  FileEdit,
  type Filesystem,
  findingText,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type MemoryDevice,
  members,
  openMembers,
  replicas,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { openOn, stateOf } from '../support/cut-states.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { isLong, sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`members that are missing: TEST_SEED=${seed}`);
const text = new TextEncoder();
const TOP = 'a model';

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const findings = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);

const kinds = [
  { name: 'two copies on three', members: 3, options: { metadata_replicas: '2', data_replicas: '2' } },
  {
    name: 'two copies on two',
    members: 2,
    options: { metadata_replicas: '2', data_replicas: '2', compression: 'lz4' },
  },
  {
    name: 'three copies on four, encrypted',
    members: 4,
    options: { metadata_replicas: '3', data_replicas: '2' },
    isEncrypted: true,
  },
];

describe.each(kinds)('$name', ({ members: count, options, isEncrypted = false }) => {
  const all = Array.from({ length: count }, (_, nr) => nr);
  test.each(isLong ? all : [seed % count])('without member %d', { timeout: patient(60_000) }, missing => {
    const random = randomFrom(seed + missing);
    const { devices, key } = formattedImage({ members: count, sizeBytes: 32 * MIB, options, isEncrypted });
    const model = new FileModel(random);
    const step = (left: readonly MemoryDevice[], round: number) => {
      const { writer, options: own } = writerOn(left, key, seed + round, { allowMissing: true });
      const edit = new FileEdit(writer, own);
      const root = edit.files.root();
      const top =
        edit.files.lookup(root, text.encode(TOP)) ?? edit.files.create(root, text.encode(TOP), { mode: 0o040755 });
      for (let i = 0; i < sized(15, 30, 200); i++) model.step(edit, top);
      edit.commit();
      return writer.filesystem;
    };
    expect(findings(step(devices, 0))).toEqual([]);

    const left = devices.filter((_, nr) => nr !== missing);
    const before = devices[missing]!.clone();
    expect(() => writerOn(left, key, seed)).toThrow(UsageError);
    for (let round = 1; round <= sized(2, 2, 3); round++) {
      const filesystem = step(left, round);
      expect(filesystem.set.missing).toEqual([missing]);
      expect(findings(filesystem)).toEqual([]);
      expect(treeText(filesystem, TOP)).toEqual(model.text());
    }
    // It is as it was, byte for byte.
    expect(devices[missing]!.writtenRanges()).toEqual(before.writtenRanges());

    const back = openOn(devices, key);
    expect(back.set.missing).toEqual([]);
    expect(members(back.sb)[missing]!.seq).toBe(openMembers([before]).newest.sb.seq);
    expect(findings(back)).toEqual([]);
    const state = stateOf(back);
    expect(state).not.toContain('broken');
    expect(state).toBe(stateOf(openOn(devices, key)));
    expect(findings(step(devices, 5))).toEqual([]);
    expect(treeText(openOn(devices, key), TOP)).toEqual(model.text());
  });
});

test('metadata that is only on the missing member', () => {
  const { devices } = formattedImage({ members: 2, sizeBytes: 32 * MIB });
  const { sb } = openMembers(devices).newest;
  const nodesOn = replicas(sb)
    .filter(({ data_type }) => data_type === 3)
    .map(({ devs }) => devs);
  expect(nodesOn.length).toBeGreaterThan(0);
  for (const [nr] of devices.entries()) {
    const left = devices.filter((_, other) => other !== nr);
    const isNeeded = nodesOn.some(devs => devs.every(dev => dev === nr));
    const open = () => writerOn(left, undefined, seed, { allowMissing: true });
    if (isNeeded) expect(open).toThrow(/member_missing|btree node|needs them/);
    else open();
  }
});

test('both sides of a split brain together take no change', () => {
  const options = { metadata_replicas: '2', data_replicas: '2' };
  const { devices } = formattedImage({ members: 2, sizeBytes: 32 * MIB, options });
  for (const [nr, device] of devices.entries()) {
    const { writer, options: own } = writerOn([device], undefined, seed + nr, { allowMissing: true });
    for (let round = 0; round <= nr; round++) {
      const edit = new FileEdit(writer, own);
      edit.files.setXattr(edit.files.root(), 'user.nr', text.encode(`${nr}.${round}`));
      edit.commit();
    }
  }
  expect(() => writerOn(devices, undefined, seed, { allowMissing: true })).toThrow(/split brain/);
});

test('what is written does not wait for a target whose only member is missing', () => {
  const { devices } = formattedImage({
    members: 2,
    sizeBytes: 32 * MIB,
    options: {},
    targets: { metadata_target: 'ssd', foreground_target: 'ssd', background_target: 'hdd' },
    each: nr => ({ label: ['ssd.a', 'hdd.b'][nr]! }),
  });
  const written = (present: readonly MemoryDevice[], name: string): Filesystem => {
    const { writer, options: own } = writerOn(present, undefined, seed, { allowMissing: true });
    const edit = new FileEdit(writer, own);
    const file = edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 });
    edit.content.write(file, 0, new Uint8Array(100_000).fill(77));
    edit.commit();
    expect(findings(writer.filesystem)).toEqual([]);
    return writer.filesystem;
  };
  const waiting = (filesystem: Filesystem) => [...filesystem.btree('reconcile_work').keys()].length;
  const whole = waiting(written(devices, 'with both'));
  expect(whole).toBeGreaterThan(0);
  expect(waiting(written([devices[0]!], 'without its target'))).toBe(whole);
  const back = openOn(devices, undefined);
  expect(findings(back)).toEqual([]);
  expect(waiting(back)).toBe(whole);
});
