// Accounting keys: what a position counts in both byte orders, and back, and what is wrong with a key.

import { describe, expect, test } from 'vitest';
import { PrintBuffer } from '../../util/print-buffer.ts';
import type { Key } from '../bkey.ts';
import { type Bpos, bposText, makeBpos } from '../bpos.ts';
import { type AccountingPos, accounting, accountingBpos, accountingPos } from './accounting.ts';
import { keyJson, keyText } from './index.ts';
import { keyTypes } from './key-types.ts';
import type { KeyTextContext } from './kind.ts';

const at1_13 = { version: (1 << 10) | 13 };
const at1_36 = { version: (1 << 10) | 36 };
const at1_39 = { version: (1 << 10) | 39 };

const keyAt = (p: Bpos, counters: readonly bigint[], version = 7n): Key => {
  const value = accounting.encode({ counters });
  const type = keyTypes.idOf('accounting');
  const k = { u64s: 5 + counters.length, format: 1, type, pad: 0, bversion_lo: version, bversion_hi: 0, size: 0, p };
  return { k, value };
};

const textOf = (key: Key, format: Partial<KeyTextContext>) => {
  const out = new PrintBuffer();
  const device = { name: 'sda', isOnline: true, bucketSizeSectors: 256, durability: 1, isEvacuating: false };
  keyText(out, key, { device: index => (index === 1 ? device : undefined), label: group => `${group}`, ...format });
  return out.toString().replace(/^.*? {2}: /, '');
};

const errorsOf = ({ k, value }: Key, format: { readonly version: number; readonly writing?: boolean }) =>
  accounting.validate(accounting.decode(value), k, format).map(problem => problem.error);

/** A position whose union is these bytes. */
const posOf = (bytes: readonly number[], isBigEndian: boolean): Bpos => {
  const raw = Uint8Array.from({ length: 20 }, (_, i) => bytes[i] ?? 0);
  if (isBigEndian) raw.reverse();
  return new Uint32Array(raw.buffer);
};

const counted: readonly [Exclude<AccountingPos, { type: 'unknown' }>, readonly number[], string][] = [
  [{ type: 'nr_inodes' }, [0], 'nr_inodes '],
  [{ type: 'persistent_reserved', nr_replicas: 2 }, [1, 2], 'persistent_reserved replicas=2'],
  [
    { type: 'replicas', entry: { data_type: 4, nr_required: 1, devs: [0, 3] } },
    [2, 4, 2, 1, 0, 3],
    'replicas user: 1/2 [0 3]',
  ],
  [{ type: 'dev_data_type', dev: 1, data_type: 9 }, [3, 1, 9], 'dev_data_type dev=1 data_type=need_discard'],
  [{ type: 'compression', compression_type: 3 }, [4, 3], 'compression lz4'],
  [{ type: 'snapshot', id: 0xfffffffe, btree: 0 }, [5, 0xfe, 0xff, 0xff, 0xff], 'snapshot id=4294967294'],
  [{ type: 'btree', id: 13 }, [6, 13], 'btree btree=backpointers'],
  [{ type: 'rebalance_work' }, [7], 'rebalance_work '],
  [{ type: 'inum', inum: 2n ** 64n - 2n }, [8, 0xfe, 255, 255, 255, 255, 255, 255, 255], 'inum '],
  [{ type: 'reconcile_work', work: 5 }, [9, 5], 'reconcile_work high_priority'],
  [{ type: 'dev_leaving', dev: 1 }, [10, 1], 'dev_leaving sda '],
];

