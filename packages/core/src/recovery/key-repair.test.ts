// Keys that a kernel would drop whole: what is left of each after the repair, and that it is valid then.

import { describe, expect, test } from 'vitest';
import { valueProblem } from '../btree/node-read.ts';
import { makeKey } from '../btree/transaction.ts';
import { inodeOfKey } from '../fs/inode.ts';
import type { Key } from '../ondisk/bkey.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import type { ExtentCrc, ExtentPtr } from '../ondisk/extent-entries.ts';
import { encodeExtentEntries } from '../ondisk/extent-entries.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { blankInode, type Inode, packInodeV3 } from '../ondisk/inode-unpack.ts';
import { type Dirent, dirent } from '../ondisk/keys/dirent.ts';
import { extent } from '../ondisk/keys/extent.ts';
import { type KeyTypeName, keyTypes } from '../ondisk/keys/key-types.ts';
import type { KeyValidateContext } from '../ondisk/keys/kind.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import { reservation } from '../ondisk/keys/reservation.ts';
import { snapshot } from '../ondisk/keys/snapshot.ts';
import { type Xattr, xattr } from '../ondisk/keys/xattr.ts';
import { repairedKey } from './key-repair.ts';
import { newNode } from './passes/snapshot-keys.ts';

const text = new TextEncoder();
const VERSION = (1 << 10) | 13;
const context: KeyValidateContext = {
  version: VERSION,
  device: index => (index === 0 ? { bucketSizeSectors: 256, firstBucket: 1, bucketCount: 512 } : undefined),
};
const POS = makeBpos(4098n, 1000n, 0xffff_ffff);
const INODE_POS = makeBpos(0n, 4098n, 0xffff_ffff);

const keyOf = (type: KeyTypeName, value: Uint8Array, p = POS, size = 0): Key =>
  makeKey(keyTypes.idOf(type), p, value, { size, bversion_lo: 7n });

/** @returns what became of it, valid and where it was; undefined where nothing can be made of it */
function repair(btree: BtreeName, key: Key, error: FaultName): Key | undefined {
  expect(valueProblem(key, context)?.error).toBe(error);
  const repaired = repairedKey(key, btrees.idOf(btree), context);
  if (repaired === undefined) return undefined;
  expect(valueProblem(repaired, context)).toBeUndefined();
  expect(repaired.k.p).toEqual(key.k.p);
  expect(repaired.k.bversion_lo).toBe(7n);
  return repaired;
}

describe('inodes keep everything but the field that is wrong', () => {
  const sound: Inode = { ...blankInode, bi_mode: 0o100644, bi_size: 5000n, str_hash: 2, bi_uid: 1000, bi_nlink: 2 };
  const wrong: readonly (readonly [FaultName, Partial<Inode>, Partial<Inode>])[] = [
    ['inode_str_hash_invalid', { str_hash: 9 }, {}],
    ['inode_checksum_type_invalid', { bi_data_checksum: 200 }, { bi_data_checksum: 0 }],
    ['inode_compression_type_invalid', { bi_compression: 200 }, { bi_compression: 0 }],
    ['inode_unlinked_but_nlink_nonzero', { bi_flags: 1 << 7 }, { bi_flags: 1 << 7, bi_nlink: 0 }],
    ['inode_subvol_root_but_not_dir', { bi_subvol: 3 }, { bi_subvol: 0 }],
  ];
  test.each(wrong)('%s', (error, damage, expected) => {
    const key = keyOf('inode_v3', packInodeV3({ ...sound, ...damage }), INODE_POS);
    const inode = inodeOfKey(repair('inodes', key, error)!, undefined)!;
    expect({ ...inode, bi_flags: inode.bi_flags & 0xf_ffff }).toMatchObject({
      bi_mode: 0o100644,
      bi_size: 5000n,
      bi_uid: 1000,
      ...expected,
    });
  });

  test('fields that are cut off', () => {
    const whole = packInodeV3({ ...sound, bi_dir: 4096n, bi_dir_offset: 2n ** 62n });
    const key = keyOf('inode_v3', whole.slice(0, 56), INODE_POS);
    const inode = inodeOfKey(repair('inodes', key, 'inode_unpack_error')!, undefined)!;
    expect(inode).toMatchObject({ bi_mode: 0o100644, bi_size: 5000n });
  });

  test('a position where no inode can be', () => {
    const key = keyOf('inode_v3', packInodeV3(sound), makeBpos(0n, 12n, 0xffff_ffff));
    expect(repair('inodes', key, 'inode_pos_blockdev_range')).toBeUndefined();
  });
});

