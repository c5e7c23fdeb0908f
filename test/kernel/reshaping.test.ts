// Arrays that were reshaped at random, and commands that were cut off, judged by a real kernel in one boot. What sequences end with
// (test/support/reshaping.ts): its fsck is silent, the files are what we read, it writes, and its fsck is silent again; without a member that is
// away it mounts `degraded`. What a power cut in a command leaves: it mounts, its fsck repairs what it finds and is silent then, and the
// command run again finishes.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  addMembers,
  allocDevices,
  begunReplacement,
  checkInvariants,
  completeMembers,
  completeReplace,
  evacuateMembers,
  FileEdit,
  findingText,
  growMember,
  joinedBefore,
  journalSize,
  loadChecksums,
  loadCompression,
  loadCompressors,
  MemoryDevice,
  memberAlive,
  members,
  openMember,
  openMembers,
  planAdd,
  planReplace,
  planReplaceMissing,
  removeMember,
  replaceMissingSteps,
  replaceSteps,
  rereplicate,
  resizeJournalSteps,
  sectorsToBytes,
  shrinkMember,
  wipeMember,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { sized } from '../support/long.ts';
import { formattedImage, loadImage, MIB, PASSPHRASE, saveImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, type PowerCut, PowerCuts } from '../support/power-cuts.ts';
import { type Random, randomFrom, testSeed } from '../support/random.ts';
import { RESHAPED_TOP, Reshaping } from '../support/reshaping.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import {
  caseNamed,
  compareManifests,
  type RunResult,
  resultOf,
  runInKernel,
  type Step,
  unlockKey,
} from './vm/index.ts';
import { entryKey } from './vm/manifest.ts';
import { fsckOptions } from './vm/steps.ts';
import { kernelSuite } from './vm/suite.ts';

const seed = testSeed();
console.info(`arrays for the kernel: TEST_SEED=${seed}`);
const text = new TextEncoder();
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-reshaping-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ENDS = sized(1, 2, 20);
const STEPS = 12;
const CUTS = sized(3, 4, 50);

/** A filesystem on the kernel's disks. */
interface Sample {
  readonly name: string;
  readonly disks: readonly string[];
  readonly images: readonly string[];
}

interface End extends Sample {
  readonly run: Reshaping;
}

interface Cut extends Sample {
  readonly kind: CutKind;
  readonly dev: number;
  readonly cut: PowerCut;
  readonly model: FileModel;
}

function saved(name: string, devices: readonly MemoryDevice[]): Sample {
  // Of several that were added at random, the first.
  const added = devices.findIndex(device => device.name === 'new');
  const disks = devices.map((_, nr) => `${name}.${nr === added ? 'new' : nr}`);
  const images = disks.map(disk => join(folder, `${disk}.img`));
  for (const [nr, device] of devices.entries()) saveImage(device, images[nr]!);
  return { name, disks, images };
}

function endOf(nr: number): End {
  const run = new Reshaping((seed + nr) >>> 0);
  run.change(20);
  for (let step = 0; step < STEPS; step++) run.step();
  // States are tried elsewhere (reshape.test.ts): here a kernel is to write.
  for (const dev of run.present.keys()) if (run.stateOf(dev) !== 0) run.setState(dev, 0);
  run.check();
  return { ...saved(`end${nr}`, run.devices), run };
}

/** What is cut off: on three members, the one with an index. */
interface CutKind {
  readonly name: string;
  /** The member is away. */
  readonly isMissing?: boolean;
  readonly run: (devices: readonly MemoryDevice[] | PowerCuts['devices'], dev: number) => void;
}

/** Each writer has numbers of its own, as each run of a program: 6.12 stops at two nodes with one number. */
let writers = 0;
const options = (devices: CutDevices, isMissing = false) =>
  writerOn(devices, undefined, seed + 7919 * ++writers, { allowMissing: isMissing });
type CutDevices = Parameters<CutKind['run']>[0];

