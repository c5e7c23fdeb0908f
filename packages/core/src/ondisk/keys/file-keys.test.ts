// Key types of files, names and attributes: values made by hand, above all those that cannot be right. What the kernel wrote and the
// reference printed is in reference-keys.test.ts.

import { describe, expect, test } from 'vitest';
import { latin1Text } from '../../util/byte-text.ts';
import { toHex } from '../../util/hex.ts';
import { toJson } from '../../util/json.ts';
import { PrintBuffer } from '../../util/print-buffer.ts';
import { BKEY_U64S, type Bkey, type Key } from '../bkey.ts';
import { bkeyProblems, keyProblems } from '../bkey-validate.ts';
import { type Bpos, makeBpos, POS_MAX } from '../bpos.ts';
import { type BtreeName, btrees } from '../btrees.ts';
import { fsckErrors } from '../fsck-errors.ts';
import { inodeDevice, inodeLinkCount, inodeOption, inodeTimeNs, packInodeV3, unpackInodeV3 } from '../inode-unpack.ts';
import { viewOf } from '../layout.ts';
import { dirent, mayBeNamed } from './dirent.ts';
import { keyJson, keyKind, keyText } from './index.ts';
import { inode, inodeV2, inodeV3 } from './inode.ts';
import { type KeyTypeName, keyTypes } from './key-types.ts';
import type { KeyTextContext, KeyValidateContext } from './kind.ts';
import { decodeAcl, xattr } from './xattr.ts';

const bytesOf = (hex: string): Uint8Array =>
  Uint8Array.from(hex.replace(/\s/g, '').match(/../g) ?? [], pair => Number.parseInt(pair, 16));
const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

function words(...values: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(8 * values.length);
  const view = viewOf(bytes);
  for (const [i, value] of values.entries()) view.setBigUint64(8 * i, value, true);
  return bytes;
}

const DIRECTORY = 4096n;

function keyOf(type: KeyTypeName, value: Uint8Array, p: Bpos = makeBpos(DIRECTORY, 100n, 9), size = 0): Key {
  const k: Bkey = {
    u64s: BKEY_U64S + value.length / 8,
    format: 1,
    type: keyTypes.idOf(type),
    pad: 0,
    bversion_lo: 0n,
    bversion_hi: 0,
    size,
    p,
  };
  return { k, value };
}

const context: KeyTextContext = {
  device: () => undefined,
  label: group => `label ${group}`,
  dateTime: seconds => `<${seconds}>`,
};

/** The text after the header. */
function textOf(key: Key, more: Partial<KeyTextContext> = {}): string {
  const out = new PrintBuffer();
  keyText(out, key, { ...context, ...more });
  return out.toString().replace(/^[^\n]* ver 0( {2}: )?/, '');
}

/** Names of what is wrong, all of which have to be errors that there are. */
function errorsOf(key: Key, btree: BtreeName, validate: KeyValidateContext = {}): string[] {
  const errors = keyProblems(key, { btree: btrees.idOf(btree), level: 0 }, validate).map(problem => problem.error);
  for (const error of errors) expect(fsckErrors.byName(error), error).toBeDefined();
  return errors;
}

