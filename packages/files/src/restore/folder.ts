// A folder of the host that a restore writes into. Node has no openat(), so names are joined to something that cannot be led astray:
//
// - on Linux to /proc/self/fd/N of a descriptor that was opened without following symlinks. What happens to the path meanwhile does not
//   matter: the descriptor stays the folder that it was;
// - elsewhere to the folder's path, after its device and inode number were compared with those it had when we made or first opened it.
//   Between that look and the use of the path somebody else on the host could still exchange the folder; an image cannot.
//
// A folder that is not the same any more is an error. Descriptors are few: the ones used last stay open, others are opened again from
// their parent, and compared again; fewer still where the system gives us no more of them.

import { closeSync, constants, existsSync, fstatSync, lstatSync, openSync, readdirSync } from 'node:fs';
import { DeviceError } from '@bcachefs-ts/core/engine';
import { hostErrorCode } from './attributes.ts';
import { openWay } from './way.ts';

/** Far below the usual limit of 1024. */
const OPEN_MAX = 64;

const IS_LINUX = process.platform === 'linux';
const hasDescriptorPaths = (): boolean => IS_LINUX && existsSync('/proc/self/fd');

/** The owner belongs to it: an inode number can be used again, by someone who removed what had it. */
interface Identity {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly uid: bigint;
}

/** The descriptors that are open, the ones used last at the end. */
export class OpenFolders {
  readonly usesDescriptors: boolean;
  readonly #open = new Set<Folder>();
  /** These stay open. */
  readonly #pinned = new Set<Folder>();
  #max = OPEN_MAX;

  /** @param usesDescriptors false tries what other systems do */
  constructor(usesDescriptors: boolean = hasDescriptorPaths()) {
    this.usesDescriptors = usesDescriptors;
  }

