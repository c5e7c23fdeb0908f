import { UsageError } from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { parseBoolean, parseInteger, parseMode, parseMountOptions, parseOwner, parseSize } from './values.ts';

describe('parseSize', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['64k', 65536],
    ['64K', 65536],
    ['1.5G', 1610612736],
    ['2TiB', 2199023255552],
    ['2TB', 2000000000000],
    ['512B', 512],
    ['1 M', 1048576],
    ['0x1000', 4096],
    ['7P', 7 * 1024 ** 5],
  ])('%s is %i bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each([
    ['', "'' is not a size, expected a number of bytes such as 4096, 64k, 1.5G or 2T"],
    ['12Q', "'12Q' is not a size, expected a number of bytes such as 4096, 64k, 1.5G or 2T"],
    ['-1', "'-1' is not a size, expected a number of bytes such as 4096, 64k, 1.5G or 2T"],
    ['1.3', "'1.3' is not a whole number of bytes, expected a number of bytes such as 4096, 64k, 1.5G or 2T"],
    ['15E', "'15E' is too large, at most 8P can be handled"],
    ['2tb', "'2tb' is not a size, expected a number of bytes such as 4096, 64k, 1.5G or 2T"],
    ['9007199254740993', "'9007199254740993' is too large, at most 8P can be handled"],
    ['9'.repeat(400), `'${'9'.repeat(40)}' is not a size, expected a number of bytes such as 4096, 64k, 1.5G or 2T`],
  ])('%s is refused', (text, message) => {
    expect(() => parseSize(text)).toThrow(new UsageError(message));
  });
});

describe('parseInteger', () => {
  test('within its limits', () => {
    expect(parseInteger('0x10', 1, 16)).toBe(16);
    expect(parseInteger('-3', -5, 5)).toBe(-3);
  });

  test.each([
    ['17', '17 is out of range, expected a whole number from 1 to 16'],
    ['0', '0 is out of range, expected a whole number from 1 to 16'],
    ['1.5', "'1.5' is not a whole number, expected one from 1 to 16"],
    ['', "'' is not a whole number, expected one from 1 to 16"],
    ['1e1', "'1e1' is not a whole number, expected one from 1 to 16"],
    ['99999999999999999999', "'99999999999999999999' is not a whole number, expected one from 1 to 16"],
  ])('%s is refused', (text, message) => {
    expect(() => parseInteger(text, 1, 16)).toThrow(new UsageError(message));
  });
});

test('parseMountOptions', () => {
  expect(parseMountOptions('ro,errors=continue,x=a=b,empty=')).toEqual([
    { name: 'ro', value: undefined },
    { name: 'errors', value: 'continue' },
    { name: 'x', value: 'a=b' },
    { name: 'empty', value: '' },
  ]);
  expect(() => parseMountOptions('ro,,rw')).toThrow(
    new UsageError("'ro,,rw' has an empty entry, expected NAME or NAME=VALUE between commas"),
  );
});

test('parseBoolean', () => {
  expect(['1', 'yes', 'On', 'TRUE', 'y'].map(parseBoolean)).toEqual([true, true, true, true, true]);
  expect(['0', 'no', 'off', 'false', 'N'].map(parseBoolean)).toEqual([false, false, false, false, false]);
  expect(() => parseBoolean('maybe')).toThrow(
    new UsageError("'maybe' is neither yes nor no, expected 1, yes, true, on or 0, no, false, off"),
  );
});

describe('owners and permissions', () => {
  test('two numbers, all ones is none', () => {
    expect(parseOwner('0:4294967294')).toEqual({ uid: 0, gid: 4_294_967_294 });
    for (const text of ['', '0', 'root:root', '0:4294967295', '-1:0', '1:2:3', '1:99999999999'])
      expect(() => parseOwner(text)).toThrow(UsageError);
  });

  test('octal, with the bits for setuid, setgid and sticky', () => {
    expect(['0755', '644', '7777', '04755', '0'].map(parseMode)).toEqual([0o755, 0o644, 0o7777, 0o4755, 0]);
    for (const text of ['', '8', '17777', '0o755', 'u+x', '-1', '000755'])
      expect(() => parseMode(text)).toThrow('expected permissions in octal');
  });
});
