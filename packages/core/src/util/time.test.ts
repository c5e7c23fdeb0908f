import { afterAll, beforeAll, expect, test } from 'vitest';
import { dateTimeText, durationText } from './time.ts';

const zone = process.env.TZ;
beforeAll(() => {
  process.env.TZ = 'UTC';
});
afterAll(() => {
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

test('dates as ctime writes them', () => {
  expect(dateTimeText(0)).toBe('Thu Jan  1 00:00:00 1970');
  expect(dateTimeText(1_795_445_253n)).toBe('Mon Nov 23 14:47:33 2026');
  expect(dateTimeText(-1)).toBe('Wed Dec 31 23:59:59 1969');
});

test('a date that no calendar has', () => {
  expect(dateTimeText(2n ** 62n)).toBe('(time out of range: 4611686018427387904)');
});

test.each([
  [0, '0 ns'],
  [1, '1000 ms'],
  [2, '2 s'],
  [119, '119 s'],
  [120, '2 m'],
  [7199, '119 m'],
  [7200, '2 h'],
  [4 * 86400, '4 d'],
  [14 * 86400, '2 w'],
  [2 ** 32 - 1, '136 y'],
])('%d seconds are %s', (seconds, text) => {
  expect(durationText(seconds)).toBe(text);
});
