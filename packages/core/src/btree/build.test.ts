// Btrees made from their keys: what is read back is what went in, the nodes are filled well whatever the keys are like, and the memory does
// not go by their number.

import { describe, expect, test } from 'vitest';
import { testKey } from '../../../../test/support/nodes.ts';
import { type Random, randomFrom, testSeed } from '../../../../test/support/random.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { NO_OVERLAY } from '../journal/overlay.ts';
import type { Key } from '../ondisk/bkey.ts';
import { compareBpos, SPOS_MAX } from '../ondisk/bpos.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { DeviceError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { versionOf } from '../ondisk/versions.ts';
import { type BuildSettings, buildBtree } from './build.ts';
import { BtreeView } from './iterate.ts';
import { NodeCache } from './node-cache.ts';
import { NodeReader } from './node-read.ts';
import type { NodeAllocator } from './node-store.ts';
import { nodeCapacityU64s } from './node-write.ts';

/** Nothing is expected of its keys. */
const UNKNOWN_BTREE = 300;
/** 8 KiB, so that there are many. */
const NODE_SECTORS = 16;

/** One node after the other. */
class InARow implements NodeAllocator {
  next = 0;
  readonly released: (readonly ExtentPtr[])[] = [];
  allocate(): readonly ExtentPtr[] {
    const offset = NODE_SECTORS * this.next++;
    return [{ type: 'ptr', cached: false, unwritten: false, offset, dev: 0, gen: 0 }];
  }
  release(pointers: readonly ExtentPtr[]): void {
    this.released.push(pointers);
  }
}

function place() {
  const device = new MemoryDevice(2 ** 32);
  let seq = 1n;
  const settings: BuildSettings = {
    magic: 0xfeed_beefn,
    version: versionOf('inode_has_child_snapshots'),
    csumType: checksumTypes.idOf('crc32c_nonzero'),
    key: undefined,
    blockSectors: 1,
    nodeSectors: NODE_SECTORS,
    device: () => device,
    randomU64: () => seq++,
    mayRepeatSeqs: false,
    generation: 3,
  };
  const reader = new NodeReader({ ...settings, versionMin: 0, isBlacklisted: () => false, values: undefined });
  return { settings, allocator: new InARow(), supply: new NodeCache(reader) };
}

/** In a form that compares quickly. */
const flat = ({ k, value }: Key): string =>
  [...k.p, k.type, k.size, k.bversion_hi, k.bversion_lo, k.u64s, Buffer.from(value).toString('latin1')].join(' ');

/** Builds, and reads everything back. */
function built(keys: readonly Key[]) {
  const { settings, allocator, supply } = place();
  const result = buildBtree(UNKNOWN_BTREE, keys, allocator, settings);
  const view = new BtreeView(UNKNOWN_BTREE, { btree: UNKNOWN_BTREE, seq: 1, ...result.root }, supply, NO_OVERLAY);
  // A gap between two nodes would be thrown.
  expect([...view.keys()].map(flat).join('\n') === keys.map(flat).join('\n'), 'all keys are back').toBe(true);
  expect(result.keyCount).toBe(keys.length);
  expect(result.nodes).toHaveLength(allocator.next);
  const pointers = Array.from({ length: result.root.level }, (_, below) =>
    [...view.keys({ level: below + 1 })].map(key => `${below} ${flat(key)}`),
  );
  const made = result.nodes.map(({ level, ptr }) => `${level} ${flat(ptr)}`);
  expect(made.toSorted()).toEqual([...pointers.flat(), `${result.root.level} ${flat(result.root.key)}`].toSorted());
  const fill = Array.from({ length: result.root.level + 1 }, (_, level) =>
    [...view.nodes({ level })].map(node => node.usage().liveU64s / nodeCapacityU64s(NODE_SECTORS)),
  );
  for (const node of view.nodes()) expect(node.facts.bsets).toHaveLength(1);
  return { ...result, fill };
}

