// The place that a restore writes to: makes folders, files, links and nodes there and nowhere else, whatever names the image holds, and
// whatever another user of the host prepared there or does meanwhile. Names that could lead out are refused, symlinks in the destination are
// never followed, whether or not we made them, and nothing is replaced that this restore did not make, unless the user wants to merge.
//
// Everything is made in the work folder, as `new`, and gets its attributes there, through its descriptor; then it is renamed to its place. So
// a name in the destination always stands for a whole file. The work folder is one that only we can write to, or it is not used.

import {
  type BigIntStats,
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import type { NativeCalls } from '@bcachefs-ts/command';
import { bytesOfWord, DeviceError, type DeviceNumbers, printableBytes, UsageError } from '@bcachefs-ts/core/engine';
import { type AttributeTarget, hostErrorCode } from './attributes.ts';
import { Folder, OpenFolders } from './folder.ts';
import { STATE_FOLDER } from './state.ts';
import { O_PATH } from './way.ts';

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
  ENOTDIR: 'something that is not a folder is in the way',
  ELOOP: 'a symlink is in the way',
  EEXIST: 'the name is taken in the destination',
  EXDEV: 'another filesystem is mounted there in the destination',
  EMLINK: 'the host does not take as many links to one file',
};

const encoder = new TextEncoder();
const NEW = encoder.encode('new');
const WORK = encoder.encode(STATE_FOLDER);
const DEFAULT_ACL = encoder.encode('system.posix_acl_default');
const OTHERS_WRITE = 0o022n;
/** What a host answers that has no hard links, or has reached its limit of them. */
const NO_LINKS: readonly (string | undefined)[] = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

export interface DestinationOptions {
  /** Folders that are not empty are taken, and files in them replaced. */
  readonly merge: boolean;
  readonly native: NativeCalls | undefined;
  /** Undefined on systems without users like these. */
  readonly user: { readonly uid: number } | undefined;
  readonly folders?: OpenFolders;
}

/** What was made last and has no name yet. */
interface New {
  /** Of a regular file. */
  fd: number | undefined;
  readonly identity: Pick<BigIntStats, 'dev' | 'ino'>;
}

export class Destination {
  readonly #options: DestinationOptions;
  readonly #folders: OpenFolders;
  #new: New | undefined;
  readonly top: Folder;
  readonly work: Folder;
  /** Whether there was nothing in it that the user had put there. */
  readonly isNew: boolean;
  /** Whether an interrupted restore goes on. */
  readonly isResumed: boolean;
  /** Whether names that differ in case only are one name there. */
  readonly ignoresCase: boolean;

  /** @throws UsageError when it is not empty or not safe; DeviceError when it cannot be written to */
  constructor(path: string, options: DestinationOptions) {
    this.#options = options;
    this.#folders = options.folders ?? new OpenFolders();
    try {
      this.top = openTop(path, this.#folders, options.user);
      // What was seen through the path need not be what was opened.
      const names = this.top.names();
      this.isResumed = names.some(name => name.equals(WORK));
      if (names.length > 0 && !this.isResumed && !options.merge) throw notEmpty(path);
      this.isNew = this.isResumed || names.length === 0;
      this.work = this.#openWork(path);
      this.#removeStray();
      this.ignoresCase = exists(this.top, encoder.encode(STATE_FOLDER.toUpperCase()));
    } catch (thrown) {
      this.#folders.closeAll();
      throw hostFailure(thrown, bytesOfWord(path));
    }
  }

  #openWork(path: string): Folder {
    if (!this.isResumed) mkdirSync(this.top.at(WORK), 0o700);
    let work: Folder;
    try {
      work = this.top.child(WORK);
    } catch (thrown) {
      if (!['ELOOP', 'ENOTDIR', 'EACCES'].includes(hostErrorCode(thrown) ?? '')) throw thrown;
      throw notOurs(path, 'is not a folder of ours');
    }
    this.#folders.pin(work);
    const { native, user } = this.#options;
    if (user !== undefined) checkWorkFolder(work, user.uid, path);
    if (!this.isResumed && work.names().length > 0) throw notOurs(path, 'was put there by somebody else just now');
    // What is made in it shall not inherit an ACL of the destination.
    if (native !== undefined) dropDefaultAcl(native, work);
    return work;
  }

