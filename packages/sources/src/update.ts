// Makes the files of a filesystem equal to those of a source, and changes no more than what differs: types, modes, owners, times of change,
// devices, targets, extended attributes, which names are one file, and contents. What the source does not have goes. Times of access
// and the like follow when something else has changed, since reading a source changes them.
//
// The source's stream and the filesystem's directories are gone through beside each other; of the filesystem, the names of the directories
// on the way from the root are held. A file is known by its name: renamed, it goes and comes anew. Of a file with several names in the
// source, the inode that one of them has stays, if it has one; an inode that has more names than the source's file loses them.
//
// Subvolumes that are directories in the source stay subvolumes, read-only ones as well. One that the source does not have is not taken away:
// it may be a snapshot that somebody wants.

import { countFile, type FileCounts, noCounts } from '@bcachefs-ts/command';
import {
  areEqual,
  atPath,
  CorruptError,
  compareBytes,
  type ExtendedAttribute,
  type FileEdit,
  FileError,
  type FileRef,
  fileTypes,
  isDirectory,
  joinPath,
  modeType,
  UsageError,
  withPath,
} from '@bcachefs-ts/core/engine';
import { flagsOf, keptXattrs, kinds, type OwnEntry, pathText, setFurther, timesOf } from './entry-inode.ts';
import { SubvolumeFinder, type SubvolumeRequest } from './owner-map.ts';
import type { SourceDirectory, SourceEntry, SourceLink } from './source.ts';
import { type ContentSession, updateContents, writeContents } from './update-contents.ts';

/** What the files are changed in. */
export interface UpdateSession {
  /** What is there, with all that has been changed so far; to read from. */
  readonly edit: FileEdit;
  /** To change something with: asked for before each change, so that what makes room for changes need not be done without one. */
  change(): FileEdit;
  /** Between two changes. */
  step(): void;
  /** Contents need not be written. */
  readonly isDryRun: boolean;
}

export interface UpdateOptions {
  readonly subvolumes: readonly SubvolumeRequest[];
  /** See timesOf. */
  readonly fixedTimeNs: bigint | undefined;
  /** A regular file whose size and time of change are the same is the same. Else contents are compared. */
  readonly trustsTimes: boolean;
  /** The paths of further names of a file, which come later. */
  linkPaths(linkId: number): readonly Uint8Array[];
  /** Bytes of the source that were looked at. */
  onBytes(count: number): void;
  /** A hard link leads into another subvolume, or to a directory with other options: it becomes a file of its own. */
  onCopiedLink(path: Uint8Array): void;
}

export interface UpdateReport {
  readonly added: FileCounts;
  /** Under the same name: contents or attributes. */
  readonly changed: FileCounts;
  readonly removed: FileCounts;
  /** Names of all kinds. */
  readonly unchanged: number;
  /** Of contents, before they are compressed. */
  readonly writtenBytes: number;
}

/** A step is an entry, or a part of a large file. @throws as populate does */
export function* updateFiles(
  session: UpdateSession,
  entries: Iterable<SourceEntry>,
  options: UpdateOptions,
): Generator<void, UpdateReport, void> {
  const updater = new Updater(session, options);
  for (const entry of entries) {
    yield* updater.put(entry);
    session.step();
    yield;
  }
  yield* updater.finish();
  return updater.report();
}

/** A name in a directory of the filesystem. */
interface Found {
  readonly file: FileRef;
  readonly name: Uint8Array;
  readonly isSubvolume: boolean;
}

/** A directory that is being gone through. */
interface OpenDirectory {
  readonly file: FileRef;
  readonly entry: SourceDirectory;
  readonly isNew: boolean;
  /** Names that no entry came for yet. */
  readonly left: Map<string, Found>;
  /** Of subvolumes: whether it is read-only when it is left. */
  readonly isReadOnly: boolean | undefined;
}

/** A name that goes, and what is below it goes first. */
interface Removal {
  readonly directory: FileRef;
  readonly found: Found;
  /** For messages. */
  readonly path: string;
  /** The next is the last. */
  readonly left: Found[];
}

interface LinkTarget {
  readonly entry: Exclude<OwnEntry, SourceDirectory>;
  /** One for each subvolume that it has a name in. */
  readonly files: FileRef[];
}

