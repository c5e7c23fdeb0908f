// Changes to files as passes make them: of single inodes and names, in the snapshot that they are in, whatever state the rest is in. Each
// reads what it needs from the transaction as it is now. What follows from the keys is the triggers'.
//
// Names keep the snapshot of the key that they were found in, so that every snapshot below goes on to see them.

import { makeKey, type Transaction } from '../../btree/transaction.ts';
import { isCasefolded, isFilesystemCasefolded } from '../../fs/case.ts';
import { foldName } from '../../fs/casefold.ts';
import { entryOf } from '../../fs/dirents.ts';
import { comparedName, type HashTable, hashDelete, hashFind, hashSet, isDirentOf } from '../../fs/hash-insert.ts';
import { type FoundInode, inodeOfKey, readInode } from '../../fs/inode.ts';
import { type EditableInode, packInode } from '../../fs/inode-pack.ts';
import type { Words64 } from '../../fs/siphash.ts';
import { StrHash } from '../../fs/str-hash.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { type Bpos, bposInode, bposOffset, makeBpos } from '../../ondisk/bpos.ts';
import { btrees } from '../../ondisk/btrees.ts';
import { assert } from '../../ondisk/errors.ts';
import { incompatFeatures } from '../../ondisk/features.ts';
import { FILE_TYPE_DIR, FILE_TYPE_SUBVOL, inodeFlags } from '../../ondisk/inode-tables.ts';
import { BLOCKDEV_INODE_MAX, blankInode, type Inode, isDirectory, modeType } from '../../ondisk/inode-unpack.ts';
import { type Dirent, type DirentTarget, dirent } from '../../ondisk/keys/dirent.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { BchSubvolume, subvolume } from '../../ondisk/keys/subvolume.ts';
import { xattr } from '../../ondisk/keys/xattr.ts';
import { optionFromSuperblock } from '../../ondisk/option-values.ts';
import { option } from '../../ondisk/options.ts';
import { strHashTypeOf } from '../../ondisk/str-hash-types.ts';
import { SnapshotTable, type SubvolumeEntry } from '../../snapshots/snapshot-table.ts';
import { atSnapshot, visibleKeys } from '../../snapshots/visible.ts';
import { deleteInSnapshot, hideInDescendants } from '../../snapshots/whiteouts.ts';
import type { PassContext } from '../pass.ts';
import { rangeOfInode, reportedBefore } from './inode-index.ts';

const INODE_V3 = keyTypes.idOf('inode_v3');
const INODES: readonly number[] = (['inode', 'inode_v2', 'inode_v3'] as const).map(name => keyTypes.idOf(name));
const DIRENT = keyTypes.idOf('dirent');
const HASH_WHITEOUT = keyTypes.idOf('hash_whiteout');
const NO_VALUE = new Uint8Array(0);
const XATTR = keyTypes.idOf('xattr');
const DIRENTS = btrees.idOf('dirents');
const XATTRS = btrees.idOf('xattrs');
const SNAPSHOTS = btrees.idOf('snapshots');
const SUBVOLUMES = btrees.idOf('subvolumes');
const NEW_SIPHASH = 1n << BigInt(incompatFeatures.idOf('new_siphash'));
const HAS_CHILD = 1 << inodeFlags.idOf('has_child_snapshot');
export const UNLINKED = 1 << inodeFlags.idOf('unlinked');

const S_IFDIR = 0o040000;
/** Numbers are given below it, as long as there are any: programs of 32 bits can hold them. */
const INUM_END = 0x7fff_ffff;
/** BCH_NAME_MAX is more, Linux allows 255. */
const NAME_MAX = 255;
const VERSIONED = ['extents', 'dirents', 'xattrs'] as const;

const encoder = new TextEncoder();
export const nameBytes = (text: string): Uint8Array => encoder.encode(text);
const LOST_AND_FOUND = nameBytes('lost+found');

const wordsOf = (inum: bigint): Words64 => ({ lo: Number(inum & 0xffff_ffffn), hi: Number(inum >> 32n) });

export class FileRepairs {
  readonly #context: PassContext;
  #table: SnapshotTable | undefined;
  #tableStamp: readonly unknown[] = [];

  constructor(context: PassContext) {
    this.#context = context;
  }

  /** That of now: a checkpoint begins another. */
  get tx(): Transaction {
    return this.#context.change.tx;
  }

