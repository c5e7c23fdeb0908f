// Where room comes from, on filesystems that a kernel made: only from buckets that were free, each sector once, on different devices, until
// there is no more; then the error says so with numbers.

import {
  bucketStateOf,
  type ExtentPtr,
  type Filesystem,
  FilesystemTriggers,
  IncompatibleError,
  loadChecksums,
  memberAt,
  NoBucketsError,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { openFixture, trialOf } from '../support/engine.ts';
import { whyNoFixtures } from '../support/fixtures.ts';

beforeAll(loadChecksums);

/** Takes room until there is none, and checks each piece. @returns sectors by device */
function fill(filesystem: Filesystem, take: () => readonly { sectors: number; pointers: readonly ExtentPtr[] }[]) {
  const inUse = new Set<string>();
  for (const key of filesystem.btree('alloc').keys()) {
    const { dirtySectors, cachedSectors, gen } = bucketStateOf(key);
    if (dirtySectors + cachedSectors > 0) inUse.add(`${key.k.p[3]}:${key.k.p[1]}`);
    else expect(gen).toBeGreaterThanOrEqual(0);
  }
  const taken = new Map<string, number>();
  const sectorsOf = new Map<number, number>();
  for (;;) {
    let pieces: ReturnType<typeof take>;
    try {
      pieces = take();
    } catch (thrown) {
      if (!(thrown instanceof NoBucketsError)) throw thrown;
      return { sectorsOf, error: thrown };
    }
    for (const { sectors, pointers } of pieces) {
      expect(new Set(pointers.map(({ dev }) => dev)).size).toBe(pointers.length);
      for (const { dev, offset } of pointers) {
        const { bucket_size } = memberAt(filesystem.sb, dev)!;
        const bucket = `${dev}:${Math.floor(offset / bucket_size)}`;
        expect(inUse.has(bucket), `${bucket} is free`).toBe(false);
        // Each bucket is filled from its start to its end, without a gap.
        expect(offset % bucket_size).toBe(taken.get(bucket) ?? 0);
        taken.set(bucket, (offset % bucket_size) + sectors);
        expect((offset % bucket_size) + sectors).toBeLessThanOrEqual(bucket_size);
        sectorsOf.set(dev, (sectorsOf.get(dev) ?? 0) + sectors);
      }
    }
  }
}

describe.skipIf(whyNoFixtures !== undefined)('room', () => {
  test.each([
    ['csum-none', 1],
    ['multi3-r2', 2],
    ['geom-bucket1m', 1],
  ])('%s is filled with data, and nodes have room still', (name, replicas) => {
    const filesystem = openFixture(name);
    try {
      const { allocator, triggers } = trialOf(filesystem);
      const data = fill(filesystem, () => allocator.allocateData({ replicas, target: 0, sectors: 104 }));
      expect(data.error.message).toMatch(/^no space left for \d+ bytes of data/);
      expect(data.error.devices.length).toBe(filesystem.set.members.length);
      expect(data.sectorsOf.size).toBe(filesystem.set.members.length);
      const sectors = triggers.nodeSectors;
      const nodes = fill(filesystem, () => [{ sectors, pointers: allocator.allocateNode() }]);
      expect(nodes.error.what).toBe('btree');
      expect([...nodes.sectorsOf.values()].every(one => one % sectors === 0 && one > 0)).toBe(true);
    } finally {
      filesystem.close();
    }
  });

  test('a target is filled first', () => {
    const filesystem = openFixture('multi3-r2');
    try {
      const { allocator } = trialOf(filesystem);
      // 1 and the number of a device is that device.
      const [piece] = allocator.allocateData({ replicas: 1, target: 1 + 2, sectors: 8 });
      expect(piece?.pointers.map(({ dev }) => dev)).toEqual([2]);
    } finally {
      filesystem.close();
    }
  });

  test('room for a node that is given back is given again', () => {
    const filesystem = openFixture('csum-none');
    try {
      const { allocator } = trialOf(filesystem);
      const first = allocator.allocate();
      const second = allocator.allocate();
      expect(second).not.toEqual(first);
      allocator.release(first);
      expect(allocator.allocate()).toEqual(first);
    } finally {
      filesystem.close();
    }
  });

  test.each(['u136-plain', 'u103-plain'])('%s is not written', name => {
    const filesystem = openFixture(name);
    try {
      const time = { journalSeq: 1, readClock: 1n, writeClock: 1n };
      expect(() => new FilesystemTriggers(filesystem.sb, time)).toThrow(IncompatibleError);
    } finally {
      filesystem.close();
    }
  });
});
