// Invariants of the tables of named numbers, and spot checks of numbers that are easy to get wrong.

import { describe, expect, test } from 'vitest';
import { accountingTypes } from './accounting-types.ts';
import { btrees } from './btrees.ts';
import { checksumOptions, checksumTypes, dataChecksumType, metadataChecksumType } from './checksum-types.ts';
import { counters, countersOf } from './counters.ts';
import { dataTypes } from './data-types.ts';
import { compatFeatures, FEATURES_ALWAYS, FEATURES_AT_FORMAT, featuresKnownTo, incompatFeatures } from './features.ts';
import { FSCK_ERROR_MAX, fsckErrors, fsckErrorText, isAutofix } from './fsck-errors.ts';
import { jsetEntryTypes } from './jset-entry-types.ts';
import { keyTypes } from './keys/key-types.ts';
import { memberStates } from './member-states.ts';
import { fsckPassesOf, passes, passMask, passNames } from './passes.ts';
import { isKnownTo, nameAt } from './releases.ts';
import { sbFieldIds } from './sb-field-ids.ts';
import { strHashTypeOf } from './str-hash-types.ts';

test.each([
  [accountingTypes, 11],
  [btrees, 29],
  [checksumTypes, 8],
  [checksumOptions, 4],
  [dataTypes, 12],
  [fsckErrors, 428],
  [incompatFeatures, 24],
  [jsetEntryTypes, 16],
  [keyTypes, 39],
  [memberStates, 4],
  [sbFieldIds, 18],
])('$0.what: ids without gaps, in order', (names, count) => {
  expect(names.rows.map(row => row.id)).toEqual(Array.from({ length: count }, (_, id) => id));
});

test('passes and counters are in another order than their ids, which have no gaps either', () => {
  for (const [names, count] of [
    [passes, 50],
    [counters, 136],
  ] as const) {
    const ids = names.rows.map(row => row.id);
    expect(ids).not.toEqual(ids.toSorted((a, b) => a - b));
    expect(ids.toSorted((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, id) => id));
  }
});

describe('releases', () => {
  test('a row is known from its release on', () => {
    const row = { since: '1.36' } as const;
    expect([isKnownTo('1.13', row), isKnownTo('1.36', row), isKnownTo('1.39', row)]).toEqual([false, true, true]);
  });

  test.each([
    [btrees.byId(18), 'rebalance_work', 'reconcile_work', 'reconcile_work'],
    [memberStates.byId(2), 'failed', 'evacuating', 'evacuating'],
    [passes.byId(34), 'set_fs_needs_rebalance', 'set_fs_needs_reconcile', 'set_fs_needs_reconcile'],
    [counters.byId(71), 'trans_traverse_all', 'trans_traverse_all', 'transaction_begin'],
    [counters.byId(0), 'io_read', 'data_read', 'data_read'],
  ])('names changed: $1, $2, $3', (row, at113, at136, at139) => {
    expect(row).toBeDefined();
    if (row === undefined) return;
    expect([nameAt('1.13', row), nameAt('1.36', row), nameAt('1.39', row)]).toEqual([at113, at136, at139]);
  });

  test('how many rows each release has', () => {
    const countAt = (names: { readonly rows: readonly { readonly since: '1.13' | '1.36' | '1.39' }[] }) =>
      (['1.13', '1.36', '1.39'] as const).map(release => names.rows.filter(row => isKnownTo(release, row)).length);
    expect(countAt(btrees)).toEqual([21, 27, 29]);
    expect(countAt(keyTypes)).toEqual([35, 37, 39]);
    expect(countAt(fsckErrors)).toEqual([290, 352, 428]);
    expect(countAt(passes)).toEqual([41, 48, 50]);
    expect(countAt(counters)).toEqual([79, 130, 136]);
    expect(countAt(sbFieldIds)).toEqual([15, 17, 18]);
    expect(countAt(jsetEntryTypes)).toEqual([13, 14, 16]);
    expect(countAt(compatFeatures)).toEqual([4, 5, 5]);
  });
});

