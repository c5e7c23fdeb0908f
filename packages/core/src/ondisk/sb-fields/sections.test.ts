// Every section: bytes in, value out, and back; the text; and the problems that validation names.

import { describe, expect, test } from 'vitest';
import { PrintBuffer } from '../../util/print-buffer.ts';
import { dateTimeText } from '../../util/time.ts';
import { withBits } from '../bits.ts';
import { CorruptError } from '../errors.ts';
import { type SbFieldName, sbFieldIds } from '../sb-field-ids.ts';
import { BchSb, type Superblock } from '../superblock.ts';
import { encodeCrypt, KEY_MAGIC } from './crypt.ts';
import { sbFieldKind } from './index.ts';
import { journalRanges } from './journal.ts';
import type { SbTextContext } from './kind.ts';
import { blankMember, type Member, withMembers } from './members.ts';

const alive: Member = {
  ...blankMember(),
  uuid: '11111111-0000-4000-8000-000000000000',
  nbuckets: 1000,
  first_bucket: 2,
  bucket_size: 256,
};
const empty: Superblock = {
  ...BchSb.get(new DataView(new ArrayBuffer(BchSb.size)), 0),
  version: 1037,
  block_size: 8,
  nr_devices: 2,
  sections: [],
};
const sb = withMembers(empty, [alive, { ...alive, uuid: '22222222-0000-4000-8000-000000000000' }]);

const kindOf = (name: SbFieldName) => sbFieldKind(sbFieldIds.idOf(name))!;

function hex(...parts: string[]): Uint8Array {
  const digits = parts.join('').replaceAll(' ', '');
  return Uint8Array.from({ length: digits.length / 2 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16));
}

function text(
  name: SbFieldName,
  payload: Uint8Array,
  style: '1.36' | '1.39' = '1.36',
  tabStops: number[] = [44],
): string {
  const out = new PrintBuffer();
  for (const stop of tabStops) out.pushTabStop(stop);
  const context: SbTextContext = { sb, style, memberName: () => undefined, dateTime: seconds => `<${seconds}>` };
  const kind = kindOf(name);
  kind.text(out, kind.decode(payload, sb), context);
  return out.toString();
}

function problems(name: SbFieldName, payload: Uint8Array, of: Superblock = sb): string[] {
  const kind = kindOf(name);
  try {
    return kind
      .validate(kind.decode(payload, of), of)
      .map(problem => `${problem.error} ${problem.where.field}: ${problem.detail}`);
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    return [`${thrown.error} ${thrown.where.field}: ${thrown.detail}`];
  }
}

function roundTrip(name: SbFieldName, payload: Uint8Array): Uint8Array {
  const kind = kindOf(name);
  return kind.encode!(kind.decode(payload, sb));
}

const u64 = (value: number) => `${value.toString(16).padStart(2, '0')}00000000000000`;
const u32 = (value: number) => `${value.toString(16).padStart(2, '0')}000000`;

test('every named section has a row, others have none', () => {
  for (const { id, name } of sbFieldIds.rows) expect(sbFieldKind(id)?.name).toBe(name);
  expect(sbFieldKind(sbFieldIds.rows.length)).toBeUndefined();
});

describe('journal', () => {
  const payload = hex(u64(5), u64(3), u64(4));

  test('a list of buckets', () => {
    expect(roundTrip('journal', payload)).toEqual(payload);
    expect(text('journal', payload)).toBe('Buckets:  5 3 4\n');
    expect(problems('journal', payload)).toEqual([]);
  });

  test('what is wrong with it', () => {
    expect(problems('journal', hex(u64(0)))).toEqual(['invalid_sb_journal journal: a journal bucket at sector 0']);
    expect(problems('journal', hex(u64(1)))).toEqual([
      'invalid_sb_journal journal: journal bucket 1 before first bucket 2',
    ]);
    expect(problems('journal', hex('e803000000000000'))).toEqual([
      'invalid_sb_journal journal: journal bucket 1000 past end of device (nbuckets 1000)',
    ]);
    expect(problems('journal', hex(u64(5), u64(5)))).toEqual([
      'invalid_sb_journal journal: duplicate journal buckets in ranges 5-6, 5-6',
    ]);
  });
});