const LOST_AND_FOUND = 'lost+found';

class Updater implements ContentSession {
  readonly isDryRun: boolean;
  readonly #session: UpdateSession;
  readonly #options: UpdateOptions;
  readonly #finder: SubvolumeFinder;
  readonly #open: OpenDirectory[] = [];
  readonly #links = new Map<number, LinkTarget>();
  /** Files with several names, here or there, that are an entry's: no other may have them. */
  readonly #claimed = new Set<string>();
  readonly #counts = { added: noCounts(), changed: noCounts(), removed: noCounts(), unchanged: 0, writtenBytes: 0 };

  constructor(session: UpdateSession, options: UpdateOptions) {
    this.#session = session;
    this.#options = options;
    this.isDryRun = session.isDryRun;
    this.#finder = new SubvolumeFinder(options.subvolumes);
  }

  get edit(): FileEdit {
    return this.#session.edit;
  }

  /** A subvolume that is read-only can be changed from here on, until its root is left. */
  change({ subvolume }: FileRef): FileEdit {
    const edit = this.#session.change();
    if (edit.files.table.subvolume(subvolume)?.isReadOnly) edit.files.setSubvolumeReadOnly(subvolume, false);
    return edit;
  }

  step(): void {
    this.#session.step();
  }

  onRead(count: number): void {
    this.#options.onBytes(count);
  }

  onWritten(count: number): void {
    this.#counts.writtenBytes += count;
  }

  report(): UpdateReport {
    return this.#counts;
  }

