// Damaged and hostile superblocks: whatever is on the disk, opening and printing it ends in a value or in one of the errors that
// core throws on purpose, soon, and without an output out of proportion. Half of the mutants get a right checksum again, since
// only those reach the decoders.

import {
  BchSb,
  type BlockDevice,
  CorruptError,
  DeviceError,
  editSuperblock,
  encryptionOf,
  IncompatibleError,
  MemoryDevice,
  masterKey,
  openDevice,
  openMembers,
  option,
  planFormat,
  planRecovery,
  readBytes,
  readSuperblock,
  recoverSuperblock,
  type Superblock,
  seededRandom,
  superblockBytes,
  superblockCopyBytes,
  superblockJson,
  superblockText,
  UsageError,
  VERSION_CURRENT_WRITTEN,
  viewOf,
  withCountersReset,
  withDeviceOption,
  withFilesystemOption,
  withOption,
  withPassphrase,
} from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { fixture, fixtureNames } from '../support/fixtures.ts';
import { testImageContents, testImages } from '../support/images.ts';
import { sized } from '../support/long.ts';
import { cpuMs, patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { mutate } from './superblock-mutants.ts';

const SB_OFFSET_BYTES = 4096;
const DEVICE_BYTES = 2 * 2 ** 20;
const SLOWEST_MS = 2000;
const LONGEST_OUTPUT = 4 * 2 ** 20;
const MUTANTS = sized(1_500, 1_500, 40_000);

/** Superblocks of our own making, with every section that format writes. */
function ownSuperblocks(): Uint8Array[] {
  const device = (name: string, label?: string) => ({
    name,
    label,
    sizeBytes: 2 ** 30,
    physicalSectorBytes: 0,
    logicalSectorBytes: 512,
    durability: 1,
    discard: true,
    dataAllowed: 0b11100,
  });
  const common = {
    options: new Map(),
    version: VERSION_CURRENT_WRITTEN,
    now: 1_700_000_000_000_000_000n,
    random: seededRandom('fuzz'),
  };
  const plans = [
    planFormat({ ...common, devices: [device('a')], targets: {} }),
    planFormat({
      ...common,
      devices: [device('a', 'ssd.a'), device('b', 'hdd.b.c'), device('c')],
      targets: { foreground_target: 'ssd', promote_target: 'c' },
      encryption: { passphrase: undefined },
      fsLabel: 'fuzz',
    }),
  ];
  return plans.map(plan => superblockCopyBytes(plan.superblocks[0]!, 8n));
}

function deviceWith(bytes: Uint8Array): MemoryDevice {
  const device = new MemoryDevice(DEVICE_BYTES, { name: 'mutant' });
  device.write(SB_OFFSET_BYTES, bytes.subarray(0, Math.min(bytes.length, DEVICE_BYTES - SB_OFFSET_BYTES)));
  return device;
}

const isTyped = (thrown: unknown): boolean =>
  [CorruptError, IncompatibleError, DeviceError, UsageError].some(kind => thrown instanceof kind);

/** Everything that the commands do with a superblock that they only read. Returns how long the longest output was. */
function exercise(device: BlockDevice): number {
  let longest = 0;
  const attempt = (what: () => string | undefined) => {
    try {
      longest = Math.max(longest, what()?.length ?? 0);
    } catch (thrown) {
      if (!isTyped(thrown)) throw thrown;
    }
  };
  const render = (sb: Superblock) => {
    attempt(() => superblockText(sb, { layout: true, fields: 'all' }));
    attempt(() => superblockText(sb, { style: '1.39' }));
    attempt(() => JSON.stringify(superblockJson(sb)));
    attempt(() => encryptionOf(sb));
  };
  attempt(() => {
    const { sb } = readSuperblock(device);
    render(sb);
    return undefined;
  });
  attempt(() => void openMembers([device]));
  attempt(() => void planRecovery(device));
  // And what the commands that write do with it, on this device that is not needed any more.
  const edit = (change: (sb: Superblock) => Superblock) =>
    attempt(() => void editSuperblock(openMembers([device]), change, { now: 1_800_000_000n, allowMissing: true }));
  edit(sb => withCountersReset(withOption(sb, 'errors', 1)));
  edit(sb => withDeviceOption(sb, sb.dev_idx, option('label'), 'a.b.c'));
  edit(sb => withDeviceOption(sb, 0, option('durability'), 2));
  edit(sb => withFilesystemOption(sb, option('promote_target'), 'ssd', '1.13', new Map()));
  edit(sb => withPassphrase(sb, masterKey(sb, undefined) ?? new Uint8Array(32), undefined));
  attempt(() => void recoverSuperblock(device, planRecovery(device)));
  return longest;
}

/** Superblocks that kernels have written, with sections that format does not make; of later versions where there are reference images. */
function kernelSuperblocks(): Uint8Array[] {
  const own = testImages.flatMap(({ name }) => testImageContents(name)).map(contents => MemoryDevice.from(contents));
  const later = ['quota', 'u103-2dev', 'u136-basic', 'misc-1.39', 'ec-1.39']
    .filter(name => fixtureNames().includes(name))
    .map(name => openDevice(fixture(name).images[0]!, { write: false }));
  return [...own, ...later].map(device => {
    const header = readBytes(device, SB_OFFSET_BYTES, BchSb.size);
    const bytes = readBytes(device, SB_OFFSET_BYTES, superblockBytes(viewOf(header), 0));
    device.close();
    return bytes;
  });
}

const originals = [...ownSuperblocks(), ...kernelSuperblocks()];

describe('mutated superblocks', () => {
  const seed = testSeed();

  test(`${MUTANTS} mutants end in a value or a typed error (TEST_SEED=${seed})`, { timeout: patient(600_000) }, () => {
    const random = randomFrom(seed);
    for (let nr = 0; nr < MUTANTS; nr++) {
      const device = deviceWith(mutate(random.pick(originals), random));
      const started = cpuMs();
      let longest: number;
      try {
        longest = exercise(device);
      } catch (cause) {
        throw new Error(
          `mutant ${nr} of TEST_SEED=${seed}: ${cause instanceof Error ? cause.message : String(cause)}`,
          { cause },
        );
      }
      expect(cpuMs() - started, `time of mutant ${nr}`).toBeLessThan(SLOWEST_MS);
      expect(longest, `output of mutant ${nr}`).toBeLessThan(LONGEST_OUTPUT);
    }
  });

  test('a mutant is not always refused: the decoders are reached', () => {
    const random = randomFrom(1);
    let accepted = 0;
    for (let nr = 0; nr < 300; nr++) {
      try {
        readSuperblock(deviceWith(mutate(random.pick(originals), random)));
        accepted++;
      } catch (thrown) {
        expect(isTyped(thrown)).toBe(true);
      }
    }
    expect(accepted).toBeGreaterThan(50);
  });
});