describe('names', () => {
  const entry = (name: string): Dirent => ({
    target: { inum: 5000n },
    type: 8,
    name: text.encode(name),
    casefoldedName: undefined,
    namesLength: name.length,
    namesLengthMax: name.length,
  });
  test.each<readonly [FaultName, string, string]>([
    ['dirent_name_has_slash', 'a/b', 'a_b'],
    ['dirent_name_embedded_nul', 'a\0b', 'a_b'],
    ['dirent_name_dot_or_dotdot', '..', '__'],
    ['dirent_empty_name', '', '#5000'],
  ])('%s', (error, name, expected) => {
    const repaired = repair('dirents', keyOf('dirent', dirent.encode(entry(name))), error)!;
    expect(new TextDecoder().decode(dirent.decode(repaired.value).name)).toBe(expected);
  });

  test('an entry that leads to its own directory is none', () => {
    const value = dirent.encode({ ...entry('self'), target: { inum: 4098n } });
    expect(repair('dirents', keyOf('dirent', value), 'dirent_to_itself')).toBeUndefined();
  });

  test('attributes', () => {
    const attribute = (type: number, name: string): Uint8Array => {
      const bytes = text.encode(name);
      const value: Xattr = {
        type,
        name: bytes,
        value: text.encode('kept'),
        nameLength: bytes.length,
        valueLength: 4,
        sizeU64s: 0,
      };
      return xattr.encode(value);
    };
    const unknown = repair('xattrs', keyOf('xattr', attribute(9, 'note')), 'xattr_invalid_type')!;
    expect(xattr.decode(unknown.value)).toMatchObject({ type: 0, name: text.encode('fsck.type9.note') });
    const withNul = repair('xattrs', keyOf('xattr', attribute(0, 'a\0b')), 'xattr_name_invalid_chars')!;
    expect(xattr.decode(withNul.value)).toMatchObject({ name: text.encode('a_b'), value: text.encode('kept') });
  });
});

test('snapshot nodes keep the links that can be', () => {
  const p = makeBpos(0n, 5000n, 0);
  const value = snapshot.encode({ ...newNode({ parent: 4000, children: [10, 6000] }), sizeBytes: 40 });
  const repaired = repair('snapshots', keyOf('snapshot', value, p), 'snapshot_parent_bad')!;
  expect(snapshot.decode(repaired.value)).toMatchObject({ parent: 0, children: [10, 0] });
});

describe('extents', () => {
  const ptr = (dev: number, offset: number): ExtentPtr => ({
    type: 'ptr',
    cached: false,
    unwritten: false,
    offset,
    dev,
    gen: 0,
  });
  const crc: ExtentCrc = {
    type: 'crc32',
    csum_type: 1,
    compression_type: 0,
    compressed_size: 8,
    uncompressed_size: 8,
    offset: 0,
    nonce: 0,
    csum_lo: 1n,
    csum_hi: 0n,
  };
  const extentKey = (entries: Parameters<typeof encodeExtentEntries>[0]) =>
    keyOf('extent', encodeExtentEntries(entries), POS, 8);

  test('a pointer that cannot be goes, the sound one stays', () => {
    const repaired = repair('extents', extentKey([ptr(0, 512), ptr(0, 252)]), 'ptr_to_duplicate_device')!;
    expect(repaired.k.size).toBe(8);
    expect(extent.decode(repaired.value).entries).toMatchObject([{ type: 'ptr', dev: 0, offset: 512 }]);
  });

  test('without a sound one, the data is known to be lost', () => {
    const repaired = repair('extents', extentKey([ptr(0, 252)]), 'ptr_before_first_bucket')!;
    expect(repaired.k.type).toBe(keyTypes.idOf('error'));
    expect(repaired.k.size).toBe(8);
  });

  test('checksums that are there twice', () => {
    const repaired = repair('extents', extentKey([crc, crc, ptr(0, 512)]), 'ptr_crc_redundant')!;
    expect(extent.decode(repaired.value).entries.map(({ type }) => type)).toEqual(['crc32', 'ptr']);
  });

  test('reservations and references', () => {
    const reserved = keyOf(
      'reservation',
      reservation.encode({ generation: 0, nr_replicas: 9, pad: new Uint8Array(3) }),
      POS,
      8,
    );
    const fixed = repair('extents', reserved, 'reservation_key_nr_replicas_invalid')!;
    expect(reservation.decode(fixed.value).nr_replicas).toBe(4);
    const reference = reflinkP.encode({
      idx: 5n,
      error: false,
      may_update_options: false,
      unknown_flags: 0n,
      front_pad: 9,
      back_pad: 0,
    });
    const padded = repair('extents', keyOf('reflink_p', reference, POS, 8), 'reflink_p_front_pad_bad')!;
    expect(reflinkP.decode(padded.value).front_pad).toBe(5);
  });
});
