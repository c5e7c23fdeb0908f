// Finds what a PATH of the command line means. Names are printed with `\x1b` for bytes that are not text (see printableBytes), so a path that
// leads to nothing as it stands is tried once more with such escapes read as the bytes that they stand for: what was printed can be typed.

import {
  bytesOfWord,
  type FileNode,
  type FileTree,
  isMemberFile,
  type LookupOptions,
  UsageError,
} from '@bcachefs-ts/core/engine';

export interface FoundPath {
  readonly node: FileNode;
  /** As it was found, from the root, without slashes around it; empty for the root. */
  readonly path: Uint8Array;
}

const SLASH = 0x2f;

/** @throws UsageError when there is no such file */
export function lookUp(tree: FileTree, typed: string, options: LookupOptions = {}): FoundPath {
  const plain = bytesOfWord(typed);
  try {
    return { node: tree.lookup(plain, options), path: trimmed(plain) };
  } catch (thrown) {
    if (!(thrown instanceof UsageError)) throw thrown;
    const bytes = unescapedBytes(typed);
    if (bytes === undefined) throw withHint(thrown, typed);
    return { node: tree.lookup(bytes, options), path: trimmed(bytes) };
  }
}

/** Members in words of their own (`ls a.img b.img`) are taken for paths. */
function withHint(error: UsageError, typed: string): UsageError {
  if (error.code !== 'ENOENT' || !isMemberFile(typed)) return error;
  const hint =
    'it is a file of this machine with a member of a filesystem; name all members in one word, joined by colons';
  return new UsageError(`${error.detail}; ${hint}`, error.option, error.code);
}

/** The bytes that printableBytes shows like this; undefined when there is no escape in it. */
export function unescapedBytes(text: string): Uint8Array | undefined {
  const escapes = /\\x([0-9a-f]{2})/g;
  if (!escapes.test(text)) return undefined;
  // Every other part is the text before an escape, the others are the two digits.
  const parts = text.split(/\\x([0-9a-f]{2})/);
  return Uint8Array.from(
    parts.flatMap((part, nr) => (nr % 2 === 0 ? [...new TextEncoder().encode(part)] : [Number.parseInt(part, 16)])),
  );
}

function trimmed(path: Uint8Array): Uint8Array {
  let [start, end] = [0, path.length];
  while (start < end && path[start] === SLASH) start++;
  while (end > start && path[end - 1] === SLASH) end--;
  return path.subarray(start, end);
}
