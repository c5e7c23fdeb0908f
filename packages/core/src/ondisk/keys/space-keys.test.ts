// Keys about space: alloc in its four versions, bucket_gens, backpointer, lru, stripe. What is wrong with them, and what the text of
// real keys does not show (reference-keys.test.ts has that).

import { describe, expect, test } from 'vitest';
import { PrintBuffer } from '../../util/print-buffer.ts';
import type { Bkey, Key } from '../bkey.ts';
import { type Bpos, makeBpos, POS_MIN } from '../bpos.ts';
import { viewOf } from '../layout.ts';
import { encodeVarint } from '../varint.ts';
import { fragmentation } from './alloc-bucket.ts';
import { allocV4, BchAllocV4 } from './alloc-v4.ts';
import { backpointer, backpointerPos, bucketOffset } from './backpointer.ts';
import { bucketGens } from './bucket-gens.ts';
import { keyJson, keyKind, keyText } from './index.ts';
import { type KeyTypeName, keyTypes } from './key-types.ts';
import type { KeyTextContext } from './kind.ts';
import { lru, lruPos } from './lru.ts';
import { csumsPerBlock, stripe, stripeCsum } from './stripe.ts';

const VERSION_1_3 = (1 << 10) | 3;
const VERSION_1_13 = (1 << 10) | 13;
const VERSION_1_36 = (1 << 10) | 36;
const VERSION_1_39 = (1 << 10) | 39;

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

const keyAt = (type: KeyTypeName, value: Uint8Array, p: Bpos = makeBpos(0n, 5n, 0)): Key => {
  const k: Bkey = {
    u64s: 5 + value.length / 8,
    format: 1,
    type: keyTypes.idOf(type),
    pad: 0,
    bversion_lo: 0n,
    bversion_hi: 0,
    size: 0,
    p,
  };
  return { k, value };
};

const context: KeyTextContext = {
  device: index =>
    index < 2
      ? { name: `d${index}`, isOnline: true, bucketSizeSectors: 256, durability: 1, isEvacuating: false }
      : undefined,
  label: group => `.group${group}`,
};

const textOf = (key: Key, with_: Partial<KeyTextContext> = {}) => {
  const out = new PrintBuffer();
  keyText(out, key, { ...context, ...with_ });
  return out.toString().split('\n');
};

const errorsOf = (key: Key, version?: number) => {
  const kind = keyKind(key.k.type)!;
  const problems = kind.validate(kind.decode(key.value), key.k, {
    ...(version === undefined ? {} : { version }),
    device: index => (index < 2 ? { bucketSizeSectors: 256, firstBucket: 1, bucketCount: 100 } : undefined),
  });
  return problems.map(problem => problem.error);
};

/** A bucket of file data, 64 sectors of it in use. */
const bucket = {
  journal_seq_nonempty: 9n,
  flags: 1 | (8 << 2),
  gen: 3,
  oldest_gen: 2,
  data_type: 4,
  stripe_redundancy_obsolete: 0,
  dirty_sectors: 64,
  cached_sectors: 0,
  read_time: 1n,
  write_time: 2n,
  stripe_refcount: 0,
  nr_external_backpointers: 0,
  journal_seq_empty: 0n,
  stripe_sectors: 0,
  pad: 0,
};

const allocValue = (change: Partial<typeof bucket> = {}, size = BchAllocV4.size) => {
  const bytes = new Uint8Array(BchAllocV4.size);
  const { read_time, write_time, ...rest } = { ...bucket, ...change };
  BchAllocV4.put(viewOf(bytes), 0, { ...rest, io_time: [read_time, write_time] });
  return bytes.subarray(0, size);
};