describe('headers of keys', () => {
  const place = (name: BtreeName, level = 0) => ({ btree: btrees.idOf(name), level });
  const errors = (key: Key, name: BtreeName, level = 0, more: KeyValidateContext = {}) =>
    bkeyProblems(key.k, place(name, level), more).map(problem => problem.error);
  const none = new Uint8Array();

  test('types and their btrees', () => {
    expect(errors(keyOf('dirent', none), 'xattrs')).toEqual(['bkey_invalid_type_for_btree']);
    expect(errors(keyOf('dirent', none), 'dirents')).toEqual([]);
    expect(errors(keyOf('deleted', none), 'dirents')).toEqual([]);
    // Lax types may be anywhere when they are read, not when they are written.
    expect(errors(keyOf('cookie', none), 'dirents')).toEqual([]);
    expect(errors(keyOf('cookie', none), 'dirents', 0, { writing: true })).toEqual(['bkey_invalid_type_for_btree']);
    expect(errors(keyOf('dirent', none), 'dirents', 1)).toEqual(['bkey_invalid_type_for_btree']);
    expect(errors(keyOf('btree_ptr_v2', none), 'dirents', 1)).toEqual([]);
    const cursor = keyOf('inode_alloc_cursor', none, makeBpos(1n, 1n, 0));
    expect(errors(cursor, 'logged_ops', 0, { writing: true })).toEqual([]);
    expect(errors(cursor, 'logged_ops', 0, { writing: true, version: (1 << 10) | 13 })).toEqual([
      'bkey_invalid_type_for_btree',
    ]);
  });

  test('types and btrees that are not known have no rules', () => {
    expect(keyProblems({ k: { ...keyOf('dirent', none).k, type: 200 }, value: none }, place('dirents'))).toEqual([]);
    expect(keyProblems(keyOf('dirent', words(1n, 0x6108n), POS_MAX, 5), { btree: 60, level: 0 })).toEqual([]);
  });

  test('sizes', () => {
    const at = (offset: bigint, size: number) => keyOf('extent', none, makeBpos(DIRECTORY, offset, 9), size);
    expect(errors(at(8n, 0), 'extents')).toEqual(['bkey_extent_size_zero']);
    expect(errors(at(8n, 8), 'extents')).toEqual([]);
    expect(errors(at(8n, 9), 'extents')).toEqual(['bkey_extent_size_greater_than_offset']);
    expect(errors(at(1n << 40n, 0xffff_ffff), 'extents')).toEqual([]);
    const whiteout = (size: number) => keyOf('extent_whiteout', none, makeBpos(DIRECTORY, 8n, 9), size);
    expect(errors(whiteout(0), 'extents')).toEqual([]);
    expect(errors(whiteout(8), 'extents')).toEqual(['bkey_size_nonzero']);
    expect(errors(keyOf('dirent', none, makeBpos(1n, 2n, 3), 1), 'dirents')).toEqual(['bkey_size_nonzero']);
  });

  test('snapshots and the last position', () => {
    expect(errors(keyOf('dirent', none, makeBpos(1n, 2n, 0)), 'dirents')).toEqual(['bkey_snapshot_zero']);
    expect(errors(keyOf('quota', none, makeBpos(1n, 2n, 3)), 'quotas')).toEqual(['bkey_snapshot_nonzero']);
    expect(errors(keyOf('set', none, makeBpos(1n, 2n, 3)), 'deleted_inodes')).toEqual([]);
    expect(errors(keyOf('set', none, makeBpos(1n, 2n, 0)), 'deleted_inodes')).toEqual([]);
    const last = makeBpos(2n ** 64n - 1n, 2n ** 64n - 1n, 7);
    expect(errors(keyOf('dirent', none, last), 'dirents')).toEqual(['bkey_at_pos_max']);
    expect(errors({ ...keyOf('dirent', none), k: { ...keyOf('dirent', none).k, u64s: 4 } }, 'dirents')).toEqual([
      'bkey_u64s_too_small',
    ]);
  });
});

test('values that are too short', () => {
  for (const { id, name } of keyTypes.rows) {
    const kind = keyKind(id);
    if (kind === undefined || kind.minBytes < 16) continue;
    const key = keyOf(name, new Uint8Array(8));
    expect(errorsOf(key, 'extents'), name).toContain('bkey_val_size_too_small');
    expect(textOf(key)).toBe(`(damaged: 8 bytes, expected ${kind.minBytes} or more)`);
    expect(keyJson(key)).toMatchObject({ value: { raw: '0000000000000000' } });
  }
});

describe('keys without a value', () => {
  test('hash_whiteout and set have none', () => {
    expect(errorsOf(keyOf('hash_whiteout', new Uint8Array()), 'dirents')).toEqual([]);
    expect(errorsOf(keyOf('hash_whiteout', words(0n)), 'dirents')).toEqual(['bkey_val_size_nonzero']);
    expect(errorsOf(keyOf('set', words(0n), makeBpos(1n, 2n, 3)), 'deleted_inodes')).toEqual(['bkey_val_size_nonzero']);
    expect(errorsOf(keyOf('whiteout', words(5n)), 'dirents')).toEqual([]);
    expect(textOf(keyOf('whiteout', words(5n)))).toBe('');
  });

  test('error keys may say why', () => {
    expect(textOf(keyOf('error', new Uint8Array()))).toBe('');
    expect(textOf(keyOf('error', words(1n)))).toBe('device_removed');
    expect(textOf(keyOf('error', words(9n)))).toBe('(unknown key_type_error_reason 9)');
    expect(keyJson(keyOf('error', words(3n)))).toMatchObject({ value: { reason: 'no_valid_pointers_repair' } });
    const kind = keyKind(keyTypes.idOf('error'))!;
    for (const value of [new Uint8Array(), words(2n)]) expect(kind.encode(kind.decode(value))).toEqual(value);
  });

  test('cookies count in 64 bits', () => {
    expect(textOf(keyOf('cookie', words(2n ** 64n - 1n)))).toBe('18446744073709551615');
  });
});

