// Puts files of the host into a tree of files, with all that the host knows of them. What is there already is only replaced when that was
// asked for, and never across the line between directories and other files.

import { readlinkSync } from 'node:fs';
import {
  countFile,
  type FileCounts,
  hostIdentity,
  type NativeCalls,
  noLaterThan,
  type Owner,
} from '@bcachefs-ts/command';
import {
  type Attributes,
  atPath,
  type ExtendedAttribute,
  FileError,
  type FileRef,
  isDirectory,
  isStorableXattr,
  isXattrOfContents,
  printableBytes,
  splitDeviceNumber,
  UsageError,
} from '@bcachefs-ts/core/engine';
import type { FileChange } from '../change/edit.ts';
import { UMASK } from '../change/options.ts';
import type { NamePlace } from '../change/place.ts';
import { type HostFile, hostContents, hostFile, hostNames, insideOf } from './host-files.ts';

export interface PutOptions {
  readonly change: FileChange;
  readonly counts: FileCounts;
  readonly force: boolean;
  /** Instead of the host's owners. */
  readonly owner: Owner | undefined;
  /** Reads extended attributes; undefined: none are taken. */
  readonly native: NativeCalls | undefined;
  /** `hostIdentity` of files that are left out. */
  readonly excluded: ReadonlySet<string>;
  onBytes(count: number): void;
}

/** Written at once; a multiple of every block size. */
const PART_BYTES = 2 ** 20;
const S_IFREG = 0o100000;

export class Put {
  readonly #options: PutOptions;
  readonly #buffer = new Uint8Array(PART_BYTES);
  /** Files with several names that were put, by `hostIdentity`. */
  readonly #linked = new Map<string, FileRef>();

  constructor(options: PutOptions) {
    this.#options = options;
  }

  /**
   * Puts a file under a name, a directory with all that is in it; one that is there is filled.
   * @param path of the new file, for messages
   * @throws UsageError when the name is taken, NoSpaceError, the system's errors
   */
  put(file: HostFile, directory: FileRef, name: Uint8Array, path: string): void {
    if (this.#options.excluded.has(hostIdentity(file.stat))) return;
    if (file.type === 'dir') this.#putDirectory(file, directory, name, path);
    else if (!this.#putLink(file, directory, name, path)) this.#putFile(file, directory, name, path);
  }

  /** What is in a directory, into another. */
  putInside(file: HostFile, directory: FileRef, path: string): void {
    const below = path === '/' ? '' : path;
    for (const name of hostNames(file)) {
      this.put(hostFile(insideOf(file, name)), directory, name, `${below}/${printableBytes(name)}`);
    }
  }

  /** A regular file with these bytes, which is nobody's on the host. */
  putBytes(
    bytes: Uint8Array,
    { directory, name, path }: NamePlace,
    attributes: Owner & { readonly mode?: number },
  ): void {
    const { change, counts, onBytes } = this.#options;
    const { files, content } = change.edit;
    this.#makeRoom(directory, name, path);
    atPath(path, () => {
      const made = files.create(directory, name, { ...attributes, mode: S_IFREG | 0o666, umask: UMASK });
      if (!change.isDryRun) content.write(made, 0, bytes);
      files.setAttributes(made, attributes);
    });
    onBytes(bytes.length);
    counts.files++;
    counts.data_bytes += bytes.length;
  }

  #putDirectory(file: HostFile, directory: FileRef, name: Uint8Array, path: string): void {
    this.#options.change.step();
    const { files } = this.#options.change.edit;
    const there = files.lookup(directory, name);
    if (there !== undefined) {
      if (!isDirectory(files.inode(there))) throw new FileError('ENOTDIR', path);
      this.putInside(file, there, path);
      return;
    }
    const made = this.#create(file, directory, name, path);
    this.putInside(file, made, path);
    // Last: what is put into it changes its times.
    this.#setAttributes(file, made, path);
    this.#options.counts.directories++;
  }

  #putFile(file: HostFile, directory: FileRef, name: Uint8Array, path: string): void {
    const { change, counts } = this.#options;
    this.#makeRoom(directory, name, path);
    const made = this.#create(file, directory, name, path);
    if (file.type === 'lnk') {
      const target = readlinkSync(file.path, { encoding: 'buffer' });
      change.edit.content.write(made, 0, target);
    } else if (file.type === 'reg') this.#putContents(file, made);
    this.#setAttributes(file, made, path);
    if (file.stat.nlink > 1n) this.#linked.set(hostIdentity(file.stat), made);
    countFile(counts, file.type);
    change.step();
  }

