// Positions, key headers, btree pointers and extent entries: bytes in, values and text out, and back.

import { describe, expect, test } from 'vitest';
import { PrintBuffer } from '../../util/print-buffer.ts';
import { Bkey, bkeyText, decodeKeys, type Key } from '../bkey.ts';
import {
  bposInode,
  bposOffset,
  bposSnapshot,
  bposText,
  compareBpos,
  makeBpos,
  POS_MAX,
  POS_MIN,
  SPOS_MAX,
} from '../bpos.ts';
import { CorruptError } from '../errors.ts';
import {
  decodeExtentEntries,
  durabilityOf,
  type ExtentTextContext,
  extentEntriesText,
  extentEntryJson,
} from '../extent-entries.ts';
import { btreePtrV2 } from './btree-ptr-v2.ts';
import { keyJson, keyKind, keyText } from './index.ts';
import { keyTypes } from './key-types.ts';

const U64_MAX = 2n ** 64n - 1n;

describe('positions', () => {
  test.each([
    [POS_MIN, 'POS_MIN'],
    [POS_MAX, 'POS_MAX'],
    [SPOS_MAX, 'SPOS_MAX'],
    [makeBpos(4096n, 12n, 0xffff_ffff), '4096:12:U32_MAX'],
    [makeBpos(U64_MAX, 2n ** 63n, 7), 'U64_MAX:9223372036854775808:7'],
    [makeBpos(1n, U64_MAX, 0), '1:U64_MAX:0'],
  ])('%#', (pos, text) => {
    expect(bposText(pos)).toBe(text);
    expect(compareBpos(makeBpos(bposInode(pos), bposOffset(pos), bposSnapshot(pos)), pos)).toBe(0);
  });

  test('are ordered by inode, offset, snapshot', () => {
    const ordered = [
      POS_MIN,
      makeBpos(0n, 0n, 1),
      makeBpos(0n, 1n, 0),
      makeBpos(0n, 2n ** 32n, 0),
      makeBpos(1n, 0n, 0),
      makeBpos(2n ** 63n, 0n, 0),
      POS_MAX,
      SPOS_MAX,
    ];
    for (const [i, a] of ordered.entries()) {
      for (const [j, b] of ordered.entries()) expect(Math.sign(compareBpos(a, b))).toBe(Math.sign(i - j));
    }
  });
});