describe('dirents', () => {
  const INUM = 5000n;
  const TYPE_REG = 8;

  /** A dirent value whose bytes after the inode number are given. */
  function raw(inum: bigint, ...rest: readonly (number | Uint8Array)[]): Uint8Array {
    const bytes = rest.flatMap(part => (typeof part === 'number' ? [part] : [...part]));
    const value = new Uint8Array(Math.max(16, Math.ceil((8 + bytes.length) / 8) * 8));
    value.set(words(inum));
    value.set(bytes, 8);
    return value;
  }
  const errors = (value: Uint8Array, more?: KeyValidateContext) => errorsOf(keyOf('dirent', value), 'dirents', more);

  test('names', () => {
    const value = raw(INUM, TYPE_REG, ascii('name'));
    expect(errors(value)).toEqual([]);
    expect(textOf(keyOf('dirent', value))).toBe('name -> 5000 type reg');
    expect(dirent.encode(dirent.decode(value))).toEqual(value);
    expect(toJson(keyJson(keyOf('dirent', value)))).toMatchObject({ value: { name: 'name', inum: 5000, type: 'reg' } });
  });

  test.each([
    ['dirent_empty_name', raw(INUM, TYPE_REG)],
    ['dirent_empty_name', raw(INUM, 0)],
    ['dirent_name_dot_or_dotdot', raw(INUM, TYPE_REG, ascii('.'))],
    ['dirent_name_dot_or_dotdot', raw(INUM, TYPE_REG, ascii('..'))],
    ['dirent_name_has_slash', raw(INUM, TYPE_REG, ascii('a/b'))],
    ['dirent_name_embedded_nul', raw(INUM, TYPE_REG, ascii('a\0b'))],
    ['dirent_to_itself', raw(DIRECTORY, TYPE_REG, ascii('self'))],
  ])('%s', (error, value) => expect(errors(value)).toEqual([error]));

  test('a subvolume with the number of the directory is none that leads to itself', () => {
    const value = raw(DIRECTORY, 16, ascii('sv'));
    expect(errors(value)).toEqual([]);
    expect(textOf(keyOf('dirent', value))).toBe('sv -> 0 -> 4096 type subvol');
    expect(dirent.encode(dirent.decode(value))).toEqual(value);
  });

  test('lengths of both names of a casefolded dirent', () => {
    const names = (length: number, foldedLength: number, text = 'Abcabc') =>
      raw(INUM, TYPE_REG | 128, 0, 0, length & 255, length >> 8, foldedLength & 255, foldedLength >> 8, ascii(text));
    expect(errors(names(3, 3))).toEqual([]);
    expect(textOf(keyOf('dirent', names(3, 3)))).toBe('Abc (casefold abc) -> 5000 type reg');
    expect(dirent.encode(dirent.decode(names(3, 3)))).toEqual(names(3, 3));
    expect(errors(names(0, 3))).toEqual(['dirent_empty_name']);
    expect(errors(names(3, 4))).toEqual(['dirent_val_too_big', 'dirent_stray_data_after_cf_name']);
    expect(errors(names(65535, 65535))).toEqual(['dirent_val_too_big', 'dirent_name_embedded_nul']);
    expect(textOf(keyOf('dirent', names(65535, 65535)))).toMatch(/^Abcabc(\\x00)* \(casefold \) -> 5000 type reg$/);
    expect(errors(names(3, 3, 'Abca\0c'))).toEqual(['dirent_stray_data_after_cf_name']);
    // A block that is cut off in its lengths.
    expect(errors(raw(INUM, TYPE_REG | 128))).toEqual(['dirent_empty_name']);
  });

  test('names of more than 512 bytes are only refused when they are new', () => {
    const long = raw(INUM, TYPE_REG, new Uint8Array(513).fill(97));
    expect(errors(long)).toEqual([]);
    expect(errors(long, { writing: true })).toEqual(['dirent_name_too_long']);
  });

  test('names that are not text', () => {
    const value = raw(INUM, TYPE_REG, bytesOf('ff fe 41 1b 5b 32 4a 0a c3 a4'));
    expect(textOf(keyOf('dirent', value))).toBe('\\xff\\xfeA\\x1b[2J\\x0aä -> 5000 type reg');
    expect(textOf(keyOf('dirent', value), { bytesText: latin1Text })).toBe(
      '\xff\xfeA\x1b[2J\n\xc3\xa4 -> 5000 type reg',
    );
    expect(keyJson(keyOf('dirent', value))).toMatchObject({ value: { name_hex: 'fffe411b5b324a0ac3a4' } });
  });

  test('types that do not exist', () => {
    expect(textOf(keyOf('dirent', raw(INUM, 3, ascii('x'))))).toBe('x -> 5000 type (bad d_type)');
    expect(keyJson(keyOf('dirent', raw(INUM, 3, ascii('x'))))).toMatchObject({ value: { type: 'unknown(3)' } });
  });
});

