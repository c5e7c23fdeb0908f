import { expect, test } from 'vitest';
import { PagedList } from './paged-list.ts';

function* numbers(count: number, read: number[] = []): Generator<number> {
  for (let nr = count - 1; nr >= 0; nr--) {
    read.push(nr);
    yield nr;
  }
}
const goOn = async () => true;

test('no more is read than somebody has asked for', async () => {
  const read: number[] = [];
  const list = new PagedList(numbers(1000, read));
  await list.fill(10, goOn);
  expect([list.count, list.isWhole, read.length]).toEqual([10, false, 10]);
  await list.fill(Number.POSITIVE_INFINITY, goOn);
  expect([list.count, list.isWhole]).toEqual([1000, true]);
});

test('what is to be sorted is read wholly', async () => {
  const list = new PagedList(numbers(1000), (a, b) => a - b);
  expect(list.count).toBe(0);
  await list.fill(10, goOn);
  expect([list.count, list.isWhole, list.items[0]]).toEqual([1000, true, 0]);
});

test('it stops where something else is more urgent, and goes on later', async () => {
  function* slow(): Generator<number> {
    for (let nr = 0; nr < 5; nr++) {
      for (const until = performance.now() + 25; performance.now() < until; );
      yield nr;
    }
  }
  const list = new PagedList(slow());
  await list.fill(5, async () => false);
  expect(list.isWhole).toBe(false);
  expect(list.count).toBeLessThan(5);
  await list.fill(6, goOn);
  expect([list.count, list.isWhole]).toEqual([5, true]);
});
