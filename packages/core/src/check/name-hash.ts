// Dirents and xattrs are at the hash of their name, or after it without a gap, as their own snapshot sees it.
// Source: hash_check_key in fsck.c and str_hash.h, v1.13.0.

import { StrHash } from '../fs/str-hash.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposInode, bposOffset, makeBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { dirent } from '../ondisk/keys/dirent.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { xattr } from '../ondisk/keys/xattr.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeys } from '../snapshots/visible.ts';
import { type InvariantContext, keyPlace } from './context.ts';
import type { InodeRows } from './inode-rows.ts';

const DIRENT = keyTypes.idOf('dirent');
const HASH_WHITEOUT = keyTypes.idOf('hash_whiteout');

export class NameHashes {
  readonly #context: InvariantContext;
  readonly #table: SnapshotTable;
  readonly #rows: InodeRows;
  #inum = -1n;
  #hash: StrHash | undefined;

  constructor(context: InvariantContext, table: SnapshotTable, rows: InodeRows) {
    this.#context = context;
    this.#table = table;
    this.#rows = rows;
  }

  /** @param key a dirent or an xattr */
  check(btree: 'dirents' | 'xattrs', key: Key): void {
    const inum = bposInode(key.k.p);
    const hash = this.#hashOf(inum);
    if (hash === undefined || !hash.isKnown) return;
    const name = nameOf(key);
    const { lo, hi } = key.k.type === DIRENT ? hash.dirent(name.bytes) : hash.xattr(name.type, name.bytes);
    if (key.k.p[1] === lo && key.k.p[2] === hi) return;
    const wanted = (BigInt(hi) << 32n) | BigInt(lo);
    const offset = bposOffset(key.k.p);
    const { report } = this.#context;
    const where = keyPlace(btrees.idOf(btree), key.k.p);
    if (offset < wanted) {
      report.add('hash_table_key_wrong_offset', where, { found: offset, expected: wanted, gap: undefined });
      return;
    }
    let next = wanted;
    const walk = {
      from: makeBpos(inum, wanted, 0),
      to: makeBpos(inum, offset - 1n, 0),
      onDamage: this.#context.damaged.bind(this.#context),
    };
    for (const other of visibleKeys(this.#context.source.btree(btree), this.#table, key.k.p[0]!, walk)) {
      if (bposOffset(other.k.p) !== next) break;
      if (other.k.type !== key.k.type && other.k.type !== HASH_WHITEOUT) break;
      if (other.k.type === key.k.type && isSameName(nameOf(other), name)) {
        report.add('hash_table_key_duplicate', where, { other: next });
        return;
      }
      next++;
    }
    if (next < offset) report.add('hash_table_key_wrong_offset', where, { found: offset, expected: wanted, gap: next });
  }

  #hashOf(inum: bigint): StrHash | undefined {
    if (this.#inum !== inum) {
      const [first, end] = this.#rows.of(inum);
      this.#inum = inum;
      this.#hash = first < end ? new StrHash(this.#rows.hashed(first)) : undefined;
    }
    return this.#hash;
  }
}

interface Name {
  readonly type: number;
  readonly bytes: Uint8Array;
}

function nameOf({ k, value }: Key): Name {
  if (k.type === DIRENT) {
    const { name, casefoldedName } = dirent.decode(value);
    return { type: 0, bytes: casefoldedName ?? name };
  }
  const { type, name } = xattr.decode(value);
  return { type, bytes: name };
}

const isSameName = (a: Name, b: Name): boolean =>
  a.type === b.type && a.bytes.length === b.bytes.length && a.bytes.every((byte, i) => byte === b.bytes[i]);
