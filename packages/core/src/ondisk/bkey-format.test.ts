// Packed keys: random formats and keys, packed by the definition (one large integer) and unpacked by the reader; formats that must be
// refused; text.

import { describe, expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { BkeyFormat, bkeyFormatProblem, bkeyFormatText, KeyUnpacker, ROW, ROW_WORDS } from './bkey-format.ts';

const WIDTHS = [64, 64, 32, 32, 32, 64] as const;

type Fields = readonly bigint[];

/** The definition: the first field is at the top of an integer of `key_u64s` words, the header in its low 24 bits. */
function pack(format: BkeyFormat, fields: Fields, header: number): bigint {
  let packed = BigInt(header);
  let bit = 64 * format.key_u64s;
  for (const [i, value] of fields.entries()) {
    bit -= format.bits_per_field[i]!;
    packed |= (value - format.field_offset[i]!) << BigInt(bit);
  }
  return packed;
}

function wordsOf(packed: bigint, u64s: number): Uint32Array {
  return Uint32Array.from({ length: 2 * u64s }, (_, i) => Number((packed >> BigInt(32 * i)) & 0xffff_ffffn));
}

function rowFields(rows: Uint32Array): Fields {
  const wide = (word: number) => (BigInt(rows[word + 1]!) << 32n) | BigInt(rows[word]!);
  const { position, size, versionHi, versionLo } = ROW;
  return [
    wide(position + 3),
    wide(position + 1),
    BigInt(rows[position]!),
    BigInt(rows[size]!),
    BigInt(rows[versionHi]!),
    wide(versionLo),
  ];
}

const plain: BkeyFormat = {
  key_u64s: 3,
  nr_fields: 6,
  bits_per_field: [64, 64, 32, 0, 0, 0],
  field_offset: [0n, 0n, 0n, 0n, 0n, 0n],
};

describe('unpacking', () => {
  const seed = testSeed();

  test(`agrees with the definition (TEST_SEED=${seed})`, () => {
    const random = randomFrom(seed);
    const below = (bits: number) => {
      let value = 0n;
      for (let i = 0; i < bits; i += 16) value = (value << 16n) | BigInt(random.below(0x10000));
      return value & ((1n << BigInt(bits)) - 1n);
    };
    for (let round = 0; round < 3000; round++) {
      const bits_per_field = WIDTHS.map(width => random.below(width + 1));
      const field_offset = WIDTHS.map((width, i) => {
        const free = (1n << BigInt(width)) - (1n << BigInt(bits_per_field[i]!));
        return free === 0n ? 0n : below(width) % (free + 1n);
      });
      const key_u64s = Math.ceil((24 + bits_per_field.reduce((sum, bits) => sum + bits, 0)) / 64);
      const format: BkeyFormat = { key_u64s, nr_fields: 6, bits_per_field, field_offset };
      expect(bkeyFormatProblem(format)).toBeUndefined();

      const fields = WIDTHS.map((_, i) => field_offset[i]! + below(bits_per_field[i]!));
      const type = random.below(256);
      const u64s = key_u64s + random.below(8);
      const key = wordsOf(pack(format, fields, u64s | (type << 16)), u64s);
      const words = new Uint32Array(6 + key.length + 2);
      words.set(key, 6);
      const rows = new Uint32Array(2 * ROW_WORDS);
      new KeyUnpacker(format).unpack(words, 6, rows, ROW_WORDS);

      const row = rows.subarray(ROW_WORDS);
      expect(rowFields(row)).toEqual(fields);
      expect(row[0]).toBe((u64s - key_u64s + 5) | (type << 16));
      expect(row[ROW.valueAt]).toBe(4 * 6 + 8 * key_u64s);
      expect(row[ROW.valueBytes]).toBe(8 * (u64s - key_u64s));
    }
  });

  test('keys of format 1 are not packed, whatever the node’s format', () => {
    const words = Uint32Array.from([7 | (0x81 << 8) | (6 << 16), 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0]);
    const rows = new Uint32Array(ROW_WORDS);
    new KeyUnpacker(plain).unpack(words, 0, rows, 0);
    expect([...rows]).toEqual([7 | (1 << 8) | (6 << 16), 1, 2, 3, 4, 5, 6, 7, 8, 9, 40, 16]);
  });
});

describe('formats', () => {
  test.each<[string, Partial<BkeyFormat>, string | undefined]>([
    ['as they should be', {}, undefined],
    ['fields', { nr_fields: 5 }, '5 fields, expected 6'],
    ['key_u64s', { key_u64s: 4 }, 'key_u64s 4, expected 3'],
    [
      'width',
      { bits_per_field: [64, 64, 33, 0, 0, 0] },
      'field 2 is too large: 33 bits from 0 on, expected at most 32 bits',
    ],
    [
      'offset',
      { field_offset: [1n, 0n, 0n, 0n, 0n, 0n] },
      'field 0 is too large: 64 bits from 1 on, expected at most 64 bits',
    ],
    [
      'offset of a field without bits',
      { field_offset: [0n, 0n, 0n, 1n << 32n, 0n, 0n] },
      'field 3 is too large: 0 bits from 4294967296 on, expected at most 32 bits',
    ],
  ])('%s', (_, change, problem) => {
    expect(bkeyFormatProblem({ ...plain, ...change })).toBe(problem);
  });

  test('as text', () => {
    expect(bkeyFormatText(plain)).toBe('u64s 3 fields 64:0, 64:0, 32:0, 0:0, 0:0, 0:0');
  });

  test('as bytes', () => {
    const bytes = new Uint8Array(BkeyFormat.size);
    const view = new DataView(bytes.buffer);
    BkeyFormat.put(view, 0, { ...plain, field_offset: [1n, 2n, 3n, 4n, 5n, 2n ** 64n - 1n] });
    expect([...bytes.subarray(0, 8)]).toEqual([3, 6, 64, 64, 32, 0, 0, 0]);
    expect(BkeyFormat.get(view, 0).field_offset).toEqual([1n, 2n, 3n, 4n, 5n, 2n ** 64n - 1n]);
  });
});