  get table(): SnapshotTable {
    const stamp = [this.tx, this.tx.changesOf(SNAPSHOTS)?.changes, this.tx.changesOf(SUBVOLUMES)?.changes];
    if (this.#table === undefined || stamp.some((part, i) => part !== this.#tableStamp[i])) {
      this.#table = SnapshotTable.read(this.tx, { onDamage: reportedBefore });
      this.#tableStamp = stamp;
    }
    return this.#table;
  }

  // ---- inodes

  /** What a snapshot sees of an inode. */
  inode(inum: bigint, snapshot: number): FoundInode | undefined {
    return readInode(this.tx, this.table, snapshot, inum, { onDamage: reportedBefore });
  }

  /** Changes the version of exactly this snapshot; nothing happens where there is none. */
  editInode(inum: bigint, snapshot: number, edit: (inode: EditableInode) => void): void {
    const pos = makeBpos(0n, inum, snapshot);
    const key = this.tx.get('inodes', pos);
    const inode = key === undefined ? undefined : inodeOfKey(key, reportedBefore);
    if (key === undefined || inode === undefined) return;
    const edited: EditableInode = { ...inode };
    edit(edited);
    this.tx.update('inodes', makeKey(INODE_V3, pos, packInode(edited), key.k));
  }

  /** All versions of an inode. */
  versions(inum: bigint): readonly FoundInode[] {
    const range = { from: makeBpos(0n, inum, 0), to: makeBpos(0n, inum, 0xffff_ffff), onDamage: reportedBefore };
    return [...this.tx.btree('inodes').keys(range)].flatMap(key => {
      const inode = inodeOfKey(key, reportedBefore);
      return inode === undefined ? [] : [{ inode, keySnapshot: key.k.p[0]! }];
    });
  }

  /** An inode of which nothing but its number is known, or another version of it. @returns how it hashes names */
  createInode(inum: bigint, snapshot: number, fields: Partial<EditableInode> & { readonly bi_mode: number }): Inode {
    const pos = makeBpos(0n, inum, snapshot);
    const [other] = this.versions(inum);
    const time = this.#time();
    const inode: EditableInode = {
      ...blankInode,
      str_hash: other?.inode.str_hash ?? this.#strHash(),
      bi_hash_seed: other?.inode.bi_hash_seed ?? seedFor(inum, this.tx.sb.uuid),
      bi_atime: time,
      bi_mtime: time,
      bi_ctime: time,
      bi_otime: time,
      ...fields,
    };
    this.tx.update('inodes', makeKey(INODE_V3, pos, packInode(inode)));
    return inode;
  }

