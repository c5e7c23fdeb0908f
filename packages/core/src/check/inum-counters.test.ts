import { expect, test } from 'vitest';
import { InumCounters } from './inum-counters.ts';

test('counters are found in any order, and what was not asked for is left', () => {
  const counters = new InumCounters();
  const inums = Array.from({ length: 600 }, (_, i) => ({ low: (i * 7) % 2 ** 32, high: i < 300 ? 0 : 1 }));
  for (const [i, { low, high }] of inums.entries()) {
    counters.add(low, high, 1, 8, i);
    if (i % 2 === 0) counters.add(low, high, 1, 8, i);
  }
  const twice = (i: number): number => (i % 2 === 0 ? 2 : 1);
  const expected = (i: number) => [twice(i), 8 * twice(i), i * twice(i)] as const;
  for (const i of [0, 1, 2, 299, 300, 301, 17, 599, 598]) {
    const { low, high } = inums[i]!;
    const [extents, sectors, diskSectors] = expected(i);
    expect(counters.takeSame(low, high, extents, sectors, diskSectors + 1)).toBe(false);
    expect(counters.takeSame(low, high, extents, sectors, diskSectors)).toBe(true);
    expect(counters.take(low, high)).toEqual(expected(i));
  }
  expect(counters.take(3, 0)).toEqual([]);
  expect(counters.takeSame(5, 2, 0, 0, 0)).toBe(false);
  const left = [...counters.left()];
  expect(left).toHaveLength(600 - 9);
  expect(left[0]).toEqual({ inum: 21n, values: expected(3) });
  expect(left.at(-1)).toEqual({ inum: (1n << 32n) + 7n * 597n, values: expected(597) });
  expect([...counters.all()]).toHaveLength(600);
});
