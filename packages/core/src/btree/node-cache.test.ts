import { describe, expect, test } from 'vitest';
import type { Key } from '../ondisk/bkey.ts';
import { BkeyFormat } from '../ondisk/bkey-format.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { BtreeNode, type NodeFacts } from './node.ts';
import { NodeCache } from './node-cache.ts';

function pointer(nr: number): Key {
  const value = new Uint8Array(48).fill(nr & 0xff);
  value[0] = nr >>> 8;
  const p = makeBpos(BigInt(nr), 0n, 0);
  return { k: { u64s: 11, format: 1, type: 18, pad: 0, bversion_lo: 0n, bversion_hi: 0, size: 0, p }, value };
}

/** Nodes of 1,000 bytes; every thirteenth is corrupt. */
class CountingSupply {
  readonly asked: number[] = [];

  read(btree: number, level: number, ptr: Key): BtreeNode {
    const nr = ptr.k.p[3]!;
    this.asked.push(nr);
    if (nr % 13 === 12) throw new CorruptError('btree_node_bad_magic', {}, `node ${nr}`);
    const facts: NodeFacts = {
      btree,
      level,
      ptr,
      seq: 0n,
      minKey: ptr.k.p,
      maxKey: ptr.k.p,
      format: BkeyFormat.get(new DataView(new ArrayBuffer(BkeyFormat.size)), 0),
      bsets: [],
      device: '',
      sector: nr,
      damage: [],
      leftOut: [],
    };
    return new BtreeNode(facts, { rows: new Uint32Array(50), count: 0 }, new Uint8Array(800));
  }
}

describe('NodeCache', () => {
  test('reads a node once', () => {
    const supply = new CountingSupply();
    const cache = new NodeCache(supply);
    const first = cache.read(0, 0, pointer(1));
    expect(cache.read(0, 0, pointer(1))).toBe(first);
    expect(cache.read(1, 0, pointer(1))).not.toBe(first);
    expect(cache.read(0, 1, pointer(1))).not.toBe(first);
    expect(cache.read(0, 0, pointer(1), { salvage: true })).not.toBe(first);
    expect(cache.read(0, 0, pointer(2)).facts.sector).toBe(2);
  });

  test('remembers what is corrupt', () => {
    const supply = new CountingSupply();
    const cache = new NodeCache(supply);
    for (let i = 0; i < 3; i++) expect(() => cache.read(0, 0, pointer(12))).toThrow('node 12');
    expect(supply.asked).toEqual([12]);
  });

  test('keeps what was used last, and no more than it may', () => {
    const supply = new CountingSupply();
    const cache = new NodeCache(supply, { maxBytes: 3500 });
    for (const nr of [1, 2, 3, 1, 4, 1, 2]) cache.read(0, 0, pointer(nr));
    expect(supply.asked).toEqual([1, 2, 3, 4, 2]);
    expect(cache.sizeBytes).toBe(3000);
  });

  test('keeps of what a walk comes by nothing, or as much as there is room for', () => {
    const plain = new NodeCache(new CountingSupply());
    plain.read(0, 0, pointer(1), { keep: 'walked' });
    expect(plain.sizeBytes).toBe(0);

    const supply = new CountingSupply();
    const cache = new NodeCache(supply, { maxBytes: 3500, keepsWalked: true });
    cache.read(0, 0, pointer(9));
    for (let i = 0; i < 2; i++) for (const nr of [1, 2, 3, 4]) cache.read(0, 0, pointer(nr), { keep: 'walked' });
    expect(supply.asked).toEqual([9, 1, 2, 3, 4, 3, 4]);
    cache.read(0, 0, pointer(5));
    cache.read(0, 0, pointer(9));
    expect(supply.asked.slice(7)).toEqual([5, 9]);
  });

  test('is right about a thousand nodes, whatever their hashes', () => {
    const cache = new NodeCache(new CountingSupply(), { maxBytes: 300_000 });
    for (let i = 0; i < 5000; i++) {
      const nr = (i * 7919) % 1000;
      if (nr % 13 !== 12) expect(cache.read(0, 0, pointer(nr)).facts.sector).toBe(nr);
      expect(cache.sizeBytes).toBeLessThanOrEqual(300_000);
    }
  });
});
