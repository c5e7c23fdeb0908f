// Snapshots by themselves: ancestry in trees that a test made up, sound and not, and what a snapshot sees of a btree, against the plain way:
// for each position, walk up from the snapshot until a key is found.

import { bposText, type Key, makeBpos, type SnapshotNode, SnapshotTable, visibleKeyAt, visibleKeys } from '@bcachefs-ts/core/engine'; // biome-ignore format: one line of names
import { describe, expect, test } from 'vitest';
import { handMadeBtree, key } from '../support/hand-made-btrees.ts';
import { randomFrom } from '../support/random.ts';

function node(id: number, parent: number): SnapshotNode {
  return { id, parent, children: [], subvolume: 0, tree: 1, state: 'live' };
}

describe('isAncestor', () => {
  const table = new SnapshotTable([
    node(100, 0),
    node(90, 100),
    node(80, 100),
    node(70, 90),
    node(60, 90),
    node(20, 10),
    node(50, 55),
  ]);

  test.each([
    [70, 70, true],
    [70, 90, true],
    [70, 100, true],
    [70, 80, false],
    [90, 70, false],
    [60, 100, true],
    // A node that is missing has itself; as a parent it counts, and nothing above it.
    [33, 33, true],
    [33, 100, false],
    [50, 55, true],
    [50, 100, false],
    // An edge downwards is not followed.
    [20, 10, false],
  ])('%i below %i: %s', (id, ancestor, expected) => expect(table.isAncestor(id, ancestor)).toBe(expected));

  test('loops end', () => {
    const loop = new SnapshotTable([node(5, 6), node(6, 7), node(7, 5), node(8, 8)]);
    expect([...loop.pathToRoot(5)]).toEqual([5, 6, 7]);
    expect([...loop.pathToRoot(8)]).toEqual([8]);
    expect(loop.isAncestor(7, 5)).toBe(false);
  });

  test('a chain of 100,000 snapshots is walked once', () => {
    const chain = new SnapshotTable(Array.from({ length: 100_000 }, (_, i) => node(i + 1, i === 99_999 ? 0 : i + 2)));
    let count = 0;
    for (let ancestor = 1; ancestor <= 100_000; ancestor++) if (chain.isAncestor(1, ancestor)) count++;
    expect(count).toBe(100_000);
  });
});

describe('visibleKeys', () => {
  test.each([1, 2, 3, 4, 5, 6])('sees what the plain way sees (seed %i)', seed => {
    const { below } = randomFrom(seed);
    // A random forest: parents are above.
    const ids = Array.from({ length: 12 }, (_, i) => 10 * (i + 1));
    const parents = new Map(ids.map((id, i) => [id, below(4) === 0 ? 0 : (ids[i + 1 + below(3)] ?? 0)]));
    const table = new SnapshotTable(ids.map(id => node(id, parents.get(id)!)));
    const keys = new Map<string, Key>();
    for (let i = 0; i < 400; i++) {
      const p = makeBpos(BigInt(below(3)), BigInt(below(30)), ids[below(ids.length)]!);
      const type = ['set', 'whiteout', 'hash_whiteout', 'extent_whiteout', 'cookie'][below(5)]!;
      keys.set(bposText(p), key(type, p));
    }
    const view = handMadeBtree('dirents', [...keys.values()]);
    for (const snapshot of ids) {
      const expected: Key[] = [];
      for (let inode = 0; inode < 3; inode++) {
        for (let offset = 0; offset < 30; offset++) {
          let id = snapshot;
          let found: Key | undefined;
          while (id !== 0 && found === undefined) {
            found = keys.get(bposText(makeBpos(BigInt(inode), BigInt(offset), id)));
            id = parents.get(id) ?? 0;
          }
          const isHidden = found === undefined || found.k.type === 1 || found.k.type === 36;
          const at = visibleKeyAt(view, table, snapshot, makeBpos(BigInt(inode), BigInt(offset), 0));
          expect(at).toBe(isHidden ? undefined : found);
          if (found !== undefined && !isHidden) expected.push(found);
        }
      }
      expect([...visibleKeys(view, table, snapshot)]).toEqual(expected);
      expect([...visibleKeys(view, table, snapshot, { backward: true })]).toEqual(expected.toReversed());
      const [from, to] = [makeBpos(1n, 3n, 0), makeBpos(1n, 20n, 0)];
      const within = expected.filter(({ k }) => k.p[3] === 1 && k.p[1]! >= 3 && k.p[1]! <= 20);
      expect([...visibleKeys(view, table, snapshot, { from, to })]).toEqual(within);
    }
  });

  test('keys of a missing snapshot are not seen, and reported once', () => {
    const table = new SnapshotTable([node(100, 0)]);
    const view = handMadeBtree('dirents', [1n, 2n, 3n].flatMap(at => [key('set', makeBpos(1n, at, 77)), key('set', makeBpos(1n, at, 100))])); // biome-ignore format: two of each
    const damage: string[] = [];
    const seen = [...visibleKeys(view, table, 100, { onDamage: found => damage.push(found.message) })];
    expect(seen.map(({ k }) => bposText(k.p))).toEqual(['1:1:100', '1:2:100', '1:3:100']);
    expect(damage).toEqual(['dirents 1:1:77: a key of snapshot 77, which is missing']);
  });
});
