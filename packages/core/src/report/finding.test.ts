import { describe, expect, test } from 'vitest';
import { makeBpos, SPOS_MAX } from '../ondisk/bpos.ts';
import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import { factsJson } from './facts.ts';
import { type Finding, finding, findingOf, isFindingOf } from './finding.ts';

describe('a finding', () => {
  test('has its facts as values, and the words for them', () => {
    const found = finding(
      'alloc_key_dirty_sectors_wrong',
      { btree: 'alloc', pos: '0:37:0' },
      { found: 3, expected: 128 },
    );
    expect(found.facts).toEqual({ found: 3, expected: 128 });
    expect(found.detail).toBe('found 3, expected 128');
    expect(found.text()).toBe('alloc 0:37:0: alloc_key_dirty_sectors_wrong: found 3, expected 128');
  });

  test('may have the sentence of a reader instead, for the same error', () => {
    const found = findingOf({ error: 'ptr_to_invalid_device', detail: 'nowhere' }, { field: 'x' });
    expect(found.text()).toBe('x: ptr_to_invalid_device: nowhere');
  });

  test('is what readers throw, as it stands', () => {
    const corrupt: Finding = new CorruptError('bset_bad_csum', { device: 'a.img', sector: 8 }, 'found 1, expected 2');
    expect(corrupt.text()).toBe('a.img sector 8: bset_bad_csum: found 1, expected 2');
    const failed: Finding = new DeviceError('io', 'a.img', 'cannot be read');
    expect({ error: failed.error, where: failed.where, text: failed.text() }).toEqual({
      error: 'device_io',
      where: { device: 'a.img' },
      text: 'a.img: device_io: cannot be read',
    });
  });

  test('gives its values to code that knows the error', () => {
    const found: Finding = finding('dirent_to_missing_inode', {}, { inum: 7n });
    expect(isFindingOf(found, 'inode_unreachable')).toBe(false);
    if (!isFindingOf(found, 'dirent_to_missing_inode') || !('inum' in found.facts)) throw new Error('of another error');
    expect(found.facts.inum).toBe(7n);
  });

  test('facts of another error do not compile', () => {
    // @ts-expect-error: a missing inode has a number
    const wrong = () => finding('dirent_to_missing_inode', {}, { found: 1, expected: 2 });
    expect(wrong().error).toBe('dirent_to_missing_inode');
  });
});

describe('words', () => {
  const detail = (found: Finding) => found.detail;
  const pointer = { dev: 1, offset: 80, gen: 3, cached: false, bucket: 5 };
  test.each([
    [
      finding('stale_dirty_ptr', {}, { pointer, bucketGen: 4 }),
      'found a pointer to 1:80 gen 3, bucket 1:5, expected generation 4',
    ],
    [
      finding('stale_dirty_ptr', {}, { block: 2, dev: 1, bucket: 5, gen: 3, bucketGen: 4 }),
      'found block 2 gen 3, expected generation 4',
    ],
    [
      finding('btree_node_topology_bad_max_key', {}, { found: undefined, expected: makeBpos(1n, 2n, 3), of: 'child' }),
      'found no child, expected 1:2:3',
    ],
    [
      finding('btree_node_topology_bad_max_key', {}, { found: makeBpos(1n, 2n, 3), expected: SPOS_MAX, of: 'root' }),
      'found 1:2:3, expected SPOS_MAX',
    ],
    [
      finding('freespace_key_wrong', {}, { start: 5, end: 6, genBits: 0 }),
      'found no key in freespace, expected its key in freespace',
    ],
    [
      finding('freespace_key_wrong', {}, { start: 5, end: 9, genBits: 0 }),
      'found no key for buckets 5 to 9, expected its key in freespace',
    ],
    [
      finding('freespace_key_wrong', {}, { start: 5, end: 6, genBits: 2 }),
      'found no key in freespace, expected one at bits 2',
    ],
    [
      finding('accounting_mismatch', {}, { counter: { type: 'nr_inodes' }, found: undefined, expected: [3] }),
      'found no counter for nr_inodes, expected 3',
    ],
    [
      finding('accounting_mismatch', {}, { counter: { type: 'btree', id: 1 }, found: [8], expected: undefined }),
      'found btree 1: 8, expected no counter',
    ],
    [finding('alloc_key_data_type_wrong', {}, { found: 4, expected: 3 }), 'found user, expected btree'],
  ])('%#', (found, expected) => {
    expect(detail(found as Finding)).toBe(expected);
  });
});

test('facts as JSON: positions are text, what is above 2^53 is digits, what is not there is null', () => {
  expect(
    factsJson({ pos: makeBpos(1n, 2n, 3), small: 7n, large: 2n ** 60n, none: undefined, list: [{ a: 1n }], name: 'x' }),
  ).toEqual({ pos: '1:2:3', small: 7, large: `${2n ** 60n}`, none: null, list: [{ a: 1 }], name: 'x' });
});
