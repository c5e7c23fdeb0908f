// Times as they are shown: in local time, as ls(1) and the reference have them, with the zone.

import { afterEach, expect, test } from 'vitest';
import { timeText } from './entry-text.ts';

const zone = process.env.TZ;
afterEach(() => {
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

test.each([
  ['UTC', '2024-07-01 12:00:00.123456789 +0000'],
  ['Europe/Berlin', '2024-07-01 14:00:00.123456789 +0200'],
  ['America/St_Johns', '2024-07-01 09:30:00.123456789 -0230'],
])('in the zone of TZ: %s', (name, text) => {
  process.env.TZ = name;
  const ns = BigInt(Date.UTC(2024, 6, 1, 12)) * 1_000_000n + 123_456_789n;
  expect(timeText(ns)).toBe(text);
  expect(timeText(ns, { fraction: false })).toBe(text.replace('.123456789', ''));
});

test('before 1970, and years that only damage has', () => {
  process.env.TZ = 'UTC';
  expect(timeText(-1n)).toBe('1969-12-31 23:59:59.999999999 +0000');
  expect(timeText(10n ** 21n)).toBe('@1000000000000.000000000');
  expect(timeText(-(10n ** 30n))).toBe('@-1000000000000000000000.000000000');
});
