// Commits against a plain model: random changes of one btree, with splits and merges, read back through the nodes. What the changes mean
// for other btrees is left out here (no triggers), so that the btrees alone are on trial; room for nodes comes from behind the
// end of the filesystem, which is moved for it.

import {
  bposText,
  compareBpos,
  FilesystemWriter,
  type Key,
  loadChecksums,
  makeBpos,
  NO_TRIGGERS,
  openMembers,
  seededRandom,
} from '@bcachefs-ts/core';
import { beforeAll, describe, expect, test } from 'vitest';
import { BehindTheEnd, grown, xattrKey } from '../support/behind-the-end.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();

beforeAll(loadChecksums);

describe(`commits (seed ${seed})`, () => {
  test.each(['basic', 'multi', 'unclean'])('%s: what is read back is what the model says', name => {
    const random = randomFrom(seed);
    const { set, devices } = grown(name);
    const writer = new FilesystemWriter(set, { random: seededRandom(String(seed)), now: () => 1_700_000_000n });
    const allocator = new BehindTheEnd(writer.filesystem.sb);
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
      expect(keys.map(({ value }) => [...value])).toEqual(sortedModel(model).map(({ value }) => [...value]));
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

const sortedModel = (model: ReadonlyMap<string, Key>): Key[] =>
  [...model.values()].sort((a, b) => compareBpos(a.k.p, b.k.p));

function textOf({ filesystem }: FilesystemWriter, btree: 'inodes'): string {
  return [...filesystem.btree(btree).keys()].map(key => bposText(key.k.p) + [...key.value].join()).join('\n');
}
