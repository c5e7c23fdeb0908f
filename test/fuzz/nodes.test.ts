// Random damage to btree nodes: whatever is in them, listing every btree ends in time with keys, or with errors thrown on purpose. In half
// of the cases the checksums are made right again, so that what they protect is tested too.

import {
  BtreeNodeHeader,
  CorruptError,
  DeviceError,
  ENTRY_BSET_AT,
  ENTRY_KEYS_AT,
  type Filesystem,
  filesystemOf,
  IncompatibleError,
  type ListRequest,
  listItems,
  loadChecksums,
  MemoryDevice,
  NODE_BSET_AT,
  NODE_KEYS_AT,
  OverlayDevice,
  openMembers,
  POS_MIN,
  SPOS_MAX,
  sealVstruct,
  viewOf,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { testImageContents } from '../support/images.ts';
import { sized } from '../support/long.ts';
import { cpuMs, patient } from '../support/patience.ts';
import { type Random, randomFrom, testSeed } from '../support/random.ts';

const CASES = Number(process.env.FUZZ_CASES ?? sized(500, 500, 5_000));
/** The slowest case may take this long; the usual one takes 20 ms. */
const CASE_MS = 5000;
/** The pieces that a case's damage falls into. */
const BATCHES = 10;

interface Place {
  readonly byte: number;
  readonly length: number;
}

const image = testImageContents('basic')[0]!;
const base = MemoryDevice.from(image);

/** Every node of the image, as much of it as is written. */
function nodesOf(filesystem: Filesystem): Place[] {
  const places: Place[] = [];
  for (const id of filesystem.replay.roots.keys()) {
    for (const { facts } of filesystem.btree(id).nodes({ parents: true })) {
      const last = facts.bsets.at(-1)!;
      places.push({ byte: facts.sector * 512, length: (last.offsetSectors + filesystem.sb.block_size) * 512 });
    }
  }
  return places;
}

/** Changes a few bytes where a decoder looks: headers more often than values. */
function damage(bytes: Uint8Array, random: Random): void {
  for (let i = 1 + random.below(4); i > 0; i--) {
    const at = random.below(3) === 0 ? random.below(NODE_KEYS_AT) : random.below(Math.min(bytes.length, 4096));
    switch (random.below(4)) {
      case 0:
        bytes[at]! ^= 1 << random.below(8);
        break;
      case 1:
        bytes[at] = random.below(256);
        break;
      case 2:
        bytes.fill(random.pick([0, 0xff]), at, at + 1 + random.below(16));
        break;
      default:
        bytes.copyWithin(at, random.below(bytes.length), random.below(bytes.length));
    }
  }
}

/** Makes the checksum of each bset what it should be, as far as the bsets can be found. */
function seal(bytes: Uint8Array, blockBytes: number): void {
  const view = viewOf(bytes);
  for (let at = 0; at + NODE_KEYS_AT <= bytes.length; ) {
    const bset = at + (at === 0 ? NODE_BSET_AT : ENTRY_BSET_AT);
    const keysAt = at + (at === 0 ? NODE_KEYS_AT : ENTRY_KEYS_AT);
    const end = keysAt + 8 * view.getUint16(bset + 22, true);
    const type = view.getUint32(bset + 16, true) & 15;
    if (end > bytes.length || ![1, 2, 5, 6, 7].includes(type)) return;
    sealVstruct(type, bytes.subarray(at, end));
    at = Math.ceil(end / blockBytes) * blockBytes;
  }
}

/** What a user can do with btrees. */
function readEverything(filesystem: Filesystem, random: Random): void {
  let losses = 0;
  const onDamage = () => {
    losses++;
  };
  for (const id of filesystem.replay.roots.keys()) {
    const btree = filesystem.btree(id);
    const mode = random.pick(['keys', 'keys', 'formats', 'nodes', 'nodes-ondisk'] as const);
    const request: ListRequest = { mode, btree, type: undefined, level: random.below(2), from: POS_MIN, to: SPOS_MAX };
    for (const item of listItems(filesystem, request, onDamage)) {
      item.text();
      JSON.stringify(item.json(), (_, value) => (typeof value === 'bigint' ? `${value}` : value));
    }
    for (const key of btree.keys({ backward: true, onDamage }))
      if (key.value.length > 2 ** 16) throw new Error('too long');
  }
  expect(losses).toBeLessThan(10_000);
}

function isOnPurpose(thrown: unknown): boolean {
  return thrown instanceof CorruptError || thrown instanceof DeviceError || thrown instanceof IncompatibleError;
}

describe('damaged nodes', () => {
  const seed = testSeed();
  beforeAll(loadChecksums);

  const sound = filesystemOf(openMembers([base]));
  const places = nodesOf(sound);
  const blockBytes = sound.sb.block_size * 512;

  test('the image is sound and has nodes', () => {
    expect(places.length).toBeGreaterThan(10);
    expect(BtreeNodeHeader.size).toBe(136);
    readEverything(sound, randomFrom(1));
  });

  test.each(Array.from({ length: BATCHES }, (_, batch) => batch))(
    `batch %i (TEST_SEED=${seed})`,
    { timeout: patient(300_000) },
    batch => {
      for (let nr = batch; nr < CASES; nr += BATCHES) {
        const random = randomFrom(seed + nr);
        const device = new OverlayDevice(base);
        const place = random.pick(places);
        const bytes = new Uint8Array(place.length);
        device.read(place.byte, bytes);
        damage(bytes, random);
        if (nr % 2 === 0) seal(bytes, blockBytes);
        device.write(place.byte, bytes);

        const start = cpuMs();
        try {
          readEverything(filesystemOf(openMembers([device])), random);
        } catch (thrown) {
          if (!isOnPurpose(thrown)) throw new Error(`case ${nr} of TEST_SEED=${seed}`, { cause: thrown });
        }
        expect(cpuMs() - start, `case ${nr} of TEST_SEED=${seed}`).toBeLessThan(CASE_MS);
      }
    },
  );
});
