// Names where no lookup finds them, and names that are there twice: dirents and xattrs are at the hash of their name, or after it without a
// gap, as the snapshot of each key sees its row.
//
// Raises: hash_table_key_wrong_offset, hash_table_key_duplicate.

import { comparedName, isDirentOf, isXattrOf } from '../../fs/hash-insert.ts';
import { StrHash } from '../../fs/str-hash.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { bposInode, bposOffset, makeBpos } from '../../ondisk/bpos.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { xattr } from '../../ondisk/keys/xattr.ts';
import { finding } from '../../report/finding.ts';
import { visibleKeys } from '../../snapshots/visible.ts';
import type { PassContext } from '../pass.ts';
import { type InodeIndex, keysOf, placeOfKey, reportedBefore } from './inode-index.ts';

const DIRENT = keyTypes.idOf('dirent');
const HASH_WHITEOUT = keyTypes.idOf('hash_whiteout');

export interface Misplaced {
  readonly key: Key;
  /** The key of the same name that a lookup finds. */
  readonly other: Key | undefined;
}

/** What is to be moved or renamed, as decided. */
export function* misplacedNames(
  context: PassContext,
  btree: 'dirents' | 'xattrs',
  index: InodeIndex,
): Generator<Misplaced> {
  const type = keyTypes.idOf(btree === 'dirents' ? 'dirent' : 'xattr');
  let inum = -1n;
  let hash: StrHash | undefined;
  for (const key of keysOf(context, btree)) {
    if (key.k.type !== type) continue;
    if (bposInode(key.k.p) !== inum) {
      inum = bposInode(key.k.p);
      const [first, end] = index.rows.of(inum);
      hash = first < end ? new StrHash(index.rows.hashed(first)) : undefined;
    }
    if (hash?.isKnown !== true || index.rows.seenFrom(inum, key.k.p[0]!, index.table) === undefined) continue;
    const misplaced = judge(context, btree, index, hash, key);
    if (misplaced !== undefined) yield misplaced;
  }
}

function judge(
  context: PassContext,
  btree: 'dirents' | 'xattrs',
  index: InodeIndex,
  hash: StrHash,
  key: Key,
): Misplaced | undefined {
  const { p } = key.k;
  const { lo, hi } = hashOfKey(hash, key);
  if (p[1] === lo && p[2] === hi) return undefined;
  const expected = (BigInt(hi) << 32n) | BigInt(lo);
  const found = bposOffset(p);
  const { reporter } = context;
  const where = (error: 'hash_table_key_wrong_offset' | 'hash_table_key_duplicate') =>
    placeOfKey(context, index, btree, p, reporter.countOf(error));
  let next = expected;
  if (found > expected) {
    const inum = bposInode(p);
    const range = { from: makeBpos(inum, expected, 0), to: makeBpos(inum, found - 1n, 0), onDamage: reportedBefore };
    const isSame = isNamedAs(key);
    for (const other of visibleKeys(context.change.tx.btree(btree), index.table, p[0]!, range)) {
      if (bposOffset(other.k.p) !== next) break;
      if (other.k.type !== key.k.type && other.k.type !== HASH_WHITEOUT) break;
      if (other.k.type === key.k.type && isSame(other)) {
        const duplicate = finding('hash_table_key_duplicate', where('hash_table_key_duplicate'), { other: next });
        return reporter.found(duplicate) === 'fix' ? { key: ownCopy(key), other: ownCopy(other) } : undefined;
      }
      next++;
    }
    if (next >= found) return undefined;
  }
  const facts = { found, expected, gap: found > expected ? next : undefined };
  const wrong = finding('hash_table_key_wrong_offset', where('hash_table_key_wrong_offset'), facts);
  return reporter.found(wrong) === 'fix' ? { key: ownCopy(key), other: undefined } : undefined;
}

function hashOfKey(hash: StrHash, { k, value }: Key) {
  if (k.type === DIRENT) {
    return hash.dirent(comparedName(value));
  }
  const { type, name } = xattr.decode(value);
  return hash.xattr(type, name);
}

function isNamedAs({ k, value }: Key): (other: Key) => boolean {
  if (k.type === DIRENT) return isDirentOf(comparedName(value));
  const { type, name } = xattr.decode(value);
  return isXattrOf(type, name);
}

const ownCopy = ({ k, value }: Key): Key => ({ k: { ...k, p: k.p.slice() }, value: value.slice() });