  #putContents(file: HostFile, made: FileRef): void {
    const { change, counts, onBytes } = this.#options;
    counts.data_bytes += Number(file.stat.size);
    if (change.isDryRun) return;
    let at = 0;
    for (const part of hostContents(file, this.#buffer)) {
      change.edit.content.write(made, at, part);
      at += part.length;
      onBytes(part.length);
    }
  }

  /** @returns whether it is one more name of a file that was put, and has become one */
  #putLink(file: HostFile, directory: FileRef, name: Uint8Array, path: string): boolean {
    const { change, counts } = this.#options;
    const target = this.#linked.get(hostIdentity(file.stat));
    if (target === undefined) return false;
    this.#makeRoom(directory, name, path);
    try {
      atPath(path, () => change.edit.files.link(directory, name, target));
    } catch (thrown) {
      // Other options or another subvolume there, or it was replaced by another file of the same name: a file of its own.
      if (thrown instanceof FileError && (thrown.code === 'EXDEV' || thrown.code === 'ENOENT')) return false;
      throw thrown;
    }
    counts.links++;
    return true;
  }

  /** What has the name goes, if it may. */
  #makeRoom(directory: FileRef, name: Uint8Array, path: string): void {
    const { change, counts, force } = this.#options;
    const { files } = change.edit;
    const there = atPath(path, () => files.lookup(directory, name));
    if (there === undefined) return;
    if (isDirectory(files.inode(there)))
      throw new UsageError(`${path}: is a directory, which no file replaces`, undefined, 'EISDIR');
    if (!force) throw new UsageError(`${path}: is there already; --force replaces it`, undefined, 'EEXIST');
    atPath(path, () => files.remove(directory, name));
    counts.replaced++;
  }

  #create({ stat, type, path: hostPath }: HostFile, directory: FileRef, name: Uint8Array, path: string): FileRef {
    if (type === 'unknown') throw new UsageError(`${printableBytes(hostPath)}: a type of file that cannot be stored`);
    const rdev = type === 'chr' || type === 'blk' ? { rdev: splitDeviceNumber(stat.rdev) } : {};
    // It brings its own ACLs, or none.
    const request = { mode: Number(stat.mode), inheritsAcl: false, ...this.#ownerOf(stat), ...rdev };
    return atPath(path, () => this.#options.change.edit.files.create(directory, name, request));
  }

  #setAttributes(file: HostFile, made: FileRef, path: string): void {
    const { files } = this.#options.change.edit;
    for (const { name, value } of this.#xattrsOf(file)) {
      atPath(`${path}: attribute ${printableBytes(name)}`, () => files.setXattr(made, name, value));
    }
    const { stat } = file;
    const times = this.#timesOf(stat);
    // Also mode and group once more: a directory above with the setgid bit changes both in what is made in it.
    atPath(path, () =>
      files.setAttributes(made, { mode: Number(stat.mode) & 0o7777, ...this.#ownerOf(stat), ...times }),
    );
  }

  /** Those that bcachefs has a place for; others belong to the host's filesystem. */
  *#xattrsOf({ path, type }: HostFile): Generator<ExtendedAttribute> {
    const { native } = this.#options;
    if (native === undefined) return;
    const hasContents = type === 'reg' || type === 'dir';
    for (const name of native.xattrNames(path)) {
      if (!isStorableXattr(name) || (isXattrOfContents(name) && !hasContents)) continue;
      const value = native.xattr(path, name);
      // Gone since it was listed.
      if (value !== undefined) yield { name, value };
    }
  }

  #ownerOf({ uid, gid }: HostFile['stat']): Owner {
    return this.#options.owner ?? { uid: Number(uid), gid: Number(gid) };
  }

  #timesOf({ atimeNs, mtimeNs }: HostFile['stat']): Attributes {
    const { isFixedTime, nowNs } = this.#options.change;
    return isFixedTime ? noLaterThan(nowNs, mtimeNs) : { atimeNs, mtimeNs };
  }
}
