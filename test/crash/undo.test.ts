// Commands with an undo file, and undo itself, cut off anywhere: what is left can be undone, to the last byte; and until an undo is done, no
// one takes the devices for a filesystem that is neither the old one nor the new one. The undo file is one of the devices that lose
// what was not flushed.

import { type BlockDevice, DeviceError, loadChecksums, loadCompression, MemoryDevice } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { commitsOf, wornImage, writerOn } from '../support/commits.ts';
import { openOn, stateOf } from '../support/cut-states.ts';
import { sized } from '../support/long.ts';
import { formattedImage, type MemoryImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { areEqual, recorderOn, sinkOn, undo } from '../support/undo.ts';

const seed = testSeed();
console.info(`power cuts with undo files: TEST_SEED=${seed}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

const UNDO_BYTES = 8 * MIB;
const undoDevice = (): MemoryDevice => new MemoryDevice(UNDO_BYTES, { name: 'undo file' });
/** So many points are looked at. */
const POINTS = sized(20, 30, 3000);

interface Kind {
  readonly name: string;
  readonly image: () => MemoryImage;
  /** Changes of files, in a few commits. */
  readonly steps: number;
  readonly isStaged?: boolean;
}

// biome-ignore format: a table
const kinds: readonly Kind[] = [
  { name: 'one member, its journal gone round', image: () => wornImage(seed), steps: 12 },
  { name: 'two members, in parts', image: () => formattedImage({ members: 2, sizeBytes: 16 * MIB, options: { metadata_replicas: '2', data_replicas: '2' } }), steps: 16, isStaged: true },
  { name: 'encrypted', image: () => formattedImage({ isEncrypted: true, sizeBytes: 16 * MIB }), steps: 12 },
];

/** Some of the points, in order, the first and the last ones among them. */
function* someOf<T>(points: Iterable<T>, count: number): Generator<T> {
  const all = [...points];
  for (let nr = 0; nr < Math.min(count, all.length); nr++)
    yield all[Math.round((nr * (all.length - 1)) / Math.max(1, Math.min(count, all.length) - 1))]!;
}

function changeFiles(devices: readonly BlockDevice[], key: Uint8Array | undefined, { steps, isStaged }: Kind): void {
  const { writer, options } = writerOn(devices, key, seed);
  for (const { edit } of commitsOf(writer, randomFrom(seed), options, steps, isStaged)) edit().commit();
}

describe(`power cuts and undo (seed ${seed})`, () => {
  test.each(kinds)('the command is cut off: $name', { timeout: patient(120_000) }, kind => {
    const image = kind.image();
    const count = image.devices.length;
    const cuts = new PowerCuts([...image.devices, undoDevice()]);
    const recorder = recorderOn(sinkOn(cuts.devices[count]!));
    const wrapped = cuts.devices.slice(0, count).map(device => recorder.wrap(device));
    changeFiles(wrapped, image.key, kind);
    for (const device of wrapped) device.close();

    const wrong: string[] = [];
    let undone = 0;
    for (const cut of someOf(cuts.points(randomFrom(seed)), POINTS)) {
      const all = cuts.after(cut);
      const left = all.slice(0, count);
      if (areEqual(left, image.devices)) continue;
      undo(all[count]!, left);
      undone++;
      if (!areEqual(left, image.devices)) wrong.push(cutText(cut));
    }
    expect(wrong).toEqual([]);
    expect(undone).toBeGreaterThan(POINTS / 2);
  });

  test.each(kinds)('undo is cut off: $name', { timeout: patient(120_000) }, kind => {
    const image = kind.image();
    const file = undoDevice();
    const recorder = recorderOn(sinkOn(file));
    const changed = image.devices.map(device => device.clone());
    const wrapped = changed.map(device => recorder.wrap(device));
    changeFiles(wrapped, image.key, kind);
    for (const device of wrapped) device.close();
    const whole = [image.devices, changed].map(devices => stateOf(openOn(devices, image.key)));

    const cuts = new PowerCuts(changed);
    undo(file, cuts.devices);
    const wrong: string[] = [];
    let closed = 0;
    for (const cut of someOf(cuts.points(randomFrom(seed)), POINTS)) {
      const left = cuts.after(cut);
      const state = stateIfOpen(left, image.key);
      if (state === undefined) closed++;
      else if (!whole.includes(state)) wrong.push(`${cutText(cut)}: ${state}`);
      undo(file, left);
      if (!areEqual(left, image.devices)) wrong.push(`${cutText(cut)}: not undone`);
    }
    expect(wrong).toEqual([]);
    expect(closed).toBeGreaterThan(POINTS / 4);
  });

  test('a disk without room for the undo file stops the command before the write', {
    timeout: patient(120_000),
  }, () => {
    const kind = kinds[0]!;
    const { devices, key } = kind.image();
    let [stopped, whole] = [0, 0];
    for (let room = 0; whole === 0; room = room * 2 + 5000) {
      const file = undoDevice();
      const sink = sinkOn(file);
      const recorder = recorderOn({
        ...sink,
        write(offset, from) {
          const inside = from.subarray(0, Math.max(0, room - offset));
          sink.write(offset, inside);
          if (inside.length < from.length) throw new DeviceError('full', 'undo file', 'no room left');
        },
      });
      const left = devices.map(device => device.clone());
      const wrapped = left.map(device => recorder.wrap(device));
      try {
        changeFiles(wrapped, key, kind);
        whole++;
      } catch (thrown) {
        if (!(thrown instanceof DeviceError)) throw thrown;
        expect(thrown.kind).toBe('full');
        stopped++;
      }
      for (const device of wrapped) device.close();
      expect(stateOf(openOn(left, key)), `room for ${room} bytes`).not.toMatch(/^broken/);
      if (!areEqual(left, devices)) undo(file, left);
      expect(areEqual(left, devices), `room for ${room} bytes`).toBe(true);
    }
    expect(stopped).toBeGreaterThan(4);
  });
});

/** Undefined when no superblock is there to lead to anything. */
function stateIfOpen(devices: readonly MemoryDevice[], key: Uint8Array | undefined): string | undefined {
  try {
    return stateOf(openOn(devices, key));
  } catch (thrown) {
    if (thrown instanceof Error && /magic|no superblock|missing/.test(thrown.message)) return undefined;
    throw thrown;
  }
}
