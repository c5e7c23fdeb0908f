import { expect, test } from 'vitest';
import { CorruptError } from './errors.ts';
import { FATAL_FSCK_ERRORS, faultOf, WARNING_FSCK_PREFIXES } from './faults.ts';
import { fsckErrors } from './fsck-errors.ts';
import { ownFaults } from './own-faults.ts';

test('the reference has the numbers below 10000, our own faults those from there on, and no name is in both', () => {
  expect(fsckErrors.rows.every(({ id }) => id < 10_000)).toBe(true);
  expect(ownFaults.rows.every(({ id }) => id >= 10_000)).toBe(true);
  expect(ownFaults.rows.filter(({ name }) => fsckErrors.byName(name) !== undefined)).toEqual([]);
});

test('a fault of either table has its number, severity and safety', () => {
  expect(faultOf('alloc_key_dirty_sectors_wrong')).toMatchObject({ id: 108, severity: 'warning', safe: true });
  expect(faultOf('btree_node_unreadable')).toMatchObject({ id: 30, severity: 'fatal', safe: false });
  expect(faultOf('dirent_to_missing_inode')).toMatchObject({ severity: 'error' });
  expect(faultOf('invalid_sb_csum')).toMatchObject({ id: 10005, severity: 'fatal', safe: false });
});

test('numbers of our own faults do not change: programs and plan files keep them', () => {
  const numbers = ownFaults.rows.map(({ id, name }) => `${id} ${name}`);
  expect(
    numbers.filter(text =>
      /invalid_sb_magic|count_out|opt_parse|bad_checksum|overlap$|oldest_gen|key_type_error|dirent_lost|device_io|qcow2_bad_magic/.test(
        text,
      ),
    ),
  ).toEqual([
    '10000 invalid_sb_magic',
    '10016 invalid_sb_layout_superblocks_overlap',
    '10033 count_out_of_range',
    '10100 opt_parse_error',
    '10200 journal_entry_bad_checksum',
    '10300 btree_node_overlap',
    '10400 alloc_key_oldest_gen_wrong',
    '10500 key_type_error',
    '10600 dirent_lost',
    '10707 device_io',
    '10800 qcow2_bad_magic',
  ]);
});

test('what a severity goes by matches something', () => {
  const names = fsckErrors.rows.map(({ name }) => name);
  expect(WARNING_FSCK_PREFIXES.filter(prefix => !names.some(name => name.startsWith(prefix)))).toEqual([]);
  expect(FATAL_FSCK_ERRORS.filter(name => WARNING_FSCK_PREFIXES.some(prefix => name.startsWith(prefix)))).toEqual([]);
});

test('a name that is in no table does not compile', () => {
  // @ts-expect-error: no fault is called that
  expect(new CorruptError('no_such_fault', {}, 'x').message).toBe('x');
});