describe('alloc_v4', () => {
  const errors = (change: Partial<typeof bucket>, version = VERSION_1_36) =>
    errorsOf(keyAt('alloc_v4', allocValue(change)), version);

  test('fragmentation is the share in use, 2^31 for all of the bucket', () => {
    const { data_type, dirty_sectors } = bucket;
    expect(fragmentation(data_type, dirty_sectors, 256)).toBe(2n ** 29n);
    expect(fragmentation(data_type, dirty_sectors, 64)).toBe(0n); // full: nothing to gain
    expect(fragmentation(6, dirty_sectors, 256)).toBe(0n); // parity stays where it is
    expect(fragmentation(data_type, 2 ** 32 - 1, 256)).toBe(2n ** 31n);
    expect(fragmentation(data_type, dirty_sectors, 0)).toBe(0n);
  });

  test('is printed without fragmentation when the device is not known', () => {
    const text = textOf(keyAt('alloc_v4', allocValue(), makeBpos(7n, 5n, 0)));
    expect(text).not.toContain('  fragmentation     0');
    expect(text.at(-2)).toBe('  bp_start          8');
    expect(textOf(keyAt('alloc_v4', allocValue()))).toContain('  fragmentation     536870912');
  });

  test.each([
    [{}, []],
    [{ dirty_sectors: 0 }, ['alloc_key_data_type_bad', 'alloc_key_dirty_sectors_0']],
    [{ data_type: 0 }, ['alloc_key_empty_but_have_data']],
    [{ data_type: 5 }, ['alloc_key_data_type_bad', 'alloc_key_cached_inconsistency']],
    [{ data_type: 5, dirty_sectors: 0, cached_sectors: 8 }, []],
    [{ data_type: 9, dirty_sectors: 0 }, []],
    [{ data_type: 0, dirty_sectors: 0 }, ['alloc_key_data_type_bad']],
    [{ data_type: 0, dirty_sectors: 0, flags: 8 << 2 }, []],
    [{ data_type: 8, dirty_sectors: 0, flags: 8 << 2, oldest_gen: 163 }, []],
    [{ data_type: 7, stripe_refcount: 1 }, []],
    [{ stripe_refcount: 1 }, ['alloc_key_data_type_bad']],
    [{ data_type: 99, dirty_sectors: 0 }, ['alloc_key_data_type_bad']],
    [{ read_time: 2n ** 48n, write_time: 2n ** 48n - 1n }, ['alloc_key_io_time_bad']],
    [{ flags: 1 | (9 << 2) }, ['alloc_v4_val_size_bad']],
    [{ flags: 1 | (8 << 2) | (1 << 8) }, ['alloc_v4_val_size_bad']],
    [{ flags: 1 | (1 << 8) }, ['alloc_v4_val_size_bad', 'alloc_v4_backpointers_start_bad']],
  ] as const)('%#: %o', (change, expected) => {
    expect(errors(change as Partial<typeof bucket>)).toEqual(expected);
  });

  test('what a release accepts is sound in filesystems of its age', () => {
    // An empty bucket is free when its data type says so, whatever NEED_DISCARD says: since 1.39.
    expect(errors({ data_type: 0, dirty_sectors: 0 }, VERSION_1_39)).toEqual([]);
    // Dirty data in a stripe bucket that no stripe refers to: until 1.13.
    expect(errors({ data_type: 7 }, VERSION_1_13)).toEqual([]);
    expect(errors({ data_type: 7 }, VERSION_1_39)).toEqual(['alloc_key_data_type_bad']);
    expect(errors({ data_type: 11 }, VERSION_1_39)).toEqual([]);
    expect(errors({ data_type: 6, dirty_sectors: 0, stripe_refcount: 1 }, VERSION_1_39)).toEqual([]);
    expect(errors({ data_type: 6, dirty_sectors: 0, stripe_refcount: 1 })).toEqual(['alloc_key_dirty_sectors_0']);
  });

  test('the first version, followed by backpointers, has no fields where they are', () => {
    const pointer = '00 00 04 00000a0000 08000000 ffffffff 0800000000000000 0110000000000000';
    const value = new Uint8Array([...allocValue({ flags: 1 | (6 << 2) | (1 << 8) }, 48), ...hex(pointer)]);
    const key = keyAt('alloc_v4', value);
    expect(errorsOf(key, VERSION_1_3)).toEqual([]);
    const decoded = allocV4.decode(value);
    expect(decoded).toMatchObject({ stripe_sectors: 0, journal_seq_empty: 0n, dirty_sectors: 64 });
    expect(decoded.backpointers).toHaveLength(1);
    expect(allocV4.encode(decoded)).toEqual(value);
    expect(keyJson(key)).toMatchObject({
      value: {
        data_type: 'user',
        backpointers: [{ btree: 'extents', level: 0, bucket_offset: 0xa0000, bucket_len: 8, pos: '4097:8:U32_MAX' }],
      },
    });
    expect(errorsOf(keyAt('alloc_v4', allocValue({ flags: 1 }, 48)), VERSION_1_3)).toEqual([]);
  });

  test('is encoded as it was decoded, with changes', () => {
    const value = allocV4.decode(allocValue());
    expect(allocV4.encode(value)).toEqual(allocValue());
    expect(allocV4.encode({ ...value, gen: 4, dirty_sectors: 72 })).toEqual(allocValue({ gen: 4, dirty_sectors: 72 }));
  });

  test('a value too short for the first version is said to be so', () => {
    expect(textOf(keyAt('alloc_v4', new Uint8Array(40)))[0]).toContain('(damaged: 40 bytes, expected 48 or more)');
  });
});

