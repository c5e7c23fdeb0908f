// A filesystem as a program sees it that only wants its files: opened once, then asked by path. What this adds to the rooms below is the
// way from a path to an answer, the codecs loaded beforehand, and names that are strings. Nothing is written.
//
//   const fs = await Bcachefs.open('a.img:b.img');
//   try {
//     for (const { path, stat } of fs.walk('home')) …
//   } finally {
//     fs.close();
//   }
//
// Names are bytes on disk. Nearly always they are UTF-8, and their strings are what one expects. In names that are not, each byte that is
// not part of a character is one code unit of U+DC80 to U+DCFF, so that every name has a string, and every path that comes out of here can be
// given back. Wherever a path is asked for, its bytes will do as well.

import { loadChecksums } from '../checksum/checksum.ts';
import { loadCompression } from '../compress/decompress.ts';
import { DataReader } from '../data/extent-read.ts';
import { type FileChunk, type FileReadOptions, fileChunks, readFile } from '../data/file-read.ts';
import { type FileExtents, fileSize, IndirectExtents } from '../data/segments.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { FileError } from '../fs/file-error.ts';
import type { FileStat } from '../fs/file-stat.ts';
import { type FileNode, FileTree, joinPath, pathText, type WalkItem } from '../fs/file-tree.ts';
import { pathsOf } from '../fs/paths.ts';
import { bposText, makeBpos } from '../ondisk/bpos.ts';
import { UsageError } from '../ondisk/errors.ts';
import { type FileTypeName, fileTypes } from '../ondisk/inode-tables.ts';
import { type Filesystem, filesystemOf } from '../opened/filesystem.ts';
import type { Damage } from '../report/finding.ts';
import type { OnDamage } from '../snapshots/damage.ts';
import type { SubvolumeEntry } from '../snapshots/snapshot-table.ts';
import { findMembers } from '../superblock/find-members.ts';
import { type MemberSet, openMembers } from '../superblock/member-set.ts';
import { readUsage } from '../usage/usage.ts';
import { bytesOfWord, utf8Text, wordOfBytes } from '../util/byte-text.ts';
import { type FilesystemSummary, type SpaceUsage, spaceUsage, summaryOf } from './summary.ts';

/** A path from the root, parts joined by `/`, with or without one in front; empty for the root. `..` and symbolic links stay inside. */
export type Path = string | Uint8Array;

/** Which files are seen: those of one subvolume, or of one snapshot. */
export interface ViewOptions {
  /** By its number, or by the path of its root from the root of the filesystem; the root's own, number 1. */
  readonly subvolume?: number | Path | undefined;
  /** Instead of a subvolume: what keys of this snapshot and its ancestors say. A number of the snapshots btree. */
  readonly snapshot?: number | undefined;
}

export interface OpenOptions extends ViewOptions {
  /** For an encrypted filesystem; one that is not encrypted ignores it. Text is taken as UTF-8. */
  readonly passphrase?: string | Uint8Array | undefined;
  /** Open although members are missing: what is only on them cannot be read. */
  readonly degraded?: boolean | undefined;
  /** The external UUID of the filesystem that is meant, where the paths name devices of others too. */
  readonly uuid?: string | undefined;
  /**
   * Called once with each loss in the metadata, and the path where it was met; work then goes on with what is left. Without it the first
   * such loss is thrown. What is lost of a file's contents is reported where they are read: see ReadOptions.
   */
  readonly onDamage?: ((damage: Damage) => void) | undefined;
  /** Decompress on other cores as well, once much was read; `close` then has to be called, or the process does not end. */
  readonly parallel?: boolean | undefined;
}

/**
 * How losses in a file's contents are handled: with `onFinding` they are reported, with the range, and zeroes stand for what is lost;
 * without it the first is thrown. `ignoreErrors` gives bytes that fail their checksum, reported as `suspect`.
 */
export interface ReadOptions extends Pick<FileReadOptions, 'onFinding' | 'ignoreErrors'> {}

export interface ReadFileOptions extends ReadOptions {
  /** Bytes from the start of the file: 0. */
  readonly from?: number | undefined;
  /** Where reading ends, before this byte: the end of the file. */
  readonly to?: number | undefined;
}

/** One name in a directory. */
export interface DirectoryItem {
  readonly name: string;
  readonly nameBytes: Uint8Array;
  /** What the directory says; the root of a subvolume is `subvol` here and a directory for `stat`. */
  readonly type: FileTypeName;
}

