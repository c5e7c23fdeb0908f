// Undo files whose bytes were changed, with checksums that are right again: only errors that are thrown on purpose come out, nothing was
// written by then, and the memory that it takes is bounded by what is in the file.

import {
  checksum,
  checksumTypes,
  FileEdit,
  IncompatibleError,
  InputError,
  loadChecksums,
  MemoryDevice,
  planUndo,
  UndoLog,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { beforeAll, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { sized } from '../support/long.ts';
import { formattedImage, type MemoryImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { type Random, randomFrom, testSeed } from '../support/random.ts';
import { areEqual, recorderOn, sinkOn } from '../support/undo.ts';

const seed = testSeed();
console.info(`changed undo files: TEST_SEED=${seed}`);
const XXHASH = checksumTypes.idOf('xxhash');
const BATCH_HEAD_BYTES = 48;
const ENTRY_BYTES = 24;

let image: MemoryImage;
let changed: readonly MemoryDevice[];
let file: Uint8Array;

beforeAll(async () => {
  await loadChecksums();
  image = formattedImage({ members: 2, sizeBytes: 16 * MIB });
  changed = image.devices.map(device => device.clone());
  const target = new MemoryDevice(8 * MIB, { name: 'undo file' });
  const recorder = recorderOn(sinkOn(target));
  const wrapped = changed.map(device => recorder.wrap(device));
  const { writer, options } = writerOn(wrapped, undefined, seed);
  for (let nr = 0; nr < 3; nr++) {
    const edit = new FileEdit(writer, options);
    const ref = edit.files.create(edit.files.root(), new TextEncoder().encode(`file ${nr}`), { mode: 0o100644 });
    edit.content.write(ref, 0, new Uint8Array(50_000).fill(nr + 1));
    edit.commit();
  }
  for (const device of wrapped) device.close();
  const end = Math.max(...target.writtenRanges().map(({ offset, length }) => offset + length));
  file = target.toBytes().slice(0, end);
});

interface Batch {
  readonly at: number;
  readonly headBytes: number;
  readonly entries: number;
}

function batchesOf(bytes: Uint8Array): readonly Batch[] {
  const view = new DataView(bytes.buffer);
  const batches: Batch[] = [];
  for (let at = 4096; at < bytes.length; at += Number(view.getBigUint64(at + 32, true)))
    batches.push({ at, entries: view.getUint32(at + 20, true), headBytes: view.getUint32(at + 28, true) });
  return batches;
}

function seal(bytes: Uint8Array, { at }: Batch): void {
  const view = new DataView(bytes.buffer);
  view.setBigUint64(at + 40, 0n, true);
  const headBytes = Math.min(view.getUint32(at + 28, true), bytes.length - at);
  view.setBigUint64(at + 40, checksum(XXHASH, bytes.subarray(at, at + headBytes)).lo, true);
}

const EXTREMES = [0n, 1n, 255n, 4096n, 0xffff_ffffn, 2n ** 53n - 4096n, 2n ** 53n, 2n ** 64n - 1n];

/** One or a few fields of a batch, or bytes anywhere. */
function mutate(bytes: Uint8Array, random: Random): void {
  const batch = random.pick(batchesOf(bytes));
  const view = new DataView(bytes.buffer);
  for (let nr = 1 + random.below(3); nr > 0; nr--) {
    const kind = random.below(4);
    const entryAt = batch.at + BATCH_HEAD_BYTES + random.below(Math.max(1, batch.entries)) * ENTRY_BYTES;
    if (kind === 0) bytes[batch.at + 16 + random.below(24)] = random.below(256);
    else if (kind === 1) view.setBigUint64(entryAt + 8, random.pick(EXTREMES), true);
    else if (kind === 2) bytes[entryAt + random.below(ENTRY_BYTES)] = random.below(256);
    else bytes[batch.at + random.below(Math.min(batch.headBytes, bytes.length - batch.at))] = random.below(256);
  }
  if (random.below(8) > 0) seal(bytes, batch);
}

test(
  `a changed undo file is refused, or undoes what it knows of (seed ${seed})`,
  () => {
    const random = randomFrom(seed);
    let [refused, undone] = [0, 0];
    for (let round = 0; round < sized(300, 300, 20_000); round++) {
      const bytes = file.slice(0, random.below(10) === 0 ? random.below(file.length + 1) : file.length);
      if (bytes.length > 4096 + BATCH_HEAD_BYTES && bytes.length === file.length) mutate(bytes, random);
      const left = changed.map(device => device.clone());
      try {
        const plan = planUndo(new UndoLog(MemoryDevice.from(bytes, { name: 'undo file' })), left, () => ({
          filesystem: null,
        }));
        for (const _ of plan.steps());
        undone++;
      } catch (thrown) {
        if (!(thrown instanceof InputError || thrown instanceof UsageError || thrown instanceof IncompatibleError))
          throw new Error(`round ${round}`, { cause: thrown });
        expect(thrown.message).not.toContain('\n');
        expect(areEqual(left, changed), `round ${round}: ${thrown.message}`).toBe(true);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(undone);
    expect(undone).toBeGreaterThan(0);
  },
  patient(120_000),
);

test('headers that claim what is not there', () => {
  const about = (json: string) => {
    const text = new TextEncoder().encode(json);
    const bytes = new Uint8Array(40 + text.length);
    bytes.set(new TextEncoder().encode('bcachefs-ts undo'));
    const view = new DataView(bytes.buffer);
    bytes.set(text, 40);
    view.setUint32(16, 1, true);
    view.setUint32(20, text.length, true);
    const sums = [bytes.subarray(0, 32), bytes.subarray(40, 40 + text.length)].map(part => checksum(XXHASH, part).lo);
    view.setBigUint64(32, sums[0]! ^ sums[1]!, true);
    return MemoryDevice.from(bytes, { name: 'undo file' });
  };
  const member = '{"name":"a","sizeBytes":1,"filesystem":null,"index":null}';
  const whole = `{"command":"x","time":"y","members":[${member}]}`;
  expect(new UndoLog(about(whole)).about.members).toHaveLength(1);
  for (const json of [
    '', '[', 'null', '{}', '{"command":"x","time":"y"}', '{"command":"x","time":"y","members":[{}]}', whole.replace('1', '-1'),
    whole.replace('1', '1e300'), whole.replace('null', '7'), `{"command":"x","time":"y","members":[${Array(300).fill(member)}]}`,
  ]) // biome-ignore format: rows
    expect(() => new UndoLog(about(json)), json.slice(0, 60)).toThrow(InputError);
});
