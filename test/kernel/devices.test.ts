// Arrays that are changed and reshaped without a mount, against a real kernel: Linux fills filesystems of several members, our engine does
// its part, and Linux checks and reads them, mounts them for writing, writes a little, and checks once more.

import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type MountHost, runCli, thisMountHost } from '@bcachefs-ts/command';
import {
  FaultyDevice,
  FilesystemWriter,
  openDevice,
  openMembers,
  planReplace,
  replaceSteps,
  systemRandom,
} from '@bcachefs-ts/core/engine';
import { mountCommandOn } from '@bcachefs-ts/device';
import { beforeAll, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { sampleOf } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { FormattedKinds } from './formatted-kinds.ts';
import { caseNamed, compareManifests, type RunResult, resultOf, type Step } from './vm/index.ts';
import { entryKey, type ManifestEntry } from './vm/manifest.ts';
import { fsckOptions } from './vm/steps.ts';
import { kernelSuite } from './vm/suite.ts';

const MIB = 2 ** 20;

interface DegradedKind {
  readonly name: string;
  readonly format: readonly string[];
  readonly devices: number;
  readonly missing: number;
  readonly isEncrypted?: boolean;
  /** A kernel writes while the member is missing, and we do not: for what it says of its own doing. */
  readonly isTheirs?: boolean;
}

// biome-ignore format: a table
const degradedKinds: readonly DegradedKind[] = [
  { name: 'first of two', format: ['--replicas=2', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1'], devices: 2, missing: 0 },
  { name: 'second of three', format: ['--replicas=2', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1', '--fs_size=96M', 'DEV2'], devices: 3, missing: 1 },
  { name: 'encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4', '--replicas=2', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1', '--fs_size=96M', 'DEV2'], devices: 3, missing: 2, isEncrypted: true },
  { name: 'second of three, by the kernel', format: ['--replicas=2', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1', '--fs_size=96M', 'DEV2'], devices: 3, missing: 1, isTheirs: true },
];

kernelSuite('changed while a member is missing', () => {
  const made = new FormattedKinds('degraded', sampleOf('a member is missing', degradedKinds, ['second of three']));
  type One = (typeof made.all)[number];
  const leftOf = <T>({ missing }: One, all: readonly T[]): T[] => all.filter((_, nr) => nr !== missing);
  const seen: { before?: RunResult; after?: RunResult } = {};
  /** By name: what is said of all copies, also those on the member that was away. */
  const scrubbed = new Map<string, { readonly exitCode: number; readonly stdout: string }>();

  beforeAll(async () => {
    await made.format();
    seen.before = await made.runAndLook((one, nr) => [
      { do: 'mount', disks: one.disks, ...made.keyOf(one) },
      { do: 'fill', seed: nr, sizeBytes: 4 * MIB, subvolumes: true, timeoutSeconds: 200 },
      { do: 'write', path: 'to go', pattern: { kind: 'random', seed: nr }, sizeBytes: 3 * MIB },
      { do: 'umount' },
    ]);
    const source = join(made.folder, 'put here');
    writeFileSync(source, new Uint8Array(2 * MIB).fill(77));
    for (const one of made.all) {
      if (one.isTheirs) continue;
      const words = leftOf(one, one.images).join(':');
      const more = [
        '--allow_missing',
        ...(one.isEncrypted ? [`--passphrase_file=${join(made.folder, 'passphrase')}`] : []),
      ];
      await succeed('mkdir', [...more, words, '/made']);
      await succeed('put', [...more, words, source, '/made/put']);
      await succeed('rm', [...more, words, '/to go']);
    }
    const degraded = (one: One): Step[] => {
      const options = `${fsckOptions(false)},degraded`;
      return [
        { do: 'fsck', disks: leftOf(one, one.disks), options, as: 'degraded', timeoutSeconds: 200, ...made.keyOf(one) },
        { do: 'mount', disks: leftOf(one, one.disks), options: 'degraded', ...made.keyOf(one) },
        { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
        { do: 'write', path: 'written while it is missing', pattern: { kind: 'random', seed: 1 }, sizeBytes: MIB },
        ...(one.isTheirs ? [{ do: 'unlink', path: 'to go' } as const] : []),
        { do: 'umount' },
        {
          do: 'fsck',
          disks: leftOf(one, one.disks),
          options,
          as: 'degraded again',
          timeoutSeconds: 200,
          ...made.keyOf(one),
        },
      ];
    };
    seen.after = await made.run(
      one => [
        ...degraded(one),
        { do: 'fsck', disks: one.disks, as: 'back', timeoutSeconds: 200, ...made.keyOf(one) },
        { do: 'mount', disks: one.disks, ...made.keyOf(one) },
        { do: 'manifest', as: 'seen back', timeoutSeconds: 200 },
        { do: 'write', path: 'written with all', pattern: { kind: 'random', seed: 2 }, sizeBytes: MIB },
        { do: 'umount' },
        { do: 'fsck', disks: one.disks, as: 'back again', timeoutSeconds: 200, ...made.keyOf(one) },
      ],
      true,
    );
    for (const one of made.all) {
      const more = one.isEncrypted ? [`--passphrase_file=${join(made.folder, 'passphrase')}`] : [];
      scrubbed.set(one.name, await run('scrub', ['-n', ...more, ...one.images]));
    }
  }, patient(1_000_000));

  describe.each(made.all)('$name', one => {
    const ofKernel = (name: string) => resultOf(caseNamed(seen.after!, one.name), name);
    test.each(['degraded', 'degraded again', 'back', 'back again'])('no complaint: %s', which => {
      const { fsck } = ofKernel(which);
      expect(fsck?.mounted).toBe(true);
      expect(fsck?.complaints).toEqual([]);
    });
    test('no copy on the member that came back is out of date', () => {
      expect(scrubbed.get(one.name)).toMatchObject({ exitCode: 0 });
    });
    test('files are what they were', () => {
      const isOther = (entry: ManifestEntry) => !/^(made|to go|written|\.?$)/.test(entryKey(entry));
      const before = resultOf(caseNamed(seen.before!, one.name), 'seen').manifest!.filter(isOther);
      for (const which of ['seen', 'seen back']) {
        const found = ofKernel(which).manifest!;
        expect(compareManifests(found.filter(isOther), before)).toEqual([]);
        const paths = found.map(entryKey);
        if (!one.isTheirs) expect(paths).toContain('made/put');
        expect(paths.includes('to go')).toBe(one.isTheirs === true && which === 'seen');
      }
    });
  });
});

interface ReshapedKind {
  readonly name: string;
  readonly format: readonly string[];
  readonly devices: number;
  readonly isEncrypted?: boolean;
  /** Words after `device`, or other commands in full, MEMBERS, BEFORE, LEFT (members afterwards), STAYING (those among them that were) and PATHn of images; each is a command. */
  readonly commands: readonly (readonly string[])[];
  /** The same, before the kernel writes. */
  readonly first?: readonly (readonly string[])[];
  /** The images that are members before and afterwards; all when left out. */
  readonly before?: readonly number[];
  readonly after?: readonly number[];
  /** Image 2 replaces image 1, cut off when both have a superblock: the kernel sees each of these sets too, and then goes on with `after`. */
  readonly cutOff?: readonly (readonly number[])[];
}

// biome-ignore format: a table
const reshapedKinds: readonly ReshapedKind[] = [
  { name: 'evacuated, one copy', format: ['--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1'], devices: 2, commands: [['evacuate', '-y', 'MEMBERS', 'PATH0']] },
  { name: 'evacuated, two copies', format: ['--replicas=2', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1', '--fs_size=96M', 'DEV2'], devices: 3, commands: [['evacuate', '-y', 'MEMBERS', 'PATH1']] },
  { name: 'evacuated, encrypted, cached', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--compression=lz4', '--foreground_target=hdd', '--promote_target=ssd', '--label=ssd.a', '--fs_size=96M', 'DEV0', '--label=hdd.b', '--fs_size=96M', 'DEV1', '--label=hdd.c', '--fs_size=96M', 'DEV2'], devices: 3, isEncrypted: true, commands: [['evacuate', '-y', 'MEMBERS', 'PATH0']] },
  { name: 'removed, one copy', format: ['--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1'], devices: 2, commands: [['remove', '-y', 'MEMBERS', 'PATH0']], after: [1] },
  { name: 'removed, two copies', format: ['--replicas=2', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1', '--fs_size=96M', 'DEV2'], devices: 3, first: [['evacuate', '-y', 'MEMBERS', 'PATH1'], ['set-state', '-y', 'rw', 'MEMBERS', '1']], commands: [['remove', '-y', 'MEMBERS', 'PATH1']], after: [0, 2] },
  { name: 'removed by force', format: ['--replicas=2', '--compression=zstd', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1', '--fs_size=96M', 'DEV2'], devices: 3, commands: [['remove', '-y', '--force', 'MEMBERS', 'PATH2']], after: [0, 1] },
  { name: 'copies made after a loss', format: ['--replicas=2', '--compression=lz4', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1', '--fs_size=96M', 'DEV2'], devices: 3, commands: [['remove', '-y', '--force', 'MEMBERS', 'PATH2'], ['data rereplicate', '-y', 'LEFT']], after: [0, 1] },
  { name: 'extra copies dropped', format: ['--replicas=2', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1', '--fs_size=96M', 'DEV2'], devices: 3, commands: [['set-fs-option', '--data_replicas=1', '--metadata_replicas=1', 'PATH0', 'PATH1', 'PATH2'], ['data drop_extra_replicas', '-y', 'MEMBERS']] },
  { name: 'brought to rest', format: ['--label=ssd.a', '--fs_size=96M', 'DEV0', '--label=hdd.b', '--fs_size=96M', 'DEV1', '--label=hdd.c', '--fs_size=96M', 'DEV2'], devices: 3, commands: [['set-fs-option', '--background_target=hdd', '--background_compression=zstd', 'PATH0', 'PATH1', 'PATH2'], ['data rebalance', '-y', 'MEMBERS']] },
  { name: 'removed, missing', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--replicas=2', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1', '--fs_size=96M', 'DEV2'], devices: 3, isEncrypted: true, commands: [['remove', '-y', '--allow_missing', 'LEFT', '0']], after: [1, 2] },
  { name: 'added, one of two leaves', format: ['--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1'], devices: 3, before: [0, 1], commands: [['add', '-y', '--label=new.one', 'BEFORE', 'PATH2'], ['remove', '-y', 'MEMBERS', 'PATH0']], after: [1, 2] },
  { name: 'replaced by a larger one', format: ['--replicas=1', '--compression=lz4', '--fs_size=96M', 'DEV0', '--label=old.one', '--fs_size=96M', 'DEV1'], devices: 3, before: [0, 1], commands: [['replace', '-y', 'BEFORE', 'PATH1', 'PATH2']], after: [0, 2] },
  { name: 'replaced, the only one, encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--fs_size=96M', 'DEV0'], devices: 2, isEncrypted: true, before: [0], commands: [['replace', '-y', 'BEFORE', '0', 'PATH1']], after: [1] },
  { name: 'replaced, missing', format: ['--replicas=2', '--compression=lz4', '--fs_size=96M', 'DEV0', '--label=old.one', '--fs_size=96M', 'DEV1', '--fs_size=96M', 'DEV2'], devices: 4, before: [0, 1, 2], commands: [['replace', '-y', '--allow_missing', 'STAYING', '1', 'PATH3']], after: [0, 2, 3] },
  { name: 'replaced, missing, encrypted', format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--replicas=2', '--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1'], devices: 3, isEncrypted: true, before: [0, 1], commands: [['replace', '-y', '--allow_missing', 'STAYING', '0', 'PATH2']], after: [1, 2] },
  { name: 'replaced, cut off', format: ['--fs_size=96M', 'DEV0', '--fs_size=96M', 'DEV1'], devices: 3, before: [0, 1], commands: [], cutOff: [[0, 1, 2], [0, 1]], after: [0, 2] },
];

/** The command line that `bcachefs mount` runs, of the disks in the machine. */
async function mountLine(images: readonly string[], disks: readonly string[]): Promise<string> {
  let line = '';
  const host: MountHost = {
    ...thisMountHost,
    platform: 'linux',
    text: path => (path === '/proc/filesystems' ? 'bcachefs\n' : undefined),
    look: path => (existsSync(path) ? { realPath: path, kind: 'block device' } : undefined),
    hasKey: () => () => true,
    run(program, args) {
      line = [program, ...args].join(' ');
      return { status: 0, output: '' };
    },
  };
  const ran = await runCli(mountCommandOn(host), ['-o', 'noatime,errors=ro', images.join(':'), '/by-us']);
  expect(ran).toMatchObject({ exitCode: 0, stderr: '' });
  return images.reduce((text, image, nr) => text.replace(image, `/disks/${disks[nr]}`), line);
}

kernelSuite('reshaped', () => {
  const made = new FormattedKinds(
    'reshaped',
    sampleOf('arrays that are reshaped', reshapedKinds, [
      'removed, two copies',
      'added, one of two leaves',
      'replaced by a larger one',
      'replaced, missing',
      'copies made after a loss',
    ]),
  );
  type One = (typeof made.all)[number];
  const seen: { before?: RunResult; after?: RunResult } = {};
  const leftOf = <T>({ after }: One, all: readonly T[]): readonly T[] => after?.map(nr => all[nr]!) ?? all;
  const stayingOf = (one: One) => leftOf(one, one.images).filter(image => firstOf(one, one.images).includes(image));
  const firstOf = <T>({ before }: One, all: readonly T[]): readonly T[] => before?.map(nr => all[nr]!) ?? all;

  async function runAll(one: One, commands: readonly (readonly string[])[]): Promise<void> {
    for (const command of commands) {
      const [name, ...words] = command.map(word =>
        word
          .replace('MEMBERS', one.images.join(':'))
          .replace('STAYING', stayingOf(one).join(':'))
          .replace('LEFT', leftOf(one, one.images).join(':'))
          .replace('BEFORE', firstOf(one, one.images).join(':'))
          .replace(/^PATH(\d)$/, (_, nr: string) => one.images[Number(nr)]!),
      );
      const whole = name?.startsWith('data ') || name === 'set-fs-option' ? name : `device ${name}`;
      const more = one.isEncrypted ? [`--passphrase_file=${join(made.folder, 'passphrase')}`] : [];
      console.info(one.name, await succeed(whole as 'device evacuate', [...more, ...words]));
    }
  }

  beforeAll(async () => {
    await made.format();
    for (const one of made.all) for (const path of one.images) if (!existsSync(path)) truncateNew(path, 128 * MIB);
    for (const one of made.all) await runAll(one, one.first ?? []);
    seen.before = await made.run(
      (one, nr) => [
        { do: 'mount', disks: firstOf(one, one.disks), ...made.keyOf(one) },
        { do: 'fill', seed: nr, sizeBytes: 5 * MIB, subvolumes: true, timeoutSeconds: 300 },
        {
          do: 'sh',
          script:
            'mkdir many; i=0; while [ $i -lt 40 ]; do noise 60000 > many/$i; i=$((i+1)); done; sync; echo 3 > /proc/sys/vm/drop_caches; cat many/* > /dev/null; sleep 1; cp --reflink=always many/1 many/shared; sync',
          timeoutSeconds: 200,
        },
        { do: 'umount' },
        ...made.lookSteps({ ...one, disks: firstOf(one, one.disks) }),
      ],
      true,
    );
    for (const one of made.all) await runAll(one, one.commands);
    for (const one of made.all) if (one.cutOff !== undefined) replaceCutOff(one.images);
    const lines = new Map<string, string>();
    for (const one of made.all) lines.set(one.name, await mountLine(leftOf(one, one.images), leftOf(one, one.disks)));
    seen.after = await made.run(one => {
      const disks = leftOf(one, one.disks);
      const key = made.keyOf({ ...one, images: leftOf(one, one.images) });
      const cutOff = (one.cutOff ?? []).flatMap((given): Step[] => [
        { do: 'mount', disks: given.map(nr => one.disks[nr]!), readOnly: true, options: 'nochanges' },
        { do: 'manifest', as: `seen ${given}`, timeoutSeconds: 200 },
        { do: 'umount' },
      ]);
      return [
        // First: once the new device was used without the old one, that one is only one that has missed something.
        ...cutOff,
        // Without a key in its keyring the kernel cannot.
        ...(one.isEncrypted
          ? []
          : [{ do: 'sh', script: `mkdir -p /by-us; ${lines.get(one.name)}; ls /by-us/many; umount /by-us` } as const]),
        { do: 'fsck', disks, as: 'after', timeoutSeconds: 200, ...key },
        { do: 'mount', disks, ...key },
        { do: 'manifest', as: 'seen', timeoutSeconds: 200 },
        { do: 'write', path: 'written', pattern: { kind: 'random', seed: 1 }, sizeBytes: MIB, fsync: true },
        { do: 'mkdir', path: 'made' },
        { do: 'umount' },
        { do: 'mount', disks, ...key },
        { do: 'unlink', path: 'written' },
        { do: 'umount' },
        { do: 'fsck', disks, as: 'written', timeoutSeconds: 200, ...key },
      ];
    }, true);
  }, patient(1_000_000));

  describe.each(made.all)('$name', one => {
    const ofKernel = (name: string) => resultOf(caseNamed(seen.after!, one.name), name);
    test.each(['after', 'written'])('no complaint: %s', which => {
      const { fsck } = ofKernel(which);
      expect(fsck?.mounted).toBe(true);
      expect(fsck?.complaints).toEqual([]);
    });
    test('every file is what it was', () => {
      const before = resultOf(caseNamed(seen.before!, one.name), 'seen').manifest!;
      expect(before.length).toBeGreaterThan(100);
      for (const which of ['seen', ...(one.cutOff ?? []).map(given => `seen ${given}`)])
        expect(compareManifests(ofKernel(which).manifest!, before)).toEqual([]);
    });
  });
});

function truncateNew(path: string, sizeBytes: number): void {
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
}

/** The third image has its superblock, the second still has its own, and the first has not heard of it. */
function replaceCutOff(images: readonly string[]): void {
  const [first, second, third] = images.map(path => openDevice(path, { write: true }));
  const old = new FaultyDevice(second!, [{ kind: 'write-error' }]);
  const options = { random: systemRandom, now: () => BigInt(Math.floor(Date.now() / 1000)) };
  const writer = new FilesystemWriter(openMembers([first!, old]), options);
  const plan = planReplace(writer.filesystem, 1, third!);
  expect(() => [...replaceSteps(writer, plan, third!, { ...options, signatures: [] })]).toThrow('EIO');
  for (const device of [first!, old, third!]) device.close();
}
