// Walking a btree: forward, backward, between positions and by level, against the plain thing: all keys in an array. With keys of a
// journal over them, at every level; and past nodes that cannot be read.

import { describe, expect, test } from 'vitest';
import { BLOCK_BYTES, buildNode, nodePtr, testKey } from '../../../../test/support/nodes.ts';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { type JournalOverlay, NO_OVERLAY, type OverlayKey } from '../journal/overlay.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, compareBpos, makeBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { versionOf } from '../ondisk/versions.ts';
import { BtreeView, bposPredecessor, bposSuccessor } from './iterate.ts';
import { NodeReader } from './node-read.ts';

const MAGIC = 0xfeed_beefn;
const LRU = btrees.idOf('lru');
const NODE_SECTORS = 4;
const seed = testSeed();

/** A btree on a device of its own, of leaves with these keys, three children to each interior node. */
class TestTree {
  readonly device = new MemoryDevice(2 ** 20);
  #nextSector = 8;
  readonly root: { readonly level: number; readonly key: Key };
  /** Where each leaf is. */
  readonly leafSectors: number[] = [];

  constructor(leaves: readonly (readonly Key[])[]) {
    let children = leaves.map((keys, i) => {
      const min = i === 0 ? POS_MIN : bposSuccessor(leaves[i - 1]!.at(-1)!.k.p);
      const max = i === leaves.length - 1 ? SPOS_MAX : keys.at(-1)!.k.p;
      this.leafSectors.push(this.#nextSector);
      return { min, ptr: this.#write(0, min, max, keys) };
    });
    let level = 0;
    while (children.length > 1) {
      level++;
      const parents = [];
      for (let i = 0; i < children.length; i += 3) {
        const group = children.slice(i, i + 3);
        const { min } = group[0]!;
        const ptr = this.#write(
          level,
          min,
          group.at(-1)!.ptr.k.p,
          group.map(child => child.ptr),
        );
        parents.push({ min, ptr });
      }
      children = parents;
    }
    this.root = { level, key: children[0]!.ptr };
  }

  #write(level: number, min: Bpos, max: Bpos, keys: readonly Key[]): Key {
    const bytes = buildNode({ magic: MAGIC, btree: LRU, level, min, max, bsets: [{ keys }] });
    const sector = this.#nextSector;
    this.#nextSector += NODE_SECTORS;
    this.device.write(sector * 512, bytes);
    return nodePtr({ min, max, written: bytes.length / 512, replicas: [{ dev: 0, sector }] });
  }

  view(overlay: JournalOverlay = NO_OVERLAY): BtreeView {
    const reader = new NodeReader({
      magic: MAGIC,
      nodeSectors: NODE_SECTORS,
      blockSectors: BLOCK_BYTES / 512,
      version: versionOf('inode_has_child_snapshots'),
      versionMin: 0,
      key: undefined,
      device: () => this.device,
      isBlacklisted: () => false,
      values: undefined,
    });
    return new BtreeView(LRU, { btree: LRU, seq: undefined, ...this.root }, reader, overlay);
  }
}

const at = (inode: number) => makeBpos(BigInt(inode), 0n, 0);
const set = (inode: number) => testKey('set', [inode, 0]);
const inodes = (keys: Iterable<Key>) => [...keys].map(({ k }) => k.p[3]!);

/** Leaves of a few keys each, at every third position. */
function someLeaves(count: number): Key[][] {
  return Array.from({ length: count }, (_, leaf) =>
    Array.from({ length: 1 + (leaf % 4) }, (_, i) => set(30 * leaf + 3 * i + 3)),
  );
}

function overlayOf(keys: readonly Key[], level = 0): JournalOverlay {
  const sorted = keys
    .toSorted((a, b) => compareBpos(a.k.p, b.k.p))
    .map((key): OverlayKey => ({ key, seq: 1, deltas: undefined }));
  return {
    ...NO_OVERLAY,
    size: sorted.length,
    keysOf: (btree, of) => (btree === LRU && of === level ? sorted : []),
  };
}

describe('positions', () => {
  test.each<[Bpos, Bpos]>([
    [POS_MIN, makeBpos(0n, 0n, 1)],
    [makeBpos(0n, 0n, 0xffff_ffff), makeBpos(0n, 1n, 0)],
    [makeBpos(5n, 2n ** 64n - 1n, 0xffff_ffff), makeBpos(6n, 0n, 0)],
    [makeBpos(0n, 0xffff_ffffn, 0xffff_ffff), makeBpos(0n, 2n ** 32n, 0)],
  ])('next to each other %#', (left, right) => {
    expect(bposText(bposSuccessor(left))).toBe(bposText(right));
    expect(bposText(bposPredecessor(right))).toBe(bposText(left));
  });
});

