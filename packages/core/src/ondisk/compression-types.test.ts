import { expect, test } from 'vitest';
import {
  compressionText,
  compressionTypeOf,
  decodeCompression,
  encodeCompression,
  isCompressionValid,
  parseCompression,
} from './compression-types.ts';
import { UsageError } from './errors.ts';

test.each([
  ['none', 0, 0],
  ['none:0', 0, 0],
  ['lz4', 1, 3],
  ['gzip:9', 0x92, 2],
  ['zstd:15', 0xf3, 4],
])('%s is stored as %i and compresses as type %i', (text, value, type) => {
  expect(parseCompression(text)).toBe(value);
  expect(compressionText(value)).toBe(text.replace(':0', ''));
  expect(compressionTypeOf(value)).toBe(type);
});

test.each(['', 'lz5', 'zstd:16', 'zstd:', 'zstd:-1', 'zstd:1:1', 'none:1', 'incompressible'])('refuses %j', text => {
  expect(() => parseCompression(text)).toThrow(UsageError);
});

test('valid values are those that can be written', () => {
  for (let value = 0; value < 256; value++) {
    const { type, level } = decodeCompression(value);
    expect(encodeCompression({ type, level })).toBe(value);
    expect(isCompressionValid(value)).toBe(type < 4 && (type > 0 || level === 0));
    if (!isCompressionValid(value)) expect(compressionTypeOf(value)).toBe(0);
  }
  expect(compressionText(7)).toBe('(unknown compression opt 7)');
});