describe('what a position counts', () => {
  test.each(counted)('%#', (pos, bytes, text) => {
    for (const format of [at1_13, at1_36]) {
      const bpos = posOf(bytes, format === at1_36);
      expect(accountingPos(bpos, format)).toEqual(pos);
      expect(accountingBpos(pos, format)).toEqual(bpos);
      expect(errorsOf(keyAt(bpos, [1n]), format)).toEqual([]);
      expect(textOf(keyAt(bpos, [1n, -2n]), format)).toBe(`${text} 1 -2`);
    }
  });

  test('before 1.15 as the bytes stand, since then in reverse, so that the kind sorts first', () => {
    // From a real filesystem of 1.13 and one of 1.36.
    expect(bposText(posOf([3, 0, 9], false))).toBe('0:0:589827');
    expect(bposText(posOf([3, 0, 9], true))).toBe('216182677718433792:0:0');
    expect(accountingPos(makeBpos(0n, 256n, 16909058), at1_13)).toEqual({
      type: 'replicas',
      entry: { data_type: 3, nr_required: 1, devs: [0, 1] },
    });
    // In the other order it is something else, or nothing: which is why the version counts.
    expect(accountingPos(makeBpos(0n, 0n, 589827), at1_36)).toEqual({ type: 'nr_inodes' });
    expect(errorsOf(keyAt(makeBpos(0n, 0n, 589827), [512n, 0n, 0n]), at1_36)).toEqual(['accounting_key_junk_at_end']);
    expect(textOf(keyAt(makeBpos(0n, 0n, 589827), [512n, 0n, 0n]), at1_36)).toBe('nr_inodes  512 0 0');
  });

  test('since 1.39 a snapshot is counted for each btree', () => {
    const pos = accountingBpos({ type: 'snapshot', id: 7, btree: 2 }, at1_39);
    expect(textOf(keyAt(pos, [1n]), { ...at1_39, style: '1.39' })).toBe('snapshot id=7 btree=dirents 1');
    expect(errorsOf(keyAt(pos, [1n]), at1_39)).toEqual([]);
    expect(errorsOf(keyAt(pos, [1n]), at1_36)).toEqual(['accounting_key_junk_at_end']);
  });

  test('kinds and numbers without a name', () => {
    expect(textOf(keyAt(posOf([77, 1], true), [4n]), at1_36)).toBe('unknown type 77 4');
    expect(errorsOf(keyAt(posOf([77, 1], true), [4n]), at1_36)).toEqual([]);
    expect(keyJson(keyAt(posOf([77, 1], true), [4n]), at1_36)).toMatchObject({
      value: { accounting: 'unknown(77)', counters: [4n] },
    });
    expect(textOf(keyAt(posOf([9, 99], true), [4n]), at1_36)).toBe(
      'reconcile_work (unknown reconcile_accounting_type 99) 4',
    );
    expect(textOf(keyAt(posOf([6, 99], true), [4n]), at1_36)).toBe('btree btree=(unknown btree 99) 4');
    expect(textOf(keyAt(posOf([10, 9], true), [4n]), at1_36)).toBe('dev_leaving 9  4');
  });

  test('as JSON', () => {
    expect(keyJson(keyAt(posOf([3, 1, 4], true), [1n, 2n, 3n]), at1_36)).toMatchObject({
      value: { accounting: 'dev_data_type', dev: 1, data_type: 'user', counters: [1n, 2n, 3n] },
    });
    expect(keyJson(keyAt(posOf([2, 4, 2, 1, 0, 3], false), [-1n]), at1_13)).toMatchObject({
      value: {
        accounting: 'replicas',
        replicas: { data_type: 'user', nr_required: 1, devices: [0, 3] },
        counters: [-1n],
      },
    });
    expect(keyJson(keyAt(posOf([8, 1, 16], true), [1n]), at1_36)).toMatchObject({
      value: { accounting: 'inum', inum: 4097n },
    });
  });
});

describe('what is wrong with a key', () => {
  test.each([
    [[1, 2, 1], ['accounting_key_junk_at_end']],
    [[6, 1, 0, 0, 0, 1], ['accounting_key_junk_at_end']],
    [[2, 4, 0, 0], ['accounting_key_replicas_nr_devs_0']],
    [[2, 4, 1, 2, 0], ['accounting_key_replicas_nr_required_bad']],
    [[2, 4, 2, 2, 0, 1], ['accounting_key_replicas_nr_required_bad']],
    [[2, 4, 2, 1, 3, 1], ['accounting_key_replicas_devs_unsorted']],
    [[2, 4, 2, 1, 255, 1], []],
    [[2, 4, 2, 1, 0, 1, 7], ['accounting_key_junk_at_end']],
    [[2, 4, 17, 1, ...Array.from({ length: 16 }, (_, i) => i)], ['accounting_key_junk_at_end']],
    [[2, 4, 16, 1, ...Array.from({ length: 16 }, (_, i) => i)], []],
  ])('position %j: %j', (bytes, expected) => {
    expect(errorsOf(keyAt(posOf(bytes, true), [1n]), at1_36)).toEqual(expected);
    expect(errorsOf(keyAt(posOf(bytes, false), [1n]), at1_13)).toEqual(expected);
  });

  test('the number of counters, and the version', () => {
    const pos = posOf([0], true);
    expect(errorsOf(keyAt(pos, []), at1_36)).toEqual(['accounting_key_nr_counters_wrong']);
    expect(errorsOf(keyAt(pos, [1n, 2n, 3n, 4n]), at1_36)).toEqual(['accounting_key_nr_counters_wrong']);
    expect(errorsOf(keyAt(pos, [1n], 0n), at1_13)).toEqual(['accounting_key_version_0']);
    expect(errorsOf(keyAt(pos, [1n], 0n), at1_36)).toEqual([]);
    expect(errorsOf(keyAt(pos, [1n], 0n), { ...at1_36, writing: true })).toEqual(['accounting_key_version_0']);
  });
});