/** The last device is the new one. */
function addTo(devices: CutDevices): void {
  const fresh = devices[COUNT];
  const members3 = openMembers(devices.slice(0, COUNT));
  if (members(members3.newest.sb).length > COUNT) {
    const { writer } = options(devices);
    completeMembers(writer, [COUNT]);
    return;
  }
  const { writer, options: own } = options(devices.slice(0, COUNT));
  const now = () => 1_900_000_000n;
  const joining = { device: fresh!, durability: 1, discard: false, dataAllowed: 0b11100, signatures: [] };
  const plan = planAdd(writer.filesystem, [joining], { random: own.random, nowSeconds: now() });
  addMembers(writer, plan, { random: own.random, now });
}

const COUNT = 3;
const kinds: readonly CutKind[] = [
  { name: 'evacuate', run: (devices, dev) => evacuateMembers(options(devices).writer, [dev], { keysPerCommit: 300 }) },
  { name: 'remove', run: (devices, dev) => removeIfThere(devices, dev, false) },
  { name: 'remove-missing', isMissing: true, run: (devices, dev) => removeIfThere(devices, dev, true) },
  { name: 'add', run: devices => addTo(devices) },
  { name: 'shrink', run: (devices, dev) => void shrinkMember(options(devices).writer, dev, 'min') },
  {
    name: 'grow',
    run: (devices, dev) => {
      const { writer } = options(devices);
      const { bucketSizeSectors } = allocDevices(writer.filesystem.sb)[dev]!;
      growMember(writer, dev, (GROWN_MIB * MIB) / sectorsToBytes(bucketSizeSectors));
    },
  },
  {
    name: 'resize-journal',
    run: (devices, dev) => {
      const { writer } = options(devices);
      const count = Math.min(24, journalSize(writer.filesystem, dev).most);
      for (const steps = resizeJournalSteps(writer, dev, count); !steps.next().done; );
    },
  },
  { name: 'replace', run: (devices, dev) => replaceIn(devices, dev) },
  { name: 'replace-missing', isMissing: true, run: (devices, dev) => replaceMissingIn(devices, dev) },
  {
    name: 'rereplicate',
    isMissing: true,
    run: devices => rereplicate(options(devices, true).writer, { keysPerCommit: 300 }),
  },
];
const GROWN_MIB = 48;
const JOINING = ['add', 'replace', 'replace-missing'];

/** That was to join; of an image by its name. */
const isFresh = ({ name }: Pick<CutDevices[number], 'name'>) => name === 'new' || name.endsWith('.new.img');
const isReadable = (device: CutDevices[number]): boolean => {
  try {
    openMember(device);
    return true;
  } catch {
    return false;
  }
};
const secondsOf = ({ random, now }: ReturnType<typeof options>['options']) => ({
  random,
  now: () => now() / 10n ** 9n,
  signatures: [],
});

/** As the command: what was begun is found by the superblocks. */
function replaceIn(devices: CutDevices, dev: number): void {
  const fresh = devices.find(isFresh)!;
  const others = devices.filter(device => device !== fresh && isReadable(device));
  const begun = isReadable(fresh) ? begunReplacement(others.map(openMember), openMember(fresh)) : undefined;
  if (begun !== undefined) {
    if (begun.old !== undefined) wipeMember(begun.old);
    completeReplace(options([...others.filter(isReadable), fresh]).writer, dev);
    return;
  }
  const { writer, options: own } = options(others);
  for (const _ of replaceSteps(writer, planReplace(writer.filesystem, dev, fresh), fresh, secondsOf(own)));
}

function replaceMissingIn(devices: CutDevices, dev: number): void {
  const fresh = devices.find(isFresh)!;
  const others = devices.filter(device => device !== fresh);
  const isMember = isReadable(fresh) && joinedBefore(others.map(openMember), openMember(fresh)) === 'member';
  const { writer, options: own } = options(isMember ? devices : others, true);
  const known = members(writer.filesystem.sb)[dev];
  if (known === undefined || !memberAlive(known)) {
    writer.editSuperblocks(sb => sb);
    return;
  }
  const more = { ...secondsOf(own), allowMissing: true, keysPerCommit: 300 };
  const replacing = isMember ? { dev: openMember(fresh).sb.dev_idx } : { device: fresh, signatures: [] };
  for (const _ of replaceMissingSteps(writer, planReplaceMissing(writer, dev, replacing, more), more));
}

