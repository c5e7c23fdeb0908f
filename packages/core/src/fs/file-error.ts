// What the tree of files does not allow, in the words that errno has for it.

import { UsageError } from '../ondisk/errors.ts';

const words = {
  EEXIST: 'file exists',
  EFBIG: 'too large to be read at once',
  EINVAL: 'invalid argument',
  EISDIR: 'is a directory',
  ELOOP: 'too many symbolic links',
  EMLINK: 'too many links',
  ENAMETOOLONG: 'file name too long',
  ENODATA: 'no such attribute',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no number below 2^31 is left',
  ENOTDIR: 'not a directory',
  ENOTEMPTY: 'directory not empty',
  EPERM: 'not allowed for a file of this type',
  ERANGE: 'too large for a key',
  EROFS: 'the subvolume is read-only',
  EXDEV: 'would cross from one subvolume or set of options to another',
} as const;

export type FileErrorCode = keyof typeof words;

/** What was asked of a file is not possible. A change was refused then; nothing was changed. */
export class FileError extends UsageError {
  declare readonly code: FileErrorCode;
  constructor(code: FileErrorCode, what: string) {
    super(`${what}: ${words[code]}`, undefined, code);
  }
}

/** Does a change to one file; what is refused names the file by its path: the engine knows files by their numbers, people by their paths. */
export function atPath<T>(path: string, change: () => T): T {
  try {
    return change();
  } catch (thrown) {
    throw withPath(thrown, path);
  }
}

export const withPath = (thrown: unknown, path: string): unknown =>
  thrown instanceof FileError ? new FileError(thrown.code, path) : thrown;