  /** What was changed last in the root directory: passes have no clock, and a repair is the same each time. */
  #time(): bigint {
    for (const { rootInode, snapshot } of this.table.subvolumes()) {
      const root = this.inode(rootInode, snapshot);
      if (root !== undefined) return root.inode.bi_mtime;
    }
    return 0n;
  }

  #strHash(): number {
    const { sb } = this.tx;
    const chosen = optionFromSuperblock(option('str_hash'), sb);
    return strHashTypeOf(Number(chosen), ((sb.features[0] ?? 0n) & NEW_SIPHASH) !== 0n);
  }

  /** One above the highest that is taken. */
  newInum(): bigint {
    const range = { from: makeBpos(0n, BLOCKDEV_INODE_MAX, 0), backward: true, onDamage: reportedBefore } as const;
    const below = { ...range, to: makeBpos(0n, BigInt(INUM_END - 1), 0xffff_ffff) };
    for (const options of [below, range]) {
      let highest = BLOCKDEV_INODE_MAX;
      for (const { k } of this.tx.btree('inodes').keys(options)) {
        highest = bposOffset(k.p);
        break;
      }
      if (options !== below || highest < BigInt(INUM_END - 1)) return highest + 1n;
    }
    return BLOCKDEV_INODE_MAX + 1n;
  }

  /** An inode with all that its snapshot sees of it. */
  deleteInode(inum: bigint, snapshot: number): void {
    const range = { ...rangeOfInode(inum), onDamage: reportedBefore };
    for (const btree of VERSIONED) {
      const keys = [...visibleKeys(this.tx.btree(btree), this.table, snapshot, range)];
      for (const { k } of keys) deleteInSnapshot(this.tx, btree, this.table, atSnapshot(k.p, snapshot));
    }
    deleteInSnapshot(this.tx, 'inodes', this.table, makeBpos(0n, inum, snapshot));
  }

  // ---- names

  /** @param snapshot in which names are looked for and put */
  direntTable(inum: bigint, snapshot: number, inode: Inode): DirentTable {
    const hash = new StrHash(inode);
    return {
      isCasefolded: isCasefolded(inode, isFilesystemCasefolded(this.tx.sb)),
      btree: DIRENTS,
      keyType: DIRENT,
      inum: wordsOf(inum),
      snapshot,
      isNew: false,
      hashOf({ value }) {
        return hash.dirent(comparedName(value));
      },
      // A position that any dirent has is taken.
      isVisible: () => true,
    };
  }

  xattrTable(inum: bigint, snapshot: number, inode: Inode): HashTable {
    const hash = new StrHash(inode);
    return {
      btree: XATTRS,
      keyType: XATTR,
      inum: wordsOf(inum),
      snapshot,
      isNew: false,
      hashOf({ value }) {
        const { type, name } = xattr.decode(value);
        return hash.xattr(type, name);
      },
      isVisible: () => true,
    };
  }

  /** The value of the entry of a name, as a snapshot sees it. */
  findName(table: DirentTable, name: Uint8Array): Key | undefined {
    const value = direntValue(name, FILE_TYPE_DIR, { inum: 0n }, table);
    const hash = table.hashOf({ k: keyHeader, value });
    return hashFind(this.tx, this.table, table, hash, isDirentOf(comparedName(value)));
  }

  /** Puts a name that is not there yet. @returns where it stands */
  addName(table: DirentTable, name: Uint8Array, type: number, target: DirentTarget): Bpos {
    const value = direntValue(name, type, target, table);
    return hashSet(this.tx, this.table, table, table.hashOf({ k: keyHeader, value }), () => false, value).pos;
  }

  /** A name that no entry of the directory has: the wanted one, or with `SUFFIX-N` at its end. */
  freeName(table: DirentTable, wanted: Uint8Array, suffix: string): Uint8Array {
    let name = wanted.slice(0, NAME_MAX);
    for (let n = 0; this.findName(table, name) !== undefined; n++) {
      const end = nameBytes(`.${suffix}-${n}`);
      name = new Uint8Array([...wanted.subarray(0, NAME_MAX - end.length), ...end]);
    }
    return name;
  }

  /** Takes a key of a hash table away, in its own snapshot and all that see it there. */
  removeHashed(key: Key, tableOf: (inum: bigint, snapshot: number, inode: Inode) => HashTable): void {
    const { p } = key.k;
    const owner = this.inode(bposInode(p), p[0]!);
    const btree = key.k.type === DIRENT ? DIRENTS : XATTRS;
    if (owner === undefined) deleteInSnapshot(this.tx, btree, this.table, p);
    else hashDelete(this.tx, this.table, tableOf(bposInode(p), p[0]!, owner.inode), p);
  }

  removeName(key: Key): void {
    this.removeHashed(key, this.direntTable.bind(this));
  }

  /** Puts an entry where its name is looked for, under another name if it is given one. @returns where that is */
  moveName(key: Key, name?: Uint8Array): Bpos {
    const { p } = key.k;
    const owner = this.inode(bposInode(p), p[0]!);
    assert(owner !== undefined, 'the directory of a name that moves is there');
    const old = dirent.decode(key.value);
    const moved: Dirent = { ...old, ...(name === undefined ? {} : { name }) };
    const value = dirent.encode({ ...moved, name: moved.name.slice() });
    const table = this.direntTable(bposInode(p), p[0]!, owner.inode);
    this.removeName(key);
    const { pos } = hashSet(this.tx, this.table, table, table.hashOf({ k: keyHeader, value }), () => false, value);
    hideInDescendants(this.tx, DIRENTS, this.table, p, pos);
    this.#followName(old.target, p, pos);
    return pos;
  }

  /** What had noted where its name is notes where it is now. */
  #followName(target: DirentTarget, from: Bpos, to: Bpos): void {
    const inum = 'inum' in target ? target.inum : this.table.subvolume(target.child_subvol)?.rootInode;
    if (inum === undefined) return;
    for (const { inode, keySnapshot } of this.versions(inum)) {
      if (inode.bi_dir !== bposInode(from) || inode.bi_dir_offset !== bposOffset(from)) continue;
      this.editInode(inum, keySnapshot, edited => {
        edited.bi_dir_offset = bposOffset(to);
      });
    }
  }

  /** The type and target that an entry should have. */
  retarget(key: Key, type: number, target: DirentTarget): void {
    const value = dirent.encode({ ...dirent.decode(key.value), type, target });
    this.tx.update('dirents', makeKey(DIRENT, key.k.p, value, key.k));
  }

  /** Whether a directory has an entry in a snapshot. */
  isEmptyDirectory(inum: bigint, snapshot: number): boolean {
    const range = { ...rangeOfInode(inum), onDamage: reportedBefore };
    for (const { k } of visibleKeys(this.tx.btree('dirents'), this.table, snapshot, range)) {
      if (k.type === DIRENT) return false;
    }
    return true;
  }

  // ---- lost+found

  /** The subvolume that shows a snapshot, or one below it. */
  subvolumeShowing(snapshot: number): SubvolumeEntry | undefined {
    const all = this.table.subvolumes();
    return all.find(one => one.snapshot === snapshot) ?? all.find(one => this.table.isAncestor(one.snapshot, snapshot));
  }

  /** The directory for what has no name, in the root of the subvolume that shows the snapshot. @returns undefined where there is no root */
  lostAndFound(snapshot: number): (FoundInode & { readonly inum: bigint }) | undefined {
    const subvolume = this.subvolumeShowing(snapshot);
    if (subvolume === undefined) return undefined;
    const root = this.#rootSeenFrom(subvolume, snapshot);
    if (root === undefined || !isDirectory(root.inode)) return undefined;
    const names = this.direntTable(subvolume.rootInode, snapshot, root.inode);
    const found = this.findName(names, LOST_AND_FOUND);
    const target = found === undefined ? undefined : entryOf(found, reportedBefore)?.target;
    if (target !== undefined && 'inum' in target) {
      const known = this.inode(target.inum, snapshot);
      if (known !== undefined && isDirectory(known.inode)) return { ...known, inum: target.inum };
    }
    const name = this.freeName(names, LOST_AND_FOUND, 'fsck');
    this.makeOwn(subvolume.rootInode, root, snapshot);
    const inum = this.newInum();
    const pos = this.addName(names, name, FILE_TYPE_DIR, { inum });
    const inode = this.createInode(inum, snapshot, {
      bi_mode: S_IFDIR | 0o700,
      bi_dir: subvolume.rootInode,
      bi_dir_offset: bposOffset(pos),
    });
    this.#countSubdirectory(subvolume.rootInode, snapshot);
    return { inode, keySnapshot: snapshot, inum };
  }

  /** The root of a subvolume for a snapshot that it sees; what the subvolume has alone is made for all that see the snapshot. */
  #rootSeenFrom({ rootInode, snapshot: own }: SubvolumeEntry, snapshot: number): FoundInode | undefined {
    const seen = this.inode(rootInode, snapshot);
    if (seen !== undefined) return seen;
    const root = this.inode(rootInode, own);
    if (root === undefined || !isDirectory(root.inode)) return undefined;
    // No entry of it is seen from there.
    this.makeOwn(rootInode, { ...root, inode: { ...root.inode, bi_nlink: 0 } }, snapshot);
    return this.inode(rootInode, snapshot);
  }

  /** Where a snapshot has keys of an inode it has a version of it: a kernel sees to that, and complains where it is not so. */
  makeOwn(inum: bigint, { inode, keySnapshot }: FoundInode, snapshot: number): void {
    if (keySnapshot === snapshot) return;
    const others = this.versions(inum).map(version => version.keySnapshot);
    for (const other of others) {
      if (!this.table.isAncestor(snapshot, other)) continue;
      this.editInode(inum, other, edited => {
        edited.bi_flags |= HAS_CHILD;
      });
    }
    const hasChild = others.some(other => this.table.isAncestor(other, snapshot));
    const bi_flags = hasChild ? inode.bi_flags | HAS_CHILD : inode.bi_flags & ~HAS_CHILD;
    this.createInode(inum, snapshot, { ...inode, bi_flags });
  }

  /** Where a snapshot has the directory's own version; others are counted by check_nlinks. */
  #countSubdirectory(inum: bigint, snapshot: number): void {
    this.editInode(inum, snapshot, edited => {
      edited.bi_nlink++;
    });
  }

  /**
   * Gives a version of an inode a name in lost+found.
   * @param name that it had
   * @returns whether there is a directory to put it in
   */
  reattach(inum: bigint, snapshot: number, name?: Uint8Array): boolean {
    const own = this.inode(inum, snapshot);
    if (own === undefined) return false;
    const { bi_subvol } = own.inode;
    if (bi_subvol !== 0 && this.table.subvolume(bi_subvol) !== undefined) return this.reattachSubvolume(bi_subvol);
    // The root of another subvolume is not inside of its own.
    if (this.table.subvolumes().some(one => one.rootInode === inum && this.table.isAncestor(one.snapshot, snapshot)))
      return false;
    const directory = this.lostAndFound(snapshot);
    if (directory === undefined || directory.inum === inum) return false;
    const names = this.direntTable(directory.inum, snapshot, directory.inode);
    const free = this.freeName(names, name ?? nameBytes(`#${inum}`), 'fsck');
    this.makeOwn(directory.inum, directory, snapshot);
    const pos = this.addName(names, free, modeType(own.inode.bi_mode), { inum });
    this.#hideWhereGone(inum, snapshot, pos);
    this.editInode(inum, snapshot, edited => {
      edited.bi_dir = directory.inum;
      edited.bi_dir_offset = bposOffset(pos);
    });
    if (isDirectory(own.inode)) this.#countSubdirectory(directory.inum, snapshot);
    return true;
  }

  /** Snapshots that have deleted a file are not to see its new name. */
  #hideWhereGone(inum: bigint, snapshot: number, name: Bpos): void {
    const range = { from: makeBpos(0n, inum, 0), to: makeBpos(0n, inum, snapshot - 1), onDamage: reportedBefore };
    for (const { k } of [...this.tx.btree('inodes').keys(range)]) {
      const id = k.p[0]!;
      if (INODES.includes(k.type) || !this.table.isAncestor(id, snapshot)) continue;
      const pos = atSnapshot(name, id);
      if (this.tx.get('dirents', pos) !== undefined) continue;
      this.tx.update('dirents', makeKey(HASH_WHITEOUT, pos, NO_VALUE));
      // To a kernel, that is a key too.
      const directory = this.inode(bposInode(name), id);
      if (directory !== undefined) this.makeOwn(bposInode(name), directory, id);
    }
  }

  /** Gives a subvolume a name in the lost+found of the one that it was in, or of the root. */
  reattachSubvolume(id: number, isInRoot = false): boolean {
    const own = this.table.subvolume(id);
    const outer = isInRoot ? undefined : this.table.subvolume(own?.fsPathParent ?? 0);
    const parent = outer === undefined || outer.id === id ? this.table.subvolume(1) : outer;
    if (own === undefined || parent === undefined || parent.id === id) return false;
    const directory = this.lostAndFound(parent.snapshot);
    if (directory === undefined) return false;
    const names = this.direntTable(directory.inum, parent.snapshot, directory.inode);
    const name = this.freeName(names, nameBytes(`subvol-${id}`), 'fsck');
    this.makeOwn(directory.inum, directory, parent.snapshot);
    const target = { child_subvol: id, parent_subvol: parent.id };
    const pos = this.addName(names, name, FILE_TYPE_SUBVOL, target);
    for (const { inode, keySnapshot } of this.versions(own.rootInode)) {
      if (inode.bi_subvol !== id) continue;
      this.editInode(own.rootInode, keySnapshot, edited => {
        edited.bi_dir = directory.inum;
        edited.bi_dir_offset = bposOffset(pos);
        edited.bi_parent_subvol = parent.id;
      });
    }
    this.setParent(id, parent.id);
    return true;
  }

  /** Where a subvolume is says its own key too. */
  setParent(id: number, parent: number): void {
    const key = this.tx.get('subvolumes', makeBpos(0n, BigInt(id), 0));
    if (key === undefined) return;
    const value = subvolume.decode(key.value);
    const sizeBytes = Math.max(value.sizeBytes, BchSubvolume.offset.otime + 16);
    this.tx.update(
      'subvolumes',
      makeKey(key.k.type, key.k.p, subvolume.encode({ ...value, fs_path_parent: parent, sizeBytes }), key.k),
    );
  }
}

/** The table of a directory's names, and whether it compares them without regard to case. */
interface DirentTable extends HashTable {
  readonly isCasefolded: boolean;
}

export function direntValue(
  name: Uint8Array,
  type: number,
  target: DirentTarget,
  { isCasefolded: isFolded }: Pick<DirentTable, 'isCasefolded'> = { isCasefolded: false },
): Uint8Array {
  const casefoldedName = isFolded ? foldName(name) : undefined;
  const namesLength = name.length + (casefoldedName?.length ?? 0);
  return dirent.encode({ target, type, name, casefoldedName, namesLength, namesLengthMax: namesLength });
}

const { k: keyHeader } = makeKey(DIRENT, makeBpos(0n, 0n, 0), new Uint8Array(0));

/** The same for every run, and another for every directory and filesystem. */
function seedFor(inum: bigint, uuid: string): bigint {
  let seed = BigInt.asUintN(64, inum * 0x9e37_79b9_7f4a_7c15n);
  for (const byte of nameBytes(uuid)) seed = BigInt.asUintN(64, (seed ^ BigInt(byte)) * 0x0000_0100_0000_01b3n);
  return seed;
}
