// Names with few hashes, so that rows of them are long, in a tree of snapshots: sets, lookups and deletions against plain maps, one for each
// snapshot that a subvolume lives in.

import { describe, expect, test } from 'vitest';
import { BtreeView } from '../btree/iterate.ts';
import { NO_TRIGGERS, Transaction } from '../btree/transaction.ts';
import { NO_OVERLAY } from '../journal/overlay.ts';
import type { Key } from '../ondisk/bkey.ts';
import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { xattr } from '../ondisk/keys/xattr.ts';
import { type SnapshotNode, SnapshotTable } from '../snapshots/snapshot-table.ts';
import { seededRandom } from '../util/random.ts';
import { type HashTable, hashDelete, hashFind, hashSet, isXattrOf } from './hash-insert.ts';

const random = seededRandom(process.env.TEST_SEED ?? 'hash-insert');
const below = (limit: number): number => ((random.bytes(1)[0]! << 8) | random.bytes(1)[0]!) % limit;
const node = (id: number, parent: number, children: readonly number[]): SnapshotNode => ({
  id,
  parent,
  children,
  subvolume: 0,
  tree: 1,
  state: 'live',
});

function emptyTransaction(): Transaction {
  const empty = (id: number) =>
    new BtreeView(id, undefined, { read: () => expect.fail('nothing to read') }, NO_OVERLAY);
  const btree = (which: Parameters<Transaction['btree']>[0]) =>
    empty(typeof which === 'number' ? which : btrees.idOf(which));
  return new Transaction({ sb: {} as Transaction['sb'], key: undefined, device: () => undefined, btree }, NO_TRIGGERS);
}

/** Seven hashes for all names. */
const hash = (name: Uint8Array) => ({ lo: 100 + (name[0]! % 7), hi: 0 });
const tableOf = (snapshot: number, isNew: boolean): HashTable => ({
  btree: btrees.idOf('xattrs'),
  keyType: keyTypes.idOf('xattr'),
  inum: { lo: 4096, hi: 0 },
  snapshot,
  isNew,
  hashOf: ({ value }: Key) => hash(xattr.decode(value).name),
  isVisible: () => true,
});
const encoded = (name: Uint8Array, value: number) =>
  xattr.encode({ type: 0, name, value: Uint8Array.of(value), nameLength: 1, valueLength: 1, sizeU64s: 0 });
const names = Array.from({ length: 30 }, (_, i) => Uint8Array.of(65 + i));

describe('rows of names', () => {
  test.each([true, false])('in one snapshot, new inode: %s', isNew => {
    const tx = emptyTransaction();
    const snapshots = new SnapshotTable([node(9, 0, [])]);
    run(tx, snapshots, [[9, new Map()]], isNew, 3000);
  });

  test('in five snapshots', () => {
    const tx = emptyTransaction();
    // What the root and the middle hold was written when they were leaves.
    const first = new Map<number, number>();
    run(tx, new SnapshotTable([node(9, 0, [])]), [[9, first]], false, 300);
    const one = new SnapshotTable([node(9, 0, [8, 7]), node(8, 9, []), node(7, 9, [])]);
    const [left, right] = [new Map(first), new Map(first)];
    run(tx, one, [[8, left], [7, right]], false, 600); // biome-ignore format: pairs
    const two = new SnapshotTable([
      node(9, 0, [8, 7]),
      node(8, 9, []),
      node(7, 9, [6, 5]),
      node(6, 7, []),
      node(5, 7, []),
    ]);
    run(tx, two, [[8, left], [6, new Map(right)], [5, new Map(right)]], false, 3000); // biome-ignore format: pairs
  });
});

type Leaf = readonly [snapshot: number, model: Map<number, number>];

function run(tx: Transaction, snapshots: SnapshotTable, leaves: readonly Leaf[], isNew: boolean, steps: number): void {
  for (let step = 0; step < steps; step++) {
    const [snapshot, model] = leaves[below(leaves.length)]!;
    const table = tableOf(snapshot, isNew);
    const name = names[below(names.length)]!;
    const found = hashFind(tx, snapshots, table, hash(name), isXattrOf(0, name));
    expect(found === undefined ? undefined : xattr.decode(found.value).value[0]).toBe(model.get(name[0]!));
    if (below(5) < 2 + (step % 200 < 100 ? 1 : 0)) {
      const value = below(256);
      const { replaced } = hashSet(tx, snapshots, table, hash(name), isXattrOf(0, name), encoded(name, value));
      expect(replaced !== undefined).toBe(model.has(name[0]!));
      model.set(name[0]!, value);
    } else if (found !== undefined) {
      hashDelete(tx, snapshots, table, Uint32Array.of(snapshot, ...found.k.p.subarray(1)));
      model.delete(name[0]!);
    }
    if (step % 50 !== 0) continue;
    for (const [id, other] of leaves) {
      for (const one of names) {
        const key = hashFind(tx, snapshots, tableOf(id, isNew), hash(one), isXattrOf(0, one));
        expect(key === undefined ? undefined : xattr.decode(key.value).value[0]).toBe(other.get(one[0]!));
      }
    }
  }
}
