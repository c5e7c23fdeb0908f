// A folder of the host that a restore writes into. Node has no openat(), so names are joined to something that cannot be led astray:
//
// - on Linux to /proc/self/fd/N of a descriptor that was opened without following symlinks. What happens to the path meanwhile does not
//   matter: the descriptor stays the folder that it was;
// - elsewhere to the folder's path, after its device and inode number were compared with those it had when we made or first opened it.
//   Between that look and the use of the path somebody else on the host could still exchange the folder; an image cannot.
//
// A folder that is not the same any more is an error. Descriptors are few: the ones used last stay open, others are opened again from
// their parent, and compared again.

import { closeSync, constants, existsSync, fstatSync, lstatSync, openSync } from 'node:fs';
import { DeviceError } from '@bcachefs-ts/core';

/** Far below the usual limit of 1024. */
const OPEN_MAX = 64;

const IS_LINUX = process.platform === 'linux';
const hasDescriptorPaths = (): boolean => IS_LINUX && existsSync('/proc/self/fd');

interface Identity {
  readonly dev: bigint;
  readonly ino: bigint;
}

/** The descriptors that are open, the ones used last at the end. */
export class OpenFolders {
  readonly usesDescriptors: boolean;
  readonly #open = new Set<Folder>();

  /** @param usesDescriptors false tries what other systems do */
  constructor(usesDescriptors: boolean = hasDescriptorPaths()) {
    this.usesDescriptors = usesDescriptors;
  }

  used(folder: Folder): void {
    this.#open.delete(folder);
    this.#open.add(folder);
    if (this.#open.size <= OPEN_MAX) return;
    const [oldest] = this.#open;
    if (oldest !== undefined) this.forget(oldest);
  }

  forget(folder: Folder): void {
    this.#open.delete(folder);
    folder.closeDescriptor();
  }

  closeAll(): void {
    for (const folder of [...this.#open]) this.forget(folder);
  }
}

export class Folder {
  readonly #all: OpenFolders;
  #fd: number | undefined;
  readonly #identity: Identity;

  private constructor(
    all: OpenFolders,
    readonly parent: Folder | undefined,
    /** Its name in its parent; the whole path of the topmost. */
    readonly name: Uint8Array,
    opened: { readonly fd: number | undefined; readonly identity: Identity },
  ) {
    this.#all = all;
    this.#fd = opened.fd;
    this.#identity = opened.identity;
    if (this.#fd !== undefined) all.used(this);
  }

  /** The topmost folder, whose path the user gave: symlinks on the way to it are the user's. */
  static top(all: OpenFolders, path: string): Folder {
    const name = new TextEncoder().encode(path);
    return new Folder(all, undefined, name, openIdentity(all, Buffer.from(name), constants.O_RDONLY));
  }

  /** A folder that is there, and is no symlink. @throws the system's error: ELOOP or ENOTDIR for what is none */
  child(name: Uint8Array): Folder {
    return new Folder(this.#all, this, name, openIdentity(this.#all, this.at(name), constants.O_RDONLY | NOFOLLOW));
  }

  /** The path under which the system finds a name in this folder. */
  at(name: Uint8Array): Buffer {
    return Buffer.concat([this.#anchor(), SLASH, name]);
  }

  /** The folder itself, for calls that change its attributes. */
  get self(): Buffer {
    return Buffer.concat([this.#anchor(), SLASH_DOT]);
  }

  /** For messages. */
  get path(): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let folder: Folder | undefined = this; folder !== undefined; folder = folder.parent) {
      parts.push(folder.name);
      if (folder.parent !== undefined) parts.push(SLASH);
    }
    return Buffer.concat(parts.toReversed());
  }

  closeDescriptor(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  close(): void {
    this.#all.forget(this);
  }

  #anchor(): Buffer {
    if (!this.#all.usesDescriptors) return this.#verifiedPath();
    // The way up to the nearest ancestor that is open, then down again: a deep tree must not recurse.
    const closed: Folder[] = [];
    for (
      let folder: Folder | undefined = this;
      folder !== undefined && folder.#fd === undefined;
      folder = folder.parent
    ) {
      closed.push(folder);
    }
    for (const folder of closed.toReversed()) folder.#reopen();
    this.#all.used(this);
    return Buffer.from(`/proc/self/fd/${this.#fd}`);
  }

  /** The parent is open. */
  #reopen(): void {
    const [path, flags] =
      this.parent === undefined
        ? [Buffer.from(this.name), constants.O_RDONLY]
        : [Buffer.concat([Buffer.from(`/proc/self/fd/${this.parent.#fd}/`), this.name]), constants.O_RDONLY | NOFOLLOW];
    const { fd, identity } = openIdentity(this.#all, path, flags);
    this.#fd = fd;
    this.#all.used(this);
    this.#compare(identity);
  }

  #verifiedPath(): Buffer {
    const path = Buffer.from(this.path);
    this.#compare(lstatSync(this.parent === undefined ? Buffer.concat([path, SLASH_DOT]) : path, { bigint: true }));
    return path;
  }

  #compare({ dev, ino }: Identity): void {
    if (dev === this.#identity.dev && ino === this.#identity.ino) return;
    throw new DeviceError(
      'io',
      new TextDecoder().decode(this.path),
      'is not the folder any more that it was: something else changes the destination',
    );
  }
}

const SLASH = Buffer.from('/');
const SLASH_DOT = Buffer.from('/.');
const NOFOLLOW = constants.O_NOFOLLOW ?? 0;

function openIdentity(all: OpenFolders, path: Buffer, flags: number) {
  if (all.usesDescriptors) {
    const fd = openSync(path, flags | constants.O_DIRECTORY);
    return { fd, identity: fstatSync(fd, { bigint: true }) };
  }
  const isTop = (flags & NOFOLLOW) === 0;
  const found = lstatSync(isTop ? Buffer.concat([path, SLASH_DOT]) : path, { bigint: true });
  if (found.isDirectory()) return { fd: undefined, identity: found };
  // As the system itself says it where it is asked for a folder.
  throw Object.assign(new Error('ENOTDIR: not a directory'), { code: 'ENOTDIR', syscall: 'open' });
}
