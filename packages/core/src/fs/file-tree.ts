// The files of one subvolume, or of one snapshot, as a person sees them: a tree of names, each with an inode. Directory entries
// that lead to subvolumes are crossed: from there on, the other subvolume's snapshot decides what is seen.
//
// Whatever the image says, every walk ends: directories are entered once each, lists from disk are read in batches. What is lost or
// contradicts itself is reported with the path where it was met, and work goes on with the rest.
// Sources: bch2_lookup and bch2_vfs_inode_get in fs.c, dirent.c, subvolume.c, v1.13.0.

import type { FilesystemSource } from '../btree/source.ts';
import { DataReader } from '../data/extent-read.ts';
import { readFile } from '../data/file-read.ts';
import type { FileFinding } from '../data/finding.ts';
import { getBits } from '../ondisk/bits.ts';
import { bposText } from '../ondisk/bpos.ts';
import { assert, CorruptError, UsageError } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { FILE_TYPE_DIR, FILE_TYPE_SUBVOL, fileTypes } from '../ondisk/inode-tables.ts';
import { blankInode, type Inode, isDirectory, modeType, ROOT_INODE } from '../ondisk/inode-unpack.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { type OnDamage, reportDamage } from '../snapshots/damage.ts';
import { ROOT_SUBVOLUME, SnapshotTable } from '../snapshots/snapshot-table.ts';
import { areEqual, bytesOfWord, compareBytes, printableBytes } from '../util/byte-text.ts';
import { isCasefolded, isFilesystemCasefolded } from './case.ts';
import { foldName } from './casefold.ts';
import { type DirectoryEntry, type DirentView, findDirent, lookupName, mayHoldName, readDirectory } from './dirents.ts';
import { FileError, type FileErrorCode } from './file-error.ts';
import { type FileStat, statOf } from './file-stat.ts';
import { readInode } from './inode.ts';
import { DamageReporter } from './path-damage.ts';
import { StrHash } from './str-hash.ts';
import { type ExtendedAttribute, type InodeOptionText, inodeOptionTexts, readXattrs } from './xattrs.ts';

/** A file, whatever its type, as a reader found it: with its inode, seen through one snapshot. */
export interface FileNode {
  readonly inum: bigint;
  /** 0 when it is seen through a snapshot that no subvolume lives in. */
  readonly subvolume: number;
  /** The snapshot that it is read in. */
  readonly snapshot: number;
  /** The snapshot of its inode's key: the same, or an ancestor. */
  readonly keySnapshot: number;
  readonly inode: Inode;
}

/** An entry with the directory that it is in. */
export interface FileEntry extends DirectoryEntry {
  readonly directory: FileNode;
}

export interface FileTreeOptions {
  /** By number, or by the path of its root from the root of subvolume 1; subvolume 1. */
  readonly subvolume?: number | string | Uint8Array | undefined;
  /** Instead of a subvolume: what keys of this snapshot and its ancestors say. */
  readonly snapshot?: number | undefined;
  /** Called once with each loss, and the path where it was met. Without it the first is thrown. */
  readonly onDamage?: OnDamage | undefined;
  /** If it was read already. */
  readonly table?: SnapshotTable | undefined;
}

export interface LookupOptions {
  /** The last part may be a symlink that is followed, as those on the way are: true. */
  readonly followLinks?: boolean;
}

export interface WalkItem {
  /** Where the walk began (see `path` of its options), and the names from there, joined by `/`. */
  readonly path: Uint8Array;
  /** 0 for the start. */
  readonly depth: number;
  /** The start has none. */
  readonly entry: FileEntry | undefined;
  /** Undefined: what the entry leads to is lost. */
  readonly node: FileNode | undefined;
}

export interface WalkTreeOptions {
  /** The root. */
  readonly from?: FileNode | undefined;
  /** Where `from` is: what paths begin with, those of items and those that are reported; nothing. */
  readonly path?: Uint8Array | undefined;
  /** Whether to go into a directory that was just given: always. */
  descend?(item: WalkItem): boolean;
}