function words(...values: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(8 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setBigUint64(8 * i, value, true);
  return bytes;
}

/** A pointer: bit 0, then cached, unused, unwritten, 44 bits of offset, device, generation. */
const ptr = (dev: number, offset: number, gen: number, flags = 0n) =>
  1n | flags | (BigInt(offset) << 4n) | (BigInt(dev) << 48n) | (BigInt(gen) << 56n);

const context: ExtentTextContext = {
  device: index =>
    index > 2
      ? undefined
      : {
          name: ['sda', 'dev-1', 'nvme0n1'][index]!,
          isOnline: index !== 1,
          bucketSizeSectors: 256,
          durability: index === 2 ? 2 : 1,
          isEvacuating: false,
        },
  label: group => `label${group}`,
};

function entriesText(...values: readonly bigint[]): string[] {
  const out = new PrintBuffer();
  extentEntriesText(out, decodeExtentEntries(words(...values)), context);
  return out.toString().split('\n');
}

describe('extent entries', () => {
  test('pointers', () => {
    expect(entriesText(ptr(0, 515, 7), ptr(2, 256, 0), ptr(1, 0, 1, 0b1010n), ptr(9, 4096, 3))).toEqual([
      'durability: 3 ',
      'ptr:    sda 0:2:3 gen 7',
      'ptr: nvme0n1 2:1:0 gen 0 d=2',
      'ptr:  dev-1 1:0:0 gen 1 cached unwritten',
      'ptr: 9:4096 gen 3',
    ]);
  });

  test('offsets use all their 44 bits', () => {
    const [entry] = decodeExtentEntries(words(ptr(255, 2 ** 44 - 1, 255)));
    expect(entry).toMatchObject({ dev: 255, offset: 2 ** 44 - 1, gen: 255, cached: false, unwritten: false });
  });

  test('checksums', () => {
    // crc32: type 0b10, c_size 8, size 16, offset 0, csum_type 5, lz4 (3)
    const crc32 = 0b10n | (7n << 2n) | (15n << 9n) | (5n << 24n) | (3n << 28n) | (0xdeadbeefn << 32n);
    const crc64 = 0b100n | (7n << 3n) | (15n << 12n) | (2n << 21n) | (9n << 30n) | (6n << 40n) | (0xabcn << 48n);
    const crc128 = 0b1000n | (7n << 4n) | (15n << 17n) | (3n << 30n) | (11n << 43n) | (4n << 56n);
    expect(entriesText(crc32, crc64, 0x1234n, crc128, 0x55n, 0x66n)).toEqual([
      'durability: 0 ',
      'crc32: c_size 8 size 16 offset 0 nonce 0 csum crc32c 0:deadbeef  compress lz4',
      'crc64: c_size 8 size 16 offset 2 nonce 9 csum crc64 abc:1234  compress none',
      'crc128: c_size 8 size 16 offset 3 nonce 11 csum chacha20_poly1305_128 66:55  compress none',
    ]);
    expect(decodeExtentEntries(words(crc32)).map(extentEntryJson)).toEqual([
      {
        type: 'crc32',
        compressed_size: 8,
        uncompressed_size: 16,
        offset: 0,
        nonce: 0,
        csum_type: 'crc32c',
        compression_type: 'lz4',
        csum: '0:deadbeef',
      },
    ]);
  });

  test('stripes count for their redundancy', () => {
    const stripe = 0b10000n | (3n << 5n) | (2n << 13n) | (77n << 17n);
    const entries = decodeExtentEntries(words(stripe, ptr(0, 0, 0), ptr(0, 0, 0)));
    expect(durabilityOf(entries, context)).toBe(3 + 1);
    expect(entriesText(stripe)[1]).toBe('stripe_ptr: idx 77 block 3');
  });

  test('options that are not met yet', () => {
    // need_rb bit 4 (background_target), replicas 2, checksum 1, background_target 257 (label 0) from the inode, promote_target dev 1
    const reconcile =
      0x80n | (1n << 16n) | (1n << 21n) | (1n << 26n) | (2n << 28n) | (1n << 31n) | (257n << 44n) | (2n << 54n);
    expect(entriesText(reconcile)[1]).toBe(
      'reconcile: need_rb=background_target pending replicas=2 checksum=crc32c background_target=label0 (inode) ' +
        'promote_target=offline device 1',
    );
    const rebalance = 0x20n | (1n << 13n) | (3n << 36n) | (0x53n << 40n) | (1n << 48n) | (1n << 31n);
    expect(entriesText(rebalance)[1]).toBe(
      'rebalance_v1: replicas=3 (inode) checksum=none background_compression=zstd:5 background_target=/dev/sda ec=1',
    );
  });

  test('flags, and what is unknown ends the list', () => {
    expect(entriesText(0x40n | (1n << 7n), 0x100n | (5n << 9n), 1n << 40n, ptr(0, 0, 0))).toEqual([
      'durability: 0 ',
      'flags: poisoned',
      'reconcile_bp: idx 5',
      '(unknown extent entry 0000010000000000)',
    ]);
    expect(entriesText(0n)[1]).toBe('(unknown extent entry 0000000000000000)');
    expect(entriesText(0b100n)[1]).toBe('(unknown extent entry 0000000000000004)');
  });
});

function key(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(Bkey.size + value.length);
  Bkey.put(new DataView(bytes.buffer), 0, {
    u64s: bytes.length / 8,
    format: 1,
    type,
    pad: 0,
    bversion_lo: 3n,
    bversion_hi: 0,
    size: 0,
    p: SPOS_MAX,
  });
  bytes.set(value, Bkey.size);
  return bytes;
}

const BTREE_PTR_V2 = keyTypes.idOf('btree_ptr_v2');
// mem_ptr, seq, sectors_written 224 and min_key POS_MIN, one pointer
const ptrValue = words(0n, 0x4825f5a273731c18n, 224n, 0n, 0n, ptr(0, 512, 0));
const textOf = (found: Key) => {
  const out = new PrintBuffer();
  keyText(out, found, context);
  return out.toString();
};

describe('keys', () => {
  test('a btree pointer, as in a root', () => {
    const [found] = decodeKeys(key(BTREE_PTR_V2, ptrValue));
    expect(bkeyText(found!.k)).toBe('u64s 11 type btree_ptr_v2 SPOS_MAX len 0 ver 3');
    expect(textOf(found!)).toBe(
      'u64s 11 type btree_ptr_v2 SPOS_MAX len 0 ver 3  : \n' +
        '  seq 4825f5a273731c18 written 224 min_key POS_MIN durability: 1 \n' +
        '  ptr:    sda 0:2:0 gen 0',
    );
    expect(keyJson(found!)).toMatchObject({
      type: 'btree_ptr_v2',
      pos: 'SPOS_MAX',
      value: { seq: '4825f5a273731c18', sectors_written: 224, min_key: 'POS_MIN', entries: [{ type: 'ptr', dev: 0 }] },
    });
    const kind = keyKind(BTREE_PTR_V2)!;
    expect(kind.encode(kind.decode(ptrValue))).toEqual(ptrValue);
    expect(kind.validate(kind.decode(ptrValue), found!.k)).toEqual([]);
  });

  test('what is wrong with a btree pointer', () => {
    const errors = (value: Uint8Array) => {
      const [found] = decodeKeys(key(BTREE_PTR_V2, value));
      return btreePtrV2.validate(btreePtrV2.decode(value), found!.k).map(problem => problem.error);
    };
    expect(errors(words(0n, 0n, 0n, 0n, 0n))).toEqual(['extent_ptrs_no_ptrs']);
    expect(errors(words(0n, 0n, 0n, 0n, 0n, ptr(1, 0, 0), ptr(1, 8, 0)))).toEqual(['ptr_to_duplicate_device']);
    expect(errors(words(0n, 0n, 0n, 0n, 0n, ptr(1, 0, 0, 8n)))).toEqual(['extent_ptrs_unwritten']);
    expect(errors(words(0n, 0n, 0n, 0n, 0n, ptr(1, 0, 0), 0x40n))).toEqual(['btree_ptr_has_non_ptr']);
    expect(errors(words(0n, 0n, U64_MAX, U64_MAX, U64_MAX, ptr(1, 0, 0)))).toEqual(['btree_ptr_v2_min_key_bad']);
    const many = Array.from({ length: 7 }, (_, dev) => ptr(dev, 0, 0));
    expect(errors(words(0n, 0n, 0n, 0n, 0n, ...many))).toEqual(['btree_ptr_v2_val_too_big']);
  });

  test('types that are not known here keep their bytes, short values are reported', () => {
    const [unknown] = decodeKeys(key(200, words(5n)));
    expect(textOf(unknown!)).toBe('u64s 6 type 200 SPOS_MAX len 0 ver 3  : ');
    expect(keyJson(unknown!)).toMatchObject({ type: 'unknown(200)', value: { raw: '0500000000000000' } });
    const [short] = decodeKeys(key(BTREE_PTR_V2, words(5n)));
    expect(textOf(short!)).toBe(
      'u64s 6 type btree_ptr_v2 SPOS_MAX len 0 ver 3  : (damaged: 8 bytes, expected 40 or more)',
    );
  });

  test('lengths that cannot be', () => {
    const error = (source: Uint8Array) => {
      try {
        decodeKeys(source);
      } catch (thrown) {
        if (thrown instanceof CorruptError) return `${thrown.error}: ${thrown.detail}`;
      }
      return undefined;
    };
    expect(error(new Uint8Array(40))).toBe('journal_entry_bkey_u64s_0: key 0 has u64s 0, expected 5 or more');
    expect(error(key(200, words(1n, 2n)).subarray(0, 48))).toBe(
      'journal_entry_bkey_past_end: key 0 is 56 bytes long, only 48 are left',
    );
  });
});
