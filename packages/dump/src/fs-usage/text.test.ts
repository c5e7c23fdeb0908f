import type { FsUsage } from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { end, full, GrownTable, left, right } from './grown-table.ts';
import { usageFields, usageText } from './text.ts';

const TIB = 2n ** 40n / 512n;

/** Counters as of a filesystem of 18 exabytes, with names that are longer than any column of the reference's. */
const huge: FsUsage = {
  uuid: '01234567-89ab-cdef-0123-456789abcdef',
  label: '',
  version: 1037,
  from: 'accounting',
  capacitySectors: 16_000_000n * TIB,
  usedSectors: 12_345_678n * TIB,
  reserveSectors: 0n,
  hiddenSectors: 0n,
  inodes: 0n,
  statfs: { capacitySectors: 0n, freeSectors: 0n, availableSectors: 0n },
  counters: [
    { counted: { type: 'persistent_reserved', nr_replicas: 2 }, values: [9_000_000n * TIB] },
    {
      counted: { type: 'replicas', entry: { data_type: 4, nr_required: 1, devs: [0, 1] } },
      values: [12_000_000n * TIB],
    },
    {
      counted: { type: 'compression', compression_type: 4 },
      values: [1n, 14_000_000n * TIB, 13_000_000n * TIB],
    },
    { counted: { type: 'btree', id: 3 }, values: [11_000_000n * TIB] },
  ],
  devices: [0, 1].map(index => ({
    index,
    uuid: '',
    label: 'a.disk.label.that.is.long',
    path: `/images/a-name-that-no-disk-has-${index}.img`,
    state: 0,
    durability: 1,
    bucketSizeSectors: 4096,
    buckets: (8_000_000n * TIB) / 4096n,
    types: [
      { dataType: 0, buckets: 123_456_789_012n, sectors: 0n, fragmentedSectors: 0n },
      { dataType: 4, buckets: 234_567_890_123_456n, sectors: 7_000_000n * TIB, fragmentedSectors: 6_000_000n * TIB },
    ],
    leavingSectors: 5_000_000n * TIB,
  })),
};

describe('sizes of large filesystems never run together', () => {
  test.each([
    ['in bytes, by devices', false, ['devices']],
    ['in bytes, without', false, usageFields.filter(field => field !== 'devices')],
    ['for people', true, usageFields],
  ] as const)('%s', (_, human, fields) => {
    const text = usageText(huge, { human, fields: new Set(fields) });
    // No number is longer than that of the largest counter, and nothing touches a number on its left.
    for (const digits of text.match(/\d+/g) ?? []) expect(digits.length).toBeLessThanOrEqual(20);
    expect(text).not.toMatch(/[:\]%a-z]\d{6,}/);
    expect(text).not.toMatch(/:[a-z0-9]/);
    expect(text).not.toMatch(/\.img(rw|\])?\d/);
  });

  test('as a table', () => {
    expect(usageText(huge, { human: false, fields: new Set() })).toMatchInlineSnapshot(`
      "Filesystem: 01234567-89ab-cdef-0123-456789abcdef
      Size:              17592186044416000000
      Used:              13574216513778352128
      Online reserved:                      0

      Data by durability desired and amount degraded:
                         undegraded
      2x:      13194139533312000000
      reserved: 9895604649984000000

      Device label                          Device                        State                  Size                Used  Use%             Leaving
      a.disk.label.that.is.long (device 0): a-name-that-no-disk-has-0.img rw      8796093022208000000 7696581394432000000   87% 5497558138880000000
      a.disk.label.that.is.long (device 1): a-name-that-no-disk-has-1.img rw      8796093022208000000 7696581394432000000   87% 5497558138880000000
      "
    `);
  });
});

test('a table has the columns it is given where all fits, and wider ones where it does not', () => {
  const table = (name: string, size: string) =>
    `${new GrownTable([8, 8]).row([left('a:'), right('1'), end(' x')]).row([full(name), right(size)])}`;
  expect(table('b', '12345')).toBe('a:             1 x\nb          12345\n');
  expect(table('eight ch', '1234567')).toBe('a:             1 x\neight ch 1234567\n');
  expect(table('eight ch', '12345678')).toBe('a:              1 x\neight ch 12345678\n');
});