describe('walking', () => {
  const leaves = someLeaves(20);
  const all = leaves.flat();
  const tree = new TestTree(leaves);
  const view = tree.view();

  test('all keys, both ways', () => {
    expect(view.depth).toBe(4);
    expect(inodes(view.keys())).toEqual(inodes(all));
    expect(inodes(view.keys({ backward: true }))).toEqual(inodes(all).reverse());
  });

  test('between positions, on keys and beside them', () => {
    const random = randomFrom(1);
    for (let round = 0; round < 200; round++) {
      const from = random.below(620);
      const to = random.below(620);
      const expected = inodes(all).filter(inode => inode >= from && inode <= to);
      expect(inodes(view.keys({ from: at(from), to: at(to) }))).toEqual(expected);
      expect(inodes(view.keys({ from: at(from), to: at(to), backward: true }))).toEqual(expected.reverse());
      const key = view.get(at(from));
      expect(key === undefined ? [] : inodes([key])).toEqual(inodes(all).filter(inode => inode === from));
    }
  });

  test('nodes and pointers by level', () => {
    expect([0, 1, 2, 3, 4].map(level => [...view.nodes({ level })].length)).toEqual([20, 7, 3, 1, 0]);
    expect([1, 2, 3].map(level => [...view.keys({ level })].length)).toEqual([20, 7, 3]);
    expect([...view.nodes({ level: 2, parents: true })].map(node => node.facts.level)).toEqual([2, 2, 2, 3]);
    expect([...view.nodes({ from: at(100), to: at(160) })].map(node => node.position(0)[3])).toEqual([
      93, 123, 153, 183,
    ]);
  });

  test('stops reading when no more is asked for', () => {
    for (const key of view.keys()) {
      expect(key.k.p[3]).toBe(3);
      break;
    }
  });
});

describe('with a journal over it', () => {
  test(`equals a map, both ways (TEST_SEED=${seed})`, () => {
    const random = randomFrom(seed);
    const leaves = someLeaves(11);
    const tree = new TestTree(leaves);
    for (let round = 0; round < 100; round++) {
      const changes = new Map<number, Key>();
      for (let i = random.below(40); i > 0; i--) {
        const inode = random.below(340);
        changes.set(inode, testKey(random.below(3) === 0 ? 'deleted' : 'cookie', [inode, 0], new Uint8Array(8)));
      }
      const merged = new Map([...leaves.flat().map((key): [number, Key] => [key.k.p[3]!, key]), ...changes]);
      const type = (key: Key) => key.k.type;
      const expected = [...merged]
        .filter(([, key]) => type(key) !== 0)
        .toSorted(([a], [b]) => a - b)
        .map(([inode, key]) => [inode, type(key)]);
      const view = tree.view(overlayOf([...changes.values()]));
      const found = (backward: boolean) => [...view.keys({ backward })].map(key => [key.k.p[3], type(key)]);
      expect(found(false)).toEqual(expected);
      expect(found(true)).toEqual(expected.reverse());
    }
  });

  test('pointers can be replaced too', () => {
    const tree = new TestTree(someLeaves(2));
    const bytes = buildNode({ magic: MAGIC, btree: LRU, min: bposSuccessor(at(3)), bsets: [{ keys: [set(50)] }] });
    tree.device.write(1000 * 512, bytes);
    const min = bposSuccessor(at(3));
    const ptr = nodePtr({ min, max: SPOS_MAX, written: 1, replicas: [{ dev: 0, sector: 1000 }] });
    expect(inodes(tree.view(overlayOf([ptr], 1)).keys())).toEqual([3, 50]);
  });

  test('a btree that has no root yet', () => {
    const reader = new TestTree([[set(1)]]).view();
    expect(reader.depth).toBe(1);
    const view = new BtreeView(LRU, undefined, Object(undefined), overlayOf([set(7), set(5)]));
    expect(inodes(view.keys())).toEqual([5, 7]);
    expect([...view.nodes()]).toEqual([]);
    expect(view.depth).toBe(0);
  });
});

