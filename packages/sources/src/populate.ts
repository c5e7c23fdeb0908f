// Puts the files of a source into a new filesystem, in the order of its stream, with everything that the source knows of them. Attributes of
// a directory are set when it is left: what is put into it would change its times, and its ACLs would be handed down.

import { countFile, type FileCounts, noCounts } from '@bcachefs-ts/command';
import { atPath, type BatchedEdit, FileError, type FileRef, withPath } from '@bcachefs-ts/core/engine';
import { flagsOf, kinds, type OwnEntry, pathText, setFurther, timesOf } from './entry-inode.ts';
import { SubvolumeFinder, type SubvolumeRequest } from './owner-map.ts';
import type { SourceDirectory, SourceEntry, SourceLink } from './source.ts';

export interface PopulateOptions {
  readonly subvolumes: readonly SubvolumeRequest[];
  /** Nothing is newer than this, in nanoseconds since 1970, and only times of change are taken: where the result must not depend on when. */
  readonly fixedTimeNs: bigint | undefined;
  /** Bytes of files that were read. */
  onBytes(count: number): void;
  /** A hard link leads into another subvolume: it becomes a file of its own. */
  onCopiedLink(path: Uint8Array): void;
}

/** A directory that is being filled. */
interface OpenDirectory {
  readonly file: FileRef;
  readonly entry: SourceDirectory;
  readonly isReadOnly: boolean;
}

interface LinkTarget {
  readonly entry: OwnEntry;
  /** One for each subvolume that it has a name in. */
  readonly files: FileRef[];
}

/** A step is an entry, or a part of a large file. @returns what was made @throws UsageError, NoSpaceError, and what reading the source throws; each with the path */
export function* populate(
  edit: BatchedEdit,
  entries: Iterable<SourceEntry>,
  options: PopulateOptions,
): Generator<void, FileCounts, void> {
  const populator = new Populator(edit, options);
  for (const entry of entries) {
    yield* populator.put(entry);
    edit.step();
    yield;
  }
  populator.finish();
  return populator.counts;
}

class Populator {
  readonly counts: FileCounts = noCounts();
  readonly #batches: BatchedEdit;
  readonly #options: PopulateOptions;
  readonly #finder: SubvolumeFinder;
  /** From the root down to the directory that is being filled. */
  readonly #open: OpenDirectory[] = [];
  readonly #links = new Map<number, LinkTarget>();

  constructor(batches: BatchedEdit, options: PopulateOptions) {
    this.#batches = batches;
    this.#options = options;
    this.#finder = new SubvolumeFinder(options.subvolumes);
  }

  *put(entry: SourceEntry): Generator<void> {
    while (this.#open.length > entry.depth) this.#leave();
    try {
      if (entry.type === 'link') yield* this.#putLink(entry);
      else if (entry.type === 'dir') this.#enter(entry);
      else yield* this.#putFile(entry, entry.name);
    } catch (thrown) {
      throw withPath(thrown, pathText(entry.path));
    }
  }

  finish(): void {
    while (this.#open.length > 0) this.#leave();
    this.#finder.checkAllFound();
  }

  #enter(entry: SourceDirectory): void {
    const { files } = this.#batches.edit;
    const above = this.#open.at(-1);
    const request = this.#finder.find(entry);
    if (above === undefined) {
      this.#open.push({ file: files.root(), entry, isReadOnly: false });
      return;
    }
    // lost+found is there from the beginning.
    const known = entry.depth === 1 ? files.lookup(above.file, entry.name) : undefined;
    const mode = kinds.dir.mode | 0o700;
    if (known !== undefined && request !== undefined) throw new FileError('EEXIST', '');
    const file =
      known ??
      (request === undefined
        ? files.create(above.file, entry.name, { mode })
        : files.createSubvolume(above.file, entry.name, { mode }));
    this.#open.push({ file, entry, isReadOnly: request?.isReadOnly ?? false });
    countFile(this.counts, request === undefined ? 'dir' : 'subvol');
  }

  #leave(): void {
    const { file, entry, isReadOnly } = this.#open.pop()!; // callers look first
    atPath(pathText(entry.path), () => {
      this.#setAttributes(file, entry);
      if (isReadOnly) this.#batches.edit.files.setSubvolumeReadOnly(file.subvolume, true);
    });
  }

  *#putFile(entry: Exclude<OwnEntry, SourceDirectory>, name: Uint8Array): Generator<void> {
    const { files, content } = this.#batches.edit;
    const { mode, name: type } = kinds[entry.type];
    const rdev = 'rdev' in entry ? { rdev: entry.rdev } : {};
    const { uid, gid } = entry;
    const file = files.create(this.#directory, name, { mode: mode | entry.mode, uid, gid, ...rdev });
    if (entry.type === 'symlink') content.write(file, 0, entry.target);
    if (entry.type === 'file') {
      this.counts.data_bytes += entry.sizeBytes;
      for (const chunk of entry.chunks()) {
        // Of a large file only: one commit must not hold more of it than of anything else.
        if (chunk.offset > 0) this.#batches.step();
        if (chunk.kind === 'data') this.#batches.edit.content.write(file, chunk.offset, chunk.bytes);
        this.#options.onBytes(chunk.length);
        yield;
      }
      if (Number(this.#batches.edit.files.inode(file).bi_size) < entry.sizeBytes) {
        this.#batches.edit.content.truncate(file, entry.sizeBytes);
      }
    }
    this.#setAttributes(file, entry);
    this.#remember(entry, file);
    countFile(this.counts, type);
  }

  *#putLink({ linkId, name }: SourceLink): Generator<void> {
    const { files } = this.#batches.edit;
    const target = this.#links.get(linkId);
    if (target === undefined) throw new FileError('ENOENT', '');
    const directory = this.#directory;
    const file = target.files.find(({ subvolume }) => subvolume === directory.subvolume);
    if (file !== undefined) {
      files.link(directory, name, file);
      // A new name is a change; what the source says of the file holds for all of its names.
      files.setAttributes(file, timesOf(target.entry, this.#options.fixedTimeNs));
      this.counts.links++;
      return;
    }
    const { entry } = target;
    if (entry.type === 'dir') throw new FileError('EISDIR', '');
    this.#options.onCopiedLink(entry.path);
    yield* this.#putFile(entry, name);
  }

  #remember(entry: OwnEntry, file: FileRef): void {
    const linkId = 'linkId' in entry ? entry.linkId : undefined;
    if (linkId === undefined) return;
    const target = this.#links.get(linkId);
    if (target === undefined) this.#links.set(linkId, { entry, files: [file] });
    else target.files.push(file);
  }

  get #directory(): FileRef {
    const open = this.#open.at(-1);
    if (open === undefined) throw new FileError('ENOENT', '');
    return open.file;
  }

  #setAttributes(file: FileRef, entry: OwnEntry): void {
    const { files } = this.#batches.edit;
    for (const { name, value } of entry.xattrs) files.setXattr(file, name, value);
    setFurther(files, file, entry);
    const { mode, uid, gid } = entry;
    // Also what was given at the creation: a directory above with the setgid bit changes it.
    files.setAttributes(file, { mode, uid, gid, ...flagsOf(entry), ...timesOf(entry, this.#options.fixedTimeNs) });
  }
}
