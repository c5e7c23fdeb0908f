// A plan that is made again with what is known from the last one is the plan that is made from nothing: the plain twin.

import { expect, test } from 'vitest';
import { testKey } from '../../../../test/support/nodes.ts';
import { type Random, randomFrom, testSeed } from '../../../../test/support/random.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { NO_OVERLAY } from '../journal/overlay.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposText } from '../ondisk/bpos.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { btreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { versionOf } from '../ondisk/versions.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { buildBtree } from './build.ts';
import { BtreeView } from './iterate.ts';
import { KeyMap } from './key-map.ts';
import { NodeCache } from './node-cache.ts';
import { NodeReader } from './node-read.ts';
import { nodeCapacityU64s } from './node-write.ts';
import { PlannedLeaves } from './planned-leaves.ts';
import { type BtreeRebuild, type PlannedNode, planRebuild } from './rebuild.ts';
import { deletedKey } from './transaction.ts';

/** Nothing is expected of its keys. */
const BTREE = 300;
/** 8 KiB, so that there are many. */
const NODE_SECTORS = 16;
const KEYS = 3000;

/** @param onRead is given the sector of each thing that is read through it */
function btree(nodeSectors = NODE_SECTORS, onRead: (sector: number) => void = () => {}): BtreeView {
  const device = new (class extends MemoryDevice {
    override read(offset: number, into: Uint8Array): void {
      onRead(offset / SECTOR_BYTES);
      super.read(offset, into);
    }
  })(2 ** 30);
  let next = 0;
  let seq = 1n;
  const settings = {
    magic: 0xfeed_beefn,
    version: versionOf('inode_has_child_snapshots'),
    csumType: checksumTypes.idOf('crc32c_nonzero'),
    key: undefined,
    blockSectors: 1,
    nodeSectors,
    device: () => device,
    randomU64: () => seq++,
    mayRepeatSeqs: false,
    generation: 3,
  };
  const allocator = {
    allocate: () => [
      { type: 'ptr', cached: false, unwritten: false, offset: nodeSectors * next++, dev: 0, gen: 0 } as const,
    ],
    release() {},
  };
  const keys = Array.from({ length: KEYS }, (_, nr) => keyAt(2 * nr, 40));
  const { root } = buildBtree(BTREE, keys, allocator, settings);
  const reader = new NodeReader({ ...settings, versionMin: 0, isBlacklisted: () => false, values: undefined });
  return new BtreeView(BTREE, { btree: BTREE, seq: 1, ...root }, new NodeCache(reader), NO_OVERLAY);
}

const keyAt = (offset: number, valueBytes: number): Key => testKey('cookie', [1, offset], new Uint8Array(valueBytes));

/** Near each other, so that some leaves change much, most not at all, and some become nearly empty. */
function change(random: Random, changes: KeyMap): void {
  const start = random.below(2 * KEYS);
  const isEmptying = random.below(3) === 0;
  for (let nr = random.pick([0, 1, 3, 300]); nr > 0; nr--) {
    const offset = isEmptying ? start + nr : start + random.below(20);
    const { p } = keyAt(offset, 0).k;
    const kind = isEmptying ? 0 : random.below(4);
    if (kind === 0) changes.set(deletedKey(p));
    else if (kind === 1) changes.delete(p);
    else changes.set(keyAt(offset, 8 * random.below(20)));
  }
}

const nodeText = (node: PlannedNode): unknown => ({
  level: node.level,
  ends: `${bposText(node.minKey)} ${bposText(node.maxKey)}`,
  generation: node.generation,
  keys: node.keys.map(({ k, value }) => `${bposText(k.p)} ${k.type} ${value.length}`),
  children: node.children.map(child => bposText('level' in child ? child.maxKey : child.k.p)),
});

const planText = ({ levels, replaced }: BtreeRebuild): unknown => ({
  levels: levels.map(nodes => nodes.map(nodeText)),
  replaced: replaced.map(({ level, ptr }) => `${level} ${bposText(ptr.k.p)}`),
});

const seed = testSeed();
test(`plans of the same changes, one after the other (TEST_SEED=${seed})`, () => {
  const random = randomFrom(seed);
  const view = btree();
  expect(view.depth).toBeGreaterThan(1);
  for (let round = 0; round < 6; round++) {
    const changes = new KeyMap();
    for (let nr = 0; nr < 6; nr++) change(random, changes);
    if (round > 0) changes.startLog();
    const leaves = new PlannedLeaves(view, changes);
    const room = { capacityU64s: nodeCapacityU64s(NODE_SECTORS), replicas: 1 };
    let atLeast: readonly number[] = [];
    for (let plan = 0; plan < 8; plan++) {
      const plain = planRebuild(view, changes, { ...room, atLeast });
      expect(planText(planRebuild(view, changes, { ...room, atLeast, leaves }))).toEqual(planText(plain));
      atLeast = plain.levels.map(nodes => nodes.length);
      change(random, changes);
    }
  }
});

test('what did not change is not merged again', () => {
  const view = btree();
  const changes = new KeyMap();
  changes.startLog();
  const leaves = new PlannedLeaves(view, changes);
  const room = { capacityU64s: nodeCapacityU64s(NODE_SECTORS), replicas: 1, leaves };
  for (const offset of [1, KEYS, 2 * KEYS - 1]) changes.set(keyAt(offset, 8));
  const first = planRebuild(view, changes, room);
  changes.set(keyAt(3, 8));
  const second = planRebuild(view, changes, room);
  const same = second.levels[0]!.map(node => first.levels[0]!.includes(node));
  expect(same).toEqual([false, true, true]);
});

/** Large enough that what is written of a node says something, and few. */
const LARGE_NODE_SECTORS = 128;

test('a leaf that is left nearly empty takes in a neighbour with room for it; one that is full is not even read', () => {
  const whole = btree(LARGE_NODE_SECTORS);
  const leaves = [...whole.keys({ level: 1 })];
  const inFirst = [...whole.keys({ to: leaves[0]!.k.p })];
  const room = { capacityU64s: nodeCapacityU64s(LARGE_NODE_SECTORS), replicas: 1 };
  /** Which leaves are replaced and which are read when only this share of the first one stays. */
  const planWith = (share: number) => {
    const changes = new KeyMap();
    for (const { k } of inFirst.slice(share * inFirst.length)) changes.set(deletedKey(k.p));
    const read = new Set<number>();
    const view = btree(LARGE_NODE_SECTORS, sector => read.add(Math.floor(sector / LARGE_NODE_SECTORS)));
    const { replaced } = planRebuild(view, changes, room);
    return { replaced: replaced.filter(({ level }) => level === 0).length, read: [...read].filter(isLeaf) };
  };
  const placeOf = ({ value }: Key) => {
    const [entry] = btreePtrV2.decode(value).entries;
    return entry?.type === 'ptr' ? entry.offset / LARGE_NODE_SECTORS : undefined;
  };
  const places = leaves.map(placeOf);
  const isLeaf = (place: number) => places.includes(place);
  expect(planWith(0.1)).toEqual({ replaced: 2, read: [places[0], places[1]] });
  expect(planWith(0.42)).toEqual({ replaced: 1, read: [places[0]] });
});
