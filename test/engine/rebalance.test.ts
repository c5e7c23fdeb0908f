// Data that is brought to rest: it goes to the background target and is compressed as it is to be there; files, snapshots and shared data are what
// they were, every rule of the checker holds after each commit, and nothing waits afterwards.

import {
  btrees,
  checkInvariants,
  evacuateMembers,
  FileEdit,
  type Filesystem,
  findingText,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type MemoryDevice,
  memberBits,
  planRebalance,
  rebalance,
  rebalanceSteps,
  recountWaiting,
  type Superblock,
  sbBits,
  withBits,
  withMember,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { dataCopies, spoil } from '../support/bad-copies.ts';
import { commitsOf, writerOn } from '../support/commits.ts';
import { openOn } from '../support/cut-states.ts';
import { sampleOf, sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';

const seed = testSeed();
console.info(`data that is brought to rest: TEST_SEED=${seed}`);
const text = new TextEncoder();
const WORK = btrees.idOf('reconcile_work');

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const findings = (filesystem: Filesystem): string[] => checkInvariants(filesystem).findings.map(findingText);

/** The target that means one member. */
const targetOf = (dev: number) => 1 + dev;
const withTarget =
  (dev: number) =>
  (sb: Superblock): Superblock => ({ ...sb, flags: withBits(sb.flags, sbBits.BACKGROUND_TARGET, targetOf(dev)) });
const withState =
  (dev: number, state: number) =>
  (sb: Superblock): Superblock =>
    withMember(sb, dev, member => ({ ...member, flags: withBits([member.flags], memberBits.STATE, state)[0]! }));

function write(devices: readonly MemoryDevice[], key: Uint8Array | undefined, names: string, sizeBytes: number): void {
  const { writer, options } = writerOn(devices, key, seed + 7);
  const edit = new FileEdit(writer, options);
  for (const name of names) {
    const ref = edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 });
    edit.content.write(ref, 0, new Uint8Array(sizeBytes).fill(name.charCodeAt(0)));
  }
  edit.commit();
}

function expectAtRest(filesystem: Filesystem): void {
  expect(findings(filesystem)).toEqual([]);
  expect([...filesystem.btree(WORK).keys()]).toEqual([]);
  expect(planRebalance(filesystem)).toMatchObject({
    move: { count: 0 },
    compress: { count: 0 },
    settled: 0,
    isCountWrong: false,
  });
}

// biome-ignore format: a table
const allKinds = [
  { name: 'moved', members: 3, options: {}, hasTarget: true },
  { name: 'moved and compressed', members: 3, options: { background_compression: 'zstd' }, hasTarget: true },
  { name: 'compressed otherwise, two copies', members: 3, options: { compression: 'lz4', background_compression: 'gzip', metadata_replicas: '2', data_replicas: '2' }, hasTarget: false },
  { name: 'compressed and encrypted', members: 2, options: { background_compression: 'lz4' }, hasTarget: true, isEncrypted: true },
];
const kinds = sampleOf('data that is brought to rest', allKinds, ['moved', 'moved and compressed']);

describe.each(kinds)('$name', ({ members: count, options, hasTarget, isEncrypted = false }) => {
  test('files, snapshots, shared data', { timeout: patient(120_000) }, () => {
    const { devices, key } = formattedImage({ members: count, sizeBytes: 32 * MIB, options, isEncrypted });
    const { writer, options: own } = writerOn(devices, key, seed);
    for (const { edit } of commitsOf(writer, randomFrom(seed), own, sized(30, 40, 200))) edit().commit();
    // Data that knows of the target, and data that does not.
    if (hasTarget) writer.editSuperblocks(withTarget(1));
    write(devices, key, 'abcd', 300_000);
    const { writer: second } = writerOn(devices, key, seed + 1);
    const before = treeManifest(second.filesystem, () => undefined);
    const plan = planRebalance(second.filesystem);
    expect(plan.move.count + plan.compress.count).toBeGreaterThan(0);
    for (const steps = rebalanceSteps(second, { keysPerCommit: 2000, bytesPerCommit: MIB / 4 }); ; ) {
      const { done, value } = steps.next();
      expect(findings(second.filesystem)).toEqual([]);
      if (!done) continue;
      expect(value).toMatchObject({ left: [], leftCount: 0, waitingBytes: 0 });
      break;
    }
    const after = openOn(devices, key);
    expectAtRest(after);
    expect(treeManifest(after, () => undefined)).toEqual(before);
    if (hasTarget)
      expect(
        new Set(
          dataCopies(after)
            .flat()
            .map(({ dev }) => dev),
        ),
      ).toEqual(new Set([1]));
  });
});

test('of data that moves a bad copy is not a source, and data without a good one stays where it is', () => {
  const { devices } = formattedImage({ members: 3, sizeBytes: 32 * MIB });
  write(devices, undefined, 'ab', 100_000);
  const { writer } = writerOn(devices, undefined, seed);
  const target = 2;
  writer.editSuperblocks(withTarget(target));
  const outside = dataCopies(writer.filesystem).filter(copies => copies.every(({ dev }) => dev !== target));
  expect(outside.length).toBeGreaterThan(0);
  spoil(devices, outside[0]![0]!, randomFrom(seed));
  const report = rebalance(writerOn(devices, undefined, seed + 1).writer);
  expect(report).toMatchObject({ leftCount: 1, left: [{ why: 'no good copy', level: 0 }] });
  const left = openOn(devices);
  expect(findings(left)).toEqual([]);
  expect(dataCopies(left).filter(copies => copies.some(({ dev }) => dev !== target))).toHaveLength(1);
});

describe('the last writable member of a target becomes read-only', () => {
  const made = () => {
    const { devices } = formattedImage({ members: 3, sizeBytes: 32 * MIB });
    writerOn(devices, undefined, seed).writer.editSuperblocks(withTarget(1));
    write(devices, undefined, 'ab', 300_000);
    const { writer } = writerOn(devices, undefined, seed + 1);
    expect([...writer.filesystem.btree(WORK).keys()].length).toBeGreaterThan(0);
    return { devices, writer };
  };

  test('evacuated, nothing waits any more', { timeout: patient(60_000) }, () => {
    const { devices, writer } = made();
    evacuateMembers(writer, [1]);
    expect(findings(openOn(devices))).toEqual([]);
    expect([...openOn(devices).btree(WORK).keys()]).toEqual([]);
  });

  test('by its state only, the counter is put right by rebalance', { timeout: patient(60_000) }, () => {
    const { devices, writer } = made();
    writer.editSuperblocks(withState(1, 1));
    expect(findings(writer.filesystem).length).toBeGreaterThan(0);
    expect(planRebalance(writer.filesystem).isCountWrong).toBe(true);
    rebalance(writer);
    expectAtRest(openOn(devices));
    // And back: what asks for it waits again, as soon as it is counted.
    const { writer: again } = writerOn(devices, undefined, seed + 2);
    again.editSuperblocks(withState(1, 0));
    for (const _ of recountWaiting(again)) expect(findings(again.filesystem)).toEqual([]);
    expect(rebalance(again)).toMatchObject({ leftCount: 0, waitingBytes: 0 });
    expectAtRest(openOn(devices));
  });
});
