// Inodes of two snapshot trees that have one number: a key that was moved there by damage, or made again where it does not belong. As long as
// both are of one type that does no harm; a kernel refuses a filesystem where they are not. Then those of one tree get another number, and
// all that names them there.

import { makeKey } from '../../btree/transaction.ts';
import { inodeOfKey } from '../../fs/inode.ts';
import { packInode } from '../../fs/inode-pack.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { type Bpos, bposInode, bposOffset, makeBpos } from '../../ondisk/bpos.ts';
import { dirent } from '../../ondisk/keys/dirent.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import type { SnapshotTable } from '../../snapshots/snapshot-table.ts';
import type { PassContext } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import { keysOf, reportedBefore } from './inode-index.ts';

const INODE_V3 = keyTypes.idOf('inode_v3');
const DIRENT = keyTypes.idOf('dirent');
/** Keys that are read before any is changed. */
const KEYS_AT_ONCE = 1024;

/** What is to get other numbers. */
export class SharedNumbers {
  /** By number and tree. */
  readonly #moved = new Map<string, bigint>();
  readonly #table: SnapshotTable;

  constructor(table: SnapshotTable) {
    this.#table = table;
  }

  /** The tree that a snapshot is in; 0 for one that is not there. */
  treeOf(snapshot: number): number {
    return this.#table.node(snapshot)?.tree ?? 0;
  }

  isMoving(inum: bigint, snapshot: number): boolean {
    return this.#moved.has(this.#nameOf(inum, snapshot));
  }

  /** A subvolume names its root by the number. */
  canMove(inum: bigint, snapshot: number): boolean {
    const tree = this.treeOf(snapshot);
    if (tree === 0) return false;
    return !this.#table.subvolumes().some(one => one.rootInode === inum && this.treeOf(one.snapshot) === tree);
  }

  add(inum: bigint, snapshot: number): void {
    this.#moved.set(this.#nameOf(inum, snapshot), 0n);
  }

  /** Moves all keys of them in one walk. */
  moveAll(context: PassContext): void {
    if (this.#moved.size === 0) return;
    let next = new FileRepairs(context).newInum();
    for (const name of this.#moved.keys()) this.#moved.set(name, next++);
    this.#rewrite(context, 'inodes', key => this.#movedInode(key));
    this.#rewrite(context, 'dirents', key => this.#movedDirent(key));
    for (const btree of ['extents', 'xattrs'] as const)
      this.#rewrite(context, btree, key => {
        const inum = this.#newNumber(bposInode(key.k.p), key.k.p);
        return inum === undefined ? undefined : movedTo(key, makeBpos(inum, bposOffset(key.k.p), key.k.p[0]!));
      });
  }

  #nameOf(inum: bigint, snapshot: number): string {
    return `${inum}:${this.treeOf(snapshot)}`;
  }

  #newNumber(inum: bigint, pos: Bpos): bigint | undefined {
    return this.#moved.get(this.#nameOf(inum, pos[0]!));
  }

  #movedInode(key: Key): Key | undefined {
    const { p } = key.k;
    const inum = this.#newNumber(bposOffset(p), p);
    const pos = inum === undefined ? p : makeBpos(0n, inum, p[0]!);
    const inode = inodeOfKey(key, reportedBefore);
    const dir = inode === undefined ? undefined : this.#newNumber(inode.bi_dir, p);
    if (inode !== undefined && dir !== undefined)
      return makeKey(INODE_V3, pos, packInode({ ...inode, bi_dir: dir }), key.k);
    return inum === undefined ? undefined : movedTo(key, pos);
  }

  #movedDirent(key: Key): Key | undefined {
    const { p } = key.k;
    const inum = this.#newNumber(bposInode(p), p);
    const pos = inum === undefined ? p : makeBpos(inum, bposOffset(p), p[0]!);
    const value = key.k.type === DIRENT ? dirent.decode(key.value) : undefined;
    const target = value !== undefined && 'inum' in value.target ? this.#newNumber(value.target.inum, p) : undefined;
    if (value !== undefined && target !== undefined)
      return makeKey(DIRENT, pos, dirent.encode({ ...value, target: { inum: target } }), key.k);
    return inum === undefined ? undefined : movedTo(key, pos);
  }

  /** @param change what a key becomes; undefined where it stays as it is */
  #rewrite(
    context: PassContext,
    btree: 'inodes' | 'dirents' | 'extents' | 'xattrs',
    change: (key: Key) => Key | undefined,
  ): void {
    const { tx } = context.change;
    let waiting: { readonly from: Bpos; readonly to: Key }[] = [];
    const writeAll = () => {
      for (const { from, to } of waiting) {
        tx.delete(btree, from);
        tx.update(btree, to);
      }
      waiting = [];
    };
    for (const key of keysOf(context, btree)) {
      const to = change(key);
      if (to !== undefined) waiting.push({ from: key.k.p.slice(), to });
      if (waiting.length === KEYS_AT_ONCE) writeAll();
    }
    writeAll();
  }
}

const movedTo = ({ k, value }: Key, pos: Bpos): Key => makeKey(k.type, pos.slice(), value.slice(), k);
