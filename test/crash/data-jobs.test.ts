// Jobs that move or copy data on several members, cut off anywhere, each member losing what it had not flushed: the files are what they were, every
// rule of the checker holds, and the same job again brings it to its end.

import {
  type BlockDevice,
  checkInvariants,
  contentsOf,
  dropExtraSteps,
  evacuateMembers,
  FileEdit,
  type FilesystemWriter,
  findingText,
  getBits,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type MemoryDevice,
  members,
  planDropExtra,
  planRebalance,
  planRereplicate,
  rebalanceSteps,
  rereplicateSteps,
  type Superblock,
  sbBits,
  seededRandom,
  shrinkMember,
  withBits,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { FileModel } from '../support/file-model.ts';
import { sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { striped } from '../support/striped.ts';
import { treeManifest } from '../support/tree-manifest.ts';

const seed = testSeed();
console.info(`cut off while data is moved: TEST_SEED=${seed}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const text = new TextEncoder();
const TOP = 'changed here';
const PARTS = { keysPerCommit: 400, bytesPerCommit: MIB / 4 };

interface Job {
  readonly devices: readonly MemoryDevice[];
  readonly allowMissing?: boolean;
  run(writer: FilesystemWriter): void;
  expectDone(writer: FilesystemWriter): void;
  /** Errors that are allowed between the last journal entry and the last superblock, before the filesystem is called clean. */
  readonly between?: (writer: FilesystemWriter) => readonly string[];
}

const all = (steps: Iterable<unknown>): void => {
  for (const _ of steps);
};

/** Random files, and one with data on every member. */
function filled(count: number, options: Record<string, string>): readonly MemoryDevice[] {
  const { devices } = formattedImage({ members: count, sizeBytes: 32 * MIB, options });
  const { writer, options: own } = writerOn(devices, undefined, seed);
  const model = new FileModel(randomFrom(seed));
  const edit = new FileEdit(writer, own);
  const top = edit.files.create(edit.files.root(), text.encode(TOP), { mode: 0o040755 });
  for (let i = 0; i < 40; i++) model.step(edit, top);
  const random = seededRandom(`${seed}`);
  for (const name of 'abcdefgh') {
    const file = edit.files.create(edit.files.root(), text.encode(name), { mode: 0o100644 });
    edit.content.write(file, 0, random.bytes(200_000));
  }
  edit.commit();
  return devices;
}

/** Files by name, and their contents. */
const filesOf = (writer: FilesystemWriter): string => {
  const { entries, complaints } = treeManifest(writer.filesystem, () => undefined);
  expect(complaints).toEqual([]);
  return JSON.stringify(entries);
};

const flagged = (devices: readonly BlockDevice[], change: (flags: Superblock['flags']) => Superblock['flags']): void =>
  writerOn(devices, undefined, seed).writer.editSuperblocks(sb => ({ ...sb, flags: change(sb.flags) }));

const nothing = { count: 0 };

/** To the least that there can be. */
function shrunk(devices: readonly MemoryDevice[], dev: number): Job {
  const sizeOf = ({ filesystem }: FilesystemWriter) => members(filesystem.sb)[dev]!.nbuckets;
  const { writer } = writerOn(
    devices.map(device => device.clone()),
    undefined,
    seed,
  );
  const before = sizeOf(writer);
  const wanted = shrinkMember(writer, dev, 'min').bucketCount;
  return {
    devices,
    run: again => {
      if (sizeOf(again) !== wanted) shrinkMember(again, dev, wanted);
    },
    expectDone: done => expect(sizeOf(done)).toBe(wanted),
    // The buckets that go are in no list then (shrink.test.ts).
    between: cut => {
      if (sizeOf(cut) !== before) return [];
      const isClean = getBits(cut.filesystem.sb.flags, sbBits.CLEAN) === 1;
      const ofCopies = ['alloc_key_data_type_wrong', 'alloc_key_dirty_sectors_wrong'];
      return isClean ? ofCopies : [...ofCopies, 'freespace_hole_missing', 'freespace_key_wrong', 'accounting_mismatch'];
    },
  };
}

const jobs: Readonly<Record<string, () => Job>> = {
  'copies that a missing member had': () => {
    const devices = filled(3, { metadata_replicas: '2', data_replicas: '2' });
    const gone = seed % 3;
    return {
      devices: devices.filter((_, nr) => nr !== gone),
      allowMissing: true,
      run: writer => all(rereplicateSteps(writer, PARTS)),
      expectDone: ({ filesystem }) =>
        expect(planRereplicate(filesystem)).toMatchObject({ extents: nothing, indirect: nothing, nodes: nothing }),
    };
  },
  'copies that are too many': () => {
    const devices = filled(3, { metadata_replicas: '2', data_replicas: '3' });
    flagged(devices, flags => withBits(flags, sbBits.DATA_REPLICAS_WANT, 1));
    return {
      devices,
      run: writer => all(dropExtraSteps(writer, PARTS)),
      expectDone: ({ filesystem }) =>
        expect(planDropExtra(filesystem)).toMatchObject({ extents: nothing, indirect: nothing }),
    };
  },
  'data that goes to its target and is compressed': () => {
    const devices = filled(3, { background_compression: 'zstd' });
    flagged(devices, flags => withBits(flags, sbBits.BACKGROUND_TARGET, 1 + (seed % 3)));
    return {
      devices,
      run: writer => all(rebalanceSteps(writer, PARTS)),
      expectDone: ({ filesystem }) =>
        expect(planRebalance(filesystem)).toMatchObject({ move: nothing, compress: nothing, settled: 0 }),
    };
  },
  'a member with blocks of stripes that is emptied': () => {
    const dev = seed % 4;
    return {
      devices: striped().devices,
      run: writer => void evacuateMembers(writer, [dev], PARTS),
      expectDone: ({ filesystem }) =>
        expect(contentsOf(filesystem, dev)).toMatchObject({ userBytes: 0, btreeBytes: 0 }),
    };
  },
  'a member with blocks of stripes that gets smaller': () => shrunk(striped({ isAtEnd: true }).devices, seed % 4),
};

describe(`power cuts (seed ${seed})`, () => {
  test.each(Object.keys(jobs))('%s', { timeout: patient(300_000) }, name => {
    const { devices, allowMissing = false, run, expectDone, between = () => [] } = jobs[name]!();
    const open = (on: readonly BlockDevice[], nr: number) => writerOn(on, undefined, nr, { allowMissing }).writer;
    const findings = ({ filesystem }: FilesystemWriter) => checkInvariants(filesystem).findings;
    const before = open(devices, seed);
    expect(findings(before).map(findingText)).toEqual([]);
    const expected = filesOf(before);
    const cuts = new PowerCuts(devices);
    run(open(cuts.devices, seed + 1));
    const random = randomFrom(seed);
    const points = [...cuts.points(random, sized(1, 1, 4))];
    const wanted = sized(4, 12, points.length);
    let tried = 0;
    for (const [nr, cut] of points.entries()) {
      // The last is tried always.
      if (nr < points.length - 1 && random.below(points.length) >= wanted) continue;
      tried++;
      const left = cuts.after(cut);
      const after = open(left, seed + 2);
      expect(filesOf(after), cutText(cut)).toBe(expected);
      const allowed = between(after);
      const others = findings(after).filter(({ error }) => !allowed.includes(error));
      expect(others.map(findingText), cutText(cut)).toEqual([]);
      run(after);
      const done = open(left, seed + 3);
      expect(findings(done).map(findingText), cutText(cut)).toEqual([]);
      expect(filesOf(done), cutText(cut)).toBe(expected);
      expectDone(done);
    }
    console.info(`${name}: ${cuts.count} events, ${tried} of ${points.length} cuts`);
    expect(tried).toBeGreaterThan(0);
  });
});
