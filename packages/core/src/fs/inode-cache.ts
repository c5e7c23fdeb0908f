// Inodes while they are being changed. A directory that gets ten thousand names is written once, not ten thousand times: changes are
// kept here and put into the transaction when room is needed, when snapshots are made, and at the end. Code that reads the
// transaction itself flushes first.
// Source: bch2_inode_peek and bch2_inode_write in inode.c, v1.13.0.

import { makeKey, type Transaction } from '../btree/transaction.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { inodeFlags } from '../ondisk/inode-tables.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import type { Acl } from './acl.ts';
import { readInode } from './inode.ts';
import { type EditableInode, packInode } from './inode-pack.ts';
import type { Words64 } from './siphash.ts';
import { StrHash } from './str-hash.ts';

const INODES = btrees.idOf('inodes');
const HAS_CHILD_SNAPSHOT = 1 << inodeFlags.idOf('has_child_snapshot');
const INODE_V3 = keyTypes.idOf('inode_v3');

/** Inodes that are kept: some 600 bytes each. */
const KEPT_MAX = 4096;

/** What an edit has of a FileRef: the inode as it will be, and where it is written. */
export interface CachedInode {
  readonly subvolume: number;
  readonly inum: bigint;
  readonly words: Words64;
  /** The subvolume's: where changes go. */
  readonly snapshot: number;
  readonly inode: EditableInode;
  /** Nothing of it is on disk yet: it was made in this transaction. */
  readonly isNew: boolean;
  isDirty: boolean;
  hash: StrHash | undefined;
  /** What a directory hands down; undefined before it was looked for. */
  defaultAcl: Acl | undefined;
}

export class InodeCache {
  readonly #tx: Transaction;
  readonly #bySubvolume = new Map<number, Map<bigint, CachedInode>>();
  /** Numbers that were given in this transaction. */
  readonly #new = new Set<bigint>();
  #count = 0;

  constructor(tx: Transaction) {
    this.#tx = tx;
  }

  /** The inode of a number in a subvolume; undefined when there is none. */
  find(table: SnapshotTable, subvolume: number, inum: bigint): CachedInode | undefined {
    const known = this.#bySubvolume.get(subvolume)?.get(inum);
    if (known !== undefined) return known;
    const entry = table.subvolume(subvolume);
    if (entry === undefined) {
      throw new CorruptError(
        'subvol_missing',
        { btree: 'subvolumes', pos: `0:${subvolume}:0` },
        'a name leads to it, but it is missing',
      );
    }
    const found = readInode(this.#tx, table, entry.snapshot, inum);
    if (found === undefined) return undefined;
    // Where files are changed nothing descends from; a version above, of which this one becomes a copy, may have others below it.
    const bi_flags = found.inode.bi_flags & ~HAS_CHILD_SNAPSHOT;
    return this.#keep(subvolume, entry.snapshot, inum, { ...found.inode, bi_flags }, false);
  }

  /** A new one, to be written. */
  add(subvolume: number, snapshot: number, inum: bigint, inode: EditableInode): CachedInode {
    this.#new.add(inum);
    return this.#keep(subvolume, snapshot, inum, inode, true);
  }

  /** It is not there any more, and nothing of it is to be written. */
  forget({ subvolume, inum }: CachedInode): void {
    if (this.#bySubvolume.get(subvolume)?.delete(inum)) this.#count--;
  }

  /** Puts all changes into the transaction. */
  flush(): void {
    for (const inodes of this.#bySubvolume.values()) {
      for (const cached of inodes.values()) if (cached.isDirty) this.#write(cached);
    }
  }

  /** Makes room between two operations: an inode from here must not be used afterwards. */
  trim(): void {
    if (this.#count < KEPT_MAX) return;
    this.flush();
    this.#bySubvolume.clear();
    this.#count = 0;
  }

  /** Also forgets everything: before what is seen changes, as when a snapshot is made. */
  clear(): void {
    this.flush();
    this.#bySubvolume.clear();
    // What snapshots share is not to be taken for new.
    this.#new.clear();
    this.#count = 0;
  }

  #keep(subvolume: number, snapshot: number, inum: bigint, inode: EditableInode, isDirty: boolean): CachedInode {
    let inodes = this.#bySubvolume.get(subvolume);
    if (inodes === undefined) {
      inodes = new Map();
      this.#bySubvolume.set(subvolume, inodes);
    }
    const words = { lo: Number(inum & 0xffff_ffffn), hi: Number(inum >> 32n) };
    const isNew = this.#new.has(inum);
    const cached: CachedInode = {
      subvolume,
      inum,
      words,
      snapshot,
      inode,
      isNew,
      isDirty,
      hash: undefined,
      defaultAcl: undefined,
    };
    inodes.set(inum, cached);
    this.#count++;
    return cached;
  }

  #write(cached: CachedInode): void {
    cached.isDirty = false;
    this.#tx.update(INODES, makeKey(INODE_V3, inodePos(cached), packInode(cached.inode)));
  }
}

export const inodePos = ({ words, snapshot }: Pick<CachedInode, 'words' | 'snapshot'>): Bpos =>
  Uint32Array.of(snapshot, words.lo, words.hi, 0, 0);

export function hashOf(cached: CachedInode): StrHash {
  cached.hash ??= new StrHash(cached.inode);
  return cached.hash;
}
