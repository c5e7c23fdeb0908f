// The place that a restore writes to: makes folders, files, links and nodes there and nowhere else, whatever names the image holds. Names
// that could lead out are refused, symlinks in the destination are never followed, whoever made them, and nothing is replaced that this
// restore did not make, unless the user wants to merge.
//
// Everything is made in the work folder, as `new`, and gets its attributes there; then it is renamed to its place. So a name in the
// destination always stands for a whole file.

import {
  chmodSync,
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import type { NativeCalls } from '@bcachefs-ts/command';
import { DeviceError, type DeviceNumbers, printableBytes, UsageError } from '@bcachefs-ts/core';
import { hostErrorCode } from './attributes.ts';
import { Folder, OpenFolders } from './folder.ts';
import { STATE_FOLDER } from './state.ts';

/** The host does not take one file; the next ones may be fine. */
export class NotWritten extends Error {
  override readonly name = 'NotWritten';
}

/** What is wrong with one file only. Everything else that the host refuses ends the restore. */
const REASONS: Readonly<Record<string, string>> = {
  ENAMETOOLONG: 'the name is longer than the host takes',
  EINVAL: 'the host does not take the name, or the size',
  EILSEQ: 'the host does not take these bytes for a name',
  EFBIG: 'it is larger than the host takes',
  EISDIR: 'a folder of this name is in the way',
  ENOTEMPTY: 'a folder of this name is in the way',
  ENOTDIR: 'something that is no folder is in the way',
  ELOOP: 'a symlink is in the way',
  EEXIST: 'the name is taken in the destination',
  EXDEV: 'another filesystem is mounted there in the destination',
  EMLINK: 'the host does not take as many links to one file',
};

const encoder = new TextEncoder();
const NEW = encoder.encode('new');
const WORK = encoder.encode(STATE_FOLDER);
const DEFAULT_ACL = encoder.encode('system.posix_acl_default');

export interface DestinationOptions {
  /** Folders that are not empty are taken, and files in them replaced. */
  readonly merge: boolean;
  readonly native: NativeCalls | undefined;
  /** Whether permissions do not bind us. */
  readonly isRoot: boolean;
  readonly folders?: OpenFolders;
}

export class Destination {
  readonly #options: DestinationOptions;
  readonly #folders: OpenFolders;
  /** Whether there may be a `new`: an earlier run may have left one. */
  #hasNew = true;
  readonly top: Folder;
  readonly work: Folder;
  /** Whether there was nothing in it that the user had put there. */
  readonly isNew: boolean;
  /** Whether an interrupted restore goes on. */
  readonly isResumed: boolean;
  /** Whether names that differ in case only are one name there. */
  readonly ignoresCase: boolean;

  /** @throws UsageError when it is not empty; DeviceError when it cannot be written to */
  constructor(path: string, options: DestinationOptions) {
    this.#options = options;
    this.#folders = options.folders ?? new OpenFolders();
    try {
      const found = lookAt(path);
      if (found === 'taken' && !options.merge) {
        throw new UsageError(
          `${path} is not empty; choose another folder, or give --merge to restore into it`,
          undefined,
          'ENOTEMPTY',
        );
      }
      if (found === 'absent') mkdirSync(path, 0o700);
      this.isNew = found !== 'taken';
      this.isResumed = found === 'interrupted';
      this.top = Folder.top(this.#folders, path);
      if (!this.isResumed) mkdirSync(this.top.at(WORK), 0o700);
      this.work = this.top.child(WORK);
      this.discardNew();
      this.ignoresCase = exists(this.top, encoder.encode(STATE_FOLDER.toUpperCase()));
      // What is made in it shall not inherit an ACL of the destination.
      if (options.native !== undefined) dropDefaultAcl(options.native, this.work);
    } catch (thrown) {
      this.#folders.closeAll();
      throw hostFailure(thrown, encoder.encode(path));
    }
  }

  /** A new regular file, which gets its name by `place`. */
  createFile(): number {
    this.discardNew();
    this.#hasNew = true;
    return openSync(this.work.at(NEW), constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | NOFOLLOW, 0o600);
  }

  makeSymlink(target: Uint8Array): void {
    this.discardNew();
    this.#hasNew = true;
    symlinkSync(Buffer.from(target), this.work.at(NEW));
  }

  makeNode(native: NativeCalls, mode: number, rdev: DeviceNumbers): void {
    this.discardNew();
    this.#hasNew = true;
    native.makeNode(this.work.at(NEW), mode, rdev);
  }

  /** What was made last, before it has its name. */
  get newPath(): Buffer {
    return this.work.at(NEW);
  }

  /**
   * Gives what was made last its name.
   * @param replaces whether a file of this name is one of ours, or unwanted
   * @throws NotWritten when the name is taken, or none for this host
   */
  place(folder: Folder, name: Uint8Array, replaces: boolean): void {
    this.checkName(folder, name);
    taking(() => {
      if (!replaces && exists(folder, name)) throw new NotWritten(REASONS.EEXIST);
      renameSync(this.work.at(NEW), folder.at(name));
      this.#hasNew = false;
    });
  }

  /** Gives a file a second name. Symlinks are linked themselves, not what they lead to. */
  link(
    from: { readonly folder: Folder; readonly name: Uint8Array },
    folder: Folder,
    name: Uint8Array,
    replaces: boolean,
  ): void {
    this.checkName(folder, name);
    taking(() => {
      const there = lstatSync(folder.at(name), { bigint: true, throwIfNoEntry: false });
      if (there !== undefined) {
        if (!replaces) throw new NotWritten(REASONS.EEXIST);
        const first = lstatSync(from.folder.at(from.name), { bigint: true });
        // A rename of one name of a file over another does nothing, not even remove the first.
        if (there.dev === first.dev && there.ino === first.ino) return;
      }
      this.discardNew();
      this.#hasNew = true;
      linkSync(from.folder.at(from.name), this.work.at(NEW));
      renameSync(this.work.at(NEW), folder.at(name));
    });
  }

  /**
   * The folder of a name, made if it is not there.
   * @param mayExist whether one that is there is taken
   */
  folder(parent: Folder, name: Uint8Array, mayExist: boolean): Folder {
    this.checkName(parent, name);
    return taking(() => {
      const there = lstatSync(parent.at(name), { throwIfNoEntry: false });
      if (there === undefined) {
        this.discardNew();
        this.#hasNew = true;
        mkdirSync(this.work.at(NEW), 0o700);
        renameSync(this.work.at(NEW), parent.at(name));
        this.#hasNew = false;
      } else if (!mayExist) {
        throw new NotWritten(REASONS.EEXIST);
      } else if (!this.#options.isRoot && there.isDirectory() && (there.mode & 0o700) !== 0o700) {
        // An interrupted restore had given it its permissions already. It was just seen to be no symlink.
        chmodSync(parent.at(name), 0o700);
      }
      return parent.child(name);
    });
  }

  /** @throws NotWritten for names that no file can have here */
  checkName(folder: Folder, name: Uint8Array): void {
    const why = unusable(name, process.platform === 'win32');
    if (why !== undefined) throw new NotWritten(why);
    if (folder === this.top && printableBytes(name).toLowerCase() === STATE_FOLDER) {
      throw new NotWritten(`${STATE_FOLDER} is the name of what restoring itself keeps there`);
    }
  }

  /** Removes what was begun and did not get its name. */
  discardNew(): void {
    if (!this.#hasNew) return;
    this.#hasNew = false;
    const there = lstatSync(this.work.at(NEW), { throwIfNoEntry: false });
    if (there === undefined) return;
    if (there.isDirectory()) rmdirSync(this.work.at(NEW));
    else unlinkSync(this.work.at(NEW));
  }

  /** Removes the work folder. */
  finish(): void {
    rmSync(this.top.at(WORK), { recursive: true });
  }

  close(): void {
    this.#folders.closeAll();
  }
}

const NOFOLLOW = constants.O_NOFOLLOW ?? 0;

/** Writes all of it. */
export function writeAll(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
}

/** Gives a file its size and closes it. */
export function endFile(fd: number, sizeBytes: number): void {
  try {
    ftruncateSync(fd, sizeBytes);
  } finally {
    closeSync(fd);
  }
}

/** Runs what makes one file. @throws NotWritten for refusals that are about that file */
export function taking<T>(make: () => T): T {
  try {
    return make();
  } catch (thrown) {
    const reason = REASONS[hostErrorCode(thrown) ?? ''];
    if (reason === undefined) throw thrown;
    throw new NotWritten(reason, { cause: thrown });
  }
}

const KINDS = {
  ENOSPC: ['full', 'no space left; what is restored stays: free some space and give the same command again to go on'],
  EDQUOT: [
    'full',
    'the quota is used up; what is restored stays: free some space and give the same command again to go on',
  ],
  EROFS: ['read-only', 'is on a read-only filesystem'],
  EACCES: ['permission', 'permission denied; what is restored stays: give the same command again to go on'],
  EPERM: ['permission', 'not permitted; what is restored stays: give the same command again to go on'],
  ENOENT: ['missing', 'no such file or directory'],
} as const;

/** What the system refused while writing, as an error that names the place. Other errors stay what they are. */
export function hostFailure(thrown: unknown, path: Uint8Array): unknown {
  const code = hostErrorCode(thrown);
  if (code === undefined) return thrown;
  const known = code in KINDS ? KINDS[code as keyof typeof KINDS] : undefined;
  const detail = known?.[1] ?? `writing failed (${code}); what is restored stays: give the same command again to go on`;
  return new DeviceError(known?.[0] ?? 'io', printableBytes(path), detail, { cause: thrown });
}

/** Why a name cannot be a file's; undefined when it can. */
export function unusable(name: Uint8Array, isWindows: boolean): string | undefined {
  if (name.length === 0) return 'a name without characters';
  if (name.includes(0)) return 'a name with a NUL';
  if (name.includes(0x2f)) return 'a name with a slash';
  if (name.length <= 2 && name.every(byte => byte === 0x2e)) return `${printableBytes(name)} cannot be a name`;
  if (!isWindows) return undefined;
  const text = new TextDecoder().decode(name);
  if (text.includes('\ufffd')) return 'a name that is not UTF-8 cannot be written on Windows';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: Windows refuses them
  if (/[\\:*?"<>|\u0000-\u001f]|[. ]$/.test(text)) return 'a name with characters that Windows does not take';
  if (/^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)/i.test(text))
    return 'a name that Windows keeps for devices';
  return undefined;
}

/** What is at the path that the user gave. */
export function lookAt(path: string): 'absent' | 'empty' | 'taken' | 'interrupted' {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there === undefined) return 'absent';
  if (!there.isDirectory()) throw new UsageError(`${path} is not a folder`, undefined, 'ENOTDIR');
  const names = readdirSync(path);
  if (names.includes(STATE_FOLDER) && lstatSync(`${path}/${STATE_FOLDER}`).isDirectory()) return 'interrupted';
  return names.length === 0 ? 'empty' : 'taken';
}

const exists = (folder: Folder, name: Uint8Array): boolean =>
  lstatSync(folder.at(name), { throwIfNoEntry: false }) !== undefined;

function dropDefaultAcl(native: NativeCalls, folder: Folder): void {
  try {
    native.removeXattr(folder.self, DEFAULT_ACL);
  } catch (thrown) {
    // There is none, or this filesystem has no ACLs.
    if (hostErrorCode(thrown) === undefined) throw thrown;
  }
}
