import { describe, expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, compareBpos, makeBpos } from '../ondisk/bpos.ts';
import { KeyMap, type KeyRange } from './key-map.ts';

const keyAt = (p: Bpos, size: number): Key => ({
  k: { u64s: 5, format: 1, type: 1, pad: 0, bversion_lo: 0n, bversion_hi: 0, size, p },
  value: new Uint8Array(0),
});

/** The plain twin: a list that is sorted when it is looked at. */
class PlainMap {
  readonly #keys = new Map<string, Key>();
  set(key: Key): void {
    this.#keys.set(bposText(key.k.p), key);
  }
  delete(pos: Bpos): boolean {
    return this.#keys.delete(bposText(pos));
  }
  get(pos: Bpos): Key | undefined {
    return this.#keys.get(bposText(pos));
  }
  range({ from, to, backward = false }: KeyRange): Key[] {
    const found = [...this.#keys.values()]
      .filter(({ k: { p } }) => (!from || compareBpos(p, from) >= 0) && (!to || compareBpos(p, to) <= 0))
      .sort((a, b) => compareBpos(a.k.p, b.k.p));
    return backward ? found.reverse() : found;
  }
}

const seed = testSeed();

describe(`a sorted map of keys (seed ${seed})`, () => {
  test('says what a plain map says, through random changes', () => {
    const random = randomFrom(seed);
    const map = new KeyMap();
    const plain = new PlainMap();
    const position = () =>
      makeBpos(BigInt(random.below(4)), BigInt(random.below(300)) << BigInt(random.pick([0, 31, 55])), random.below(3));
    for (let step = 0; step < 6000; step++) {
      const pos = position();
      if (random.below(3) > 0) {
        const key = keyAt(pos, step);
        map.set(key);
        plain.set(key);
      } else expect(map.delete(pos)).toBe(plain.delete(pos));
      if (step % 50 !== 0) continue;
      const [a, b] = [position(), position()];
      const range = { from: a, to: b, backward: random.below(2) === 0 };
      expect([...map.range(range)]).toEqual(plain.range(range));
      expect(map.get(a)).toBe(plain.get(a));
      expect(map.seek(a)).toBe(plain.range({ from: a })[0]);
      expect(map.seek(a, { backward: true })).toBe(plain.range({ to: a, backward: true })[0]);
    }
    expect([...map.range()]).toEqual(plain.range({}));
    expect(map.size).toBe(plain.range({}).length);
  });

  test('a reader sees what changes ahead of it and nothing twice', () => {
    const random = randomFrom(seed + 1);
    for (const backward of [false, true]) {
      const map = new KeyMap();
      const pos = (n: number) => makeBpos(1n, BigInt(n), 0);
      for (let n = 0; n < 2000; n += 2) map.set(keyAt(pos(n), n));
      const expected = new Set(Array.from({ length: 1000 }, (_, n) => 2 * n));
      const seen: number[] = [];
      for (const key of map.range({ backward })) {
        const here = key.k.size;
        seen.push(here);
        const other = random.below(2000);
        const isAhead = backward ? other < here : other > here;
        if (random.below(2) === 0) {
          map.set(keyAt(pos(other), other));
          if (isAhead) expected.add(other);
        } else {
          map.delete(pos(other));
          if (isAhead) expected.delete(other);
        }
      }
      const order = [...expected].sort((a, b) => (backward ? b - a : a - b));
      expect(seen).toEqual(order);
    }
  });

  test('keys that come in order fill their pages', () => {
    const map = new KeyMap();
    for (let n = 0; n < 10_000; n++) map.set(keyAt(makeBpos(0n, BigInt(n), 7), n));
    expect(map.size).toBe(10_000);
    expect([...map.range()].map(key => key.k.size)).toEqual(Array.from({ length: 10_000 }, (_, n) => n));
    map.clear();
    expect([...map.range()]).toEqual([]);
    expect(map.get(makeBpos(0n, 3n, 7))).toBeUndefined();
  });
});
