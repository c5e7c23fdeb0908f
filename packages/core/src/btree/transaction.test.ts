import { describe, expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { NO_OVERLAY } from '../journal/overlay.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { BtreeView } from './iterate.ts';
import { makeKey, NO_TRIGGERS, Transaction } from './transaction.ts';

const LRU = btrees.idOf('lru');

/** Over a filesystem of nothing. */
function blankTransaction(): Transaction {
  const sb = {} as Superblock;
  const nothing = new BtreeView(LRU, undefined, { read: () => expect.fail('nothing to read') }, NO_OVERLAY);
  return new Transaction({ sb, key: undefined, device: () => undefined, btree: () => nothing }, NO_TRIGGERS);
}

describe('a key that comes and goes', () => {
  const pos = makeBpos(1n, 2n, 0);
  const key = makeKey(keyTypes.idOf('set'), pos, new Uint8Array(0));

  test('leaves no trace', () => {
    const tx = blankTransaction();
    tx.update('lru', key);
    tx.delete('lru', pos);
    expect(tx.changedBtrees()).toEqual([]);
  });

  test('is a change still, once a commit is being planned: its node was replaced in the plan', () => {
    const tx = blankTransaction();
    tx.update('lru', key);
    tx.keepPositions();
    tx.delete('lru', pos);
    expect(tx.changedBtrees()).toEqual([LRU]);
    expect([...tx.btree('lru').keys()]).toEqual([]);
    // What never was there is none.
    tx.delete('lru', makeBpos(1n, 3n, 0));
    expect(tx.changesOf(LRU)?.size).toBe(1);
  });
});

const seed = testSeed();

test(`lookups in a changed btree give what its walk gives first (TEST_SEED=${seed})`, () => {
  const random = randomFrom(seed);
  for (let round = 0; round < 30; round++) {
    const below = blankTransaction();
    const make = () => makeKey(keyTypes.idOf('set'), makeBpos(BigInt(random.below(60)), 0n, 0), new Uint8Array(0));
    for (let i = random.below(40); i > 0; i--) below.update('lru', make());
    const tx = new Transaction(below, NO_TRIGGERS);
    for (let i = random.below(40); i > 0; i--) {
      if (random.below(2) === 0) tx.delete('lru', make().k.p);
      else tx.update('lru', make());
    }
    const btree = tx.btree('lru');
    for (let i = 0; i < 60; i++) {
      const from = makeBpos(BigInt(random.below(70)), 0n, 0);
      const to = makeBpos(BigInt(random.below(70)), 0n, 0);
      const walked = btree.keys({ from, to }).next().value;
      expect(btree.first(from, to)).toBe(walked);
      expect(btree.get(from)).toBe(btree.keys({ from, to: from }).next().value);
    }
  }
});
