// Commits against a plain model: random changes of one btree, with splits and merges, read back through the nodes. What the changes mean
// for other btrees is left out here (no triggers), so that the btrees alone are on trial; room for nodes comes from past the
// end of the filesystem, which is moved for it.

import {
  bposInode,
  bposText,
  compareBpos,
  FilesystemWriter,
  type Key,
  loadChecksums,
  makeBpos,
  NO_TRIGGERS,
  openMembers,
  seededRandom,
  type Transaction,
  type Triggers,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { grown, PastTheEnd, xattrKey } from '../support/past-the-end.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();

beforeAll(loadChecksums);

describe(`commits (seed ${seed})`, () => {
  test.each(['basic', 'multi', 'unclean'])('%s: what is read back is what the model says', name => {
    const random = randomFrom(seed);
    const { set, devices } = grown(name);
    const writer = new FilesystemWriter(set, { random: seededRandom(String(seed)), now: () => 1_700_000_000n });
    const allocator = new PastTheEnd(writer.filesystem.sb);
    const model = new Map<string, Key>();
    for (const key of writer.filesystem.btree('xattrs').keys()) model.set(bposText(key.k.p), key);
    const others = textOf(writer, 'inodes');

    for (let round = 0; round < 12; round++) {
      const tx = writer.begin(NO_TRIGGERS);
      // Grows for some rounds, then shrinks until nothing is left.
      const isGrowing = round < 7;
      for (let step = 0; step < 400; step++) {
        const pos = makeBpos(
          BigInt(random.below(40) + 5000),
          BigInt(random.below(200)) << 50n,
          random.pick([7, 0xffff_ffff]),
        );
        if (random.below(10) < (isGrowing ? 9 : 2)) {
          const key = xattrKey(pos, random.below(1200));
          tx.update('xattrs', key);
          model.set(bposText(pos), key);
        } else {
          tx.delete('xattrs', pos);
          model.delete(bposText(pos));
        }
      }
      if (round === 11) {
        for (const key of [...model.values()]) tx.delete('xattrs', key.k.p);
        model.clear();
      }
      const seen = [...tx.btree('xattrs').keys()].map(({ k }) => bposText(k.p));
      const report = writer.commit({ tx, allocator, superblock: sb => sb });
      const keys = [...writer.filesystem.btree('xattrs').keys()];
      expect(keys.map(({ k }) => bposText(k.p))).toEqual(seen);
      expect(keys.map(({ k }) => bposText(k.p))).toEqual(sortedModel(model).map(({ k }) => bposText(k.p)));
      expect(keys.map(hexOf)).toEqual(sortedModel(model).map(hexOf));
      expect(report.nodeCount).toBeGreaterThan(0);
      // Another one that opens it sees the same.
      const again = new FilesystemWriter(openMembers(devices), { random: seededRandom('x'), now: () => 0n });
      expect(again.filesystem.replay.from).toBe('clean');
      expect([...again.filesystem.btree('xattrs').keys()].length).toBe(model.size);
    }
    expect(writer.filesystem.btree('xattrs').depth).toBeGreaterThan(0);
    expect(textOf(writer, 'inodes')).toBe(others);
  });
});

/** As text: arrays of a million numbers take ten times as long to compare. */
const hexOf = ({ value }: Key): string => Buffer.from(value).toString('hex');

test('a node is of a later generation than those that were in its place: a scan for lost nodes goes by it', () => {
  const { set } = grown('basic');
  const writer = new FilesystemWriter(set, { random: seededRandom(String(seed)), now: () => 1_700_000_000n });
  const allocator = new PastTheEnd(writer.filesystem.sb);
  const random = randomFrom(seed);
  const nodes = () => {
    const view = writer.filesystem.btree('xattrs');
    return Array.from({ length: view.depth }, (_, level) => [...view.nodes({ level })]).flat();
  };
  let compared = 0;
  for (let round = 0; round < 5; round++) {
    const before = nodes();
    const tx = writer.begin(NO_TRIGGERS);
    for (let nr = 0; nr < 300; nr++) {
      const key = xattrKey(makeBpos(BigInt(10_000 + random.below(2000)), 0n, 0xffff_ffff), 1000);
      if (round === 3) tx.delete('xattrs', key.k.p);
      else tx.update('xattrs', key);
    }
    writer.commit({ tx, allocator, superblock: sb => sb });
    const kept = new Set(before.map(({ facts }) => facts.seq));
    for (const { facts, generation } of nodes()) {
      if (kept.has(facts.seq)) continue;
      for (const old of before) {
        const isApart =
          compareBpos(old.facts.maxKey, facts.minKey) < 0 || compareBpos(old.facts.minKey, facts.maxKey) > 0;
        if (isApart || old.facts.level !== facts.level) continue;
        expect(generation).toBeGreaterThan(old.generation);
        compared++;
      }
    }
  }
  expect(compared).toBeGreaterThan(8);
  expect(Math.max(...nodes().map(({ generation }) => generation))).toBeGreaterThan(3);
});

test('a node that was to be merged is replaced also when its neighbour becomes fuller meanwhile', () => {
  const { set } = grown('basic');
  const writer = new FilesystemWriter(set, { random: seededRandom(String(seed)), now: () => 1_700_000_000n });
  const allocator = new PastTheEnd(writer.filesystem.sb);
  const commit = (triggers: Triggers, change: (tx: Transaction) => void) => {
    const tx = writer.begin(triggers);
    change(tx);
    return writer.commit({ tx, allocator, superblock: sb => sb });
  };
  const keyAt = (nr: number) => xattrKey(makeBpos(BigInt(10_000 + nr), 0n, 0xffff_ffff), 1000);
  const leaves = () => [...writer.filesystem.btree('xattrs').keys({ level: 1 })];
  const ends = (ptr: Key) => [...ptr.value].join();
  commit(NO_TRIGGERS, tx => {
    for (let nr = 0; nr < 2000; nr++) tx.update('xattrs', keyAt(nr));
  });
  // Half full, so that what is left of another one has room in it.
  commit(NO_TRIGGERS, tx => {
    for (let nr = 1; nr < 2000; nr += 2) tx.delete('xattrs', keyAt(nr).k.p);
  });
  const before = leaves();
  expect(before.length).toBeGreaterThan(4);
  const [start, end] = [before[1]!, before[2]!].map(({ k }) => Number(bposInode(k.p)) - 10_000);

  // All keys of the third leaf go but the last, so that it is to be merged with its neighbour; the first round's trigger puts them back.
  const gone = Array.from({ length: end! - start! - 2 }, (_, i) => keyAt(start! + 1 + i));
  const replaced: Key[] = [];
  commit(
    {
      run(tx, { level, before, after }) {
        if (level === 1 && before !== undefined && after === undefined) {
          if (replaced.length === 0) for (const key of gone) tx.store('xattrs', key);
          replaced.push(before);
        }
        return after;
      },
      settle() {},
    },
    tx => {
      for (const { k } of gone) tx.delete('xattrs', k.p);
    },
  );
  expect(replaced.length).toBe(2);
  const now = new Set(leaves().map(ends));
  expect(replaced.map(ends).filter(ptr => now.has(ptr))).toEqual([]);
  expect(before.filter(ptr => !now.has(ends(ptr))).map(ends)).toEqual(replaced.map(ends));
  expect([...writer.filesystem.btree('xattrs').keys()].length).toBeGreaterThan(1000);
});

const sortedModel = (model: ReadonlyMap<string, Key>): Key[] =>
  [...model.values()].sort((a, b) => compareBpos(a.k.p, b.k.p));

function textOf({ filesystem }: FilesystemWriter, btree: 'inodes'): string {
  return [...filesystem.btree(btree).keys()].map(key => bposText(key.k.p) + [...key.value].join()).join('\n');
}
