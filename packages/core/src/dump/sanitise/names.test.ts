// Choosing new names: places in the same leaf, as many bytes for the position, nothing twice, also where names are short and many; and
// values that get them.

import { describe, expect, test } from 'vitest';
import { formatFor } from '../../btree/node-write.ts';
import { StrHash } from '../../fs/str-hash.ts';
import { KeyPacker } from '../../ondisk/bkey-format.ts';
import { compareBpos, makeBpos } from '../../ondisk/bpos.ts';
import { type Inode, packInodeV3, unpackInodeV3 } from '../../ondisk/inode-unpack.ts';
import { dirent } from '../../ondisk/keys/dirent.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { xattr } from '../../ondisk/keys/xattr.ts';
import { strHashTypes } from '../../ondisk/str-hash-types.ts';
import { moveBackpointer } from './backpointers.ts';
import { direntName, renameDirent, renameXattr, xattrName } from './key-names.ts';
import { type FoundName, type Leaf, NameTable } from './names.ts';
import { fillWithZeroes, wipeData } from './values.ts';

const encode = (text: string) => new TextEncoder().encode(text);
const DIRECTORY = 4096n;
const secret = new Uint8Array(32).fill(7);

const inodeWith = (members: Partial<Inode>): Inode => ({ ...unpackInodeV3(new Uint8Array(48)), ...members });

function nameOf(text: string, lengthMax = 7): FoundName {
  const name = encode(text);
  return { hashed: name, name, xattrType: undefined, isFolded: false, length: name.length, lengthMax };
}

const offsetOf = (hash: StrHash, name: Uint8Array): bigint => {
  const { lo, hi } = hash.dirent(name);
  return (BigInt(hi) << 32n) | BigInt(lo);
};

describe.each(['crc32c', 'crc64', 'siphash_old', 'siphash'] as const)('%s', type => {
  const directory = inodeWith({ str_hash: strHashTypes.idOf(type), bi_hash_seed: 0x1234_5678_9abcn });
  const hash = new StrHash(directory);
  // Every name of one byte that there is, and some longer ones.
  const bytes = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1)).filter(
    byte => byte !== '/' && byte < '\x7f',
  );
  const texts = [...bytes, ...Array.from({ length: 2000 }, (_, i) => `name-${i}`)].filter(text => text !== '.');
  const offsets = new Map(texts.map(text => [text, offsetOf(hash, encode(text))]));
  const sorted = [...offsets.values()].sort((a, b) => (a < b ? -1 : 1));
  const middle = sorted[1000]!;
  const leafOf = (from: bigint, to: bigint): Leaf => {
    const minKey = makeBpos(DIRECTORY, from, 0);
    const maxKey = makeBpos(DIRECTORY, to, 0xffff_ffff);
    return { minKey, maxKey, format: formatFor([], minKey, maxKey) };
  };
  const leaves = [leafOf(0n, middle), leafOf(middle + 1n, 2n ** 64n - 1n)];

  test('every name gets another that is good', () => {
    const table = new NameTable(secret);
    for (const [text, offset] of offsets) {
      const leaf = leaves[offset <= middle ? 0 : 1]!;
      table.addKey('dirents', { inode: DIRECTORY, offset, isPacked: true, name: nameOf(text) }, leaf);
    }
    table.addInode(DIRECTORY, directory);
    table.assign();
    const names = new Set<string>();
    const places = new Set<bigint>();
    for (const [text, offset] of offsets) {
      const place = table.place('dirents', DIRECTORY, offset, nameOf(text));
      const name = place.name!;
      expect(name.length).toBeGreaterThanOrEqual(text.length);
      expect(name.length).toBeLessThanOrEqual(Math.max(7, text.length));
      expect(name.some(byte => byte <= 0x20 || byte >= 0x7f || byte === 0x2f)).toBe(false);
      expect(place.offset).toBe(offsetOf(hash, name));
      const leaf = leaves[offset <= middle ? 0 : 1]!;
      const p = makeBpos(DIRECTORY, place.offset, 1);
      expect(compareBpos(p, leaf.minKey) >= 0 && compareBpos(p, leaf.maxKey) <= 0).toBe(true);
      const k = { u64s: 7, format: 1, type: 10, pad: 0, bversion_lo: 0n, bversion_hi: 0, size: 0, p };
      expect(new KeyPacker(leaf.format).fits(k)).toBe(true);
      names.add(String.fromCharCode(...name));
      places.add(place.offset);
    }
    expect(names.size).toBe(texts.length);
    expect(places.size).toBe(texts.length);
    expect(table.straddling).toBe(0);
  });

  test('whiteouts go where the name of their slot goes, and inodes find it there', () => {
    const table = new NameTable(secret);
    const offset = offsets.get('name-5')!;
    table.addKey(
      'dirents',
      { inode: DIRECTORY, offset, isPacked: true, name: nameOf('name-5') },
      leafOf(0n, 2n ** 64n - 1n),
    );
    table.addInode(DIRECTORY, directory);
    table.assign();
    const { offset: moved } = table.place('dirents', DIRECTORY, offset, nameOf('name-5'));
    expect(moved).not.toBe(offset);
    expect(table.place('dirents', DIRECTORY, offset, undefined).offset).toBe(moved);
    const inode = inodeWith({ bi_uid: 1000, bi_dir: DIRECTORY, bi_dir_offset: offset, bi_depth: 3 });
    const value = packInodeV3(inode);
    const lengthBefore = value.length;
    moveBackpointer(keyTypes.idOf('inode_v3'), value, (dir, at) => table.place('dirents', dir, at, undefined).offset);
    expect(value.length).toBe(lengthBefore);
    expect(unpackInodeV3(value)).toMatchObject({ bi_uid: 1000, bi_dir: DIRECTORY, bi_dir_offset: moved, bi_depth: 3 });
  });
});