describe('xattrs', () => {
  function raw(type: number, nameLength: number, valueLength: number, ...rest: readonly Uint8Array[]): Uint8Array {
    const bytes = [type, nameLength, valueLength & 255, valueLength >> 8, ...rest.flatMap(part => [...part])];
    const value = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
    value.set(bytes);
    return value;
  }
  const errors = (value: Uint8Array) => errorsOf(keyOf('xattr', value), 'xattrs');
  const text = (value: Uint8Array) => textOf(keyOf('xattr', value));

  test('names and values', () => {
    const value = raw(4, 3, 5, ascii('abc'), ascii('value'));
    expect(errors(value)).toEqual([]);
    expect(text(value)).toBe('security.abc:value');
    expect(xattr.encode(xattr.decode(value))).toEqual(value);
    expect(keyJson(keyOf('xattr', value))).toMatchObject({
      value: { type: 'security', name: 'abc', value: toHex(ascii('value')) },
    });
  });

  test('what is wrong', () => {
    expect(errors(raw(0, 200, 2, ascii('abcd')))).toEqual(['xattr_val_size_too_small']);
    expect(text(raw(0, 200, 2, ascii('abcd')))).toBe('user.abcd:');
    expect(errors(raw(0, 3, 65535, ascii('abc')))).toEqual(['xattr_val_size_too_small']);
    expect(errors(raw(0, 1, 1, ascii('ab'), new Uint8Array(20)))).toEqual(['xattr_val_size_too_big']);
    // Four bytes more than needed pass, as in the reference.
    expect(errors(raw(0, 2, 1, ascii('ab'), new Uint8Array(8)))).toEqual([]);
    expect(errors(raw(9, 1, 1, ascii('ab')))).toEqual(['xattr_invalid_type']);
    expect(text(raw(9, 1, 1, ascii('ab')))).toBe('(unknown type 9)a:b');
    expect(errors(raw(0, 3, 1, ascii('a\0bc')))).toEqual(['xattr_name_invalid_chars']);
  });

  test('ACLs', () => {
    const acl = bytesOf('01000000 01000700 02000500e9030000 04000500 08000400d2070000 10000700 20000000');
    const value = raw(1, 0, acl.length, acl);
    expect(errors(value)).toEqual([]);
    expect(text(value)).toBe('(type 1):\\x01 user_obj 7 user uid 1001 5 group_obj 5 group gid 2002 4 mask 7 other 0');
    expect(decodeAcl(acl)).toEqual([
      { tag: 'user_obj', perm: 7 },
      { tag: 'user', id: 1001, perm: 5 },
      { tag: 'group_obj', perm: 5 },
      { tag: 'group', id: 2002, perm: 4 },
      { tag: 'mask', perm: 7 },
      { tag: 'other', perm: 0 },
    ]);
  });

  test('ACLs that are damaged', () => {
    expect(decodeAcl(bytesOf('02000000 01000700'))).toBeUndefined(); // another version
    expect(decodeAcl(bytesOf('0100'))).toBeUndefined();
    expect(decodeAcl(bytesOf('01000000 01000700 02000500'))).toBeUndefined(); // cut off in an id
    const unknownTag = bytesOf('01000000 01000700 03000500'); // the reference would print for ever
    expect(decodeAcl(unknownTag)).toBeUndefined();
    expect(text(raw(2, 0, unknownTag.length, unknownTag))).toBe('(type 2):\\x01 user_obj 7 (damaged)');
  });
});