/** One file of a walk. */
export interface WalkedFile {
  /** From the root, without a slash in front; empty for the root. */
  readonly path: string;
  readonly pathBytes: Uint8Array;
  /** Its last part; empty for the root. */
  readonly name: string;
  /** How far below the start, which has 0. */
  readonly depth: number;
  /** Undefined: the name is there, and what it leads to is lost, which was reported to `onDamage`. */
  readonly stat: FileStat | undefined;
}

export interface WalkFilesOptions {
  /** Whether to go into a directory that was just given: always. */
  descend?(file: WalkedFile): boolean;
}

/** A subvolume or a snapshot that can be entered, with the path of its root; undefined when no directory leads to it. */
export interface SubvolumeInfo extends SubvolumeEntry {
  readonly path: string | undefined;
}

/** As Node has it: larger files are read in parts. */
const READ_FILE_MAX = 2 ** 31 - 1;
const NO_BYTES = new Uint8Array(0);
const SLASH = 0x2f;

/**
 * An open filesystem. All that is asked about files goes by path, and throws
 *
 * - `FileError`, whose `code` is the errno: ENOENT, ENOTDIR, EISDIR, ELOOP, EINVAL, EFBIG;
 * - `CorruptError` for what is damaged, `DeviceError` for what cannot be read or is on a missing member, `IncompatibleError` for what this
 *   version does not understand.
 *
 * A path is looked up anew each time, and the nodes of btrees that were read are kept (64 MiB).
 */
export class Bcachefs {
  readonly #filesystem: Filesystem;
  readonly #tree: FileTree;
  readonly #data: DataReader;
  readonly #reflinks: IndirectExtents;
  readonly #onDamage: OnDamage | undefined;

  private constructor(
    filesystem: Filesystem,
    tree: FileTree,
    data: DataReader,
    reflinks: IndirectExtents,
    onDamage: OnDamage | undefined,
  ) {
    this.#filesystem = filesystem;
    this.#tree = tree;
    this.#data = data;
    this.#reflinks = reflinks;
    this.#onDamage = onDamage;
  }

  /**
   * Opens a filesystem for reading. One that was not unmounted is seen as a kernel would see it after replaying the journal.
   * @param paths of its members in any order: devices, images (qcow2 too), several joined by `:`, or a directory of images
   * @throws UsageError when they do not belong together (see `uuid`); with the code `member_missing` when one is not there (see `degraded`),
   * `passphrase_needed`, `wrong_passphrase`; ENOENT when there is no such subvolume or snapshot
   * @throws DeviceError, CorruptError, IncompatibleError when it cannot be opened
   */
  static async open(paths: string | readonly string[], options: OpenOptions = {}): Promise<Bcachefs> {
    await loadCodecs();
    return Bcachefs.#of(findMembers(typeof paths === 'string' ? [paths] : paths, { uuid: options.uuid }), options);
  }

  /**
   * The same with devices that are open already, such as a MemoryDevice or one of the caller's own. `close` closes them, as does an
   * opening that fails.
   * @throws as `open` does
   */
  static async openDevices(
    devices: readonly BlockDevice[],
    options: Omit<OpenOptions, 'uuid'> = {},
  ): Promise<Bcachefs> {
    try {
      if (devices.length === 0) throw new UsageError('no device is given', undefined, 'member_missing');
      await loadCodecs();
      // Those of a set that fails are closed twice, which does nothing.
      return Bcachefs.#of(openMembers(devices), options);
    } catch (thrown) {
      for (const device of devices) device.close();
      throw thrown;
    }
  }