describe('alloc before alloc_v4', () => {
  const lines = (more: readonly string[]) => [
    '  need_discard         0',
    '  need_inc_gen         0',
    '  dirty_sectors        300',
    '  cached_sectors       7',
    '  stripe_refcount      1',
    '  io_time[READ]        513',
    '  io_time[WRITE]       5',
    '  bp_start          8',
    ...more,
  ];
  const far = makeBpos(9n, 5n, 0);

  test('alloc stores the fields that its bits name', () => {
    // read_time 513, write_time 5, data_type 4, dirty 300, cached 7, oldest_gen 2, stripe 65536, redundancy 1
    const value = hex('ff 03 0102 0500 04 2c01 0700 02 00000100 01 00000000000000');
    const key = keyAt('alloc', value, far);
    expect(textOf(key).slice(1)).toEqual([
      '  gen 3 oldest_gen 2 data_type user',
      '  journal_seq_nonempty 0',
      ...lines(['']),
    ]);
    expect(errorsOf(key)).toEqual([]);
    expect(keyKind(key.k.type)!.encode(keyKind(key.k.type)!.decode(value))).toEqual(value);
    // Bits 2 and 3 only: data type and dirty sectors.
    expect(textOf(keyAt('alloc', hex('0c 03 03 2c01 000000'), far)).slice(1, 7)).toEqual([
      '  gen 3 oldest_gen 0 data_type btree',
      '  journal_seq_nonempty 0',
      '  need_discard         0',
      '  need_inc_gen         0',
      '  dirty_sectors        300',
      '  cached_sectors       0',
    ]);
    expect(errorsOf(keyAt('alloc', hex('ff 03 0102 0500 04 2c')))).toEqual(['alloc_v1_val_size_bad']);
  });

  const varints = [513, 5, 300, 7, 65536, 1].flatMap(encodeVarint);
  const padTo8 = (bytes: readonly number[]) =>
    Uint8Array.from([...bytes, ...Array.from({ length: (8 - (bytes.length % 8)) % 8 }, () => 0)]);

  test('alloc_v2 and alloc_v3 store variable-length integers', () => {
    const v2 = keyAt('alloc_v2', padTo8([6, 3, 2, 4, ...varints]), far);
    expect(textOf(v2).slice(1)).toEqual([
      '  gen 3 oldest_gen 2 data_type user',
      '  journal_seq_nonempty 0',
      ...lines(['']),
    ]);
    expect(errorsOf(v2)).toEqual([]);
    const v3 = keyAt('alloc_v3', padTo8([9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 6, 3, 2, 4, ...varints]), far);
    expect(textOf(v3).slice(1, 4)).toEqual([
      '  gen 3 oldest_gen 2 data_type user',
      '  journal_seq_nonempty 9',
      '  need_discard         1',
    ]);
    expect(errorsOf(v3)).toEqual([]);
    expect(keyJson(v3)).toMatchObject({ value: { need_discard: true, journal_seq_nonempty: 9n, dirty_sectors: 300 } });
  });

  test('integers that end past the value or are too great for their field', () => {
    expect(errorsOf(keyAt('alloc_v2', hex('06 03 02 04 ff 000000')))).toEqual(['alloc_v2_unpack_error']);
    const great = padTo8([3, 3, 2, 4, ...encodeVarint(1), ...encodeVarint(1), ...encodeVarint(2n ** 32n)]);
    expect(errorsOf(keyAt('alloc_v2', great))).toEqual(['alloc_v2_unpack_error']);
    expect(errorsOf(keyAt('alloc_v3', hex('0900000000000000 01000000 06030204 ffffffffffffffff')))).toEqual([
      'alloc_v3_unpack_error',
    ]);
  });
});

describe('bucket_gens', () => {
  test('has 256 generations', () => {
    const value = Uint8Array.from({ length: 256 }, (_, i) => i);
    expect(textOf(keyAt('bucket_gens', value))[0]).toMatch(/: 0 1 2 3 .* 254 255$/);
    expect(errorsOf(keyAt('bucket_gens', value))).toEqual([]);
    expect(bucketGens.encode(bucketGens.decode(value))).toEqual(value);
    expect(errorsOf(keyAt('bucket_gens', value.subarray(0, 128)))).toEqual(['bucket_gens_val_size_bad']);
    expect(errorsOf(keyAt('bucket_gens', new Uint8Array(264)))).toEqual(['bucket_gens_val_size_bad']);
  });
});