/** MAXSYMLINKS of Linux. */
const LINKS_MAX = 40;
/** PATH_MAX: longer targets are none. */
const LINK_TARGET_MAX = 4096;
/** Entries of a directory that are in memory at once. */
const BATCH = 512;
/** Directories below each other: a loop of hard links ends earlier, but names add up to paths. */
const DEPTH_MAX = 4096;

const SLASH = 0x2f;
const NO_BYTES = new Uint8Array(0);

/** Whether anything but more NULs follows the first: no path has one. */
export function hasNulInside(target: Uint8Array): boolean {
  const end = target.indexOf(0);
  return end >= 0 && target.subarray(end).some(byte => byte !== 0);
}

/** Its first mount makes the root and all else of a filesystem that was formatted with --no_initialize. */
const isInitialized = ({ sb }: FilesystemSource): boolean => getBits(sb.flags, sbBits.INITIALIZED) !== 0;

/** As that mount will make it. */
const emptyRoot: Inode = { ...blankInode, bi_mode: 0o040_755 };

export class FileTree {
  readonly #reporter: DamageReporter;
  #hash: { readonly of: Inode; readonly hash: StrHash } | undefined;
  #data: DataReader | undefined;
  readonly #isFilesystemCasefolded: boolean;

  private constructor(
    readonly source: FilesystemSource,
    readonly table: SnapshotTable,
    /** The subvolume that is seen; 0 when it is a snapshot that no subvolume lives in. */
    readonly subvolume: number,
    /** The snapshot that its files are read in. */
    readonly snapshot: number,
    readonly rootInode: bigint,
    reporter: DamageReporter,
  ) {
    this.#reporter = reporter;
    this.#isFilesystemCasefolded = isFilesystemCasefolded(source.sb);
  }

  /**
   * @throws UsageError when there is no such subvolume, snapshot or path
   * @throws CorruptError, DeviceError when it may have been in what is lost, whether anybody hears of that or not
   * @throws CorruptError, DeviceError for what is lost, unless `onDamage` is given
   */
  static open(source: FilesystemSource, options: FileTreeOptions = {}): FileTree {
    const { subvolume = ROOT_SUBVOLUME, snapshot } = options;
    const reporter = new DamageReporter(options.onDamage);
    const table = options.table ?? SnapshotTable.read(source, { onDamage: reporter.at(undefined) });
    if (snapshot !== undefined) return FileTree.#ofSnapshot(source, table, snapshot, reporter);
    if (typeof subvolume === 'number') return FileTree.#ofSubvolume(source, table, subvolume, reporter);
    const outer = FileTree.#ofSubvolume(source, table, ROOT_SUBVOLUME, reporter);
    const node = outer.lookup(subvolume);
    if (table.subvolume(node.subvolume)?.rootInode !== node.inum) {
      throw new UsageError(`${pathText(bytesOf(subvolume))} is not the root of a subvolume`);
    }
    return FileTree.#ofSubvolume(source, table, node.subvolume, reporter);
  }

