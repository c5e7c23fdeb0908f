// The triggers on filesystems that a kernel made: whatever is changed, what is derived from it changes along, by the judgement of the
// checker, which shares no code with them.

import {
  bposInode,
  bposText,
  btrees,
  deleteExtents,
  encodeExtentEntries,
  extent,
  extentEnd,
  extentStart,
  type Filesystem,
  type Key,
  keyTypes,
  loadChecksums,
  makeKey,
  type Transaction,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Change, findingsOf, openFixture, trialOf, writableFixtures } from '../support/engine.ts';
import { whyNoFixtures } from '../support/fixtures.ts';

if (whyNoFixtures !== undefined) console.warn(`triggers on fixtures skipped: ${whyNoFixtures}`);
beforeAll(loadChecksums);

const EXTENT = keyTypes.idOf('extent');
/** Files that lose or get extents without a change of their inodes. */
const SECTORS = ['inode_i_sectors_wrong'];
const EXTENTS = (['extent', 'reflink_p', 'reservation', 'inline_data'] as const).map(name => keyTypes.idOf(name));

function withChange(name: string, body: (filesystem: Filesystem, change: Change) => void): void {
  const filesystem = openFixture(name);
  try {
    body(filesystem, trialOf(filesystem));
  } finally {
    filesystem.close();
  }
}

const textOf = (tx: Transaction, btree: number): string[] =>
  [...tx.btree(btree).keys()].map(
    ({ k, value }) => `${bposText(k.p)} ${k.type} ${k.size} ${Buffer.from(value).toString('hex')}`,
  );

// Where there are none, the tests are there all the same, and skipped.
const names = whyNoFixtures === undefined ? writableFixtures() : ['no fixtures'];

describe.skipIf(whyNoFixtures !== undefined).each(names)('%s', name => {
  test('extents that go, and come back', () => {
    withChange(name, (filesystem, change) => {
      const { tx } = change;
      const gone: Key[] = [];
      for (const key of [...tx.btree('extents').keys()]) {
        if (Number(bposInode(key.k.p) % 3n) === 0 && EXTENTS.includes(key.k.type)) gone.push(key);
      }
      for (const { k } of gone) tx.delete('extents', k.p);
      expect(findingsOf(filesystem, change, SECTORS)).toEqual([]);
    });
    withChange(name, (filesystem, change) => {
      const { tx } = change;
      const before = derivedText(tx);
      const gone = [...tx.btree('extents').keys()].filter(({ k }) => EXTENTS.includes(k.type));
      for (const { k } of gone) tx.delete('extents', k.p);
      for (const key of gone) tx.update('extents', key);
      expect(findingsOf(filesystem, change)).toEqual([]);
      expect(derivedText(tx)).toEqual(before);
    });
  });

  test('inodes that go, and come back', () => {
    withChange(name, (filesystem, change) => {
      const { tx } = change;
      const inodes = [...tx.btree('inodes').keys()].filter((_, i) => i % 2 === 0);
      for (const { k } of inodes) tx.delete('inodes', k.p);
      const found = findingsOf(filesystem, change).filter(text => /accounting|has_child|deleted/.test(text));
      expect(found).toEqual([]);
      for (const key of inodes) tx.update('inodes', key);
      expect(findingsOf(filesystem, change)).toEqual([]);
    });
  });

  test('extents that move to other buckets', () => {
    withChange(name, (filesystem, change) => {
      moveExtents(change, 400);
      expect(findingsOf(filesystem, change)).toEqual([]);
    });
  });

  test('holes, and extents put over others', () => {
    withChange(name, (filesystem, change) => {
      const { tx, table } = change;
      const visible = [...tx.btree('extents').keys()].filter(({ k }) => k.size >= 8 && EXTENTS.includes(k.type));
      const snapshots = table.nodes().filter(({ children }) => children.length === 0);
      for (const [i, key] of visible.slice(0, 300).entries()) {
        const inum = bposInode(key.k.p);
        const leaf = snapshots.find(({ id }) => table.isAncestor(id, key.k.p[0]!));
        if (leaf === undefined) continue;
        const [start, end] = [extentStart(key), extentEnd(key)];
        const middle = Math.floor((start + end) / 2);
        const range = [
          { start, end: middle },
          { start: middle, end },
          { start: start + 1, end: end - 1 },
          { start: Math.max(0, start - 5), end: end + 5 },
        ][i % 4]!;
        deleteExtents(tx, table, { inum, snapshot: leaf.id, ...range });
      }
      expect(findingsOf(filesystem, change, SECTORS)).toEqual([]);
    });
  });
});

/** All derived btrees, and reflink with its counts. */
function derivedText(tx: Transaction): Record<string, string[]> {
  const names = ['alloc', 'freespace', 'need_discard', 'lru', 'bucket_gens', 'backpointers', 'reflink'] as const;
  return Object.fromEntries(names.map(one => [one, textOf(tx, btrees.idOf(one))]));
}

/** Gives extents new places: all pointers of theirs that count. The data itself stays where it was: keys only are looked at. */
function moveExtents({ tx, allocator }: Change, count: number): number {
  const keys = [...tx.btree('extents').keys()].filter(({ k }) => k.type === EXTENT).slice(0, count);
  let moved = 0;
  for (const key of keys) {
    const entries = extent.decode(key.value).entries;
    const ptrs = entries.flatMap(entry => (entry.type === 'ptr' ? [entry] : []));
    const crcs = entries.flatMap(entry =>
      entry.type === 'crc32' || entry.type === 'crc64' || entry.type === 'crc128' ? [entry] : [],
    );
    if (crcs.length > 1 || ptrs.some(({ cached }) => cached) || entries.length !== ptrs.length + crcs.length) continue;
    const [crc] = crcs;
    const sectors = crc?.compressed_size ?? key.k.size;
    const pieces = allocator.allocateData({ replicas: ptrs.length, target: 0, sectors: roundUp(sectors, 8) });
    // One that is cut in two would need a checksum of its own for each.
    if (pieces.length !== 1) continue;
    const placed = pieces[0]!.pointers.map(pointer => ({ ...pointer, unwritten: ptrs[0]!.unwritten }));
    const value = encodeExtentEntries(crc === undefined ? placed : [crc, ...placed]);
    tx.update('extents', makeKey(EXTENT, key.k.p, value, key.k));
    moved++;
  }
  return moved;
}

const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to;