  used(folder: Folder): void {
    if (this.#pinned.has(folder)) return;
    this.#open.delete(folder);
    this.#open.add(folder);
    this.#shrinkTo(this.#max);
  }

  pin(folder: Folder): void {
    this.#open.delete(folder);
    this.#pinned.add(folder);
  }

  forget(folder: Folder): void {
    if (this.#pinned.has(folder)) return;
    this.#open.delete(folder);
    folder.closeDescriptor();
  }

  closeAll(): void {
    this.#shrinkTo(0);
    for (const folder of this.#pinned) folder.closeDescriptor();
    this.#pinned.clear();
  }

  /** Opens, with fewer of the others open when the system has no more descriptors for us. @throws the system's error */
  tryOpening(open: () => number): number {
    for (;;) {
      try {
        return open();
      } catch (thrown) {
        const code = hostErrorCode(thrown);
        // One is the folder from which the next is opened.
        if ((code !== 'EMFILE' && code !== 'ENFILE') || this.#open.size <= 1) throw thrown;
        this.#max = Math.max(1, this.#open.size >> 1);
        this.#shrinkTo(this.#max);
      }
    }
  }

  #shrinkTo(size: number): void {
    for (const oldest of this.#open) {
      if (this.#open.size <= size) return;
      this.forget(oldest);
    }
  }
}

export class Folder {
  readonly #all: OpenFolders;
  #fd: number | undefined;
  readonly #identity: Identity;

  #parent: Folder | undefined;
  #name: Uint8Array;

  private constructor(
    all: OpenFolders,
    parent: Folder | undefined,
    name: Uint8Array,
    opened: { readonly fd: number | undefined; readonly identity: Identity },
  ) {
    this.#all = all;
    this.#parent = parent;
    this.#name = name;
    this.#fd = opened.fd;
    this.#identity = opened.identity;
    if (this.#fd !== undefined) all.used(this);
  }

  /**
   * The topmost folder, whose path the user gave; it stays open.
   * @throws UsageError for a symlink on the way that somebody else may have put there; the system's error
   */
  static top(all: OpenFolders, path: Uint8Array): Folder {
    const fd = openWay(path, all.usesDescriptors);
    const identity = fd === undefined ? topIdentity(path) : fstatSync(fd, { bigint: true });
    const top = new Folder(all, undefined, path, { fd, identity });
    all.pin(top);
    return top;
  }

  get parent(): Folder | undefined {
    return this.#parent;
  }

  /** Its name in its parent; the whole path of the topmost. */
  get name(): Uint8Array {
    return this.#name;
  }

  get ownerUid(): bigint {
    return this.#identity.uid;
  }

  /** Its names now. */
  names(): Buffer[] {
    return readdirSync(this.#anchor(), { encoding: 'buffer' });
  }

  /** It was renamed, by us: the descriptor is still its own. */
  movedTo(parent: Folder, name: Uint8Array): void {
    this.#parent = parent;
    this.#name = name;
  }

  /** Runs what needs the folder's own descriptor; the path instead where folders cannot be opened, as on Windows. */
  withDescriptor<T>(call: (target: { readonly fd: number | undefined; readonly path: Buffer }) => T): T {
    const path = this.#anchor();
    if (this.#fd !== undefined || process.platform === 'win32') return call({ fd: this.#fd, path });
    const nofollow = this.#parent === undefined ? 0 : NOFOLLOW;
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | nofollow);
    try {
      this.#compare(fstatSync(fd, { bigint: true }));
      return call({ fd, path });
    } finally {
      closeSync(fd);
    }
  }

  /** A folder that exists, and is not a symlink. @throws the system's error: ELOOP or ENOTDIR for anything else */
  child(name: Uint8Array): Folder {
    return new Folder(this.#all, this, name, openIdentity(this.#all, this.at(name), constants.O_RDONLY | NOFOLLOW));
  }

  /** The path under which the system finds a name in this folder. */
  at(name: Uint8Array): Buffer {
    return Buffer.concat([this.#anchor(), SLASH, name]);
  }

  /** For messages. */
  get path(): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let folder: Folder | undefined = this; folder !== undefined; folder = folder.#parent) {
      parts.push(folder.#name);
      if (folder.#parent !== undefined) parts.push(SLASH);
    }
    return Buffer.concat(parts.toReversed());
  }

  /** @throws DeviceError when it is another folder */
  checkIs(other: Folder): void {
    const identity = other.#identity;
    this.close();
    this.#compare(identity);
  }

  /** Whether somebody else than us may exchange what is in it. */
  isOpenToOthers(): boolean {
    const { uid, mode } = lstatSync(Buffer.concat([this.#anchor(), SLASH_DOT]), { bigint: true });
    return uid !== BigInt(process.geteuid?.() ?? 0) || (mode & 0o022n) !== 0n;
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
      folder = folder.#parent
    ) {
      closed.push(folder);
    }
    for (const folder of closed.toReversed()) folder.#reopen();
    this.#all.used(this);
    return Buffer.from(`/proc/self/fd/${this.#fd}`);
  }

  /** The parent is open; the topmost always is. */
  #reopen(): void {
    const parent = this.#parent;
    const path = Buffer.concat([Buffer.from(`/proc/self/fd/${parent === undefined ? '' : parent.#fd}/`), this.#name]);
    const { fd, identity } = openIdentity(this.#all, path, constants.O_RDONLY | NOFOLLOW);
    this.#fd = fd;
    this.#all.used(this);
    this.#compare(identity);
  }

  #verifiedPath(): Buffer {
    const path = Buffer.from(this.path);
    this.#compare(this.#parent === undefined ? topIdentity(path) : lstatSync(path, { bigint: true }));
    return path;
  }

  #compare({ dev, ino, uid }: Identity): void {
    const mine = this.#identity;
    if (dev === mine.dev && ino === mine.ino && uid === mine.uid) return;
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

/** Of what a path leads to. */
const topIdentity = (path: Uint8Array): Identity => lstatSync(Buffer.concat([path, SLASH_DOT]), { bigint: true });

function openIdentity(all: OpenFolders, path: Buffer, flags: number) {
  if (all.usesDescriptors) {
    const fd = all.tryOpening(() => openSync(path, flags | constants.O_DIRECTORY));
    return { fd, identity: fstatSync(fd, { bigint: true }) };
  }
  const found = lstatSync(path, { bigint: true });
  if (found.isDirectory()) return { fd: undefined, identity: found };
  // As the system itself says it where it is asked for a folder.
  throw Object.assign(new Error('ENOTDIR: not a directory'), { code: 'ENOTDIR', syscall: 'open' });
}
