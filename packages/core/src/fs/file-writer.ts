// Changes to a tree of files, inside of one transaction: what the system calls do to names, inodes and attributes, as a kernel of 6.12
// does it. Contents are file-content.ts's, subvolumes subvolumes.ts's. Each operation checks first and changes then: one that
// is refused has changed nothing. Files whose last name goes are deleted at once, with all that they had, since no process has them open.
//
// Numbers of inodes are given upwards from the highest that is taken, 4096 at the least. Times are the writer's clock, unless they are set.
// Permissions are not looked at: anyone who has the devices may do everything. A subvolume that is read-only is respected.
// Source: fs-common.c (bch2_create_trans, bch2_link_trans, bch2_unlink_trans, bch2_rename_trans), inode.c, dirent.c, xattr.c, v1.13.0.

import { makeKey, type Transaction } from '../btree/transaction.ts';
import { type Bpos, bposOffset, bposText, makeBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { compressionOptions, decodeCompression } from '../ondisk/compression-types.ts';
import { assert, CorruptError } from '../ondisk/errors.ts';
import { type FeatureName, incompatFeatures } from '../ondisk/features.ts';
import { type FormatRules, rulesOf } from '../ondisk/format-rules.ts';
import {
  FILE_TYPE_DIR,
  FILE_TYPE_LNK,
  FILE_TYPE_SUBVOL,
  type InodeOptionName,
  type InodeOptionRow,
  inodeFlags,
  inodeOptions,
} from '../ondisk/inode-tables.ts';
import { BLOCKDEV_INODE_MAX, modeType, unpackInodeV3 } from '../ondisk/inode-unpack.ts';
import { cookie } from '../ondisk/keys/cookie.ts';
import { type Dirent, type DirentTarget, dirent } from '../ondisk/keys/dirent.ts';
import { inodeGeneration } from '../ondisk/keys/inode-generation.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { decodeAcl, xattr } from '../ondisk/keys/xattr.ts';
import { type OptionNumber, optionFromSuperblock } from '../ondisk/option-values.ts';
import { option } from '../ondisk/options.ts';
import { strHashTypeOf } from '../ondisk/str-hash-types.ts';
import { readSubvolume, writeSubvolume } from '../snapshots/create-nodes.ts';
import { ROOT_SUBVOLUME, SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeys } from '../snapshots/visible.ts';
import { deleteInSnapshot } from '../snapshots/whiteouts.ts';
import { printableBytes } from '../util/byte-text.ts';
import type { RandomSource } from '../util/random.ts';
import { type Acl, aclModeBits, chmodAcl, encodeAcl, isOnlyMode, isWholeAcl, maskAcl, parseAcl } from './acl.ts';
import { FileError } from './file-error.ts';
import {
  direntTable,
  type HashTable,
  hashDelete,
  hashFind,
  hashSet,
  isDirentOf,
  isXattrOf,
  xattrTable,
} from './hash-insert.ts';
import { readInode } from './inode.ts';
import { type CachedInode, hashOf, InodeCache, inodePos } from './inode-cache.ts';
import type { EditableInode } from './inode-pack.ts';
import { moveOlderRoots } from './older-roots.ts';
import { ACL_ACCESS, ACL_DEFAULT, hasContents, isAclType, splitXattrName, XATTR_USER } from './xattr-name.ts';

/** A file, whatever its type, in one subvolume. */
export interface FileRef {
  readonly subvolume: number;
  readonly inum: bigint;
}

export interface FileWriterOptions {
  /** For hash seeds and the like. */
  readonly random: RandomSource;
  /** Nanoseconds since 1970. */
  readonly now: () => bigint;
}

export interface NewInode {
  /** With the file type: S_IFDIR, S_IFREG, … */
  readonly mode: number;
  /** Bits that the mode loses where the directory has no default ACL. */
  readonly umask?: number;
  /** Whether it gets ACLs from its directory's default ACL, as what a system call makes. Default true. */
  readonly inheritsAcl?: boolean;
  readonly uid?: number;
  readonly gid?: number;
  /** Of device nodes. */
  readonly rdev?: { readonly major: number; readonly minor: number };
}

export interface RemovedName {
  readonly inode: Readonly<EditableInode>;
  /** It was the last name. */
  readonly isGone: boolean;
}

interface TypedAcl {
  /** Of xattrTypes. */
  readonly type: number;
  readonly acl: Acl;
}

interface Inherited {
  readonly mode: number;
  readonly acls: readonly TypedAcl[];
}

export interface Attributes {
  /** The twelve bits of permissions. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Nanoseconds since 1970. */
  readonly atimeNs?: bigint;
  readonly mtimeNs?: bigint;
  readonly ctimeNs?: bigint;
  readonly btimeNs?: bigint;
  /** FS_*_FL of the ioctl, those that bcachefs has. */
  readonly flags?: readonly ('sync' | 'immutable' | 'append' | 'nodump' | 'noatime')[];
}

const DIRENT = keyTypes.idOf('dirent');
const INODE_GENERATION = keyTypes.idOf('inode_generation');
const COOKIE = keyTypes.idOf('cookie');
const INODES = btrees.idOf('inodes');
/** rebalance_work, as it was called until 1.33. */
const REBALANCE_WORK = btrees.idOf('reconcile_work');
const NEW_SIPHASH = 1n << BigInt(incompatFeatures.idOf('new_siphash'));
const UNLINKED = 1 << inodeFlags.idOf('unlinked');
const HAS_CHILD_SNAPSHOT = 1 << inodeFlags.idOf('has_child_snapshot');
const USER_FLAGS = 0b1_1111;
/** BCH_NAME_MAX is more, Linux allows 255. */
const NAME_MAX = 255;
const XATTR_NAME_MAX = 255;
/** A key has up to 255 u64s, 5 of them its header. */
const VALUE_U64S_MAX = 250;
const S_ISGID = 0o2000;
/** Numbers are given from here on, below INUM_END, as with the option inodes_32bit: programs of 32 bits can hold them. */
const INUM_MIN = Number(BLOCKDEV_INODE_MAX);
const INUM_END = 0x7fff_ffff;

/** An inode that says nothing. */
const BLANK = unpackInodeV3(new Uint8Array(48));
const encoder = new TextEncoder();
const NO_NAME = new Uint8Array(0);
const NO_ACL: Acl = [];

export class FileWriter {
  readonly tx: Transaction;
  readonly random: RandomSource;
  readonly cache: InodeCache;
  readonly #now: () => bigint;
  readonly #timeBase: bigint;
  readonly #timePrecision: bigint;
  readonly #rules: FormatRules;
  readonly #strHash: number;
  readonly #hasAcls: boolean;
  readonly #optionFeatures = new Set<FeatureName>();
  #table: SnapshotTable;
  #freeInums: FreeInums | undefined;

  /** @throws CorruptError, DeviceError when the snapshots cannot be read */
  constructor(tx: Transaction, { random, now }: FileWriterOptions) {
    this.tx = tx;
    this.random = random;
    this.cache = new InodeCache(tx);
    this.#now = now;
    const { sb } = tx;
    this.#timeBase = sb.time_base_lo;
    this.#timePrecision = BigInt(sb.time_precision || 1);
    this.#rules = rulesOf(sb);
    this.#strHash = strHashTypeOf(Number(this.#option('str_hash')), ((sb.features[0] ?? 0n) & NEW_SIPHASH) !== 0n);
    this.#hasAcls = this.#option('acl') !== 0;
    this.#table = SnapshotTable.read(tx);
  }

  /** The snapshots as they are now. */
  get table(): SnapshotTable {
    return this.#table;
  }

  /** To be called when the keys of snapshots or subvolumes have changed. */
  rereadSnapshots(): void {
    this.cache.clear();
    this.#table = SnapshotTable.read(this.tx);
  }

  /** Puts all changes into the transaction: before anybody else reads it, and before it is committed. */
  flush(): void {
    this.cache.flush();
  }

  root(subvolume: number = ROOT_SUBVOLUME): FileRef {
    const entry = this.#table.subvolume(subvolume);
    if (entry === undefined) throw new FileError('ENOENT', `subvolume ${subvolume}`);
    return { subvolume, inum: entry.rootInode };
  }

  /** What a name in a directory leads to; into a subvolume, its root. */
  lookup(directory: FileRef, name: Uint8Array): FileRef | undefined {
    const dir = this.directory(directory);
    const key = this.findName(dir, name);
    return key === undefined ? undefined : this.targetOf(dir, dirent.decode(key.value).target);
  }

  /** The inode as it will be; not to be changed. */
  inode(file: FileRef): Readonly<EditableInode> {
    return this.cached(file).inode;
  }

  /** @returns the new file */
  create(directory: FileRef, name: Uint8Array, request: NewInode): FileRef {
    this.cache.trim();
    const dir = this.writableDirectory(directory);
    this.checkNew(dir, name);
    const { mode, acls } = this.inherit(dir, request);
    const file = this.newInode(dir, dir.subvolume, dir.snapshot, { ...request, mode });
    this.putAcls(file, acls);
    this.enter(dir, name, file, { inum: file.inum });
    return { subvolume: file.subvolume, inum: file.inum };
  }

  link(directory: FileRef, name: Uint8Array, target: FileRef): void {
    this.cache.trim();
    const dir = this.writableDirectory(directory);
    const file = this.cached(target);
    const what = printableBytes(name);
    if (directory.subvolume !== target.subvolume) throw new FileError('EXDEV', what);
    if (modeType(file.inode.bi_mode) === FILE_TYPE_DIR) throw new FileError('EISDIR', what);
    this.checkNew(dir, name);
    if (this.#differingOptions(file.inode, dir.inode).length > 0) throw new FileError('EXDEV', what);
    if (file.inode.bi_nlink === 0xffff_ffff) throw new FileError('EMLINK', what);
    file.inode.bi_nlink++;
    file.inode.bi_ctime = this.time();
    this.enter(dir, name, file, { inum: file.inum });
  }

  /**
   * Takes a name away: of a file, or of an empty directory; not of a subvolume. The file goes with its last name.
   * @returns the inode that had it, and whether it is gone
   */
  remove(directory: FileRef, name: Uint8Array): RemovedName {
    this.cache.trim();
    const dir = this.writableDirectory(directory);
    const { key, file, entry } = this.entry(dir, name);
    if (entry.type === FILE_TYPE_SUBVOL) throw new FileError('EISDIR', `${printableBytes(name)} is a subvolume`);
    if (modeType(file.inode.bi_mode) === FILE_TYPE_DIR && !this.isEmpty(file))
      throw new FileError('ENOTEMPTY', printableBytes(name));
    hashDelete(this.tx, this.#table, this.dirents(dir), inSnapshot(key.k.p, dir.snapshot));
    this.#left(dir, file, key.k.p);
    return { inode: file.inode, isGone: this.dropLink(file) };
  }

  /**
   * @param options `exchange`: both names are there and change places; `noReplace`: the new one must not be there. Else what has the new
   * name is replaced.
   */
  rename(
    fromDirectory: FileRef,
    fromName: Uint8Array,
    toDirectory: FileRef,
    toName: Uint8Array,
    options: { readonly exchange?: boolean; readonly noReplace?: boolean } = {},
  ): void {
    this.cache.trim();
    const { exchange = false, noReplace = false } = options;
    const fromDir = this.writableDirectory(fromDirectory);
    const toDir = this.writableDirectory(toDirectory);
    const what = `${printableBytes(fromName)} to ${printableBytes(toName)}`;
    const from = this.entry(fromDir, fromName);
    checkName(toName);
    const toKey = this.findName(toDir, toName);
    if (toKey === undefined && exchange) throw new FileError('ENOENT', printableBytes(toName));
    if (toKey !== undefined && noReplace) throw new FileError('EEXIST', printableBytes(toName));
    const to = toKey === undefined ? undefined : this.entry(toDir, toName);
    if (to !== undefined && to.file === from.file) return;
    const isSubvolume = from.entry.type === FILE_TYPE_SUBVOL;
    if (fromDir.subvolume !== toDir.subvolume) {
      if (!isSubvolume || (to !== undefined && to.entry.type !== FILE_TYPE_SUBVOL)) throw new FileError('EXDEV', what);
    }
    if (this.#isInside(toDir, from.file)) throw new FileError('EINVAL', what);
    if (exchange && to !== undefined && this.#isInside(fromDir, to.file)) throw new FileError('EINVAL', what);
    const isDirectory = isDir(from.file);
    if (to !== undefined && !exchange) {
      if (to.entry.type === FILE_TYPE_SUBVOL) throw new FileError('EISDIR', `${printableBytes(toName)} is a subvolume`);
      if (isDirectory !== isDir(to.file)) throw new FileError(isDirectory ? 'ENOTDIR' : 'EISDIR', what);
      if (isDirectory && !this.isEmpty(to.file)) throw new FileError('ENOTEMPTY', printableBytes(toName));
    }
    // Files take on the options of their new directory; a directory would have to hand them on to all that is in it.
    const differing = this.#differingOptions(from.file.inode, toDir.inode);
    const differingBack = exchange && to !== undefined ? this.#differingOptions(to.file.inode, fromDir.inode) : [];
    if ((differing.length > 0 && isDirectory) || (differingBack.length > 0 && to !== undefined && isDir(to.file)))
      throw new FileError('EXDEV', what);
    takeOptions(from.file.inode, toDir.inode, differing);
    if (to !== undefined) takeOptions(to.file.inode, fromDir.inode, differingBack);

    if (exchange && to !== undefined) {
      const [fromPos, toPos] = [this.#retarget(fromDir, from, to), this.#retarget(toDir, to, from)];
      this.#leaveEntry(fromDir, from.file);
      this.#leaveEntry(toDir, to.file);
      this.#moved(from.file, toDir, toPos);
      this.#moved(to.file, fromDir, fromPos);
    } else if (to === undefined) {
      this.deleteName(fromDir, from.key, isSubvolume);
      this.#leaveEntry(fromDir, from.file);
      const value = direntValue(toName, from.entry.type, this.#targetIn(toDir, from.entry.target));
      const { pos } = hashSet(
        this.tx,
        this.#table,
        this.dirents(toDir),
        hashOf(toDir).dirent(toName),
        isDirentOf(toName),
        value,
      );
      this.#moved(from.file, toDir, pos);
    } else {
      const pos = this.#retarget(toDir, to, from);
      this.deleteName(fromDir, from.key, isSubvolume);
      this.#leaveEntry(fromDir, from.file);
      this.#left(toDir, to.file, to.key.k.p);
      this.#moved(from.file, toDir, pos);
      this.dropLink(to.file);
    }
    const now = this.time();
    for (const cached of [fromDir, toDir]) {
      cached.inode.bi_mtime = now;
      cached.inode.bi_ctime = now;
      cached.isDirty = true;
    }
    from.file.inode.bi_ctime = now;
    if (to !== undefined && exchange) to.file.inode.bi_ctime = now;
  }

  /** Without a time for ctime it is now. A new mode changes the file's ACL too. */
  setAttributes(file: FileRef, attributes: Attributes): void {
    this.cache.trim();
    const cached = this.writable(file);
    const { inode } = cached;
    const { mode, uid, gid, atimeNs, mtimeNs, ctimeNs, btimeNs, flags } = attributes;
    if (mode !== undefined) {
      const acl = this.#acl(cached, ACL_ACCESS);
      inode.bi_mode = (inode.bi_mode & 0xf000) | (mode & 0o7777);
      if (acl !== undefined) this.putAcls(cached, [{ type: ACL_ACCESS, acl: chmodAcl(acl, mode) }]);
    }
    if (uid !== undefined) inode.bi_uid = uid;
    if (gid !== undefined) inode.bi_gid = gid;
    if (atimeNs !== undefined) inode.bi_atime = this.timeOf(atimeNs);
    if (mtimeNs !== undefined) inode.bi_mtime = this.timeOf(mtimeNs);
    if (btimeNs !== undefined) inode.bi_otime = this.timeOf(btimeNs);
    if (flags !== undefined) {
      const bits = flags.reduce((mask, flag) => mask | (1 << inodeFlags.idOf(flag)), 0);
      inode.bi_flags = (inode.bi_flags & ~USER_FLAGS) | bits;
    }
    inode.bi_ctime = ctimeNs === undefined ? this.time() : this.timeOf(ctimeNs);
  }

  /**
   * Sets an extended attribute, as setxattr takes it: ACLs in the form of the system call, which may change the mode; `bcachefs.NAME`
   * is setOption's.
   * @throws UsageError for a namespace that cannot be stored, or not of such a file, a value that is too large for a key, and what is not an ACL
   */
  setXattr(file: FileRef, fullName: string | Uint8Array, value: Uint8Array): void {
    this.cache.trim();
    const cached = this.writable(file);
    const { type, name, what } = xattrNameOf(fullName);
    if (type === XATTR_USER && !hasContents(modeType(cached.inode.bi_mode))) throw new FileError('EPERM', what);
    if (!isAclType(type)) this.#putXattr(cached, type, name, value, what);
    else {
      if (type === ACL_DEFAULT && !isDir(cached)) throw new FileError('EINVAL', what);
      const acl = parseAcl(value);
      if (type === ACL_ACCESS && isOnlyMode(acl)) this.#dropXattr(cached, type, name);
      else this.#putXattr(cached, type, name, encodeAcl(acl), what);
      if (type === ACL_ACCESS) cached.inode.bi_mode = (cached.inode.bi_mode & ~0o777) | aclModeBits(acl);
    }
    this.touchChanged(cached);
  }

  /** @throws FileError ENODATA when it is not there */
  removeXattr(file: FileRef, fullName: string | Uint8Array): void {
    this.cache.trim();
    const cached = this.writable(file);
    const { type, name, what } = xattrNameOf(fullName);
    if (!this.#dropXattr(cached, type, name)) throw new FileError('ENODATA', what);
    this.touchChanged(cached);
  }

  /**
   * An option of the inode's own; undefined gives it back to what the directory has. What a directory has goes on to files that are
   * made in it later. What a file has already is left for a kernel to compress or move.
   * @param value as in the table of options, validated
   */
  setOption(file: FileRef, name: InodeOptionName, value: number | undefined): void {
    this.cache.trim();
    const cached = this.writable(file);
    const row = inodeOptions.byName(name);
    assert(row !== undefined, `${name} is an option of inodes`);
    const { inode } = cached;
    const bit = 1 << row.id;
    inode.bi_fields_set = value === undefined ? inode.bi_fields_set & ~bit : inode.bi_fields_set | bit;
    if (value !== undefined) inode[row.field] = value + 1;
    else inode[row.field] = this.#parentOption(cached, row.field);
    if (value !== undefined) {
      this.#noteFeature(name, value);
      if (this.#isForBackground(name, inode)) this.#askForScan(cached);
    }
    this.touchChanged(cached);
  }

  /**
   * Takes on the options that the directory has and the file has not of its own: what was set on a directory reaches what is in it already.
   * Mirrors bch2_ioc_reinherit_attrs; unlike there, a kernel is asked to look at what the file has, as when they are set on the file.
   * @returns whether that changed anything
   */
  reinherit(directory: FileRef, file: FileRef): boolean {
    this.cache.trim();
    const { inode: dir } = this.cached(directory);
    const fields = this.#differingOptions(this.cached(file).inode, dir);
    if (fields.length === 0) return false;
    const cached = this.writable(file);
    takeOptions(cached.inode, dir, fields);
    const names = inodeOptions.rows.filter(({ field }) => fields.includes(field)).map(({ name }) => name);
    if (names.some(name => this.#isForBackground(name, cached.inode))) this.#askForScan(cached);
    return true;
  }

  /** What a kernel has to understand before it may use the options that were set. Mirrors bch2_opt_check_may_set. */
  get optionFeatures(): readonly FeatureName[] {
    return [...this.#optionFeatures];
  }

  #noteFeature(name: InodeOptionName, value: number): void {
    if (name === 'erasure_code' && value !== 0) this.#optionFeatures.add('ec');
    if (name !== 'compression' && name !== 'background_compression') return;
    const feature = compressionOptions.byId(decodeCompression(value).type)?.feature;
    if (feature != null) this.#optionFeatures.add(feature);
  }

  // ---- what the neighbours need: file-content.ts, subvolumes.ts, initialize.ts

  /** Now, as inodes have it. */
  time(): bigint {
    return this.timeOf(this.#now());
  }

  timeOf(ns: bigint): bigint {
    const units = ns >= 0n ? ns / this.#timePrecision : -((-ns + this.#timePrecision - 1n) / this.#timePrecision);
    return BigInt.asUintN(64, units - this.#timeBase);
  }

  cached({ subvolume, inum }: FileRef): CachedInode {
    const found = this.cache.find(this.#table, subvolume, inum);
    if (found === undefined) throw new FileError('ENOENT', `inode ${inum} of subvolume ${subvolume}`);
    return found;
  }

  /** An inode that will be changed. */
  writable(file: FileRef): CachedInode {
    const cached = this.cached(file);
    if (this.#table.subvolume(file.subvolume)?.isReadOnly) throw new FileError('EROFS', `inode ${file.inum}`);
    cached.isDirty = true;
    return cached;
  }

  directory(file: FileRef): CachedInode {
    const cached = this.cached(file);
    if (!isDir(cached)) throw new FileError('ENOTDIR', `inode ${file.inum}`);
    return cached;
  }

  writableDirectory(file: FileRef): CachedInode {
    this.directory(file);
    return this.writable(file);
  }

  dirents(cached: CachedInode): HashTable {
    const { words: inum, snapshot, subvolume, isNew } = cached;
    return direntTable({ inum, snapshot, subvolume, isNew, hash: hashOf(cached) });
  }

  xattrs(cached: CachedInode): HashTable {
    const { words: inum, snapshot, subvolume, isNew } = cached;
    return xattrTable({ inum, snapshot, subvolume, isNew, hash: hashOf(cached) });
  }

  findName(dir: CachedInode, name: Uint8Array) {
    return hashFind(this.tx, this.#table, this.dirents(dir), hashOf(dir).dirent(name), isDirentOf(name));
  }

  /** @throws FileError for a name that is not valid, or taken */
  checkNew(dir: CachedInode, name: Uint8Array): void {
    checkName(name);
    if (this.findName(dir, name) !== undefined) throw new FileError('EEXIST', printableBytes(name));
  }

  /** @throws FileError when there is no such name, or it leads nowhere */
  entry(dir: CachedInode, name: Uint8Array) {
    const key = this.findName(dir, name);
    if (key === undefined) throw new FileError('ENOENT', printableBytes(name));
    const entry = dirent.decode(key.value);
    const file = this.cached(this.targetOf(dir, entry.target));
    return { key, entry, file };
  }

  targetOf(dir: CachedInode, target: DirentTarget): FileRef {
    return 'inum' in target ? { subvolume: dir.subvolume, inum: target.inum } : this.root(target.child_subvol);
  }

  /** Nothing but names of subvolumes that are not seen here. */
  isEmpty(dir: CachedInode): boolean {
    const { words } = dir;
    const from = Uint32Array.of(0, 0, 0, words.lo, words.hi);
    const to = Uint32Array.of(0xffff_ffff, 0xffff_ffff, 0xffff_ffff, words.lo, words.hi);
    const table = this.dirents(dir);
    for (const key of visibleKeys(this.tx.btree('dirents'), this.#table, dir.snapshot, { from, to })) {
      if (key.k.type === DIRENT && table.isVisible(key)) return false;
    }
    return true;
  }

  /** An inode with a new number, with what it takes over from its directory. Mirrors bch2_inode_init and bch2_inode_create. */
  newInode(dir: CachedInode | undefined, subvolume: number, snapshot: number, request: NewInode): CachedInode {
    const { mode, uid = 0, gid = 0, rdev } = request;
    const now = this.time();
    const inode: EditableInode = { ...BLANK };
    inode.str_hash = this.#strHash;
    inode.bi_hash_seed = randomU64(this.random);
    inode.bi_mode = mode;
    inode.bi_uid = uid;
    inode.bi_gid = gid;
    if (rdev !== undefined) inode.bi_dev = ((rdev.major << 20) | rdev.minor) >>> 0;
    inode.bi_atime = now;
    inode.bi_mtime = now;
    inode.bi_ctime = now;
    inode.bi_otime = now;
    if (dir !== undefined) {
      const parent = dir.inode;
      if (parent.bi_mode & S_ISGID) {
        inode.bi_gid = parent.bi_gid;
        if (modeType(mode) === FILE_TYPE_DIR) inode.bi_mode |= S_ISGID;
      }
      for (const { field } of this.#rules.inodeOptions) inode[field] = parent[field];
    }
    return this.cache.add(subvolume, snapshot, this.#nextInum(), inode);
  }

  /** What a file takes over of its directory's default ACL, and the mode that it then has. Mirrors posix_acl_create. */
  inherit(dir: CachedInode, { mode, umask = 0, inheritsAcl = true }: NewInode): Inherited {
    const type = modeType(mode);
    const acl = inheritsAcl && type !== FILE_TYPE_LNK && this.#hasAcls ? this.#defaultAcl(dir) : NO_ACL;
    if (acl.length === 0) return { mode: type === FILE_TYPE_LNK ? mode : mode & ~umask, acls: [] };
    const access = maskAcl(acl, mode);
    return {
      mode: (mode & ~0o777) | aclModeBits(access),
      acls: [
        ...(type === FILE_TYPE_DIR ? [{ type: ACL_DEFAULT, acl }] : []),
        ...(isOnlyMode(access) ? [] : [{ type: ACL_ACCESS, acl: access }]),
      ],
    };
  }

  putAcls(cached: CachedInode, acls: readonly TypedAcl[]): void {
    for (const { type, acl } of acls) this.#putXattr(cached, type, NO_NAME, encodeAcl(acl), 'an ACL');
  }

  /** Makes a name for a file in a directory, where it was not before. */
  enter(dir: CachedInode, name: Uint8Array, file: CachedInode, target: DirentTarget): Bpos {
    const type = 'inum' in target ? modeType(file.inode.bi_mode) : FILE_TYPE_SUBVOL;
    const value = direntValue(name, type, target);
    const { pos } = hashSet(this.tx, this.#table, this.dirents(dir), hashOf(dir).dirent(name), isDirentOf(name), value);
    const now = this.time();
    if (isSubdirectory(file)) dir.inode.bi_nlink++;
    dir.inode.bi_mtime = now;
    dir.inode.bi_ctime = now;
    dir.isDirty = true;
    file.inode.bi_dir = dir.inum;
    file.inode.bi_dir_offset = bposOffset(pos);
    file.isDirty = true;
    return pos;
  }

  /** A dirent to a subvolume has one version only, which goes from the snapshot that it is in. */
  deleteName(dir: CachedInode, key: { readonly k: { readonly p: Bpos } }, isSubvolume: boolean): void {
    const snapshot = isSubvolume ? key.k.p[0]! : dir.snapshot;
    const table = { ...this.dirents(dir), snapshot };
    hashDelete(this.tx, this.#table, table, inSnapshot(key.k.p, snapshot));
  }

  touchChanged(cached: CachedInode): void {
    cached.inode.bi_ctime = this.time();
    cached.isDirty = true;
  }

  /** One name less: with the last one, the file goes. @returns whether it did */
  dropLink(file: CachedInode): boolean {
    file.isDirty = true;
    const isLast = file.inode.bi_nlink === 0 || isDir(file);
    if (isLast) this.#deleteInode(file);
    else file.inode.bi_nlink--;
    return isLast;
  }

  // ---- inside

  /** The directory and the file after a name between them went. */
  #left(dir: CachedInode, file: CachedInode, pos: Bpos): void {
    const now = this.time();
    this.#leaveEntry(dir, file);
    if (file.inode.bi_dir === dir.inum && file.inode.bi_dir_offset === bposOffset(pos)) {
      file.inode.bi_dir = 0n;
      file.inode.bi_dir_offset = 0n;
    }
    dir.inode.bi_mtime = now;
    dir.inode.bi_ctime = now;
    dir.isDirty = true;
    file.inode.bi_ctime = now;
    file.isDirty = true;
  }

  #leaveEntry(dir: CachedInode, file: CachedInode): void {
    if (isSubdirectory(file) && dir.inode.bi_nlink > 0) dir.inode.bi_nlink--;
  }

  #moved(file: CachedInode, dir: CachedInode, pos: Bpos): void {
    if (isSubdirectory(file)) dir.inode.bi_nlink++;
    file.inode.bi_dir = dir.inum;
    file.inode.bi_dir_offset = bposOffset(pos);
    if (file.inode.bi_parent_subvol !== 0 && file.inode.bi_parent_subvol !== dir.subvolume) {
      file.inode.bi_parent_subvol = dir.subvolume;
      this.#reparentSubvolume(file.inode.bi_subvol, dir.subvolume);
    }
    if (file.inode.bi_subvol !== 0) moveOlderRoots(this.tx, file.inum, file.snapshot, file.inode);
    file.isDirty = true;
  }

  #reparentSubvolume(id: number, parent: number): void {
    writeSubvolume(this.tx, id, { ...readSubvolume(this.tx, id), fs_path_parent: parent });
    // Readers of what is inside of a subvolume notice the move.
    this.#table = SnapshotTable.read(this.tx);
  }

  /** The name of one entry leads to what another does. @returns where it stands */
  #retarget(dir: CachedInode, at: FoundEntry, to: FoundEntry): Bpos {
    const pos = inSnapshot(at.key.k.p, dir.snapshot);
    const value = direntValue(at.entry.name.slice(), to.entry.type, this.#targetIn(dir, to.entry.target));
    const isOldSubvolume = at.entry.type === FILE_TYPE_SUBVOL && at.key.k.p[0] !== dir.snapshot;
    this.tx.update('dirents', makeKey(DIRENT, pos, value));
    if (isOldSubvolume) deleteInSnapshot(this.tx, 'dirents', this.#table, at.key.k.p);
    return pos;
  }

  #targetIn(dir: CachedInode, target: DirentTarget): DirentTarget {
    return 'inum' in target ? target : { ...target, parent_subvol: dir.subvolume };
  }

  /** Whether a directory is `above` or below it. */
  #isInside(dir: CachedInode, above: CachedInode): boolean {
    let at: CachedInode | undefined = dir;
    for (let depth = 0; at !== undefined && depth < 65_536; depth++) {
      if (at.inum === above.inum && at.subvolume === above.subvolume) return true;
      if (at.inode.bi_dir === 0n) return false;
      const subvolume: number = at.inode.bi_parent_subvol || at.subvolume;
      at = this.cache.find(this.#table, subvolume, at.inode.bi_dir);
    }
    return false;
  }

  /** @param what its name, for messages @throws FileError ERANGE */
  #putXattr(cached: CachedInode, type: number, name: Uint8Array, value: Uint8Array, what: string): void {
    if (name.length > XATTR_NAME_MAX || value.length > 0xffff) throw new FileError('ERANGE', what);
    const encoded = xattr.encode({
      type,
      name,
      value,
      nameLength: name.length,
      valueLength: value.length,
      sizeU64s: 0,
    });
    if (encoded.length > 8 * VALUE_U64S_MAX) throw new FileError('ERANGE', what);
    const hash = hashOf(cached).xattr(type, name);
    hashSet(this.tx, this.#table, this.xattrs(cached), hash, isXattrOf(type, name), encoded);
    if (type === ACL_DEFAULT) cached.defaultAcl = undefined;
  }

  /** Of a directory; without entries when it has none. Read once. */
  #defaultAcl(dir: CachedInode): Acl {
    dir.defaultAcl ??= this.#acl(dir, ACL_DEFAULT) ?? NO_ACL;
    return dir.defaultAcl;
  }

  /** @throws CorruptError */
  #acl(cached: CachedInode, type: number): Acl | undefined {
    const hash = hashOf(cached).xattr(type, NO_NAME);
    const key = hashFind(this.tx, this.#table, this.xattrs(cached), hash, isXattrOf(type, NO_NAME));
    if (key === undefined) return undefined;
    const acl = decodeAcl(xattr.decode(key.value).value);
    if (acl === undefined || !isWholeAcl(acl)) {
      const where = { btree: 'xattrs', pos: bposText(key.k.p) } as const;
      throw new CorruptError('xattr_val_size_too_small', where, 'not a whole ACL');
    }
    return acl;
  }

  #dropXattr(cached: CachedInode, type: number, name: Uint8Array): boolean {
    const table = this.xattrs(cached);
    const key = hashFind(this.tx, this.#table, table, hashOf(cached).xattr(type, name), isXattrOf(type, name));
    if (key === undefined) return false;
    hashDelete(this.tx, this.#table, table, inSnapshot(key.k.p, cached.snapshot));
    if (type === ACL_DEFAULT) cached.defaultAcl = undefined;
    return true;
  }

  /** Whether data that are written already may have to be moved or compressed by it. Mirrors bch2_xattr_bcachefs_set. */
  #isForBackground(name: InodeOptionName, inode: Readonly<EditableInode>): boolean {
    if (name !== 'compression') return name === 'background_compression' || name === 'background_target';
    const { bi_background_compression: own } = inode;
    return (own > 0 ? own - 1 : Number(this.#option('background_compression'))) === 0;
  }

  /** A kernel looks through the file's extents when it sees that the cookie was raised. Mirrors bch2_set_rebalance_needs_scan. */
  #askForScan({ words: { lo, hi } }: CachedInode): void {
    const pos = Uint32Array.of(0xffff_ffff, 0xffff_fffe, 0xffff_ffff, lo, hi);
    const before = this.tx.get(REBALANCE_WORK, pos);
    const count = before?.k.type === COOKIE ? cookie.decode(before.value).cookie : 0n;
    this.tx.update(REBALANCE_WORK, makeKey(COOKIE, pos, cookie.encode({ cookie: count + 1n })));
  }

  /** The filesystem's. */
  #option(name: 'acl' | 'str_hash' | 'background_compression'): OptionNumber {
    return optionFromSuperblock(option(name), this.tx.sb, 0n, this.#rules.release);
  }

  /** Options that a file would take on in a directory: those that it does not have of its own. Mirrors bch2_reinherit_attrs. */
  #differingOptions(inode: EditableInode, dir: EditableInode): readonly OptionField[] {
    return this.#rules.inodeOptions
      .filter(({ id, field }) => ((inode.bi_fields_set >>> id) & 1) === 0 && inode[field] !== dir[field])
      .map(({ field }) => field);
  }

  #parentOption(cached: CachedInode, field: OptionField): number {
    const { bi_dir, bi_parent_subvol } = cached.inode;
    if (bi_dir === 0n) return 0;
    const subvolume = bi_parent_subvol || cached.subvolume;
    return this.cache.find(this.#table, subvolume, bi_dir)?.inode[field] ?? 0;
  }

  /** Everything of an inode that its subvolume sees. Mirrors bch2_inode_rm. */
  #deleteInode(file: CachedInode): void {
    const { words, snapshot, inode, inum } = file;
    this.cache.forget(file);
    this.#deleteKeys(words, snapshot);
    this.#deleteInodeKey(inodePos(file), inode.bi_generation);
    // Versions in snapshots above that were deleted before and only waited for this one.
    for (let id = snapshot; ; ) {
      const parent = this.#table.node(id)?.parent ?? 0;
      if (parent <= id) return;
      const found = readInode(this.tx, this.#table, parent, inum);
      if (found === undefined) return;
      const { bi_flags, bi_generation } = found.inode;
      if ((bi_flags & (UNLINKED | HAS_CHILD_SNAPSHOT)) !== UNLINKED) return;
      this.#deleteKeys(words, found.keySnapshot);
      this.#deleteInodeKey(inodePos({ words, snapshot: found.keySnapshot }), bi_generation);
      id = found.keySnapshot;
    }
  }

  #deleteKeys({ lo, hi }: CachedInode['words'], snapshot: number): void {
    const from = Uint32Array.of(0, 0, 0, lo, hi);
    const to = Uint32Array.of(0xffff_ffff, 0xffff_ffff, 0xffff_ffff, lo, hi);
    for (const btree of ['extents', 'xattrs', 'dirents'] as const) {
      const view = this.tx.btree(btree);
      // Most files have keys in one of the three, and a lookup costs a fifth of a walk's beginning.
      if (view.first(from, to) === undefined) continue;
      const positions = [...visibleKeys(view, this.#table, snapshot, { from, to })].map(({ k }) => k.p);
      for (const p of positions) deleteInSnapshot(this.tx, btree, this.#table, inSnapshot(p, snapshot));
    }
  }

  #deleteInodeKey(pos: Bpos, generation: number): void {
    const value = inodeGeneration.encode({ bi_generation: (generation + 1) >>> 0, pad: 0 });
    this.tx.update(INODES, makeKey(INODE_GENERATION, pos, value));
  }

  /**
   * The next number that no snapshot has an inode of, or had. The kernel looks for a hole from the start of its processor's share of the
   * numbers; here the one after the highest is taken, which one lookup finds, and holes only when nothing is left above.
   * @throws FileError ENOSPC when all are taken
   */
  #nextInum(): bigint {
    let free = this.#freeInums;
    if (free === undefined) free = this.#inumsAbove();
    if (free.next >= free.end) free = this.#nextHole(free);
    this.#freeInums = free;
    return BigInt(free.next++);
  }

  /** What is free above all numbers that are taken; may be nothing. */
  #inumsAbove(): FreeInums {
    const [from, to] = [makeBpos(0n, BigInt(INUM_MIN), 0), makeBpos(0n, BigInt(INUM_END - 1), 0xffff_ffff)];
    let start = INUM_MIN;
    for (const { k } of this.tx.btree(INODES).keys({ from, to, backward: true })) {
      start = inumOf(k.p) + 1;
      break;
    }
    return { next: start, end: INUM_END, isHole: false, holesEnd: start };
  }

  /** The next hole below the numbers that were the highest at first; those above have been given since, or were taken. */
  #nextHole({ end: before, isHole, holesEnd }: FreeInums): FreeInums {
    let next = isHole ? before : INUM_MIN;
    let end = holesEnd;
    for (const { k } of this.tx.btree(INODES).keys({ from: makeBpos(0n, BigInt(next), 0) })) {
      const taken = inumOf(k.p);
      if (taken > next || taken >= holesEnd) {
        end = Math.min(taken, holesEnd);
        break;
      }
      next = taken + 1;
    }
    if (next >= end) throw new FileError('ENOSPC', 'a new inode');
    return { next, end, isHole: true, holesEnd };
  }
}

/** Numbers of inodes that are free: from the first, below the second. */
interface FreeInums {
  next: number;
  readonly end: number;
  /** Others follow; else it is what lies above all that were taken. */
  readonly isHole: boolean;
  /** Where that begins. */
  readonly holesEnd: number;
}

const inumOf = (pos: Bpos): number => pos[2]! * 2 ** 32 + pos[1]!;

type FoundEntry = {
  readonly key: { readonly k: { readonly p: Bpos } };
  readonly entry: Dirent;
  readonly file: CachedInode;
};

type OptionField = InodeOptionRow['field'];

function takeOptions(inode: EditableInode, dir: EditableInode, fields: readonly OptionField[]): void {
  for (const field of fields) inode[field] = dir[field];
}

const isDir = ({ inode }: CachedInode): boolean => modeType(inode.bi_mode) === FILE_TYPE_DIR;

/** What counts in its directory's links: directories, but no roots of subvolumes. */
const isSubdirectory = (cached: CachedInode): boolean => isDir(cached) && cached.inode.bi_subvol === 0;

function inSnapshot(pos: Bpos, snapshot: number): Bpos {
  const copy = pos.slice();
  copy[0] = snapshot;
  return copy;
}

const direntValue = (name: Uint8Array, type: number, target: DirentTarget): Uint8Array =>
  dirent.encode({
    target,
    type,
    name,
    casefoldedName: undefined,
    namesLength: name.length,
    namesLengthMax: name.length,
  });

function checkName(name: Uint8Array): void {
  const what = printableBytes(name);
  if (name.length > NAME_MAX) throw new FileError('ENAMETOOLONG', what);
  const isDots = name.length <= 2 && name.every(byte => byte === 0x2e);
  if (isDots || name.includes(0) || name.includes(0x2f)) throw new FileError('EINVAL', what);
}

/** Its namespace as a type, and the rest. @throws FileError */
function xattrNameOf(fullName: string | Uint8Array) {
  const full = typeof fullName === 'string' ? encoder.encode(fullName) : fullName;
  const what = printableBytes(full);
  const split = splitXattrName(full);
  if (split === undefined) throw new FileError('EINVAL', `${what} is in no namespace that can be stored`);
  return { ...split, what };
}

function randomU64(random: RandomSource): bigint {
  const bytes = random.bytes(8);
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
}