describe('values', () => {
  test('a dirent takes a new name, and nothing of the old one is left', () => {
    const old = {
      target: { inum: 77n },
      type: 8,
      name: encode('secret'),
      casefoldedName: undefined,
      namesLength: 6,
      namesLengthMax: 6,
    };
    const value = dirent.encode(old);
    expect(direntName(value)).toMatchObject({ length: 6, lengthMax: 7, isFolded: false });
    renameDirent(value, encode('abcdef'));
    expect(dirent.decode(value)).toMatchObject({ target: { inum: 77n }, type: 8, name: encode('abcdef') });
  });

  test('a folded dirent takes one name for both', () => {
    const names = { name: encode('GRÖßE'), casefoldedName: encode('größe') };
    const value = dirent.encode({ target: { inum: 77n }, type: 8, ...names, namesLength: 14, namesLengthMax: 14 });
    const found = direntName(value)!;
    expect(found).toMatchObject({ length: 7, isFolded: true });
    renameDirent(value, encode('abcdefg'));
    expect(dirent.decode(value)).toMatchObject({ name: encode('abcdefg'), casefoldedName: encode('abcdefg') });
  });

  test('an xattr keeps its type and its lengths, and loses its value', () => {
    const value = xattr.encode({
      type: 0,
      name: encode('key'),
      value: encode('value'),
      nameLength: 3,
      valueLength: 5,
      sizeU64s: 2,
    });
    wipeData(keyTypes.idOf('xattr'), value, fillWithZeroes);
    expect(xattrName(value)).toMatchObject({ length: 3, lengthMax: 7, xattrType: 0 });
    renameXattr(value, encode('abc'));
    expect(xattr.decode(value)).toMatchObject({ type: 0, name: encode('abc'), value: new Uint8Array(5) });
  });

  test('an ACL stays one, without its owners', () => {
    const acl = Uint8Array.of(
      1,
      0,
      0,
      0,
      1,
      0,
      6,
      0,
      2,
      0,
      4,
      0,
      0xe8,
      3,
      0,
      0,
      2,
      0,
      5,
      0,
      0xe9,
      3,
      0,
      0,
      4,
      0,
      4,
      0,
      0x20,
      0,
      0,
      0,
    );
    const value = xattr.encode({
      type: 1,
      name: new Uint8Array(0),
      value: acl,
      nameLength: 0,
      valueLength: acl.length,
      sizeU64s: 5,
    });
    wipeData(keyTypes.idOf('xattr'), value, fillWithZeroes);
    expect([...xattr.decode(value).value]).toEqual([
      ...[1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 7, 0, 1, 0, 0, 0, 2, 0, 7, 0, 2, 0, 0, 0, 4, 0, 7, 0, 0x20, 0, 7, 0],
    ]);
  });

  test('what is not known goes wholly, what is known and holds no data stays', () => {
    const value = new Uint8Array(16).fill(5);
    wipeData(keyTypes.idOf('extent'), value, fillWithZeroes);
    expect(new Set(value)).toEqual(new Set([5]));
    wipeData(200, value, fillWithZeroes);
    expect(new Set(value)).toEqual(new Set([0]));
  });
});