describe('lru', () => {
  test('names a bucket', () => {
    expect(textOf(keyAt('lru', hex('2a00000000000000'), makeBpos(7n, 1n, 0)))[0]).toMatch(/: idx 42$/);
    expect(errorsOf(keyAt('lru', hex('2a00000000000000'), makeBpos(7n, 1n, 0)))).toEqual([]);
    expect(errorsOf(keyAt('lru', hex('2a00000000000000'), makeBpos(7n << 48n, 1n, 0)))).toEqual([
      'lru_entry_at_time_0',
    ]);
    expect(lru.encode(lru.decode(hex('2a00000000000000')))).toEqual(hex('2a00000000000000'));
  });

  test('positions hold a list, a time and a bucket', () => {
    expect(lruPos(makeBpos((65535n << 48n) | 872415232n, (1n << 32n) | 42n, 0))).toEqual({
      id: 65535,
      time: 872415232,
      bucket: (1n << 32n) | 42n,
    });
  });
});

describe('backpointer', () => {
  const value = hex('00 00 04 77 00020000 09000000 ffffffff 8900000000000000 0310000000000000');
  const pos = makeBpos(0n, 10879095n, 0);
  const at1_13 = { version: VERSION_1_13 };

  test('until 1.14, bytes 3 to 7 are the offset in the bucket', () => {
    // v1.13.0 prints: bucket=0:41:0 btree=extents l=0 offset=128:119 len=9 pos=4099:137:U32_MAX
    expect(textOf(keyAt('backpointer', value, pos), at1_13)[0]).toMatch(
      /: bucket=0:41:128 btree=extents level=0 data_type=user suboffset=119 len=9 gen=0 pos=4099:137:U32_MAX$/,
    );
    expect(bucketOffset(backpointer.decode(value))).toBe(128 * 1024 + 119);
    expect(keyJson(keyAt('backpointer', value, pos), at1_13)).toMatchObject({
      value: { dev: 0, sector: 10624n, suboffset: 119, btree: 'extents', bucket_offset: 131191 },
    });
    expect(errorsOf(keyAt('backpointer', value, pos), VERSION_1_13)).toEqual([]);
    expect(errorsOf(keyAt('backpointer', value, makeBpos(0n, 10879096n, 0)), VERSION_1_13)).toEqual([
      'backpointer_bucket_offset_wrong',
    ]);
    expect(errorsOf(keyAt('backpointer', value, makeBpos(7n, 10879095n, 0)), VERSION_1_13)).toEqual([]);
  });

  test('since 1.14 they are a generation and flags', () => {
    expect(textOf(keyAt('backpointer', value, pos), { version: VERSION_1_36 })[0]).toMatch(
      / gen=119 pos=4099:137:U32_MAX$/,
    );
    const flagged = hex('06 00 06 01 0b000000 00000000 00000000 0100000000000000 0000000000000000');
    expect(textOf(keyAt('backpointer', flagged, pos), { style: '1.36' })[0]).toMatch(/ gen=1 pos=0:1:0 phys$/);
    expect(textOf(keyAt('backpointer', flagged, pos), { style: '1.39' })[0]).toMatch(/ gen=1 pos=0:1:0 phys stripe$/);
  });

  test('without the device, its sector is printed', () => {
    expect(textOf(keyAt('backpointer', value, makeBpos(7n, 10879095n, 0)))[0]).toMatch(/: sector=7:10624 btree=/);
  });

  test('the shift is the superblock’s, whatever it says', () => {
    expect(backpointerPos(makeBpos(3n, (100n << 16n) | 5n, 0), { extentBpShift: 16 })).toEqual({
      dev: 3,
      sector: 100n,
      suboffset: 5,
    });
    expect(backpointerPos(makeBpos(3n, 100n << 10n, 0), { extentBpShift: 0 })).toMatchObject({ sector: 100n });
    expect(backpointerPos(makeBpos(3n, 2n ** 64n - 1n, 0), { extentBpShift: 255 })).toMatchObject({
      suboffset: 2 ** 31 - 1,
    });
  });

  test('what is wrong with it', () => {
    const deep = Uint8Array.from(value);
    deep[1] = 5;
    expect(errorsOf(keyAt('backpointer', deep, makeBpos(255n, 0n, 0)))).toEqual([
      'backpointer_level_bad',
      'backpointer_dev_bad',
    ]);
    expect(
      textOf(
        keyAt(
          'backpointer',
          Uint8Array.from(value, (byte, i) => (i === 0 ? 62 : byte)),
          pos,
        ),
      )[0],
    ).toContain('btree=(unknown btree 62) ');
    expect(backpointer.encode(backpointer.decode(value))).toEqual(value);
  });
});