  /** A new regular file, which gets its name by `place`. @returns its descriptor, which stays ours */
  createFile(): number {
    this.discardNew();
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | NOFOLLOW;
    const fd = this.#folders.tryOpening(() => openSync(this.work.at(NEW), flags, 0o600));
    this.#new = { fd, identity: fstatSync(fd, { bigint: true }) };
    return fd;
  }

  makeSymlink(target: Uint8Array): void {
    this.discardNew();
    symlinkSync(Buffer.from(target), this.work.at(NEW));
    this.#noteNew();
  }

  makeNode(native: NativeCalls, mode: number, rdev: DeviceNumbers): void {
    this.discardNew();
    native.makeNode(this.work.at(NEW), mode, rdev);
    this.#noteNew();
  }

  #noteNew(): void {
    this.#new = { fd: undefined, identity: lstatSync(this.work.at(NEW), { bigint: true }) };
  }

  get usesDescriptors(): boolean {
    return this.#folders.usesDescriptors;
  }

  /** What was made last, before it has its name. */
  get newTarget(): AttributeTarget {
    return { fd: this.#new?.fd, path: this.work.at(NEW) };
  }

  /**
   * Keeps a further name of what was made last, from which `link` makes others. It is in the work folder, where others cannot put
   * something different under it.
   * @returns whether the host has hard links
   */
  keep(key: string): boolean {
    const kept = this.work.at(encoder.encode(key));
    try {
      if (lstatSync(kept, { throwIfNoEntry: false }) !== undefined) unlinkSync(kept);
      linkSync(this.work.at(NEW), kept);
      return true;
    } catch (thrown) {
      if (!NO_LINKS.includes(hostErrorCode(thrown))) throw thrown;
      return false;
    }
  }

  /** Whether a name is one of a file that was kept, by this run or an earlier one. */
  isKept(key: string, folder: Folder, name: Uint8Array): boolean {
    const [kept, there] = [lookAtName(this.work, encoder.encode(key)), lookAtName(folder, name)];
    return kept !== undefined && there !== undefined && isSame(kept, there);
  }

  /**
   * Gives what was made last its name.
   * @param replaces whether a file of this name is one of ours, or unwanted
   * @throws NotWritten when the name is taken, or none for this host; DeviceError when it is not what we made any more
   */
  place(folder: Folder, name: Uint8Array, replaces: boolean): void {
    this.checkName(folder, name);
    taking(() => {
      if (!replaces && exists(folder, name)) throw new NotWritten(REASONS.EEXIST);
      this.#rename(folder, name);
    });
  }

  #rename(folder: Folder, name: Uint8Array): void {
    const there = lookAtName(this.work, NEW);
    if (this.#new === undefined || there === undefined || !isSame(there, this.#new.identity)) {
      const path = printableBytes(Buffer.concat([this.work.path, SLASH, NEW]));
      throw new DeviceError('io', path, 'is not what was made there any more: something else changes the destination');
    }
    renameSync(this.work.at(NEW), folder.at(name));
    this.#closeNew();
    this.#new = undefined;
  }

  /** Gives a file that was kept a further name. Symlinks are linked themselves, not what they lead to. */
  link(key: string, folder: Folder, name: Uint8Array, replaces: boolean): void {
    this.checkName(folder, name);
    taking(() => {
      const there = lookAtName(folder, name);
      if (there !== undefined) {
        if (!replaces) throw new NotWritten(REASONS.EEXIST);
        // A rename of one name of a file over another does nothing, not even remove the first.
        if (this.isKept(key, folder, name)) return;
      }
      this.discardNew();
      linkSync(this.work.at(encoder.encode(key)), this.work.at(NEW));
      this.#noteNew();
      this.#rename(folder, name);
    });
  }

  /**
   * The folder of a name, made if it is not there.
   * @param mayExist whether one that is there is taken
   * @param owner who may own it then, besides us; undefined: anybody
   */
  folder(parent: Folder, name: Uint8Array, mayExist: boolean, owner: number | undefined): Folder {
    this.checkName(parent, name);
    return taking(() => {
      const there = lookAtName(parent, name);
      if (there === undefined) return this.#newFolder(parent, name);
      if (!mayExist) throw new NotWritten(REASONS.EEXIST);
      const { user } = this.#options;
      const shutsOut = user !== undefined && user.uid !== 0 && there.isDirectory() && (there.mode & 0o700n) !== 0o700n;
      // An interrupted restore had given it its permissions already.
      if (shutsOut) chmodUnfollowed(parent.at(name), 0o700, this.#folders.usesDescriptors);
      const folder = parent.child(name);
      if (owner === undefined || folder.ownerUid === BigInt(owner) || folder.ownerUid === this.work.ownerUid)
        return folder;
      folder.close();
      throw new NotWritten('a folder of another user is in the way');
    });
  }

  /** Opened before it has its name: what somebody else puts under that name meanwhile is not what is written to. */
  #newFolder(parent: Folder, name: Uint8Array): Folder {
    this.discardNew();
    mkdirSync(this.work.at(NEW), 0o700);
    this.#noteNew();
    const folder = this.work.child(NEW);
    try {
      this.#rename(parent, name);
    } catch (thrown) {
      folder.close();
      throw thrown;
    }
    folder.movedTo(parent, name);
    return folder;
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
    if (this.#new === undefined) return;
    this.#closeNew();
    this.#new = undefined;
    this.#removeStray();
  }

  /** An earlier run may have left something. */
  #removeStray(): void {
    const there = lookAtName(this.work, NEW);
    if (there === undefined) return;
    if (there.isDirectory()) rmdirSync(this.work.at(NEW));
    else unlinkSync(this.work.at(NEW));
  }

  #closeNew(): void {
    if (this.#new?.fd === undefined) return;
    closeSync(this.#new.fd);
    this.#new.fd = undefined;
  }

  /** Removes the work folder: what is in it through its descriptor, never by a path that could lead elsewhere. */
  finish(): void {
    this.discardNew();
    for (const name of this.work.names()) unlinkSync(this.work.at(name));
    this.top.child(WORK).checkIs(this.work);
    rmdirSync(this.top.at(WORK));
  }

  close(): void {
    this.#closeNew();
    this.#folders.closeAll();
  }
}