  static #of(set: MemberSet, options: OpenOptions): Bcachefs {
    const { passphrase, degraded = false, onDamage, parallel, subvolume, snapshot } = options;
    try {
      const secret = typeof passphrase === 'string' ? new TextEncoder().encode(passphrase) : passphrase;
      const filesystem = filesystemOf(set, { passphrase: secret, degraded });
      const tree = FileTree.open(filesystem, { subvolume, snapshot, onDamage });
      const data = new DataReader(filesystem, { onDamage, parallel });
      return new Bcachefs(filesystem, tree, data, new IndirectExtents(filesystem), onDamage);
    } catch (thrown) {
      for (const { device } of set.members) device.close();
      throw thrown;
    }
  }

  /**
   * The same filesystem seen as another subvolume or snapshot. What is open is shared: closing either closes both.
   * @throws UsageError when there is no such subvolume or snapshot
   */
  view(options: ViewOptions): Bcachefs {
    const { table } = this.#tree;
    const tree = FileTree.open(this.#filesystem, { ...options, table, onDamage: this.#onDamage });
    return new Bcachefs(this.#filesystem, tree, this.#data, this.#reflinks, this.#onDamage);
  }

  /** Whose it is, how it is made, and its members, from the newest superblock. */
  get summary(): FilesystemSummary {
    return summaryOf(this.#filesystem);
  }

  /**
   * How much space there is, as `df` would say after a mount: from the counters that the filesystem keeps, nothing is added up.
   * @throws CorruptError, DeviceError when some of the counters are lost and there is no `onDamage`
   */
  usage(): SpaceUsage {
    const onDamage = this.#onDamage ?? raise;
    return spaceUsage(readUsage(this.#filesystem, onDamage));
  }

  /** All subvolumes and snapshots that can be entered, by number. */
  subvolumes(): readonly SubvolumeInfo[] {
    const { table } = this.#tree;
    return table.subvolumes().map(entry => {
      const tree = FileTree.open(this.#filesystem, { subvolume: entry.id, table, onDamage: this.#onDamage });
      const [found] = pathsOf(tree, entry.rootInode, { search: 'none' });
      return { ...entry, path: found?.isWhole ? textOf(found.path) : undefined };
    });
  }

  /** What stat(2) and statx(2) say. Sizes in bytes, times in nanoseconds since 1970. A symbolic link is followed: see `lstat`. */
  stat(path: Path): FileStat {
    return this.#tree.stat(this.#lookUp(path));
  }

  /** The same of the symbolic link itself. */
  lstat(path: Path): FileStat {
    return this.#tree.stat(this.#lookUp(path, { followLinks: false }));
  }

  /** Whether a path leads to a file, symbolic links followed. Damage on the way is thrown, as it is everywhere. */
  exists(path: Path): boolean {
    try {
      this.#lookUp(path);
      return true;
    } catch (thrown) {
      if (thrown instanceof FileError && (thrown.code === 'ENOENT' || thrown.code === 'ENOTDIR')) return false;
      throw thrown;
    }
  }

  /** The names in a directory, in the order in which a kernel gives them, without `.` and `..`. */
  readdir(path: Path): readonly DirectoryItem[] {
    const node = this.#lookUp(path);
    const at = bytesOf(path);
    if (this.#tree.stat(node).type !== 'dir') throw new FileError('ENOTDIR', pathText(at));
    return Array.from(this.#tree.entries(node, { path: trimmed(at) }), ({ name, type }) => ({
      name: textOf(name),
      nameBytes: name,
      type: fileTypes.byId(type)?.name ?? 'unknown',
    }));
  }

  /**
   * A file's contents, or a part of them, in a new array. Files of 2 GiB and more are EFBIG: `read` and `chunks` take them in parts.
   * @throws FileError EISDIR for a directory, EINVAL for pipes, sockets and device nodes
   */
  readFile(path: Path, options: ReadFileOptions = {}): Uint8Array {
    const file = this.#contentsOf(path);
    const { from, to } = rangeOf(file, options);
    if (to - from > READ_FILE_MAX) throw new FileError('EFBIG', pathText(bytesOf(path)));
    const bytes = new Uint8Array(to - from);
    readFile(this.#data, this.#tree.table, file, from, bytes, this.#readOptions(options));
    return bytes;
  }

  /**
   * Fills a buffer from a file.
   * @param offset bytes from the start of the file
   * @returns how many bytes there are: less than the buffer has at the end of the file, 0 past it
   * @throws as readFile does
   */
  read(path: Path, offset: number, into: Uint8Array, options: ReadOptions = {}): number {
    const file = this.#contentsOf(path);
    checkOffset('offset', offset);
    return readFile(this.#data, this.#tree.table, file, offset, into, this.#readOptions(options));
  }

  /**
   * A file in order, with bounded memory: runs of bytes of up to 1 MiB, holes, and with `onFinding` what is lost. A chunk's bytes are
   * overwritten when the next one is asked for.
   * @throws as readFile does, when the first chunk is asked for
   */
  *chunks(path: Path, options: ReadFileOptions = {}): Generator<FileChunk> {
    const file = this.#contentsOf(path);
    yield* fileChunks(this.#data, this.#tree.table, file, {
      ...this.#readOptions(options),
      ...rangeOf(file, options),
    });
  }

  /**
   * Where a symbolic link leads, as it stands there.
   * @throws FileError EINVAL when the path is not that of a symbolic link
   */
  readlink(path: Path): string {
    const node = this.#lookUp(path, { followLinks: false });
    const at = bytesOf(path);
    if (this.#tree.stat(node).type !== 'lnk') throw new FileError('EINVAL', pathText(at));
    return textOf(this.#tree.linkTarget(node, { path: trimmed(at) }));
  }

  /**
   * Extended attributes by name, with their namespaces (`user.comment`); ACLs in the form that getxattr(2) gives. A symbolic link is
   * followed, but for its own: `followLinks: false`.
   */
  xattrs(path: Path, options: { readonly followLinks?: boolean } = {}): ReadonlyMap<string, Uint8Array> {
    const found = this.#tree.xattrs(this.#lookUp(path, options), { path: trimmed(bytesOf(path)) });
    return new Map(found.map(({ name, value }) => [textOf(name), value]));
  }

  /**
   * Everything below a path, and itself: each directory before what is in it, subvolumes and snapshots as the directories that they look
   * like. Symbolic links are given and not followed, except where the walk begins. A directory is entered once, whatever the image says.
   */
  *walk(path: Path = '', { descend }: WalkFilesOptions = {}): Generator<WalkedFile> {
    const from = this.#lookUp(path);
    const start = trimmed(bytesOf(path));
    const walked = this.#tree.walk({
      from,
      path: start,
      ...(descend === undefined ? {} : { descend: item => descend(this.#walked(item)) }),
    });
    for (const item of walked) yield this.#walked(item);
  }

  /** Closes the devices. Nothing can be asked afterwards. */
  close(): void {
    this.#data.close();
    this.#filesystem.close();
  }

  #walked({ path, depth, entry, node }: WalkItem): WalkedFile {
    const text = textOf(path);
    return {
      path: text,
      pathBytes: path,
      name: entry === undefined ? text.slice(text.lastIndexOf('/') + 1) : textOf(entry.name),
      depth,
      stat: node === undefined ? undefined : this.#tree.stat(node),
    };
  }

  #lookUp(path: Path, options: { readonly followLinks?: boolean } = {}): FileNode {
    return this.#tree.lookup(path, options);
  }

  #readOptions({ onFinding, ignoreErrors }: ReadOptions): FileReadOptions {
    return { onFinding, ignoreErrors, reflinks: this.#reflinks };
  }

  #contentsOf(path: Path): FileExtents {
    const node = this.#lookUp(path);
    const { type } = this.#tree.stat(node);
    if (type !== 'reg') throw new FileError(type === 'dir' ? 'EISDIR' : 'EINVAL', pathText(bytesOf(path)));
    const { inum, snapshot, keySnapshot, inode } = node;
    return { inum, snapshot, sizeBytes: fileSize(inode.bi_size, bposText(makeBpos(0n, inum, keySnapshot))) };
  }
}

async function loadCodecs(): Promise<void> {
  await loadChecksums();
  await loadCompression();
}

function raise(damage: Damage): never {
  throw damage;
}

/** The part of a file that is meant, inside of it. */
function rangeOf(
  { sizeBytes }: FileExtents,
  { from = 0, to = sizeBytes }: ReadFileOptions,
): { from: number; to: number } {
  checkOffset('from', from);
  checkOffset('to', to);
  const start = Math.min(from, sizeBytes);
  return { from: start, to: Math.max(start, Math.min(to, sizeBytes)) };
}

function checkOffset(name: string, bytes: number): void {
  if (!Number.isSafeInteger(bytes) || bytes < 0)
    throw new UsageError(`${bytes}, expected a whole number of bytes`, name, 'EINVAL');
}

const bytesOf = (path: Path): Uint8Array => (typeof path === 'string' ? bytesOfWord(path) : path);
const textOf = (bytes: Uint8Array): string => utf8Text(bytes) ?? wordOfBytes(bytes);

/** Without slashes at the ends, and twice in a row. */
function trimmed(path: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  let start = 0;
  for (let i = 0; i <= path.length; i++) {
    if (i < path.length && path[i] !== SLASH) continue;
    if (i > start) parts.push(path.subarray(start, i));
    start = i + 1;
  }
  return parts.length === 0 ? NO_BYTES : joinPath(parts);
}