describe('inodes', () => {
  // source: reference. Inode 4467 of the image `basic`, which its manifest calls block device 8:17.
  const blockDevice = unpackInodeV3(
    bytesOf(`
      190000000000000072bc2cc376b4ce5200003015031a0600000000000000000000000000000000000000000000000000
      0f86e5423a000f86e5423a000f86e5423a000f86e5423a000000000017010008000000000000000000001d45ffd25abf
      7383cde716000000`),
  );

  const blank = unpackInodeV3(new Uint8Array(48));
  const at = (offset: bigint, value: Uint8Array) => keyOf('inode_v3', value, makeBpos(0n, offset, 9));
  const errors = (value: Uint8Array, offset = 5000n) => errorsOf(at(offset, value), 'inodes');

  test('fields of all 64 bits come and go unharmed', () => {
    const numbers = {
      bi_atime: 2n ** 64n - 1n,
      bi_mtime: 2n ** 63n,
      bi_uid: 0xffff_ffff,
      bi_nlink: 127,
      bi_generation: 128,
      bi_data_replicas: 255,
      bi_promote_target: 65535,
      bi_dir: 2n ** 61n + 1n,
      bi_dir_offset: 2n ** 63n - 1n,
      bi_depth: 3,
      bi_casefold: 2,
      bi_size: 2n ** 64n - 2n,
      bi_sectors: 2n ** 53n + 1n,
      bi_version: 1n,
      bi_hash_seed: 2n ** 64n - 5n,
      bi_journal_seq: 77n,
      bi_flags: 0b1000_0010,
      bi_mode: 0o100644,
      str_hash: 3,
    };
    for (const kind of [inodeV3, inodeV2, inode]) {
      const packed = kind.encode({ ...blank, ...numbers });
      expect(packed.length % 8).toBe(0);
      const { bi_flags, ...read } = kind.decode(packed);
      const { bi_flags: flags, ...expected } = numbers;
      expect(bi_flags & 0xf_ffff).toBe(flags);
      expect(read.unpack_error).toBeUndefined();
      const older: Record<string, unknown> = { bi_depth: 0, bi_casefold: 0, bi_version: 0n };
      if (kind === inode) older.bi_journal_seq = 0n;
      expect(read).toMatchObject(kind === inodeV3 ? expected : { ...expected, ...older });
    }
  });

  test('an inode without fields', () => {
    const packed = packInodeV3({ ...blank, bi_mode: 0o40755, str_hash: 1 });
    expect(packed.length).toBe(48);
    expect(unpackInodeV3(packed)).toMatchObject({ nr_fields: 0, fields_start: 6, bi_mode: 0o40755, bi_uid: 0 });
  });

  test('the first encoding with its older integers', () => {
    // Fields: atime 0 (1 byte), ctime 0x1234 (2), mtime 2^40 (6), otime 5, size 2^63 (10), sectors 1.
    const fields = bytesOf('80 5234 05 0000000000 85');
    fields.set([0x06 | 0, 0x00, 0x00, 0x00, 0x00, 0x00], 3);
    const value = new Uint8Array(32);
    value.set(words(7n));
    viewOf(value).setUint32(8, (3 << 20) | (4 << 24), true);
    viewOf(value).setUint16(12, 0o100600, true);
    value.set(bytesOf('80 5234 09 0000000000 85'), 14);
    const read = inode.decode(value);
    expect(read).toMatchObject({ bi_atime: 0n, bi_ctime: 0x1234n, bi_mtime: 1n << 40n, bi_otime: 5n, bi_size: 0n });
    expect(read.unpack_error).toBeUndefined();
    // One field more, and there is a zero, which is not one of these integers.
    viewOf(value).setUint32(8, (3 << 20) | (5 << 24), true);
    expect(inode.decode(value).unpack_error).toBe('bi_size');
    // A number of 13 bytes that does not fit 64 bits.
    value.set(bytesOf('01 ff0000000000000000000000'), 14);
    expect(inode.decode(value).unpack_error).toBe('bi_atime');
  });

  test('fields that cannot be read', () => {
    const packed = packInodeV3({ ...blank, str_hash: 3, bi_atime: 2n ** 40n, bi_uid: 5, bi_depth: 1 });
    const key = (value: Uint8Array) => at(5000n, value);
    expect(errors(packed)).toEqual([]);
    const cut = packed.slice(0, 56);
    expect(errors(cut)).toEqual(['inode_unpack_error']);
    // Newer kernels take what can be read of it.
    expect(errorsOf(key(cut), 'inodes', { version: (1 << 10) | 39 })).toEqual([]);
    expect(textOf(key(cut))).toBe('(unpack error)');
    expect(textOf(key(cut), { style: '1.39' })).toContain('\n  bi_atime=1099511627776\n  bi_ctime=0\n');
    // 1,000 as a field of eight bits.
    const wide = packInodeV3({ ...blank, str_hash: 3, bi_data_replicas: 1000 });
    expect(inodeV3.decode(wide)).toMatchObject({ unpack_error: 'bi_data_replicas', bi_data_replicas: 0 });
    // The second half of a time.
    const half = packInodeV3({ ...blank, str_hash: 3, bi_atime: 1n });
    half[49] = 2;
    expect(inodeV3.decode(half).unpack_error).toBe('bi_atime');
  });

  test('what is wrong', () => {
    const pack = (members: object) => packInodeV3({ ...blank, str_hash: 3, bi_mode: 0o100644, ...members });
    expect(errors(pack({ str_hash: 9 }))).toEqual(['inode_str_hash_invalid']);
    expect(errors(pack({}), 4095n)).toEqual(['inode_pos_blockdev_range']);
    expect(errorsOf(keyOf('inode_v3', pack({}), makeBpos(1n, 5000n, 9)), 'inodes')).toEqual([
      'inode_pos_inode_nonzero',
    ]);
    expect(errors(pack({ bi_data_checksum: 5 }))).toEqual(['inode_checksum_type_invalid']);
    expect(errors(pack({ bi_data_checksum: 4 }))).toEqual([]);
    expect(errors(pack({ bi_compression: 1 + 9 }))).toEqual(['inode_compression_type_invalid']);
    expect(errors(pack({ bi_flags: 128, bi_nlink: 1 }))).toEqual(['inode_unlinked_but_nlink_nonzero']);
    expect(errors(pack({ bi_subvol: 2 }))).toEqual(['inode_subvol_root_but_not_dir']);
    const start = pack({ bi_uid: 5 });
    start[19] = start[19]! | 0x80; // fields_start 7 is still inside, 31 is not
    expect(errors(start)).toEqual([]);
    start[20] = start[20]! | 0x0f;
    expect(errors(start)).toEqual(['inode_v3_fields_start_bad']);
  });

  test('what follows from an inode', () => {
    const directory = { ...blank, bi_mode: 0o40755, bi_nlink: 3 };
    expect(inodeLinkCount(directory)).toBe(5);
    expect(inodeLinkCount({ ...directory, bi_flags: 128, bi_nlink: 0 })).toBe(0);
    expect(inodeLinkCount({ ...blank, bi_mode: 0o100644 })).toBe(1);
    expect(inodeOption({ ...blank, bi_compression: 2 }, 'compression')).toBe(1);
    expect(inodeOption(blank, 'compression')).toBeUndefined();
    expect(inodeDevice({ ...blank, bi_dev: (8 << 20) | 1 })).toEqual({ major: 8, minor: 1 });
    const sb = { time_base_lo: 1_000n, time_precision: 1 };
    expect(inodeTimeNs(500n, sb)).toBe(1_500n);
    expect(inodeTimeNs(2n ** 64n - 2_000n, sb)).toBe(-1_000n);
    expect(inodeDevice(blockDevice)).toEqual({ major: 8, minor: 17 });
  });
});