describe('stripe', () => {
  // Two data blocks and one of parity, crc32c over 8 sectors of 16.
  const value = hex(
    '1000 00 03 01 03 05 02' +
      '0150020000000001 0140020000000103 0140020000000205' +
      '01000000 02000000 03000000 04000000 05000000 06000000' +
      '1000 0800 0000 0000',
  );
  const pos = makeBpos(0n, 1n, 0);
  const changed = (at: number, byte: number) =>
    keyAt(
      'stripe',
      Uint8Array.from(value, (was, i) => (i === at ? byte : was)),
      pos,
    );

  test('prints its blocks, and how much of each is used', () => {
    expect(textOf(keyAt('stripe', value, pos))).toEqual([
      'u64s 13 type stripe 0:1:0 len 0 ver 0  : algo 0 sectors 16 blocks 2:1 csum crc32c gran 8 label.group1  ',
      '        d0 0:37:0 gen 1#16',
      '        d1 1:36:0 gen 3#8',
      '    2:9216 gen 5',
    ]);
    expect(textOf(changed(2, 0x50), { style: '1.39' })).toEqual([
      'u64s 13 type stripe 0:1:0 len 0 ver 0  : algo 0 sectors 16 blocks 2:1 csum crc32c gran 8 label=.group1 needs_reconcile can_widen=2  ',
      '        d0 0:37:0 gen 1#16',
      '        d1 1:36:0 gen 3#8',
      '    2:9216 gen 5#0',
    ]);
  });

  test('gives checksums by block and part', () => {
    const decoded = stripe.decode(value);
    expect(csumsPerBlock(decoded)).toBe(2);
    expect(stripeCsum(decoded, 1, 1)).toEqual(hex('04000000'));
    expect(stripeCsum(decoded, 3, 0)).toBeUndefined();
    expect(stripeCsum(decoded, 0, 2)).toBeUndefined();
    expect(decoded.blockcounts).toEqual([16, 8, 0]);
    expect(keyJson(keyAt('stripe', value, pos))).toMatchObject({
      value: { blocks: [{ dev: 0, sectors: 16, csums: ['01000000', '02000000'] }, { dev: 1 }, { dev: 2 }] },
    });
  });

  test('what is wrong with it', () => {
    expect(errorsOf(keyAt('stripe', value, pos))).toEqual([]);
    expect(errorsOf(keyAt('stripe', value, POS_MIN))).toEqual(['stripe_pos_bad']);
    expect(errorsOf(keyAt('stripe', value, makeBpos(1n, 1n, 0)))).toEqual(['stripe_pos_bad']);
    expect(errorsOf(keyAt('stripe', value.subarray(0, 56), pos))).toEqual(['stripe_val_size_bad']);
    expect(errorsOf(changed(0, 0))).toEqual(['stripe_sectors_zero']);
    expect(errorsOf(changed(5, 64))).toContain('stripe_csum_granularity_bad');
    expect(errorsOf(changed(22, 0))).toEqual(['ptr_to_duplicate_device']);
    expect(errorsOf(changed(16, 0x00))).toContain('extent_ptrs_invalid_entry');
    expect(errorsOf(changed(16, 0x09))).toEqual(['extent_ptrs_written_and_unwritten', 'extent_ptrs_unwritten']);
    expect(errorsOf(keyAt('stripe', value.subarray(0, 8), pos))).toEqual([
      'stripe_val_size_bad',
      'extent_ptrs_no_ptrs',
    ]);
  });

  test('an unknown checksum type hides the sector counts', () => {
    expect(stripe.decode(changed(6, 99).value).blockcounts).toBeUndefined();
    expect(textOf(changed(6, 99))).toEqual([
      'u64s 13 type stripe 0:1:0 len 0 ver 0  : algo 0 sectors 16 blocks 2:1 csum (unknown csum_type 99) gran 8 label.group1  ',
      '        d0 0:37:0 gen 1',
      '        d1 1:36:0 gen 3',
      '    2:9216 gen 5',
    ]);
    expect(textOf(changed(5, 64))[0]).toContain(' gran (invalid shift 64) ');
    expect(textOf(changed(4, 5))[0]).toContain(' blocks 4294967294:5 ');
  });
});