  *put(entry: SourceEntry): Generator<void> {
    while (this.#open.length > entry.depth) yield* this.#leave();
    try {
      if (entry.type === 'link') yield* this.#putLink(entry);
      else if (entry.type === 'dir') yield* this.#enter(entry);
      else yield* this.#putFile(entry, entry.name, entry.path);
    } catch (thrown) {
      throw withPath(thrown, pathText(entry.path));
    }
  }

  *finish(): Generator<void> {
    while (this.#open.length > 0) yield* this.#leave();
    this.#finder.checkAllFound();
  }

  *#enter(entry: SourceDirectory): Generator<void> {
    const { files } = this.edit;
    const above = this.#open.at(-1);
    const request = this.#finder.find(entry);
    if (above === undefined) {
      this.#openThere(entry, files.root(), files.table.subvolume(files.root().subvolume)?.isReadOnly ?? false);
      return;
    }
    const there = take(above, entry.name);
    const isDir = there !== undefined && isDirectory(files.inode(there.file));
    if (there !== undefined && isDir && (request === undefined || there.isSubvolume)) {
      const wasReadOnly = there.isSubvolume ? files.table.subvolume(there.file.subvolume)?.isReadOnly : undefined;
      this.#openThere(entry, there.file, request?.isReadOnly ?? wasReadOnly);
      return;
    }
    if (there !== undefined) yield* this.#remove(above.file, there, pathText(entry.path));
    const mode = kinds.dir.mode | 0o700;
    const edit = this.change(above.file);
    const file =
      request === undefined
        ? edit.files.create(above.file, entry.name, { mode, inheritsAcl: false })
        : edit.files.createSubvolume(above.file, entry.name, { mode, inheritsAcl: false });
    this.#open.push({ file, entry, isNew: true, left: new Map(), isReadOnly: request?.isReadOnly });
    countFile(this.#counts.added, request === undefined ? 'dir' : 'subvol');
  }

  #openThere(entry: SourceDirectory, file: FileRef, isReadOnly: boolean | undefined): void {
    // Before what is in it changes its times.
    if (this.#differs(file, entry))
      countFile(this.#counts.changed, isReadOnly === undefined || entry.depth === 0 ? 'dir' : 'subvol');
    else this.#counts.unchanged++;
    this.#open.push({ file, entry, isNew: false, left: this.#namesIn(file), isReadOnly });
  }

  *#leave(): Generator<void> {
    const { file, entry, isNew, left, isReadOnly } = this.#open.at(-1)!; // callers look first
    for (const [name, found] of left) {
      if (entry.depth === 0 && name === LOST_AND_FOUND) continue;
      yield* this.#remove(file, found, pathText(entry.depth === 0 ? found.name : joinPath([entry.path, found.name])));
    }
    this.#open.pop();
    atPath(pathText(entry.path), () => {
      if (isNew || this.#differs(file, entry)) this.#setAttributes(file, entry);
      const { files } = this.edit;
      if (isReadOnly === undefined || files.table.subvolume(file.subvolume)?.isReadOnly === isReadOnly) return;
      this.#session.change().files.setSubvolumeReadOnly(file.subvolume, isReadOnly);
    });
  }

  /** @param name of it here: a link that becomes a file of its own has another one than the entry */
  *#putFile(entry: Exclude<OwnEntry, SourceDirectory>, name: Uint8Array, path: Uint8Array): Generator<void> {
    const directory = this.#directory;
    const there = take(directory, name);
    const known = there !== undefined && this.#canBecome(there, entry) ? there.file : undefined;
    const peer = this.#peer(directory, name, entry, known);
    let file = peer ?? known;
    if (there !== undefined && file !== there.file) yield* this.#remove(directory.file, there, pathText(path));
    if (peer !== undefined && !this.#link(directory, name, peer)) file = undefined;
    if (file === undefined) {
      yield* this.#makeFile(entry, name, directory);
      return;
    }
    this.#claim(file, entry);
    const isTrusted = entry.type === 'file' && this.#options.trustsTimes && this.#isOfSameTime(file, entry);
    let isChanged = this.#differs(file, entry);
    if (isTrusted) this.onRead(entry.sizeBytes);
    else if (entry.type === 'file' && (yield* updateContents(this, file, entry, this))) {
      this.#counts.changed.data_bytes += entry.sizeBytes;
      isChanged = true;
    }
    // Also its time, which writing has changed.
    if (isChanged || this.#differs(file, entry)) this.#setAttributes(file, entry);
    if (isChanged) countFile(this.#counts.changed, kinds[entry.type].name);
    else if (peer === undefined) this.#counts.unchanged++;
  }

  *#makeFile(entry: Exclude<OwnEntry, SourceDirectory>, name: Uint8Array, directory: OpenDirectory): Generator<void> {
    const { files, content } = this.change(directory.file);
    const { mode, name: type } = kinds[entry.type];
    const rdev = 'rdev' in entry ? { rdev: entry.rdev } : {};
    const { uid, gid } = entry;
    const file = files.create(directory.file, name, { mode: mode | entry.mode, inheritsAcl: false, uid, gid, ...rdev });
    if (entry.type === 'symlink') content.write(file, 0, entry.target);
    if (entry.type === 'file') {
      this.#counts.added.data_bytes += entry.sizeBytes;
      yield* writeContents(this, file, entry, this);
    }
    this.#setAttributes(file, entry);
    this.#claim(file, entry);
    countFile(this.#counts.added, type);
  }

  *#putLink({ linkId, name, path }: SourceLink): Generator<void> {
    const directory = this.#directory;
    const target = this.#links.get(linkId);
    if (target === undefined) throw new FileError('ENOENT', '');
    const file = target.files.find(({ subvolume }) => subvolume === directory.file.subvolume);
    if (file === undefined) {
      this.#options.onCopiedLink(path);
      yield* this.#putFile(target.entry, name, path);
      return;
    }
    const there = directory.left.get(keyOf(name));
    if (there !== undefined && !there.isSubvolume && isSameFile(there.file, file)) {
      take(directory, name);
      this.#counts.unchanged++;
      return;
    }
    if (there !== undefined) {
      take(directory, name);
      yield* this.#remove(directory.file, there, pathText(path));
    }
    if (!this.#link(directory, name, file)) {
      this.#options.onCopiedLink(path);
      yield* this.#makeFile(target.entry, name, directory);
      return;
    }
    // A new name is a change; what the source says of the file holds for all of its names.
    this.change(file).files.setAttributes(file, timesOf(target.entry, this.#options.fixedTimeNs));
  }

  /**
   * Another name of the entry's file may be there already, further on, and be the better one to keep.
   * @param known what has the name now, and can become the entry's file
   */
  #peer(directory: OpenDirectory, name: Uint8Array, entry: OwnEntry, known: FileRef | undefined): FileRef | undefined {
    const linkId = 'linkId' in entry ? entry.linkId : undefined;
    if (linkId === undefined || this.#links.has(linkId)) return undefined;
    if (known !== undefined && (entry.type !== 'file' || this.#isOfSameTime(known, entry))) return undefined;
    const peers = this.#options.linkPaths(linkId).flatMap(path => {
      const peer = this.#lookUp(path);
      if (peer?.subvolume !== directory.file.subvolume) return [];
      return this.#canBecome({ file: peer, name, isSubvolume: false }, entry) ? [peer] : [];
    });
    const same = entry.type === 'file' ? peers.find(peer => this.#isOfSameTime(peer, entry)) : undefined;
    const best = same ?? (known === undefined ? peers[0] : undefined);
    return best === undefined || (known !== undefined && isSameFile(best, known)) ? undefined : best;
  }

  /** @returns false when the directory has other options, which would have to be the file's */
  #link(directory: OpenDirectory, name: Uint8Array, file: FileRef): boolean {
    try {
      this.change(directory.file).files.link(directory.file, name, file);
    } catch (thrown) {
      if (thrown instanceof FileError && thrown.code === 'EXDEV') return false;
      throw thrown;
    }
    this.#counts.added.links++;
    return true;
  }

  #lookUp(path: Uint8Array): FileRef | undefined {
    const { files } = this.edit;
    let at: FileRef | undefined = files.root();
    for (let from = 0; at !== undefined && from < path.length; ) {
      const slash = path.indexOf(0x2f, from);
      const to = slash === -1 ? path.length : slash;
      if (!isDirectory(files.inode(at))) return undefined;
      at = files.lookup(at, path.subarray(from, to));
      from = to + 1;
    }
    return at;
  }

  /** Whether a file can stay and become the entry's: of the same type, and nobody else's. What cannot be changed has to be the same. */
  #canBecome({ file, isSubvolume }: Found, entry: OwnEntry): boolean {
    if (isSubvolume || this.#claimed.has(identityOf(file))) return false;
    const inode = this.edit.files.inode(file);
    if (fileTypes.byId(modeType(inode.bi_mode))?.name !== kinds[entry.type].name) return false;
    if (entry.type === 'chr' || entry.type === 'blk')
      return inode.bi_dev === ((entry.rdev.major << 20) | entry.rdev.minor) >>> 0;
    if (entry.type !== 'symlink') return true;
    if (Number(inode.bi_size) !== entry.target.length) return false;
    const target = new Uint8Array(entry.target.length);
    this.edit.content.read(file, 0, target);
    return areEqual(target, entry.target);
  }

  #claim(file: FileRef, entry: Exclude<OwnEntry, SourceDirectory>): void {
    const { linkId } = entry;
    if (linkId !== undefined || this.edit.files.inode(file).bi_nlink > 0) this.#claimed.add(identityOf(file));
    if (linkId === undefined) return;
    const target = this.#links.get(linkId);
    if (target === undefined) this.#links.set(linkId, { entry, files: [file] });
    else target.files.push(file);
  }

  /**
   * With all that is below it, however deep that is.
   * @throws UsageError when that is or has a subvolume; CorruptError dir_loop for a directory that is inside of itself
   */
  *#remove(directory: FileRef, found: Found, path: string): Generator<void> {
    const way = [this.#removal(directory, found, path)];
    const entered = new Set([identityOf(found.file)]);
    for (let last = way[0]; last !== undefined; last = way.at(-1)) {
      const below = last.left.pop();
      if (below === undefined) {
        way.pop();
        entered.delete(identityOf(last.found.file));
        this.#removeName(last);
        this.step();
        yield;
        continue;
      }
      const at = `${last.path}/${pathText(below.name)}`;
      const identity = identityOf(below.file);
      if (entered.has(identity))
        throw new CorruptError('dir_loop', { path: at }, 'leads back to a directory that it is in');
      entered.add(identity);
      way.push(this.#removal(last.found.file, below, at));
    }
  }

  #removal(directory: FileRef, found: Found, path: string): Removal {
    if (found.isSubvolume) {
      throw new UsageError(
        `${path} is a subvolume in the image, and no directory of the source; \`subvolume delete\` removes it`,
      );
    }
    const isFull = atPath(path, () => isDirectory(this.edit.files.inode(found.file)));
    const left = isFull ? [...this.#namesIn(found.file).values()].reverse() : [];
    return { directory, found, path, left };
  }

  #removeName({ directory, found, path }: Removal): void {
    const { inode, isGone } = atPath(path, () => this.change(directory).files.remove(directory, found.name));
    const { removed } = this.#counts;
    const type = fileTypes.byId(modeType(inode.bi_mode))?.name ?? 'unknown';
    if (!isGone) removed.links++;
    else {
      countFile(removed, type);
      if (type === 'reg') removed.data_bytes += Number(inode.bi_size);
    }
  }

  #namesIn(file: FileRef): Map<string, Found> {
    const found = new Map<string, Found>();
    for (const entry of this.edit.files.entries(file)) found.set(keyOf(entry.name), entry);
    return found;
  }

  get #directory(): OpenDirectory {
    const open = this.#open.at(-1);
    if (open === undefined) throw new FileError('ENOENT', '');
    return open;
  }

  #isOfSameTime(file: FileRef, entry: OwnEntry & { readonly sizeBytes: number }): boolean {
    const { fixedTimeNs } = this.#options;
    const { mtimeNs } = entry;
    // What is newer than the fixed time has that time, whenever it was changed.
    if (mtimeNs === undefined || (fixedTimeNs !== undefined && mtimeNs > fixedTimeNs)) return false;
    const { files } = this.edit;
    const { bi_size, bi_mtime } = files.inode(file);
    return Number(bi_size) === entry.sizeBytes && bi_mtime === files.timeOf(mtimeNs);
  }

  /** Whether an inode says something else than the entry: contents, and times other than that of change, left out. */
  #differs(file: FileRef, entry: OwnEntry): boolean {
    const { files } = this.edit;
    const { bi_mode, bi_uid, bi_gid, bi_mtime } = files.inode(file);
    if ((bi_mode & 0o7777) !== entry.mode || bi_uid !== entry.uid || bi_gid !== entry.gid) return true;
    const { mtimeNs } = timesOf(entry, this.#options.fixedTimeNs);
    const isTimed = mtimeNs !== undefined && entry.mtimeNs !== undefined;
    if (isTimed && bi_mtime !== files.timeOf(mtimeNs)) return true;
    const { put, drop } = this.#otherXattrs(file, entry);
    return put.length + drop.length > 0;
  }

  #setAttributes(file: FileRef, entry: OwnEntry): void {
    const { put, drop } = this.#otherXattrs(file, entry);
    const { files } = this.change(file);
    for (const name of drop) files.removeXattr(file, name);
    for (const { name, value } of put) files.setXattr(file, name, value);
    setFurther(files, file, entry);
    const { mode, uid, gid } = entry;
    files.setAttributes(file, { mode, uid, gid, ...flagsOf(entry), ...timesOf(entry, this.#options.fixedTimeNs) });
  }

  #otherXattrs(file: FileRef, entry: OwnEntry): { put: readonly ExtendedAttribute[]; drop: readonly Uint8Array[] } {
    const there = this.edit.files.xattrs(file);
    const wanted = keptXattrs(entry);
    const put = wanted.filter(({ name, value }) => {
      const known = there.find(other => areEqual(other.name, name));
      return known === undefined || !areEqual(known.value, value);
    });
    const drop = there.filter(({ name }) => !wanted.some(other => areEqual(other.name, name)));
    return { put, drop: drop.map(({ name }) => name).sort(compareBytes) };
  }
}

/** Of a byte a character. */
const keyOf = (name: Uint8Array): string => Buffer.from(name).toString('latin1');

function take({ left }: OpenDirectory, name: Uint8Array): Found | undefined {
  const key = keyOf(name);
  const found = left.get(key);
  left.delete(key);
  return found;
}

const identityOf = ({ subvolume, inum }: FileRef): string => `${subvolume}:${inum}`;

const isSameFile = (a: FileRef, b: FileRef): boolean => a.subvolume === b.subvolume && a.inum === b.inum;