describe('features', () => {
  test('masks of v1.13.0', () => {
    expect(FEATURES_ALWAYS).toBe((1n << 9n) | (1n << 12n) | (1n << 13n) | (1n << 17n) | (1n << 18n));
    expect(FEATURES_AT_FORMAT).toBe(FEATURES_ALWAYS | (1n << 7n) | (1n << 11n) | (1n << 15n) | (1n << 16n));
    expect(featuresKnownTo('1.13')).toBe((1n << 19n) - 1n);
  });
});

describe('btrees', () => {
  test('which key types were allowed at 1.13', () => {
    const extents = btrees.byName('extents');
    expect(extents?.keys.filter(key => !extents.keysSince.includes(key))).toEqual([
      'whiteout',
      'error',
      'cookie',
      'extent',
      'reservation',
      'reflink_p',
      'inline_data',
    ]);
  });
});

describe('fsck errors', () => {
  test('texts', () => {
    expect(fsckErrorText(0)).toBe('clean_but_journal_not_empty');
    expect(fsckErrorText(290, '1.13')).toBe('(unknown error 290)');
    expect(fsckErrorText(290, '1.36')).toBe('stripe_csum_granularity_bad');
    expect(fsckErrorText(FSCK_ERROR_MAX['1.39'])).toBe('(unknown error 428)');
  });

  test('what repairs itself grew with the releases', () => {
    const countAt = (release: '1.13' | '1.36' | '1.39') =>
      fsckErrors.rows.filter(error => isKnownTo(release, error) && isAutofix(error, release)).length;
    expect(countAt('1.13')).toBeLessThan(countAt('1.36'));
    expect(countAt('1.36')).toBeLessThan(countAt('1.39'));
    expect(countAt('1.39')).toBe(185);
  });
});

describe('passes', () => {
  test('needs name passes that run earlier', () => {
    const seen = new Set<string>();
    for (const pass of passes.rows) {
      for (const need of pass.needs) expect(seen, `${pass.name} needs ${need}`).toContain(need);
      seen.add(pass.name);
    }
  });

  test('masks print in run order, unknown bits after', () => {
    const mask = passMask(['check_inodes', 'scan_for_btree_nodes', 'alloc_read']) | (1n << 60n);
    expect(passNames(mask)).toEqual(['scan_for_btree_nodes', 'alloc_read', 'check_inodes', 'unknown(60)']);
    expect(passNames(passMask(['set_fs_needs_reconcile', 'check_damage']), '1.13')).toEqual([
      'set_fs_needs_rebalance',
      'unknown(49)',
    ]);
  });

  test('fsck at 1.13 runs 22 passes', () => {
    expect(passNames(fsckPassesOf('1.13'), '1.13')).toHaveLength(22);
  });
});

test('counters are listed in the order of their release', () => {
  expect(
    countersOf('1.36')
      .slice(0, 3)
      .map(row => row.name),
  ).toEqual(['sync_fs', 'fsync', 'data_read']);
  expect(countersOf('1.36').at(-1)?.name).toBe('error_throw');
});

test('which checksum type an option stands for', () => {
  const optionOf = (name: 'none' | 'crc32c' | 'crc64' | 'xxhash') => checksumOptions.idOf(name);
  expect(['none', 'crc32c', 'crc64', 'xxhash'].map(name => metadataChecksumType(optionOf(name as 'none')))).toEqual([
    0, 1, 2, 7,
  ]);
  expect(dataChecksumType(optionOf('crc32c'))).toBe(5);
  expect(dataChecksumType(optionOf('crc64'))).toBe(6);
  expect(dataChecksumType(optionOf('none'), { wideMacs: false })).toBe(3);
  expect(dataChecksumType(optionOf('none'), { wideMacs: true })).toBe(4);
  expect(metadataChecksumType(optionOf('none'), true)).toBe(4);
});

test('which string hash an option stands for', () => {
  expect([0, 1, 2].map(option => strHashTypeOf(option))).toEqual([0, 1, 3]);
  expect(strHashTypeOf(2, false)).toBe(2);
});