function removeIfThere(devices: CutDevices, dev: number, isMissing: boolean): void {
  const { writer } = options(devices, isMissing);
  const member = members(writer.filesystem.sb)[dev];
  if (member !== undefined && memberAlive(member)) removeMember(writer, dev);
}

/** The members by what the newest superblock of the old ones says, in the order of the devices. */
function membersOf(devices: readonly MemoryDevice[]): readonly MemoryDevice[] {
  const readable = devices.filter(device => {
    try {
      openMembers([device]);
      return true;
    } catch {
      return false;
    }
  });
  const { sb } = openMembers(readable.filter(device => !isFresh(device))).newest;
  return readable.filter(device => {
    const member = members(sb)[openMembers([device]).newest.sb.dev_idx];
    return member !== undefined && memberAlive(member);
  });
}

function cutOf(nr: number): Cut {
  const random: Random = randomFrom(seed + nr);
  const kind = kinds[(seed + nr) % kinds.length]!;
  const dev = random.below(COUNT);
  const two = { metadata_replicas: '2', data_replicas: '2' };
  const { devices } = formattedImage({ members: COUNT, sizeBytes: 32 * MIB, options: two });
  const { writer, options: own } = options(devices);
  const model = new FileModel(random);
  const edit = new FileEdit(writer, own);
  const top = edit.files.create(edit.files.root(), text.encode(RESHAPED_TOP), { mode: 0o040755 });
  for (let i = 0; i < 40; i++) model.step(edit, top);
  edit.commit();
  if (kind.name === 'grow') devices[dev]!.setSize(GROWN_MIB * MIB);
  const present = kind.isMissing === true ? devices.filter((_, at) => at !== dev) : devices;
  const joining = JOINING.includes(kind.name) ? [new MemoryDevice(48 * MIB, { name: 'new' })] : [];
  const cuts = new PowerCuts([...present, ...joining]);
  kind.run(cuts.devices, dev);
  const points = [...cuts.points(random, 2)];
  // Half of them in the last commit, where it is decided.
  const late = points.filter(({ events }) => events > cuts.count - 30);
  const cut = random.pick(random.below(2) === 0 ? late : points);
  const left = membersOf(cuts.after(cut));
  return { ...saved(`cut${nr}`, left), kind, dev, cut, model };
}

/** The machine has no room for more disks. */
const DISKS_PER_BOOT = 80;

function inBoots<S extends Sample>(all: readonly S[]): readonly (readonly S[])[] {
  const boots: S[][] = [];
  let room = 0;
  for (const one of all) {
    if (boots.length === 0 || one.disks.length > room) {
      boots.push([]);
      room = DISKS_PER_BOOT;
    }
    boots.at(-1)!.push(one);
    room -= one.disks.length;
  }
  return boots;
}

