// A name in a directory, which need not be there yet: what a path stands for that is made, moved or taken away. Symlinks on the way are
// followed, the last part is the name itself.

import { lookUp, unescapedBytes } from '@bcachefs-ts/command';
import {
  bytesOfWord,
  FileError,
  type FileNode,
  type FileTree,
  isDirectory,
  pathText,
  UsageError,
} from '@bcachefs-ts/core/engine';

export interface NamePlace {
  readonly directory: FileNode;
  readonly name: Uint8Array;
  /** What the name leads to now; undefined when it is free. */
  readonly node: FileNode | undefined;
  /** Whether it is the name of a subvolume. */
  readonly isSubvolume: boolean;
  /** For messages: `/a/b`. */
  readonly path: string;
  /** It was written with a slash at its end: a directory is meant. */
  readonly wantsDirectory: boolean;
}

/** @throws UsageError when the directory is not there, or the path ends with no name: the root, `.`, `..` */
export function placeOf(tree: FileTree, typed: string): NamePlace {
  const trimmed = typed.replace(/\/+$/, '');
  const slash = trimmed.lastIndexOf('/');
  const [above, last] = [trimmed.slice(0, slash + 1), trimmed.slice(slash + 1)];
  const path = shownPath(typed);
  if (last === '' || last === '.' || last === '..')
    throw new UsageError(`${path}: expected a path that ends with a name`);
  const { node: directory } = lookUp(tree, above.replace(/\/+$/, ''));
  if (!isDirectory(directory.inode)) throw new UsageError(`${shownPath(above)}: not a directory`, undefined, 'ENOTDIR');
  const plain = bytesOfWord(last);
  const plainEntry = tree.find(directory, plain);
  const unescaped = plainEntry === undefined ? unescapedBytes(last) : undefined;
  const unescapedEntry = unescaped === undefined ? undefined : tree.find(directory, unescaped);
  const [name, entry] = unescapedEntry === undefined ? [plain, plainEntry] : [unescaped!, unescapedEntry];
  return {
    directory,
    name,
    node: entry === undefined ? undefined : tree.open(entry),
    isSubvolume: entry !== undefined && !('inum' in entry.target),
    path,
    wantsDirectory: typed.endsWith('/'),
  };
}

/** As above; the name has to be free. @throws FileError */
export function freePlace(tree: FileTree, typed: string): NamePlace {
  const place = placeOf(tree, typed);
  if (place.node !== undefined) throw new FileError('EEXIST', place.path);
  return place;
}

/** As above; the name has to be there. */
export function existingPlace(tree: FileTree, typed: string): NamePlace & { readonly node: FileNode } {
  const place = placeOf(tree, typed);
  const { node, path, wantsDirectory } = place;
  if (node === undefined) throw new UsageError(`${path}: no such file or directory`, undefined, 'ENOENT');
  if (wantsDirectory && !isDirectory(node.inode))
    throw new UsageError(`${path}: not a directory`, undefined, 'ENOTDIR');
  return { ...place, node };
}

export function shownPath(typed: string): string {
  return pathText(bytesOfWord(typed.replace(/(?<=.)\/+$/, '')));
}

export function isSubvolumeRoot(tree: FileTree, { subvolume, inum }: FileNode): boolean {
  return tree.table.subvolume(subvolume)?.rootInode === inum;
}
