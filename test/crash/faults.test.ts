// Disks that fail while files are changed: an error, half a write or a full host at any write, an error at any flush. What is thrown says
// so, the filesystem is as it was or, when the fault came after the commit, as it was to be, and the writer does not go on as if
// nothing had happened.

import {
  DeviceError,
  type Fault,
  FaultyDevice,
  FileEdit,
  loadChecksums,
  loadCompression,
  loadCompressors,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { commitsOf, writerOn } from '../support/commits.ts';
import { statesOf } from '../support/cut-states.ts';
import { sized } from '../support/long.ts';
import { formattedImage, type MemoryImage, testImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { type EventPlace, type PowerCut, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`faults of disks: TEST_SEED=${seed}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

interface Kind {
  readonly name: string;
  readonly image: () => MemoryImage;
  /** See commitsOf. */
  readonly isStaged?: boolean;
}

// biome-ignore format: a table
const kinds: readonly Kind[] = [
  { name: 'a kernel’s, unclean', image: () => testImage('unclean') },
  { name: 'ours, two members', image: () => formattedImage({ members: 2, options: { metadata_replicas: '2', data_replicas: '2', compression: 'lz4' } }) },
  { name: 'ours, encrypted', image: () => formattedImage({ isEncrypted: true, options: { compression: 'zstd' } }) },
  { name: 'ours, in parts', image: () => formattedImage({}), isStaged: true },
];

const STEPS = 10;
/** Each with other changes. */
const rounds = Array.from({ length: sized(1, 1, 4) }, (_, round) => seed + round);

/** What may go wrong with an event, and what the disks then hold. */
interface Trouble {
  readonly device: number;
  readonly fault: Fault;
  readonly cut: PowerCut;
  readonly says: RegExp;
  readonly kind: 'io' | 'full';
}

function troublesWith(events: readonly EventPlace[], index: number): Trouble[] {
  const { kind, device, length } = events[index]!;
  const before = events.slice(0, index).filter(event => event.device === device && event.kind === kind);
  const skip = before.length;
  if (kind === 'flush') {
    const fault: Fault = { kind: 'flush-error', skip, times: 1 };
    return [{ device, fault, cut: { events: index }, says: /^\S+: flushing failed: EIO$/, kind: 'io' }];
  }
  const sectors = Math.floor(length / 1024);
  const torn: PowerCut = { events: index + 1, sectorsOfLast: sectors };
  const bytes = before.reduce((sum, event) => sum + event.length, sectors * 512);
  const failed = /^\S+: writing \d+ bytes at byte \d+ failed: EIO$/;
  return [
    { device, fault: { kind: 'write-error', skip, times: 1 }, cut: { events: index }, says: failed, kind: 'io' },
    {
      device,
      fault: { kind: 'torn-write', writtenBytes: sectors * 512, skip, times: 1 },
      cut: torn,
      says: failed,
      kind: 'io',
    },
    {
      device,
      fault: { kind: 'full-after', bytes },
      cut: torn,
      says: /^\S+: writing .* failed: no space left \(ENOSPC\)$/,
      kind: 'full',
    },
  ];
}

const thrownBy = (run: () => void): unknown => {
  try {
    run();
    return undefined;
  } catch (thrown) {
    return thrown;
  }
};

const cases = kinds.flatMap(kind => rounds.map(seed => ({ ...kind, seed })));

describe.each(cases)('$name (seed $seed)', ({ image, seed, isStaged }) => {
  /** The first of the commits, on such devices. */
  function change(devices: PowerCuts['devices'], key: Uint8Array | undefined) {
    const { writer, options } = writerOn(devices, key, seed);
    const [first, second] = commitsOf(writer, randomFrom(seed), options, STEPS, isStaged);
    return { writer, options, first: first!, second: second! };
  }

  test('a fault at any write and flush', { timeout: patient(120_000) }, () => {
    const random = randomFrom(seed);
    const { devices, key } = image();
    const states = statesOf(key);
    const cuts = new PowerCuts(devices);
    const { first } = change(cuts.devices, key);
    const edit = first.edit();
    edit.content.flush();
    const begun = cuts.count;
    edit.commit();
    const old = states.of(devices);
    const now = states.of(cuts.after({ events: cuts.count }));
    expect([old, now].filter(state => state.startsWith('broken'))).toEqual([]);

    const { events } = cuts;
    const seen = { old: 0, new: 0, beforeCommit: 0 };
    for (const index of events.keys()) {
      for (const trouble of troublesWith(events, index)) {
        const { device, fault, cut, says, kind } = trouble;
        const where = `${JSON.stringify(fault)} of ${devices[device]!.name}, event ${index} of ${events.length}`;
        const disks = devices.map(one => one.clone());
        const faulty = disks.map((disk, nr) => (nr === device ? new FaultyDevice(disk, [fault]) : disk));
        const { writer, options, first, second } = change(faulty, key);
        const doing: { edit?: FileEdit } = {};
        const thrown = thrownBy(() => {
          doing.edit = first.edit();
          doing.edit.content.flush();
          doing.edit.commit();
        });
        expect(thrown, where).toBeInstanceOf(DeviceError);
        expect(thrown, where).toMatchObject({
          kind,
          message: expect.stringMatching(says),
          device: disks[device]!.name,
        });
        const state = states.of(disks);
        expect(state, where).toBe(states.of(cuts.after(cut)));
        expect([old, now], where).toContain(state);
        seen[state === old ? 'old' : 'new']++;

        if (index < begun) {
          // Data only, into room that is not used: the writer has nothing to do with it.
          seen.beforeCommit++;
          const again = thrownBy(() => doing.edit?.commit());
          if (doing.edit !== undefined && again === undefined) expect(states.of(disks), where).toBe(now);
          else expect(states.of(disks), where).toBe(old);
          if (kind === 'io') second.edit().commit();
        } else {
          // Where the filesystem stands is for the disks to say, not for a writer that was cut off in the middle.
          expect(() => new FileEdit(writer, options), where).toThrow(UsageError);
          expect(() => doing.edit?.commit(), where).toThrow('the last commit was not finished');
          expect(states.of(disks), where).toBe(state);
        }
        // Who opens it again goes on.
        if (index >= begun && random.below(4) === 0) {
          const again = change(disks, key);
          (state === old ? again.first : again.second).edit().commit();
          if (state === old) expect(states.of(disks), where).toBe(now);
        }
        expect(states.of(disks), where).not.toMatch(/^broken/);
      }
    }
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0);
  });

  test('a transaction is committed once, and not after the next was begun', () => {
    const { devices, key } = image();
    const disks = devices.map(one => one.clone());
    const { first, second } = change(disks, key);
    const dropped = first.edit();
    const edit = second.edit();
    const states = statesOf(key);
    const before = states.of(disks);
    expect(() => dropped.commit()).toThrow('the one that was begun last');
    expect(states.of(disks)).toBe(before);
    edit.commit();
    const now = states.of(disks);
    expect(now).not.toBe(before);
    expect(() => edit.commit()).toThrow('the one that was begun last');
    expect(states.of(disks)).toBe(now);
    expect(now).not.toMatch(/^broken/);
  });
});