  static #ofSubvolume(source: FilesystemSource, table: SnapshotTable, id: number, reporter: DamageReporter): FileTree {
    const found = table.subvolume(id);
    if (found !== undefined) return new FileTree(source, table, id, found.snapshot, found.rootInode, reporter);
    const where = { btree: 'subvolumes', pos: `0:${id}:0` };
    if (id !== ROOT_SUBVOLUME) {
      if (reporter.count === 0) throw new UsageError(`there is no subvolume ${id}`, undefined, 'ENOENT');
      const detail = `subvolume ${id} is not in what is left of the subvolumes`;
      throw reporter.lossOf(new CorruptError('subvol_missing', where, detail));
    }
    if (table.nodes().length > 0 || table.subvolumes().length > 0) {
      const detail = 'the first subvolume is lost, and with it the root directory';
      throw reporter.lossOf(new CorruptError('root_subvol_missing', where, detail));
    }
    const isEmpty = !isInitialized(source);
    if (isEmpty) return new FileTree(source, table, ROOT_SUBVOLUME, 0xffff_ffff, ROOT_INODE, reporter);
    // The tables are lost: what fsck makes of them is subvolume 1 in the first snapshot.
    const detail = 'subvolume 1 is missing, and every other: its root is taken for 4096 in snapshot 4294967295';
    reportDamage(new CorruptError('root_subvol_missing', where, detail), reporter.at(undefined));
    return new FileTree(source, table, ROOT_SUBVOLUME, 0xffff_ffff, ROOT_INODE, reporter);
  }

  /** The root of a snapshot that no subvolume lives in has the number that it has in the others of its tree. */
  static #ofSnapshot(source: FilesystemSource, table: SnapshotTable, id: number, reporter: DamageReporter): FileTree {
    const node = table.node(id);
    if (node === undefined) {
      if (reporter.count === 0) throw new UsageError(`there is no snapshot ${id}`, undefined, 'ENOENT');
      const where = { btree: 'snapshots', pos: `0:${id}:0` };
      const detail = `snapshot ${id} is not in what is left of the snapshots`;
      throw reporter.lossOf(new CorruptError('snapshot_node_missing', where, detail));
    }
    const own = table.subvolumes().find(({ snapshot }) => snapshot === id);
    const sibling = own ?? table.subvolumes().find(({ snapshot }) => table.node(snapshot)?.tree === node.tree);
    return new FileTree(source, table, own?.id ?? 0, id, sibling?.rootInode ?? ROOT_INODE, reporter);
  }

  /**
   * @throws CorruptError root_dir_missing, DeviceError when a member is missing that it may be on, whether anybody hears of damage or not:
   * without a root there is no tree
   */
  root(): FileNode {
    const found = this.node(this.rootInode);
    if (found !== undefined) return found;
    if (!isInitialized(this.source)) {
      const { subvolume, snapshot, rootInode: inum } = this;
      return { inum, subvolume, snapshot, keySnapshot: snapshot, inode: emptyRoot };
    }
    const where = { btree: 'inodes', path: '/' };
    throw this.#reporter.lossOf(new CorruptError('root_dir_missing', where, `its inode ${this.rootInode} is missing`));
  }

  /** The inode of a number in this tree's own subvolume, whether a name leads to it or not. */
  node(inum: bigint): FileNode | undefined {
    return this.#read(this.subvolume, this.snapshot, inum, undefined);
  }

  /** A listener for losses at a path, each reported once; undefined where there is none. */
  onDamageAt(path: Uint8Array | undefined): OnDamage | undefined {
    return this.#reporter.at(path);
  }

  /** The entries of a directory in the order of their hashes, as readdir gives them. */
  *entries(directory: FileNode, options: { readonly path?: Uint8Array | undefined } = {}): Generator<FileEntry> {
    yield* this.#entries(directory, options.path, undefined);
  }

  /** What an entry leads to; undefined when it is lost, which is reported. */
  open(entry: FileEntry, options: { readonly path?: Uint8Array | undefined } = {}): FileNode | undefined {
    const { directory, target } = entry;
    const onDamage = this.#reporter.at(options.path);
    const report = (error: FaultName, detail: string) =>
      reportDamage(new CorruptError(error, { btree: 'dirents', pos: bposText(entry.pos) }, detail), onDamage);
    let { subvolume, snapshot } = directory;
    let inum: bigint;
    if ('inum' in target) {
      inum = target.inum;
    } else {
      const child = this.table.subvolume(target.child_subvol);
      if (child === undefined) {
        report('dirent_to_missing_subvol', `leads to subvolume ${target.child_subvol}, which is missing`);
        return undefined;
      }
      subvolume = child.id;
      snapshot = child.snapshot;
      inum = child.rootInode;
    }
    const node = this.#read(subvolume, snapshot, inum, options.path);
    if (node === undefined) {
      if ('inum' in target) report('dirent_to_missing_inode', `leads to inode ${inum}, which is missing`);
      else report('subvol_to_missing_root', `the root ${inum} of subvolume ${subvolume} is missing`);
      return undefined;
    }
    const type = modeType(node.inode.bi_mode);
    const expected = entry.type === FILE_TYPE_SUBVOL ? FILE_TYPE_DIR : entry.type;
    if (type !== expected) {
      report(
        'dirent_d_type_wrong',
        `says ${fileTypes.nameOf(entry.type)}, the inode is of type ${fileTypes.nameOf(type)}`,
      );
    }
    return node;
  }

  /** The entry of a name in a directory; undefined when there is none. Names at wrong hashes are found too. */
  find(directory: FileNode, name: Uint8Array, options: { readonly path?: Uint8Array | undefined } = {}) {
    const hash = this.#hashOf(directory.inode);
    const wanted = this.isCasefolded(directory.inode) ? foldName(name) : name;
    const view = this.#direntView(directory);
    const onDamage = this.#reporter.at(options.path);
    const found = hash.isKnown ? findDirent(view, wordsOf(directory.inum), hash, wanted, { onDamage }) : undefined;
    if (found !== undefined) return { directory, ...found };
    if (hash.isKnown && wanted === name && !mayHoldName(view, wordsOf(directory.inum), name, { onDamage }))
      return undefined;
    for (const entry of this.#entries(directory, options.path, undefined)) {
      if (areEqual(lookupName(entry), wanted) || areEqual(foldedIf(entry), wanted)) return entry;
    }
    return undefined;
  }

  /**
   * The file at a path, from the root; `..` and symlinks stay inside of the tree.
   * @param path parts joined by `/`
   * @throws UsageError when there is none: no such name, not a directory on the way, too many symlinks
   */
  lookup(path: string | Uint8Array, { followLinks = true }: LookupOptions = {}): FileNode {
    const full = bytesOf(path);
    const refuse = (code: FileErrorCode) => new FileError(code, pathText(full));
    const lost = (error: FaultName, why: string) =>
      this.#reporter.lossOf(new CorruptError(error, { path: pathText(full) }, why));
    const trail = [this.root()];
    const names: Uint8Array[] = [];
    const ahead = partsOf(full).toReversed();
    const needsDirectory = full.at(-1) === SLASH;
    let links = 0;
    for (let part = ahead.pop(); part !== undefined; part = ahead.pop()) {
      const directory = trail.at(-1)!;
      if (!isDirectory(directory.inode)) throw refuse('ENOTDIR');
      if (isDots(part)) {
        if (part.length === 2 && trail.length > 1) {
          trail.pop();
          names.pop();
        }
        continue;
      }
      const at = joinPath([...names, part]);
      const losses = this.#reporter.count;
      const entry = this.find(directory, part, { path: at });
      const node = entry === undefined ? undefined : this.open(entry, { path: at });
      if (entry === undefined) {
        if (this.#reporter.count === losses) throw refuse('ENOENT');
        throw lost('dirent_lost', 'no such name in what is left of its directory');
      }
      if (node === undefined) throw lost('dirent_to_missing_inode', 'what the name leads to is lost');
      const isLink = fileTypes.byId(modeType(node.inode.bi_mode))?.name === 'lnk';
      if (isLink && (ahead.length > 0 || followLinks || needsDirectory)) {
        if (++links > LINKS_MAX) throw refuse('ELOOP');
        const target = this.linkTarget(node, { path: at });
        if (target.length === 0) throw lost('symlink_target_lost', 'a symbolic link without a target');
        if (target[0] === SLASH) {
          trail.length = 1;
          names.length = 0;
        }
        ahead.push(...partsOf(target).toReversed());
        continue;
      }
      trail.push(node);
      names.push(part);
    }
    const found = trail.at(-1)!;
    if (needsDirectory && !isDirectory(found.inode)) throw refuse('ENOTDIR');
    return found;
  }

  stat(node: FileNode): FileStat {
    return statOf(node, this.source.sb, isDirectory(node.inode) && this.isCasefolded(node.inode));
  }

  /** Extended attributes; ACLs as getxattr gives them, options of the inode kept apart: see `options`. */
  xattrs(node: FileNode, options: { readonly path?: Uint8Array | undefined } = {}): readonly ExtendedAttribute[] {
    return [
      ...readXattrs(this.source.btree('xattrs'), this.table, node.snapshot, node.inum, {
        onDamage: this.#reporter.at(options.path),
        hash: this.#hashOf(node.inode),
      }),
    ];
  }

  options(node: FileNode): readonly InodeOptionText[] {
    return inodeOptionTexts(node.inode, this.source.sb);
  }

  /** Where a symlink leads, up to its first NUL. `loadCompression()` has to have been awaited. */
  linkTarget(node: FileNode, options: { readonly path?: Uint8Array | undefined } = {}): Uint8Array {
    const onDamage = this.#reporter.at(options.path);
    const { bi_size } = node.inode;
    if (bi_size > BigInt(LINK_TARGET_MAX)) {
      const where = { btree: 'inodes', pos: `0:${node.inum}:${node.keySnapshot}` };
      const detail = `a symlink of ${bi_size} bytes, expected up to ${LINK_TARGET_MAX}`;
      reportDamage(new CorruptError('vfs_i_size_bad', where, detail), onDamage);
    }
    const sizeBytes = bi_size > BigInt(LINK_TARGET_MAX) ? LINK_TARGET_MAX : Number(bi_size);
    const target = new Uint8Array(sizeBytes);
    this.#data ??= new DataReader(this.source, { onDamage: this.#reporter.at(undefined) });
    const file = { inum: node.inum, snapshot: node.snapshot, sizeBytes };
    const onFinding = onDamage === undefined ? undefined : ({ damage }: FileFinding) => onDamage(damage);
    readFile(this.#data, this.table, file, 0, target, { onFinding });
    const end = target.indexOf(0);
    if (end < 0) return target;
    if (hasNulInside(target)) {
      const where = { btree: 'inodes', pos: `0:${node.inum}:${node.keySnapshot}` };
      reportDamage(new CorruptError('vfs_i_size_bad', where, 'a symlink whose target has a NUL in it'), onDamage);
    }
    return target.subarray(0, end);
  }

  /** Whether a directory looks names up without regard to case. */
  isCasefolded(inode: Inode): boolean {
    return isCasefolded(inode, this.#isFilesystemCasefolded);
  }

  /**
   * Everything below a directory, and itself: each directory before what is in it, entries in the order of their hashes (see `sortedByName`).
   * A directory that two names lead to is entered through the first only; loops end there. Memory: 512 entries for each level, and
   * a short string for each directory.
   */
  *walk(options: WalkTreeOptions = {}): Generator<WalkItem> {
    const { from = this.root(), path = NO_BYTES, descend = () => true } = options;
    const first: WalkItem = { path, depth: 0, entry: undefined, node: from };
    yield first;
    if (!isDirectory(from.inode) || !descend(first)) return;
    const entered = new Set([nodeId(from)]);
    const stack: Level[] = [levelOf(from, path, 0)];
    // Of the innermost directory; those of the others are how it begins. Paths of their own would be gigabytes where names are long.
    let inside = path;
    for (let level = stack.at(-1); level !== undefined; level = stack.at(-1)) {
      inside = inside.subarray(0, level.pathBytes);
      const entry = this.#nextEntry(level, inside);
      if (entry === undefined) {
        stack.pop();
        continue;
      }
      const item: WalkItem = this.#item(entry, level, inside);
      yield item;
      const { node } = item;
      if (node === undefined || !isDirectory(node.inode) || !descend(item)) continue;
      const id = nodeId(node);
      if (entered.has(id)) {
        this.#reportEntered(
          entry,
          item.path,
          stack.some(above => nodeId(above.node) === id),
        );
        continue;
      }
      if (item.depth >= DEPTH_MAX) {
        const where = { btree: 'dirents', pos: bposText(entry.pos) };
        const detail = `more than ${DEPTH_MAX} directories below each other: not entered`;
        reportDamage(new CorruptError('dir_loop', where, detail), this.#reporter.at(item.path));
        continue;
      }
      entered.add(id);
      stack.push(levelOf(node, item.path, item.depth));
      inside = item.path;
    }
  }

  #item(entry: FileEntry, level: Level, inside: Uint8Array): WalkItem {
    const path = inside.length === 0 ? entry.name : joinPath([inside, entry.name]);
    return { path, depth: level.depth + 1, entry, node: this.open(entry, { path }) };
  }

  #nextEntry(level: Level, inside: Uint8Array): FileEntry | undefined {
    if (level.next === level.batch.length && !level.isAtEnd) {
      // Between batches nothing is held: an open walk would keep its nodes for as long as what is below takes.
      level.batch = [];
      level.next = 0;
      for (const entry of this.#entries(level.node, inside, level.after)) {
        level.batch.push(entry);
        if (level.batch.length === BATCH) break;
      }
      level.isAtEnd = level.batch.length < BATCH;
      level.after = level.batch.at(-1)?.pos;
    }
    return level.batch[level.next++];
  }

  #reportEntered(entry: FileEntry, path: Uint8Array, isLoop: boolean): void {
    const where = { btree: 'dirents', pos: bposText(entry.pos) };
    const error = isLoop
      ? new CorruptError('dir_loop', where, 'leads back to a directory that it is in')
      : new CorruptError('inode_dir_multiple_links', where, 'a second name of a directory: not entered again');
    reportDamage(error, this.#reporter.at(path));
  }

  *#entries(directory: FileNode, path: Uint8Array | undefined, after: DirectoryEntry['pos'] | undefined) {
    const hash = this.#hashOf(directory.inode);
    const onDamage = this.#reporter.at(path);
    const options = { hash, after, onDamage };
    for (const entry of readDirectory(this.#direntView(directory), wordsOf(directory.inum), options)) {
      yield Object.assign(entry, { directory });
    }
  }

  #direntView({ snapshot, subvolume }: FileNode): DirentView {
    return { dirents: this.source.btree('dirents'), table: this.table, snapshot, subvolume };
  }

  #read(subvolume: number, snapshot: number, inum: bigint, path: Uint8Array | undefined): FileNode | undefined {
    const found = readInode(this.source, this.table, snapshot, inum, { onDamage: this.#reporter.at(path) });
    return found === undefined ? undefined : { inum, subvolume, snapshot, ...found };
  }

  /** The last one is kept: names of one directory come one after the other. */
  #hashOf(inode: Inode): StrHash {
    if (this.#hash?.of !== inode) this.#hash = { of: inode, hash: new StrHash(inode) };
    return this.#hash.hash;
  }
}