kernelSuite('arrays that were reshaped at random, or cut off', () => {
  const ends: End[] = [];
  const cuts: Cut[] = [];
  const looks: RunResult[] = [];

  /** Of a device and the one that replaces it, a kernel takes the latter. */
  const isDegraded = ({ images }: Sample): boolean => {
    const opened = images.map(loadImage).map(device => ({ device, dev: openMember(device).sb.dev_idx }));
    const fresh = opened.find(({ device }) => isFresh(device))?.dev;
    const taken = opened.filter(({ device, dev }) => isFresh(device) || dev !== fresh);
    return openMembers(taken.map(({ device }) => device)).missing.length > 0;
  };

  function stepsOf({ disks, images }: Sample, isWithout: boolean, key: Uint8Array | undefined): readonly Step[] {
    const unlock = key === undefined ? {} : { key: unlockKey(images[0]!, PASSPHRASE) };
    const more = isWithout ? 'degraded' : undefined;
    const withMore = (words: string) => ({ options: more === undefined ? words : `${words},${more}` });
    const mount = more === undefined ? {} : { options: more };
    return [
      { do: 'fsck', disks, as: 'as it was left', timeoutSeconds: 200, ...withMore(fsckOptions(false)), ...unlock },
      { do: 'fsck', disks, as: 'repaired', timeoutSeconds: 200, ...withMore(fsckOptions(true)), ...unlock },
      { do: 'mount', disks, ...mount, ...unlock },
      { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
      { do: 'write', path: 'written', pattern: { kind: 'random', seed: 1 }, sizeBytes: 30_000, fsync: true },
      { do: 'umount' },
      { do: 'fsck', disks, as: 'written', timeoutSeconds: 200, ...withMore(fsckOptions(false)), ...unlock },
    ];
  }

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    await loadCompressors();
    for (let nr = 0; nr < ENDS; nr++) ends.push(endOf(nr));
    for (let nr = 0; nr < CUTS; nr++) cuts.push(cutOf(nr));
    const all = [
      ...ends.map(end => ({ ...end, steps: stepsOf(end, end.run.away.size > 0, end.run.key) })),
      ...cuts.map(cut => ({ ...cut, steps: stepsOf(cut, isDegraded(cut), undefined) })),
    ];
    for (const { name, cut, kind, dev } of cuts) console.info(`${name}: ${kind.name} ${dev}, ${cutText(cut)}`);
    for (const some of inBoots(all)) {
      looks.push(
        await runInKernel({
          disks: some.flatMap(({ disks, images }) => disks.map((name, nr) => ({ name, path: images[nr]! }))),
          cases: some.map(({ name, steps }) => ({ name, steps })),
          timeoutSeconds: 900,
        }),
      );
    }
  }, patient(1_000_000));

  const ofKernel = (name: string, which: string) => {
    const look = looks.find(({ cases }) => cases.some(one => one.name === name));
    return resultOf(caseNamed(look!, name), which);
  };

  describe.each(Array.from({ length: ENDS }, (_, nr) => nr))('a sequence, %d', nr => {
    test('the kernel has no complaint, neither before nor after it writes', () => {
      const { name, run } = ends[nr]!;
      for (const which of ['as it was left', 'repaired', 'written']) {
        const { fsck } = ofKernel(name, which);
        expect(fsck?.complaints, run.text()).toEqual([]);
        expect(fsck?.mounted, run.text()).toBe(true);
      }
    });
    test('it reads what we read', () => {
      const { name, run } = ends[nr]!;
      const expected = ofKernel(name, 'seen').manifest ?? [];
      const data = new Map(expected.map(entry => [entryKey(entry), entry.data]));
      const { entries, complaints } = treeManifest(run.filesystem, path => data.get(path));
      expect(complaints, run.text()).toEqual([]);
      expect(compareManifests(entries, expected, { ignore: ['data'] }), run.text()).toEqual([]);
      expect(expected.length).toBeGreaterThan(1);
    });
  });

  test.each(Array.from({ length: CUTS }, (_, nr) => nr))(
    'a command that was cut off, %d: repaired, and done again',
    nr => {
      const { name, kind, dev, cut, model, images } = cuts[nr]!;
      const where = `${kind.name} ${dev}, ${cutText(cut)}, TEST_SEED=${seed}`;
      console.info(
        where,
        ofKernel(name, 'as it was left').fsck?.complaints.map(each => each.text),
      );
      expect(ofKernel(name, 'repaired').fsck?.mounted, where).toBe(true);
      expect(ofKernel(name, 'written').fsck?.mounted, where).toBe(true);
      expect(ofKernel(name, 'written').fsck?.complaints, where).toEqual([]);
      const devices = images.map(loadImage);
      if (JOINING.includes(kind.name) && !devices.some(isFresh))
        devices.push(new MemoryDevice(48 * MIB, { name: 'new' }));
      kind.run(devices, dev);
      // One that is away may still be a member.
      const { filesystem } = options(membersOf(devices), kind.isMissing === true).writer;
      expect(checkInvariants(filesystem).findings.map(findingText), where).toEqual([]);
      expect(treeText(filesystem, RESHAPED_TOP), where).toEqual(model.text());
    },
  );
});