describe('extents', () => {
  const ptr = (dev: number, offset: number, flags = 0n) => 1n | flags | (BigInt(offset) << 4n) | (BigInt(dev) << 48n);
  const CACHED = 2n;
  const UNWRITTEN = 8n;
  const crc32 = (cSize: number, size: number, offset: number, csum: number, compression: number) =>
    2n |
    (BigInt(cSize - 1) << 2n) |
    (BigInt(size - 1) << 9n) |
    (BigInt(offset) << 16n) |
    (BigInt(csum) << 24n) |
    (BigInt(compression) << 28n);
  const crc64 = (size: number, offset: number, nonce: number, csum: number) => [
    4n |
      (BigInt(size - 1) << 3n) |
      (BigInt(size - 1) << 12n) |
      (BigInt(offset) << 21n) |
      (BigInt(nonce) << 30n) |
      (BigInt(csum) << 40n),
    0n,
  ];
  const STRIPE = 16n;
  const device = (index: number) =>
    index < 4 ? { bucketSizeSectors: 256, firstBucket: 1, bucketCount: 100 } : undefined;
  const errors = (entries: readonly bigint[], more: KeyValidateContext = {}) =>
    errorsOf(keyOf('extent', words(...entries), makeBpos(DIRECTORY, 16n, 9), 8), 'extents', { device, ...more });

  test.each<[string, readonly bigint[], readonly string[]]>([
    ['one pointer', [ptr(0, 256)], []],
    ['nothing', [], ['extent_ptrs_no_ptrs']],
    ['one device twice', [ptr(0, 256), ptr(0, 512)], ['ptr_to_duplicate_device']],
    ['removed devices', [ptr(255, 0), ptr(255, 0)], ['extent_ptrs_all_invalid']],
    ['a removed device in a stripe', [STRIPE, ptr(255, 0)], []],
    ['a device that does not exist', [ptr(9, 0)], []],
    ['before the first bucket', [ptr(1, 255)], ['ptr_before_first_bucket', 'ptr_spans_multiple_buckets']],
    ['past the last bucket', [ptr(1, 25_600)], ['ptr_after_last_bucket']],
    ['across buckets', [ptr(1, 256 + 250)], ['ptr_spans_multiple_buckets']],
    ['compressed and short enough', [crc32(6, 16, 0, 5, 3), ptr(1, 256 + 250)], []],
    ['a cached pointer in a stripe', [STRIPE, ptr(0, 256, CACHED)], ['ptr_cached_and_erasure_coded']],
    ['half unwritten', [ptr(0, 256), ptr(1, 256, UNWRITTEN)], ['extent_ptrs_written_and_unwritten']],
    ['unwritten', [ptr(0, 256, UNWRITTEN)], []],
    ['an unknown checksum', [crc32(8, 8, 0, 9, 0), ptr(0, 256)], ['ptr_crc_csum_type_unknown']],
    ['an unknown compression', [crc32(8, 8, 0, 5, 9), ptr(0, 256)], ['ptr_crc_compression_type_unknown']],
    ['more than there is', [crc32(8, 8, 1, 5, 0), ptr(0, 256)], ['ptr_crc_uncompressed_size_too_small']],
    ['short without compression', [crc32(6, 8, 0, 5, 0), ptr(0, 256)], ['ptr_crc_uncompressed_size_mismatch']],
    ['nonces', [...crc64(8, 0, 1, 3), ptr(0, 256), ...crc64(8, 0, 2, 3), ptr(1, 256)], ['ptr_crc_nonce_mismatch']],
    ['two checksums', [crc32(8, 8, 0, 5, 0), crc32(8, 8, 0, 5, 0), ptr(0, 256)], ['ptr_crc_redundant']],
    ['two stripes', [STRIPE, STRIPE, ptr(0, 256)], ['ptr_stripe_redundant']],
    ['a checksum at the end', [ptr(0, 256), crc32(8, 8, 0, 5, 0)], ['extent_ptrs_redundant_crc']],
    ['a stripe at the end', [ptr(0, 256), STRIPE], ['extent_ptrs_redundant_stripe']],
    ['flags after a pointer', [ptr(0, 256), 64n], ['extent_flags_not_at_start']],
    ['flags first', [64n | (1n << 7n), ptr(0, 256)], []],
    [
      'reconcile',
      [128n | (1n << 15n) | (1n << 16n), ptr(0, 256)],
      ['extent_reconcile_bad_pending', 'extent_reconcile_bad_hipri', 'extent_reconcile_bad_replicas'],
    ],
    ['an unknown entry', [1n << 20n, ptr(0, 256)], ['extent_ptrs_invalid_entry', 'extent_ptrs_no_ptrs']],
    ['seventeen pointers', Array.from({ length: 17 }, (_, i) => ptr(i + 10, 0)), ['extent_ptrs_too_many_ptrs']],
  ])('%s', (_name, entries, expected) => expect(errors(entries)).toEqual(expected));

  test('only new extents have to meet this', () => {
    expect(errors([ptr(0, 256, CACHED)])).toEqual([]);
    expect(errors([ptr(0, 256, CACHED)], { writing: true })).toEqual(['extent_ptrs_all_invalid']);
    const encoded = [...crc64(300, 0, 0, 6), ptr(1, 256)];
    expect(errors(encoded, { device: () => undefined, encodedExtentMaxSectors: 128 })).toEqual([]);
    expect(errors(encoded, { device: () => undefined, encodedExtentMaxSectors: 128, writing: true })).toEqual([
      'ptr_crc_uncompressed_size_too_big',
    ]);
  });

  test('indirect extents', () => {
    const at = (offset: bigint, ...entries: readonly bigint[]) =>
      errorsOf(keyOf('reflink_v', words(2n, ...entries), makeBpos(0n, offset, 0), 8), 'reflink');
    expect(at(8n, ptr(0, 256))).toEqual([]);
    expect(at(2n ** 56n, ptr(0, 256))).toEqual(['reflink_v_pos_bad']);
    expect(at(8n, ptr(0, 256, UNWRITTEN))).toEqual(['extent_ptrs_unwritten']);
  });
});

