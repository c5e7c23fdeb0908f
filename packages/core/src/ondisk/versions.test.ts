import { describe, expect, test } from 'vitest';
import { UsageError } from './errors.ts';
import { releaseForVersion, releaseForWriting } from './releases.ts';
import {
  isVersionCompatible,
  latestCompatibleVersion,
  parseVersion,
  VERSION_CURRENT_WRITTEN,
  VERSION_MAX_READ,
  versionOf,
  versions,
  versionText,
} from './versions.ts';

test('numbers are major << 10 | minor, without gaps from 0.10 to 0.29 and from 1.0 to 1.39', () => {
  expect(VERSION_CURRENT_WRITTEN).toBe(1037);
  expect(VERSION_MAX_READ).toBe(1063);
  expect(versions.rows.map(row => row.id)).toEqual([
    ...Array.from({ length: 20 }, (_, i) => 10 + i),
    ...Array.from({ length: 40 }, (_, i) => 1024 + i),
  ]);
});

test('texts name what the release knows', () => {
  expect(versionText(1037)).toBe('inode_has_child_snapshots (1.13)');
  expect(versionText(0)).toBe('(unknown version) (0.0)');
  expect(versionText(versionOf('per_dev_fragmentation_lru'), '1.36')).toBe('(unknown version) (1.39)');
  expect(versionText(versionOf('no_sb_user_data_replicas'), '1.36')).toBe('no_sb_user_data_replicas (1.36)');
});

describe('parseVersion', () => {
  test.each([
    ['1.13', 1037],
    ['1037', 1037],
    ['13', 13],
    ['0.29', 29],
    ['31bit_dirent_offset', 1054],
  ])('%s', (text, version) => {
    expect(parseVersion(text)).toBe(version);
  });

  test.each(['', '1.', '1.1024', '64.0', '65536', '-1', '1.13.2', 'reconcil'])('refuses %j', text => {
    expect(() => parseVersion(text)).toThrow(UsageError);
  });
});

test('minor versions are compatible, major ones are not', () => {
  expect(isVersionCompatible(8)).toBe(false);
  expect(isVersionCompatible(9)).toBe(true);
  expect(isVersionCompatible((1 << 10) | 500)).toBe(true);
  expect(isVersionCompatible(2 << 10)).toBe(false);
  expect(latestCompatibleVersion(1024, VERSION_CURRENT_WRITTEN)).toBe(1037);
  expect(latestCompatibleVersion(29)).toBe(29);
});

test('text is that of v1.36.1 up to metadata version 1.36', () => {
  expect([1037, 1060, 1061].map(releaseForVersion)).toEqual(['1.36', '1.36', '1.39']);
});

test('what is written has to please the oldest release that knows the version', () => {
  expect([1027, 1037, 1038, 1060, 1061, 2048].map(releaseForWriting)).toEqual([
    '1.13',
    '1.13',
    '1.36',
    '1.36',
    '1.39',
    '1.39',
  ]);
});
