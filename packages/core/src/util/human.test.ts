import { describe, expect, test } from 'vitest';
import { UsageError } from '../ondisk/errors.ts';
import { exactText, humanText, parseHuman } from './human.ts';

describe('humanText', () => {
  test.each([
    [0, '0'],
    [256, '256'],
    [1023, '1023'],
    [1024, '1.00k'],
    [4096, '4.00k'],
    [4472, '4.36k'],
    [65536, '64.0k'],
    [131072, '128k'],
    [1023 * 1024, '1023k'],
    [1048576, '1.00M'],
    [1_234_567_890, '1.14G'],
    [(1n << 64n) - 1n, '15.9E'],
  ])('%s in the style of 1.36', (value, text) => {
    expect(humanText(value)).toBe(text);
  });

  test.each([
    [1023, '1023'],
    [4472, '4.37k'],
    [10_234, '9.99k'],
    [10_235, '10.0k'],
    [102_399, '100k'],
    [1_048_575, '1.00M'],
    [2 * 1024 * 1024, '2.00M'],
    [(1n << 64n) - 1n, '16.0E'],
  ])('%s rounded, in the style of 1.39', (value, text) => {
    expect(humanText(value, '1.39')).toBe(text);
  });

  test('reading back is never more than what was written, up to 1.36', () => {
    for (let value = 1; value < 2 ** 50; value = Math.floor(value * 1.37) + 1) {
      const back = Number(parseHuman(humanText(value)));
      expect(back).toBeLessThanOrEqual(value);
      expect(back).toBeGreaterThan(value * 0.98);
    }
  });
});

test('exactText divides only what divides', () => {
  const texts = [0, 512, 4096, 3000, 33_553_920, 1 << 20].map(exactText);
  expect(texts).toEqual(['0', '512', '4k', '3000', '33553920', '1M']);
});

describe('parseHuman', () => {
  test.each([
    ['0', 0n],
    ['4096', 4096n],
    ['4k', 4096n],
    ['4K', 4096n],
    ['4 k', 4096n],
    ['+4k', 4096n],
    ['64KiB', 65536n],
    ['64kiB', 65536n],
    ['1.5M', 1_572_864n],
    ['1.0001k', 1024n],
    ['100MB', 100_000_000n],
    ['7B', 7n],
    ['1G', 1n << 30n],
    ['15E', 15n << 60n],
    ['18446744073709551615', (1n << 64n) - 1n],
  ])('%s', (text, value) => {
    expect(parseHuman(text)).toBe(value);
  });

  test.each([
    '',
    'k',
    '-1',
    '4kk',
    '4x',
    '4iB',
    '1.',
    '.5k',
    '1.5.5',
    '16E',
    '18446744073709551616',
    '1Z',
    '0x10',
    '4k ',
  ])('refuses %j', text => {
    expect(() => parseHuman(text)).toThrow(UsageError);
  });
});