describe('journal_v2', () => {
  const payload = hex(u64(17), u64(8), u64(40), u64(2));

  test('ranges of buckets', () => {
    expect(roundTrip('journal_v2', payload)).toEqual(payload);
    expect(text('journal_v2', payload)).toBe('Buckets:  17-25 40-42\n');
    expect(problems('journal_v2', payload)).toEqual([]);
    expect(journalRanges([17, 18, 19, 3, 4, 20])).toEqual([
      { start: 17, nr: 3 },
      { start: 3, nr: 2 },
      { start: 20, nr: 1 },
    ]);
  });

  test('what is wrong with it', () => {
    expect(problems('journal_v2', hex(u64(17), u64(0)))).toEqual([
      'invalid_sb_journal journal_v2: an entry of no buckets: 17+0',
    ]);
    expect(problems('journal_v2', hex(u64(17), u64(8), u64(20), u64(1)))).toEqual([
      'invalid_sb_journal journal_v2: duplicate journal buckets in ranges 17-25, 20-21',
    ]);
    expect(problems('journal_v2', hex(u64(17), 'ffffffffffffffff'))[0]).toMatch(/^count_out_of_range /);
    expect(problems('journal_v2', hex(u64(17), 'ffffffffffff1f00'))[0]).toMatch(
      /^invalid_sb_journal .*past end of device/,
    );
  });
});

describe('crypt', () => {
  const payload = encodeCrypt({
    flags: 0n,
    kdf_flags: 14n | (3n << 16n) | (4n << 32n),
    key_magic: KEY_MAGIC,
    key: new Uint8Array(32).fill(7),
  });

  test('key derivation, and never the key', () => {
    expect(roundTrip('crypt', payload)).toEqual(payload);
    expect(text('crypt', payload)).toBe(
      'KFD:               0\nscrypt n:          14\nscrypt r:          3\nscrypt p:          4\n',
    );
    const kind = kindOf('crypt');
    expect(kind.json(kind.decode(payload, sb), sb)).toEqual({
      kdf: 'scrypt',
      scrypt_n_bits: 14,
      scrypt_r_bits: 3,
      scrypt_p_bits: 4,
      key_encrypted: false,
    });
    expect(new TextDecoder().decode(payload.subarray(16, 24))).toBe('bch**key');
  });

  test('what is wrong with it', () => {
    expect(problems('crypt', payload.subarray(0, 48))).toEqual([
      'invalid_sb_crypt crypt: 48 bytes, expected 56 or more',
    ]);
    expect(problems('crypt', hex('01', '00'.repeat(55)))).toEqual(['invalid_sb_crypt crypt: bad kdf type 1']);
  });
});

describe('replicas', () => {
  const v0 = hex('03 01 00', '02 02 00 01', '00');
  const v1 = hex('03 02 01 00 01', '04 02 01 01 00', '000000');

  test('both forms', () => {
    expect(roundTrip('replicas_v0', v0)).toEqual(v0.subarray(0, 7));
    expect(roundTrip('replicas', v1)).toEqual(v1.subarray(0, 10));
    expect(text('replicas_v0', v0)).toBe('btree: 1 [0] journal: 2 [0 1]\n');
    expect(text('replicas', v1)).toBe('btree: 1/2 [0 1] user: 1/2 [1 0]\n');
    expect(text('replicas', hex('63 01 01 00'))).toBe('(unknown data_type 99): 1/1 [0]\n');
    expect(problems('replicas', v1)).toEqual([]);
  });

  test('what is wrong with it', () => {
    expect(problems('replicas', hex('03 00 01'))).toEqual([
      'invalid_replicas_entry replicas[0]: no devices in entry btree: 1/0 []',
    ]);
    expect(problems('replicas', hex('04 02 02 00 01'))).toEqual([
      'invalid_replicas_entry replicas[0]: bad nr_required in entry user: 2/2 [0 1]',
    ]);
    expect(problems('replicas', hex('04 01 01 07'))).toEqual([
      'invalid_replicas_entry replicas[0]: invalid device 7 in entry user: 1/1 [7]',
    ]);
    expect(problems('replicas', hex('04 01 01 ff'))).toEqual([]);
    expect(problems('replicas', hex('04 02 01 00 01 04 02 01 01 00'))).toEqual([
      'invalid_sb_replicas replicas[1]: duplicate in entry user: 1/2 [1 0]',
    ]);
    expect(problems('replicas', hex('04 09 01 00'))).toEqual([
      'invalid_sb_replicas replicas[0]: 9 devices, the section ends 8 bytes before them',
    ]);
  });
});