/** A directory that a walk is in. */
interface Level {
  readonly node: FileNode;
  /** How long its path is. */
  readonly pathBytes: number;
  readonly depth: number;
  batch: FileEntry[];
  next: number;
  /** The last entry of the batch. */
  after: DirectoryEntry['pos'] | undefined;
  isAtEnd: boolean;
}

function levelOf(node: FileNode, path: Uint8Array, depth: number): Level {
  return { node, pathBytes: path.length, depth, batch: [], next: 0, after: undefined, isAtEnd: false };
}

/** Entries in the order of the bytes of their names. */
export function sortedByName<E extends { readonly name: Uint8Array }>(entries: Iterable<E>): readonly E[] {
  return [...entries].sort((a, b) => compareBytes(a.name, b.name));
}

const nodeId = ({ subvolume, snapshot, inum }: FileNode): string => `${subvolume}:${snapshot}:${inum}`;

function foldedIf({ name, casefoldedName }: DirectoryEntry): Uint8Array {
  return casefoldedName === undefined ? name : foldName(name);
}

export function wordsOf(value: bigint): { readonly lo: number; readonly hi: number } {
  return { lo: Number(value & 0xffff_ffffn), hi: Number(value >> 32n) };
}

const bytesOf = (path: string | Uint8Array): Uint8Array => (typeof path === 'string' ? bytesOfWord(path) : path);

/** `/a/b` for people. */
export const pathText = (path: Uint8Array): string => `${path[0] === SLASH ? '' : '/'}${printableBytes(path)}`;

function isDots(part: Uint8Array): boolean {
  return (part.length === 1 || part.length === 2) && part.every(byte => byte === 0x2e);
}

/** What is between slashes. */
function partsOf(path: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let start = 0;
  for (let i = 0; i <= path.length; i++) {
    if (i < path.length && path[i] !== SLASH) continue;
    if (i > start) parts.push(path.subarray(start, i));
    start = i + 1;
  }
  return parts;
}

/** Parts with slashes between. */
export function joinPath(parts: readonly Uint8Array[]): Uint8Array {
  assert(parts.length > 0, 'a path has parts');
  const path = new Uint8Array(parts.reduce((sum, part) => sum + part.length + 1, -1));
  let at = 0;
  for (const part of parts) {
    if (at > 0) path[at++] = SLASH;
    path.set(part, at);
    at += part.length;
  }
  return path;
}