/** Positions of one kind, then of another, with values of a size. */
function randomKeys(random: Random): Key[] {
  const keys: Key[] = [];
  const word = () => random.below(2 ** random.below(33));
  for (let runs = random.below(6); runs > 0; runs--) {
    const inode = random.below(5);
    const isWide = random.below(3) === 0;
    const valueU64s = random.pick([0, 1, 4, 20]);
    for (let i = random.below(1000); i > 0; i--) {
      const value = new Uint8Array(8 * random.below(valueU64s + 1)).fill(i);
      const p = isWide
        ? Uint32Array.of(word(), word(), word(), word(), word())
        : Uint32Array.of(0xffff_ffff, random.below(1e6), 0, inode, 0);
      const key = testKey('cookie', [0, 0], value);
      keys.push({ ...key, k: { ...key.k, p, bversion_lo: isWide ? BigInt(word()) : 0n } });
    }
  }
  keys.sort((a, b) => compareBpos(a.k.p, b.k.p));
  return keys.filter((key, i) => i === 0 || compareBpos(keys[i - 1]!.k.p, key.k.p) !== 0);
}

function* numbered(count: number, valueBytes = 32): Generator<Key> {
  for (let nr = 0; nr < count; nr++) yield testKey('cookie', [nr >>> 12, nr & 0xfff], new Uint8Array(valueBytes));
}

describe('a btree made from its keys', () => {
  const seed = testSeed();

  test(`holds them: random ones (TEST_SEED=${seed})`, () => {
    const random = randomFrom(seed);
    for (let round = 0; round < 12; round++) {
      const { fill } = built(randomKeys(random));
      for (const level of fill) for (const one of level) expect(one).toBeLessThanOrEqual(0.9);
    }
  });

  test('without any is one empty leaf', () => {
    const { root, nodes } = built([]);
    expect(root.level).toBe(0);
    expect(nodes).toHaveLength(1);
    expect(compareBpos(root.key.k.p, SPOS_MAX)).toBe(0);
  });

  test('has nodes that are three quarters full, the last of a level too, and as many levels as it takes', () => {
    for (let count = 1; count < 60_000; count = Math.ceil(count * 2.3)) {
      const { fill, root } = built([...numbered(count)]);
      expect(root.level).toBe(count < 150 ? 0 : count < 20_000 ? 1 : 2);
      for (const level of fill.slice(0, -1)) {
        // The first and the last have a wider range than their keys, and so larger keys.
        for (const one of level) expect(one).toBeGreaterThan(0.3);
        for (const one of level.slice(1, -2)) expect(one).toBeGreaterThan(0.7);
      }
    }
  });

  test('is made of keys in order that are there', () => {
    const { settings, allocator } = place();
    const [a, b] = numbered(2);
    const build = (...keys: Key[]) => buildBtree(UNKNOWN_BTREE, keys, allocator, settings);
    expect(() => build(b!, a!)).toThrow('the keys come in order, which POS_MIN does not');
    expect(() => build(a!, a!)).toThrow('the keys come in order, which POS_MIN does not');
    expect(() => build(testKey('deleted', [0, 7]))).toThrow('keys that are there');
  });

  test('that cannot be made gives its room back', () => {
    const { settings, allocator } = place();
    function* failing() {
      yield* numbered(2000);
      throw new DeviceError('io', 'a disk', 'the source of the keys fails');
    }
    expect(() => buildBtree(UNKNOWN_BTREE, failing(), allocator, settings)).toThrow('the source of the keys fails');
    expect(allocator.next).toBeGreaterThan(5);
    expect(allocator.released).toHaveLength(allocator.next);
  });

  test('is written while its keys are still coming, and keeps two nodes of them at the most', () => {
    const { settings, allocator } = place();
    let most = 0;
    let fromLast = 0;
    function* watched() {
      let nodes = 0;
      for (const key of numbered(5000)) {
        if (allocator.next > nodes) fromLast = 0;
        nodes = allocator.next;
        most = Math.max(most, ++fromLast);
        yield key;
      }
    }
    const { root, nodes } = buildBtree(UNKNOWN_BTREE, watched(), allocator, settings);
    const keysOfNode = 5000 / nodes.filter(({ level }) => level === 0).length;
    expect(root.level).toBe(1);
    expect(most).toBeLessThan(2 * keysOfNode);
  });
});