test('quota', () => {
  const one = `${u64(0)}${u32(8)}${u32(1)}${u32(9)}${u32(0)}`;
  const payload = hex(one, one, one);
  expect(roundTrip('quota', payload)).toEqual(payload);
  expect(text('quota', payload).split('\n')[2]).toBe(
    'project: flags 0 space timelimit 8 warnlimit 1 inodes timelimit 9 warnlimit 0',
  );
  expect(problems('quota', payload.subarray(8))).toEqual(['invalid_sb_quota quota: 64 bytes, expected 72']);
});

describe('disk_groups', () => {
  const label = (name: string) =>
    [...name]
      .map(char => char.charCodeAt(0).toString(16))
      .join('')
      .padEnd(64, '0');
  const group = (name: string, flags: number) => `${label(name)}${u64(flags)}${u64(0)}`;
  const payload = hex(group('ssd', 0x3e), group('a', 0x7e), group('', 1));

  test('the tree', () => {
    expect(roundTrip('disk_groups', payload)).toEqual(payload);
    expect(text('disk_groups', payload)).toBe('[parent 0 name ssd] [parent 1 name a] [deleted]');
    expect(problems('disk_groups', payload)).toEqual([]);
  });

  test('what is wrong with it', () => {
    const labelled = withMembers(empty, [
      { ...alive, flags: withBits([0n], { word: 0, lo: 20, hi: 28 }, 3)[0]! },
      alive,
    ]);
    expect(problems('disk_groups', payload, labelled)).toEqual([
      'invalid_sb_disk_groups members[0].group: disk 0 has deleted label 2',
    ]);
    expect(problems('disk_groups', payload.subarray(0, 96), labelled)).toEqual([
      'invalid_sb_disk_groups members[0].group: disk 0 has invalid label 2 (have 2)',
    ]);
    expect(problems('disk_groups', hex(group('', 0x3e)))).toEqual([
      'invalid_sb_disk_groups disk_groups[0]: label 0 empty',
    ]);
    expect(problems('disk_groups', hex(group('a', 0x3e), group('a', 0x3e)))).toEqual([
      'invalid_sb_disk_groups disk_groups[1]: duplicate label 0.a',
    ]);
    expect(problems('disk_groups', hex(group('a', 0x80)))).toEqual([
      'invalid_sb_disk_groups disk_groups[0]: label 0 has invalid parent 1 (have 1)',
    ]);
  });
});

describe('clean', () => {
  const head = `${u32(0)}${u32(0)}${u64(40)}`;
  const usage = `0100020005000000${u64(7)}`;
  const clock = `0200000007000000${u64(1)}${u64(9)}`;
  const payload = hex(head, usage, clock, u64(0), u64(0));

  test('entries, without the padding after them', () => {
    expect(roundTrip('clean', payload)).toEqual(payload);
    expect(text('clean', payload)).toBe(
      'flags:          0\njournal_seq:    40\nusage: type=key_version v=7\nclock: write=9\n',
    );
    expect(problems('clean', payload)).toEqual([]);
  });

  test('an entry that is too long ends the list and is reported', () => {
    const cut = hex(head, usage, '0900000007000000');
    expect(problems('clean', cut)).toEqual(['sb_clean_entry_overrun clean: entry 1 is 80 bytes long, only 8 are left']);
    expect(text('clean', cut)).toMatch(/v=7\n\(damaged: entry 1 is 80 bytes long, only 8 are left\)\n$/);
    expect(problems('clean', hex(u64(0)))).toEqual(['invalid_sb_clean clean: 8 bytes, expected 16 or more']);
  });

  test('entries that do not fit their type are reported, and the next ones printed', () => {
    const odd = hex(head, '0000000007000000', '0000000005000000', '01000000c8000000', u64(1), usage);
    expect(text('clean', odd).split('\n').slice(2)).toEqual([
      'clock: (damaged: 0 bytes, expected 16 or more)',
      'usage: (damaged: 0 bytes, expected 8 or more)',
      '(unknown jset_entry_type 200)',
      'usage: type=key_version v=7',
      '',
    ]);
  });
});