const SLASH = Buffer.from('/');
const NOFOLLOW = constants.O_NOFOLLOW ?? 0;

/** Writes all of it. */
export function writeAll(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
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

const TOO_MANY_FILES =
  'too many open files; what is restored stays: allow more (ulimit -n) and give the same command again to go on';

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
  EMFILE: ['io', TOO_MANY_FILES],
  ENFILE: ['io', TOO_MANY_FILES],
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

const hostPath = (word: string): Buffer => Buffer.from(bytesOfWord(word));

/** What is at the path that the user gave. */
export function lookAt(path: string): 'absent' | 'empty' | 'taken' | 'interrupted' {
  const there = statSync(hostPath(path), { throwIfNoEntry: false });
  if (there === undefined) return 'absent';
  if (!there.isDirectory()) throw new UsageError(`${path} is not a folder`, undefined, 'ENOTDIR');
  const names = readdirSync(hostPath(path));
  if (names.includes(STATE_FOLDER) && lstatSync(hostPath(`${path}/${STATE_FOLDER}`)).isDirectory())
    return 'interrupted';
  return names.length === 0 ? 'empty' : 'taken';
}

export const notEmpty = (path: string): UsageError =>
  new UsageError(
    `${path} is not empty; choose another folder, or give --merge to restore into it`,
    undefined,
    'ENOTEMPTY',
  );

const notOurs = (path: string, why: string): UsageError =>
  new UsageError(
    `${path}/${STATE_FOLDER} ${why}: nothing in it is used; remove it, or choose a folder that others cannot write to`,
  );

/** Opens the destination, which is made if it is not there. */
function openTop(path: string, folders: OpenFolders, user: DestinationOptions['user']): Folder {
  if (statSync(hostPath(path), { throwIfNoEntry: false }) === undefined) {
    const above = Folder.top(folders, bytesOfWord(dirname(path)));
    mkdirSync(above.at(bytesOfWord(basename(path))), 0o700);
  }
  const top = Folder.top(folders, bytesOfWord(path));
  // Without descriptors a path is looked at before it is used, which others can come between.
  if (!folders.usesDescriptors && user?.uid === 0 && top.isOpenToOthers()) {
    throw new UsageError(
      `${path} belongs to another user or can be written to by others, and this system does not let root work there safely (no /proc/self/fd); ` +
        'restore as that user, or into a folder of your own',
    );
  }
  return top;
}

/**
 * Checks that others cannot write to it. A filesystem that keeps no owners and permissions (FAT) has none for what we make in the folder either;
 * there nothing can be hidden from others anyway.
 */
function checkWorkFolder(work: Folder, uid: number, path: string): void {
  const found = work.withDescriptor(({ fd, path: here }) =>
    fd === undefined ? lstatSync(here, { bigint: true }) : fstatSync(fd, { bigint: true }),
  );
  if (found.uid === BigInt(uid) && (found.mode & OTHERS_WRITE) === 0n) return;
  const name = encoder.encode('probe');
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | NOFOLLOW;
  let probe: BigIntStats;
  try {
    const fd = openSync(work.at(name), flags, 0o600);
    probe = fstatSync(fd, { bigint: true });
    closeSync(fd);
    unlinkSync(work.at(name));
  } catch (thrown) {
    if (hostErrorCode(thrown) === undefined) throw thrown;
    throw notOurs(path, `belongs to user ${found.uid}`);
  }
  if (found.uid !== probe.uid) throw notOurs(path, `belongs to user ${found.uid}`);
  if ((found.mode & OTHERS_WRITE) !== 0n && (probe.mode & OTHERS_WRITE) === 0n)
    throw notOurs(path, 'can be written to by other users');
}

/** Changes permissions of what is not a symlink. */
export function chmodUnfollowed(path: Buffer, mode: number, usesDescriptors: boolean): void {
  if (!usesDescriptors) {
    // Only we can have put it there.
    if (!lstatSync(path).isSymbolicLink()) chmodSync(path, mode);
    return;
  }
  const fd = openSync(path, O_PATH | NOFOLLOW);
  try {
    if (!fstatSync(fd).isSymbolicLink()) chmodSync(`/proc/self/fd/${fd}`, mode);
  } finally {
    closeSync(fd);
  }
}

const lookAtName = (folder: Folder, name: Uint8Array): BigIntStats | undefined =>
  lstatSync(folder.at(name), { bigint: true, throwIfNoEntry: false });

const isSame = (a: Pick<BigIntStats, 'dev' | 'ino'>, b: Pick<BigIntStats, 'dev' | 'ino'>): boolean =>
  a.dev === b.dev && a.ino === b.ino;

const exists = (folder: Folder, name: Uint8Array): boolean => lookAtName(folder, name) !== undefined;

function dropDefaultAcl(native: NativeCalls, folder: Folder): void {
  try {
    folder.withDescriptor(({ fd, path }) => native.removeXattr(fd ?? path, DEFAULT_ACL));
  } catch (thrown) {
    // There is none, or this filesystem has no ACLs.
    if (hostErrorCode(thrown) === undefined) throw thrown;
  }
}
