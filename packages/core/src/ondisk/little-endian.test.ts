import { expect, test } from 'vitest';
import { i64NumberAt, u32At, u64At, u64Of } from './little-endian.ts';

const NUMBERS = [0n, 1n, 0xffff_ffffn, 0x1_0000_0000n, 2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];

test.each(NUMBERS)('%d is read as a DataView reads it', value => {
  const bytes = new Uint8Array(11);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(3, value, true);
  expect(u32At(bytes, 3)).toBe(view.getUint32(3, true));
  expect(u64At(bytes, 3)).toBe(value);
  expect(u64Of(view.getUint32(3, true), view.getUint32(7, true))).toBe(value);
  expect(i64NumberAt(bytes, 3)).toBe(Number(view.getBigInt64(3, true)));
});