describe('journal_seq_blacklist', () => {
  test('ranges', () => {
    const payload = hex(u64(5), u64(9), u64(9), u64(12));
    expect(roundTrip('journal_seq_blacklist', payload)).toEqual(payload);
    expect(text('journal_seq_blacklist', payload)).toBe('5-9 9-12\n');
    expect(problems('journal_seq_blacklist', payload)).toEqual([]);
  });

  test('what is wrong with it', () => {
    expect(problems('journal_seq_blacklist', hex(u64(5), u64(5), u64(4), u64(6)))).toEqual([
      'invalid_sb_journal_seq_blacklist journal_seq_blacklist[0]: start is not before end: 5 >= 5',
      'invalid_sb_journal_seq_blacklist journal_seq_blacklist[0]: out of order with the next entry: 5 > 4',
    ]);
  });
});

test('counters by stable id, in the order of the release', () => {
  const payload = hex(u64(1), u64(2), 'ffffffffffffffff');
  expect(roundTrip('counters', payload)).toEqual(payload);
  expect(text('counters', payload)).toContain(`data_read${' '.repeat(34)}1\n`);
  expect(text('counters', payload)).toContain('18446744073709551615\n');
  expect(text('counters', payload).split('\n')).toHaveLength(4);
});

describe('errors', () => {
  const entry = (id: number, count: number, time: number) =>
    `${id.toString(16).padStart(2, '0')}00${count.toString(16).padStart(2, '0')}0000000000${u64(time)}`;

  test('the newest first, in columns', () => {
    const payload = hex(entry(1, 5, 100), entry(2, 1, 200));
    expect(roundTrip('errors', payload)).toEqual(payload);
    expect(text('errors', payload, '1.36', [32])).toBe(
      `dirty_but_no_journal_entries_post_drop_nonflushes1<200>\ndirty_but_no_journal_entries${' '.repeat(4)}5${' '.repeat(15)}<100>\n`,
    );
    expect(problems('errors', payload)).toEqual([]);
  });

  test('what is wrong with it', () => {
    expect(problems('errors', hex(entry(2, 0, 1), entry(1, 1, 1)))).toEqual([
      'invalid_sb_errors errors[0]: an entry with count 0 (id dirty_but_no_journal_entries_post_drop_nonflushes)',
      'invalid_sb_errors errors[0]: entries out of order: 2 before 1',
    ]);
  });

  test('v2 knows the first time, and where its counts end', () => {
    // id 1, count 2^32 - 1, last 0x01_2345_6789, first 0x00_0000_0064
    const payload = hex('0100 ffffffff 8967', '452301 6400000000');
    expect(text('errors_v2', payload, '1.39', [32])).toBe(
      `dirty_but_no_journal_entries${' '.repeat(4)}4294967295+${' '.repeat(5)}<100><${0x0123456789}>\n`,
    );
    expect(problems('errors_v2', hex('0100 01000000 0100', '000000 0200000000'))).toEqual([
      'invalid_sb_errors errors_v2[0]: first occurrence after last (id dirty_but_no_journal_entries)',
    ]);
  });
});

describe('ext', () => {
  test('as of v1.13 and as of v1.39', () => {
    const old = hex(u64(1 << 5), '00'.repeat(72), u64(1));
    expect(roundTrip('ext', old)).toEqual(old);
    expect(text('ext', old, '1.36', [32])).toBe(
      'Recovery passes required:      check_allocations\nErrors to silently fix:        \nBtrees with missing data:      extents\n',
    );
    expect(text('ext', old, '1.39', [32]).split('\n')).toHaveLength(4);
    const newer = hex('00'.repeat(96), u64(2), u64(4), u64(9));
    expect(roundTrip('ext', newer)).toEqual(newer);
    expect(text('ext', newer, '1.39', [40]).split('\n').slice(3, 5)).toEqual([
      'Btrees that have ever lost data:       inodes',
      'Btrees validated clean:                dirents',
    ]);
  });

  test('bits without a name', () => {
    const payload = hex('00'.repeat(16), '00'.repeat(63), '80', '0000000000000080');
    expect(text('ext', payload, '1.36', [32])).toContain('Errors to silently fix:        unknown(511)\n');
    expect(text('ext', payload, '1.36', [32])).toContain('Btrees with missing data:      unknown(63)\n');
  });

  test('too short', () => {
    expect(problems('ext', new Uint8Array(72))).toEqual(['invalid_sb_ext ext: 72 bytes, expected 80 or more']);
  });
});

