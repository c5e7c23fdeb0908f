// Decompression in worker threads: a worker gives what is right and nothing else, and a file read with workers is the file read without
// them, with the same findings, on images that are damaged too.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  checksum,
  checksumTypes,
  compress,
  compressionTypes,
  DataReader,
  type FileFinding,
  FileTree,
  fileChunks,
  filesystemOf,
  loadChecksums,
  loadCompression,
  loadCompressors,
  OverlayDevice,
  openDevice,
  openMembers,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DecodePool } from '../../packages/core/src/data/decode-pool.ts';
import { DecodeSlots, SLOT, SLOT_COUNT } from '../../packages/core/src/data/decode-slots.ts';
import { decodeSlot } from '../../packages/core/src/data/decode-worker.ts';
import { succeed } from '../support/cli.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
const folder = mkdtempSync(join(tmpdir(), 'decode-pool-'));
const image = join(folder, 'zstd.img');
const CRC32C = checksumTypes.idOf('crc32c');
const ZSTD = compressionTypes.idOf('zstd');

/** The value of the option compression. */
const ZSTD_OPTION = 3;

/** Text that halves. */
function text(bytes: number, from: number): Uint8Array {
  const random = randomFrom(from);
  return Uint8Array.from({ length: bytes }, (_, i) => (i % 3 === 0 ? 32 : 97 + random.below(16)));
}

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
  const source = join(folder, 'source');
  mkdirSync(source);
  for (let nr = 0; nr < 4; nr++) writeFileSync(join(source, `f${nr}`), text(600_000 + 50_001 * nr, nr));
  await succeed('format', ['--quiet', '--fs_size=64M', '--compression=zstd', `--source=${source}`, image]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** An extent as it is stored, and what a worker gets to know of it. */
function extent(contents: Uint8Array) {
  const { type, bytes } = compress(ZSTD_OPTION, contents, 512);
  expect(type).toBe(ZSTD);
  const input = bytes.slice();
  const { lo: csumLo, hi: csumHi } = checksum(CRC32C, input);
  const sizes = { inputBytes: input.length, outputBytes: contents.length };
  return { input, parameters: { csumType: CRC32C, csumLo, csumHi, compressionType: ZSTD, ...sizes } };
}

test('slots: posted, claimed in order, taken back, and ended', () => {
  const slots = new DecodeSlots(new SharedArrayBuffer(DecodeSlots.memoryBytes));
  const contents = text(64 * 1024, 1);
  const { input, parameters } = extent(contents);
  for (const job of [0, 1, 2]) {
    slots.input(job).set(input);
    slots.post(job, job === 2 ? { ...parameters, csumLo: parameters.csumLo ^ 1n } : parameters);
  }
  expect(slots.parameters(0)).toEqual(parameters);
  expect(slots.change(1, SLOT.posted, SLOT.free)).toBe(true);
  expect(slots.claim()).toBe(0);
  expect(decodeSlot(slots, 0)).toBe(true);
  slots.finish(0, true);
  expect(slots.waitWhileRunning(0, 0)).toBe(true);
  expect(Buffer.compare(slots.output(0).subarray(0, contents.length), contents)).toBe(0);
  // Job 1 was taken back, and 2 has another checksum.
  expect(slots.claim()).toBe(2);
  expect(decodeSlot(slots, 2)).toBe(false);
  expect(slots.waitWhileRunning(2, 1)).toBe(false);
  slots.close();
  expect(slots.claim()).toBeUndefined();
});

test.runIf(availableParallelism() > 1)('workers decompress what is right, and refuse the rest', async () => {
  const pool = DecodePool.start();
  if (pool === undefined) throw new Error('there is more than one core, and the worker is beside its pool');
  try {
    const contents = text(100 * 1024, 2);
    const { input, parameters } = extent(contents);
    for (let nr = 0; nr < 2 * SLOT_COUNT + 3; nr++) {
      expect(pool.hasRoom).toBe(true);
      const isWhole = nr % 4 !== 3;
      const job = pool.post(parameters, target => {
        target.set(input);
        if (!isWhole) target[nr] = target[nr]! ^ 1;
      });
      // The first waits for the worker to come to life.
      while (!pool.isDone(job) && !pool.isClosed) await sleep(5);
      expect(pool.isClosed).toBe(false);
      const outputs: Uint8Array[] = [];
      expect(pool.take(job, bytes => outputs.push(bytes.slice()))).toBe(isWhole);
      expect(outputs.map(output => Buffer.compare(output, contents))).toEqual(isWhole ? [0] : []);
    }
  } finally {
    pool.close();
  }
  expect(pool.hasRoom).toBe(false);
});

function readAll(parallel: boolean, damage: readonly number[]) {
  const device = new OverlayDevice(openDevice(image, { write: false }));
  const byte = new Uint8Array(1);
  for (const at of damage) {
    device.read(at, byte);
    device.write(at, Uint8Array.of(byte[0]! ^ 0x55));
  }
  const filesystem = filesystemOf(openMembers([device]));
  const reader = new DataReader(filesystem, { parallel, poolAfterBytes: 1 });
  try {
    const tree = FileTree.open(filesystem);
    const found: unknown[] = [];
    for (const { path, node } of tree.walk()) {
      if (node === undefined || tree.stat(node).type !== 'reg') continue;
      const bytes = new Uint8Array(Number(node.inode.bi_size));
      const findings: FileFinding[] = [];
      const file = { inum: node.inum, snapshot: node.snapshot, sizeBytes: bytes.length };
      for (const chunk of fileChunks(reader, tree.table, file, { onFinding: one => findings.push(one) })) {
        if (chunk.kind === 'data') bytes.set(chunk.bytes, chunk.offset);
      }
      const reported = findings.map(({ kind, offset, length, damage }) => [kind, offset, length, damage.message]);
      found.push([Buffer.from(path).toString(), Buffer.from(bytes).toString('latin1'), reported]);
    }
    return { found, isParallel: reader.isParallel };
  } finally {
    reader.close();
    filesystem.close();
  }
}

test(`files are the same with workers, and so is what is wrong with them (TEST_SEED=${seed})`, () => {
  const random = randomFrom(seed);
  // Buckets of data: the first extent of each file and what lies around them.
  const device = openDevice(image, { write: false });
  const places: number[] = [];
  const block = new Uint8Array(4096);
  for (let at = 4 * 2 ** 20; at + block.length <= device.sizeBytes; at += 64 * 1024) {
    device.read(at, block);
    if (new DataView(block.buffer).getUint32(4, true) === 0xfd2f_b528) places.push(at);
  }
  device.close();
  expect(places.length).toBeGreaterThan(3);
  for (let round = 0; round < 4; round++) {
    const damage = Array.from({ length: round }, () => random.pick(places) + 8 + random.below(2000));
    const [plain, parallel] = [readAll(false, damage), readAll(true, damage)];
    expect(parallel.found).toEqual(plain.found);
    expect(parallel.isParallel).toBe(availableParallelism() > 1);
    expect(plain.isParallel).toBe(false);
  }
});
