// A file that appears under its name only when it is whole: it is written under a temporary name beside it, brought to stable
// storage, and renamed. A crash, a full disk or an error leaves nothing under the final name.

import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { assert, DeviceError, UsageError } from '../ondisk/errors.ts';
import { systemError, systemErrorCode } from './system-error.ts';

export interface NewFileOptions {
  /** Take the place of a file that is there. */
  readonly overwrite: boolean;
  /** Permissions, cut by the umask: 0o666 when it is left out. */
  readonly mode?: number;
}

export class NewFile {
  /** Where it will be. */
  readonly path: string;
  readonly #overwrite: boolean;
  readonly #temporary: string;
  #fd: number | undefined;

  /**
   * @throws UsageError when there is something at the path that is not to be overwritten, or cannot be
   * @throws DeviceError when the temporary file cannot be made
   */
  constructor(path: string, { overwrite, mode = 0o666 }: NewFileOptions) {
    this.#overwrite = overwrite;
    this.path = path;
    const target = targetOf(path, overwrite);
    // Two processes at one path do not meet; what a crash left behind does not stop the next try.
    this.#temporary = `${target}.unfinished-${process.pid}`;
    const { O_RDWR, O_CREAT, O_EXCL } = constants;
    try {
      this.#fd = openSync(this.#temporary, O_RDWR | O_CREAT | O_EXCL, mode);
    } catch (cause) {
      throw systemError(path, 'creating', cause);
    }
  }

  write(offset: number, from: Uint8Array): void {
    const fd = this.#openFd();
    for (let done = 0; done < from.length; ) {
      try {
        done += writeSync(fd, from, done, from.length - done, offset + done);
      } catch (cause) {
        throw systemError(this.path, `writing ${from.length - done} bytes at byte ${offset + done}`, cause);
      }
    }
  }

  /** Grows it (sparse, zeroes) or cuts it. */
  setSize(sizeBytes: number): void {
    const fd = this.#openFd();
    try {
      ftruncateSync(fd, sizeBytes);
    } catch (cause) {
      throw systemError(this.path, `setting the size to ${sizeBytes} bytes`, cause);
    }
  }

  /** Brings all of it to stable storage; then `commit` can hardly fail any more. */
  flush(): void {
    const fd = this.#openFd();
    try {
      fsyncSync(fd);
    } catch (cause) {
      throw systemError(this.path, 'flushing', cause);
    }
  }

  /**
   * Puts it in its place. Nothing can be written after it.
   * @throws UsageError when something has come to be at the path meanwhile
   */
  commit(): void {
    this.flush();
    const target = targetOf(this.path, this.#overwrite);
    this.#checkTemporary();
    this.#close();
    try {
      renameSync(this.#temporary, target);
      flushFolder(dirname(target));
    } catch (cause) {
      throw systemError(this.path, 'renaming', cause);
    }
  }

  /** Anyone else who can write to the folder could have put another file under the temporary name. */
  #checkTemporary(): void {
    const own = fstatSync(this.#openFd(), { bigint: true });
    const there = lstatSync(this.#temporary, { bigint: true, throwIfNoEntry: false });
    if (there !== undefined && there.dev === own.dev && there.ino === own.ino) return;
    throw new DeviceError(
      'io',
      this.#temporary,
      'is not the file any more that was written: something else changes its folder',
    );
  }

  /** Forgets it, if it was not committed. Doing it twice is fine. */
  discard(): void {
    if (this.#fd === undefined) return;
    this.#close();
    rmSync(this.#temporary, { force: true });
  }

  #close(): void {
    const fd = this.#openFd();
    this.#fd = undefined;
    closeSync(fd);
  }

  #openFd(): number {
    assert(this.#fd !== undefined, `${this.path} is used after it was closed`);
    return this.#fd;
  }
}

/** The path to be renamed to: for a symbolic link, what it leads to. */
function targetOf(path: string, overwrite: boolean): string {
  const found = statIfPresent(path);
  if (found === undefined) return path;
  if (!overwrite) throw new UsageError(`${path} is there already (--force overwrites it)`);
  if (found.isSymbolicLink()) checkLink(path, found);
  const target = found.isSymbolicLink() ? realTarget(path) : path;
  if (statIfPresent(target)?.isFile() === false) {
    throw new UsageError(`${path} is not a file: only files are overwritten`);
  }
  return target;
}

/** A link that somebody else could have put there would choose what is overwritten. The rule of the kernel's protected_symlinks. */
function checkLink(path: string, link: Stats): void {
  const uid = process.geteuid?.();
  if (uid === undefined) return;
  const folder = lstatSync(`${dirname(path)}/.`);
  const isOurs = (one: Stats): boolean => one.uid === 0 || one.uid === uid;
  const isOpen = (folder.mode & 0o002) !== 0 && (folder.mode & 0o1000) === 0;
  if (isOurs(link) && isOurs(folder) && !isOpen) return;
  throw new UsageError(
    `${path}: is a symlink that another user could have put there, which is not followed; give the path that it leads to`,
  );
}

function realTarget(path: string): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    throw systemError(path, 'following the link', cause);
  }
}

function statIfPresent(path: string) {
  try {
    return lstatSync(path);
  } catch (cause) {
    if (systemErrorCode(cause) === 'ENOENT') return undefined;
    throw systemError(path, 'looking for it', cause);
  }
}

/** So that the new name survives a crash too. Some systems do not let folders be opened, or flushed. */
export function flushFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const fd = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } catch (cause) {
    if (!['EINVAL', 'ENOTSUP', 'EROFS'].includes(systemErrorCode(cause) ?? '')) throw cause;
  } finally {
    closeSync(fd);
  }
}