describe('downgrade', () => {
  // 1.9 = 0x409; check_allocations has stable id 5; errors 1 and 2
  const payload = hex('0904', u64(1 << 5), u64(0), '0200', '0100 0200');

  test('entries of two-byte alignment', () => {
    expect(roundTrip('downgrade', payload)).toEqual(payload);
    expect(text('downgrade', payload, '1.36', [24])).toBe(
      'version:               disk_accounting_v2 (1.9)\n' +
        'recovery passes:       check_allocations\n' +
        'errors:                dirty_but_no_journal_entries,dirty_but_no_journal_entries_post_drop_nonflushes\n',
    );
    expect(problems('downgrade', payload)).toEqual([]);
  });

  test('what is cut off at the end is ignored', () => {
    const kind = kindOf('downgrade');
    expect(kind.decode(payload.subarray(0, 22), sb)).toEqual([]);
    expect(kind.decode(hex('00'.repeat(4)), sb)).toEqual([]);
  });

  test('another major version', () => {
    expect(problems('downgrade', hex('0900', u64(0), u64(0), '0000'))).toEqual([
      "invalid_sb_downgrade downgrade[0]: an entry for version 0.9, the superblock's is 1.13",
    ]);
  });
});

test('recovery_passes', () => {
  const payload = hex(u64(100), u32(0), u32(0), u64(0), u64(0), u64(200), u32(130), u32(1));
  expect(text('recovery_passes', payload, '1.36', [])).toBe(
    `Pass${' '.repeat(27)}Last run${' '.repeat(24)}Last runtime\n` +
      `alloc_read${' '.repeat(21)}<100>${' '.repeat(28)}0 ns\n` +
      `initialize_subvolumes${' '.repeat(10)}<200>${' '.repeat(28)}2 m (no ratelimit)\n`,
  );
});

test('extent_type_u64s', () => {
  const payload = hex('0101 0203 0101 0101 0105 0000');
  expect(text('extent_type_u64s', payload, '1.36', [20])).toContain('crc64:             2\n');
  expect(text('extent_type_u64s', payload, '1.36', [20])).toContain('(unknown type 9):  5\n');
  expect(problems('extent_type_u64s', payload)).toEqual([]);
  expect(problems('extent_type_u64s', hex('0102'))).toEqual([
    'invalid_sb_extent_type_u64s extent_type_u64s.crc32: 2 u64s, expected 1',
  ]);
});

describe('members', () => {
  const payloadOf = (list: readonly Member[]) =>
    withMembers(empty, list, 328).sections.find(section => section.type === sbFieldIds.idOf('members_v2'))!.payload;

  test('what is wrong with them', () => {
    expect(problems('members_v2', payloadOf([alive]))).toEqual([
      'invalid_sb_members members_v2: section too small: it has 1 entries, there are 2 devices',
    ]);
    const odd = { ...alive, nbuckets: 60, bucket_size: 4, btree_bitmap_shift: 58 };
    expect(problems('members_v2', payloadOf([alive, odd]))).toEqual([
      'invalid_sb_members members_v2[1].nbuckets: device 1: not enough buckets (got 58, min 64)',
      'invalid_sb_members members_v2[1].bucket_size: device 1: bucket size 4 smaller than block size 8',
      'invalid_sb_members members_v2[1].btree_bitmap_shift: device 1: invalid btree_bitmap_shift 58',
    ]);
  });

  test('alone, with the newest fields', () => {
    const named = {
      ...alive,
      device_serial: hex('53 4e', '00'.repeat(62)),
      failure_domain: hex('72 1b', '00'.repeat(30)),
      flush_errors: 3,
    };
    const found = text('members_v2', payloadOf([named, blankMember()]), '1.39', [32]);
    expect(found).toMatch(/^Device: {24}0\n {2}Label: {23}\(none\)\n {2}Failure domain: {14}r\\x1b\n/);
    expect(found).toMatch(/Last device serial: {10}SN\n {2}Flush errors: {16}3\n$/);
  });
});

test('dates are local time', () => {
  expect(dateTimeText(0)).toMatch(/19(69|70)$/);
});