describe('the others', () => {
  test('reflink_p', () => {
    const flags = (1n << 56n) | (1n << 57n);
    const key = (idx: bigint, frontPad: bigint) => keyOf('reflink_p', words(idx, frontPad), makeBpos(1n, 8n, 9), 8);
    expect(errorsOf(key(5n, 5n), 'extents')).toEqual([]);
    expect(errorsOf(key(flags | 4n, 5n), 'extents')).toEqual(['reflink_p_front_pad_bad']);
    expect(textOf(key(flags | (2n ** 56n - 1n), 7n | (9n << 32n)))).toBe(
      'idx 72057594037927935 front_pad 7 back_pad 9 error',
    );
    expect(textOf(key(flags | 8n, 7n), { style: '1.39' })).toBe('idx 8 front_pad 7 back_pad 0 error may_update_opts');
    const kind = keyKind(keyTypes.idOf('reflink_p'))!;
    const all = words(2n ** 64n - 1n, 1n);
    expect(kind.encode(kind.decode(all))).toEqual(all);
  });

  test('reservations', () => {
    const key = (replicas: bigint) => keyOf('reservation', words(replicas << 32n), makeBpos(1n, 8n, 9), 8);
    expect(errorsOf(key(1n), 'extents')).toEqual([]);
    expect(errorsOf(key(0n), 'extents')).toEqual(['reservation_key_nr_replicas_invalid']);
    expect(errorsOf(key(5n), 'extents')).toEqual(['reservation_key_nr_replicas_invalid']);
  });

  test('inline data', () => {
    const key = keyOf('inline_data', new Uint8Array(40).fill(0xab));
    expect(textOf(key)).toBe(`datalen 40: ${'ab'.repeat(32)}`);
    const indirect = keyOf('indirect_inline_data', words(3n));
    expect(textOf(indirect)).toBe('refcount 3 datalen 0: ');
  });

  test('inode_generation and inode_alloc_cursor', () => {
    const at = (type: KeyTypeName, inodeNumber: bigint, ...value: readonly bigint[]) =>
      keyOf(type, words(...value), makeBpos(inodeNumber, 5n, type === 'inode_generation' ? 9 : 0));
    expect(errorsOf(at('inode_generation', 0n, 1n), 'inodes')).toEqual([]);
    expect(errorsOf(at('inode_generation', 1n, 1n), 'inodes')).toEqual(['inode_pos_inode_nonzero']);
    expect(errorsOf(at('inode_alloc_cursor', 1n, 1n, 1n), 'logged_ops')).toEqual([]);
    expect(errorsOf(at('inode_alloc_cursor', 0n, 1n, 1n), 'logged_ops')).toEqual(['inode_alloc_cursor_inode_bad']);
    const cursor = at('inode_alloc_cursor', 1n, 0n, 0n);
    expect(textOf({ ...cursor, k: { ...cursor.k, p: makeBpos(1n, 2n ** 64n - 1n, 0) } }, { style: '1.39' })).toMatch(
      /^min \d+ max \d+ consumed \d+ idx 0 generation 0$/,
    );
  });

  test('logged operations', () => {
    expect(textOf(keyOf('logged_op_truncate', words(2n, 4100n, 2n ** 63n)))).toBe(
      'subvol=2 inum=4100 new_i_size=9223372036854775808',
    );
    const finsert = words((3n << 32n) | 1n, 4100n, 2n ** 64n - 8n, 16n, 24n);
    expect(textOf(keyOf('logged_op_finsert', finsert))).toBe('subvol=3 inum=4100 dst_offset=-8 src_offset=16');
    expect(textOf(keyOf('logged_op_finsert', finsert.subarray(0, 24)))).toBe(
      'subvol=3 inum=4100 dst_offset=-8 src_offset=0',
    );
    const update = words(10n, 11n, 4n | (0x0102n << 8n), 0n, 0n);
    expect(textOf(keyOf('logged_op_stripe_update', update))).toBe('old_idx=10 new_idx=11 old_blocks_nr=4');
    for (const [type, value] of [
      ['logged_op_finsert', finsert],
      ['logged_op_stripe_update', update],
    ] as const) {
      const kind = keyKind(keyTypes.idOf(type))!;
      expect(kind.encode(kind.decode(value))).toEqual(value);
    }
  });

  test('damage', () => {
    // id, count, last and first time; see errors_v2.
    const entry = (id: bigint, count: bigint, last: bigint, first: bigint) => [
      id | (count << 16n) | ((last & 0xffffn) << 48n),
      (last >> 16n) | (first << 24n),
    ];
    const at = (...value: readonly bigint[]) => keyOf('damage', words(...value), makeBpos(0n, 5000n, 9));
    const good = at(...entry(1n, 2n, 200_000n, 100_000n), ...entry(2n, 2n ** 32n - 1n, 5n, 5n));
    expect(errorsOf(good, 'damage')).toEqual([]);
    expect(textOf(good)).toBe(
      'dirty_but_no_journal_entries nr 2 first <100000> last <200000>\n' +
        '  dirty_but_no_journal_entries_post_drop_nonflushes nr 4294967295+ first <5> last <5>',
    );
    expect(errorsOf(at(...entry(2n, 1n, 5n, 5n), ...entry(2n, 1n, 5n, 5n)), 'damage')).toEqual(['damage_entries_bad']);
    expect(errorsOf(at(...entry(2n, 1n, 5n, 6n)), 'damage')).toEqual(['damage_entries_bad']);
    expect(errorsOf(at(...entry(2n, 1n, 5n, 5n), 3n), 'damage')).toEqual(['damage_entries_bad']);
  });
});

test('what may be named, seen without decoding, is all that is', () => {
  const names = ['a', 'ab', 'abcdefg', 'abcdefgh', 'b', 'x'.repeat(255)].map(ascii);
  const named = (name: Uint8Array, folded?: Uint8Array) => {
    const namesLength = name.length;
    const more = { casefoldedName: folded, namesLength, namesLengthMax: namesLength };
    return dirent.encode!({ target: { inum: 5000n }, type: 8, name, ...more });
  };
  for (const name of names) {
    for (const other of names) expect(mayBeNamed(named(name), other)).toBe(name === other);
    expect(mayBeNamed(named(ascii('Folded'), name), name)).toBe(true);
  }
  // What is too short for a name, and what is longer than it says.
  for (let length = 9; length < 40; length++) expect(mayBeNamed(new Uint8Array(length), ascii('a'))).toBe(false);
});
