// A tree of files in the middle of a change: the transaction, the inodes as they will be, the snapshots as they are by now, the clock. What
// changes names, attributes and contents stands on it. An operation first asks for the inodes that it will change, which is refused in a
// subvolume that is read-only, and changes them then in place. Permissions are not looked at: anyone who has the devices may do everything.

import type { Transaction } from '../btree/transaction.ts';
import { type FeatureName, incompatFeatures } from '../ondisk/features.ts';
import { type FormatRules, rulesOf } from '../ondisk/format-rules.ts';
import { isDirectory } from '../ondisk/inode-unpack.ts';
import { type OptionNumber, optionFromSuperblock } from '../ondisk/option-values.ts';
import { option } from '../ondisk/options.ts';
import { strHashTypeOf } from '../ondisk/str-hash-types.ts';
import { ROOT_SUBVOLUME, SnapshotTable } from '../snapshots/snapshot-table.ts';
import type { RandomSource } from '../util/random.ts';
import { isFilesystemCasefolded } from './case.ts';
import { FileError } from './file-error.ts';
import { type CachedInode, InodeCache } from './inode-cache.ts';
import { InodeNumbers } from './inode-numbers.ts';

const NEW_SIPHASH = 1n << BigInt(incompatFeatures.idOf('new_siphash'));

/** A file, whatever its type, to an edit, which knows the rest: a subvolume and a number in it. */
export interface FileRef {
  readonly subvolume: number;
  readonly inum: bigint;
}

export interface TreeEditorOptions {
  /** For hash seeds and the like. */
  readonly random: RandomSource;
  /** Nanoseconds since 1970. */
  readonly now: () => bigint;
}

export class EditState {
  readonly tx: Transaction;
  readonly random: RandomSource;
  readonly cache: InodeCache;
  readonly inums: InodeNumbers;
  readonly rules: FormatRules;
  /** Of strHashTypes: how a new directory hashes its names. */
  readonly newStrHash: number;
  /** Whether ACLs count in this filesystem. */
  readonly hasAcls: boolean;
  /** Whether directories that say nothing of it compare names without regard to case. */
  readonly isCasefolded: boolean;
  /** What a kernel has to understand before it may use the options that were set. Mirrors bch2_opt_check_may_set. */
  readonly optionFeatures = new Set<FeatureName>();
  readonly #now: () => bigint;
  readonly #timeBase: bigint;
  readonly #timePrecision: bigint;
  #table: SnapshotTable;

  /** @throws CorruptError, DeviceError when the snapshots cannot be read */
  constructor(tx: Transaction, { random, now }: TreeEditorOptions) {
    this.tx = tx;
    this.random = random;
    this.cache = new InodeCache(tx);
    this.inums = new InodeNumbers(tx);
    this.rules = rulesOf(tx.sb);
    const hasNewSiphash = ((tx.sb.features[0] ?? 0n) & NEW_SIPHASH) !== 0n;
    this.newStrHash = strHashTypeOf(Number(this.option('str_hash')), hasNewSiphash);
    this.hasAcls = this.option('acl') !== 0;
    this.isCasefolded = isFilesystemCasefolded(tx.sb);
    this.#now = now;
    this.#timeBase = tx.sb.time_base_lo;
    this.#timePrecision = BigInt(tx.sb.time_precision || 1);
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

  /** As rereadSnapshots, when a subvolume only has another place: inodes are seen where they were. */
  rereadSubvolumes(): void {
    this.#table = SnapshotTable.read(this.tx);
  }

  root(subvolume: number = ROOT_SUBVOLUME): FileRef {
    const entry = this.#table.subvolume(subvolume);
    if (entry === undefined) throw new FileError('ENOENT', `subvolume ${subvolume}`);
    return { subvolume, inum: entry.rootInode };
  }

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
    if (!isDirectory(cached.inode)) throw new FileError('ENOTDIR', `inode ${file.inum}`);
    return cached;
  }

  writableDirectory(file: FileRef): CachedInode {
    this.directory(file);
    return this.writable(file);
  }

  /** The directory that an inode says it is in; undefined where it says none, or one that is not there. */
  parentOf({ inode, subvolume }: CachedInode): CachedInode | undefined {
    if (inode.bi_dir === 0n) return undefined;
    return this.cache.find(this.#table, inode.bi_parent_subvol || subvolume, inode.bi_dir);
  }

  touchChanged(cached: CachedInode): void {
    cached.inode.bi_ctime = this.time();
    cached.isDirty = true;
  }

  /** A directory whose names changed. */
  touchDirectory(dir: CachedInode, now: bigint): void {
    dir.inode.bi_mtime = now;
    dir.inode.bi_ctime = now;
    dir.isDirty = true;
  }

  /** The filesystem's. */
  option(name: 'acl' | 'str_hash' | 'background_compression'): OptionNumber {
    return optionFromSuperblock(option(name), this.tx.sb, 0n, this.rules.release);
  }
}

/** What counts in its directory's links: directories, but no roots of subvolumes. */
export const isSubdirectory = (cached: CachedInode): boolean =>
  isDirectory(cached.inode) && cached.inode.bi_subvol === 0;