describe('lookups', () => {
  /** What a walk or a lookup comes to: a position and a type, an error, and what was reported. */
  function outcome(look: (onDamage: ((damage: Error) => void) | undefined) => Key | undefined, reports: boolean) {
    const reported: string[] = [];
    try {
      const key = look(reports ? damage => reported.push(damage.message) : undefined);
      return { found: key && [bposText(key.k.p), key.k.type, ...key.value], reported };
    } catch (thrown) {
      if (!(thrown instanceof CorruptError)) throw thrown;
      return { error: thrown.message, reported };
    }
  }

  test(`give what the walk gives first, on sound trees, damaged ones and under a journal (TEST_SEED=${seed})`, () => {
    const random = randomFrom(seed);
    for (let round = 0; round < 40; round++) {
      const leaves = someLeaves(1 + random.below(12));
      const tree = new TestTree(leaves);
      if (random.below(3) === 0) {
        tree.device.write(tree.leafSectors[random.below(leaves.length)]! * 512, new Uint8Array(512));
      }
      const changes = new Map<number, Key>();
      for (let i = random.below(2) * random.below(30); i > 0; i--) {
        const inode = random.below(370);
        changes.set(inode, testKey(random.below(3) === 0 ? 'deleted' : 'cookie', [inode, 0], new Uint8Array(8)));
      }
      const pointers = [...new TestTree(leaves).view().keys({ level: 1 })];
      const dropped = pointers[random.below(pointers.length)];
      const overlay =
        random.below(4) === 0 && dropped !== undefined
          ? overlayOf([{ ...dropped, k: { ...dropped.k, type: 0 } }], 1)
          : overlayOf([...changes.values()]);
      // One view for all lookups, so that each begins where the one before ended; a new one for each walk.
      const view = tree.view(overlay);
      for (let i = 0; i < 30; i++) {
        const from = at(random.below(400));
        const to = random.below(2) === 0 ? from : at(from[3]! + random.below(60));
        const reports = random.below(2) === 0;
        const walked = outcome(onDamage => {
          for (const key of tree.view(overlay).keys({ from, to, ...(onDamage && { onDamage }) })) return key;
          return undefined;
        }, reports);
        const lookup = (onDamage: ((damage: Error) => void) | undefined) =>
          onDamage === undefined ? {} : { onDamage };
        expect(outcome(onDamage => view.first(from, to, lookup(onDamage)), reports)).toEqual(walked);
        if (to === from) expect(outcome(onDamage => view.get(from, lookup(onDamage)), reports)).toEqual(walked);
      }
    }
  });

  test('read each node on the way once', () => {
    const tree = new TestTree(someLeaves(20));
    const reads: number[] = [];
    const { device } = tree;
    const read = device.read.bind(device);
    device.read = (offset, into) => {
      reads.push(offset);
      read(offset, into);
    };
    const view = tree.view();
    for (const inode of [33, 36, 34, 33]) view.get(at(inode));
    expect(reads).toHaveLength(view.depth);
  });
});

describe('damage', () => {
  const broken = () => {
    const tree = new TestTree(someLeaves(5));
    tree.device.write(tree.leafSectors[2]! * 512, new Uint8Array(512));
    return tree;
  };

  test('ends the walk', () => {
    expect(() => [...broken().view().keys()]).toThrow(CorruptError);
    expect(
      inodes(
        broken()
          .view()
          .keys({ to: at(36) }),
      ),
    ).toEqual([3, 33, 36]);
  });

  test('is reported and passed by, and the journal’s keys stay', () => {
    for (const backward of [false, true]) {
      const reported: string[] = [];
      const view = broken().view(overlayOf([set(64)]));
      const found = inodes(view.keys({ backward, onDamage: damage => reported.push(damage.message.slice(0, 30)) }));
      expect(backward ? found.reverse() : found).toEqual([3, 33, 36, 64, 93, 96, 99, 102, 123]);
      expect(reported).toEqual(['lru 69:0:0 level 0, memory sec']);
    }
  });

  test('a pointer that is not there is reported', () => {
    const leaves = someLeaves(5);
    const whole = new TestTree(leaves);
    const without = (drop: number) => {
      const tree = new TestTree(leaves);
      const pointers = [...whole.view().keys({ level: 1 })];
      return tree.view(overlayOf([{ ...pointers[drop]!, k: { ...pointers[drop]!.k, type: 0 } }], 1));
    };
    for (const backward of [false, true]) {
      const reportedOf = (drop: number, between: { from?: Bpos; to?: Bpos } = {}) => {
        const reported: string[] = [];
        const keys = without(drop).keys({ backward, ...between, onDamage: damage => reported.push(damage.message) });
        return [[...keys].length, ...reported];
      };
      const gap = 'lru: no node holds the positions from';
      expect(reportedOf(0)).toEqual([10, `${gap} POS_MIN to 3:0:0`]);
      expect(reportedOf(2)).toEqual([8, `${gap} 36:0:1 to 69:0:0`]);
      expect(reportedOf(4)).toEqual([10, `${gap} 102:0:1 to SPOS_MAX`]);
      expect(reportedOf(2, { from: at(40), to: at(50) })).toEqual([0, `${gap} 40:0:0 to 50:0:0`]);
      expect(reportedOf(2, { from: at(70) })).toEqual([5]);
      expect(reportedOf(2, { to: at(36) })).toEqual([3]);
    }
  });

  test('a root that cannot be used', () => {
    const view = new BtreeView(
      LRU,
      { btree: LRU, level: 0, key: undefined, seq: undefined },
      Object(undefined),
      NO_OVERLAY,
    );
    expect(() => [...view.keys()]).toThrow('lru: its root cannot be used');
    const reported: string[] = [];
    expect([...view.keys({ onDamage: damage => reported.push(damage.message) })]).toEqual([]);
    expect(reported).toEqual(['lru: its root cannot be used']);
  });
});
