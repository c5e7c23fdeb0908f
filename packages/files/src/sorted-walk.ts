// A walk over directories with names in order, for people: FileTree.walk gives them as they come, which takes less memory. A directory that
// two names lead to is entered through the first only, so every walk ends. Memory: the entries of each directory on the way down.

import {
  bposText,
  CorruptError,
  type FileEntry,
  type FileNode,
  type FileTree,
  isDirectory,
  joinPath,
  sortedByName,
} from '@bcachefs-ts/core';

export interface SortedItem {
  readonly path: Uint8Array;
  /** 1 for what is in the directory where the walk began. */
  readonly depth: number;
  readonly entry: FileEntry;
  /** Undefined: what the entry leads to is lost, which was told. */
  readonly node: FileNode | undefined;
  /** Nothing follows it in its directory. */
  readonly isLast: boolean;
  /** A directory that is not entered, because it was before. */
  readonly isRepeated: boolean;
}

export interface SortedWalkOptions {
  /** Which entries there are: all. */
  takes?(entry: FileEntry): boolean;
  /** Directories below each other that are gone into; no limit but that of every walk. */
  readonly depthMax?: number | undefined;
}

/** As FileTree.walk has it: names add up to paths. */
const DEPTH_MAX = 4096;
const DOT = 0x2e;

export function isHidden({ name }: { readonly name: Uint8Array }): boolean {
  return name[0] === DOT;
}

export const pathBelow = (path: Uint8Array, name: Uint8Array): Uint8Array =>
  path.length === 0 ? name : joinPath([path, name]);

export function* sortedWalk(
  tree: FileTree,
  from: FileNode,
  path: Uint8Array,
  { takes = () => true, depthMax = DEPTH_MAX }: SortedWalkOptions = {},
): Generator<SortedItem> {
  const idOf = ({ subvolume, snapshot, inum }: FileNode) => `${subvolume}:${snapshot}:${inum}`;
  // A path for each level would be much for very deep trees: that of a level is the beginning of the last item's.
  const level = (node: FileNode, at: Uint8Array) => ({
    pathBytes: at.length,
    next: 0,
    entries: sortedByName([...tree.entries(node, { path: at })].filter(takes)),
  });
  const entered = new Set([idOf(from)]);
  const stack = [level(from, path)];
  let last = path;
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const entry = top.entries[top.next++];
    if (entry === undefined) {
      stack.pop();
      continue;
    }
    const at = pathBelow(last.subarray(0, top.pathBytes), entry.name);
    last = at;
    const node = tree.open(entry, { path: at });
    const isInside = node !== undefined && isDirectory(node.inode);
    const isRepeated = isInside && entered.has(idOf(node));
    const isLast = top.next === top.entries.length;
    yield { path: at, depth: stack.length, entry, node, isLast, isRepeated };
    if (!isInside || stack.length >= depthMax) continue;
    if (isRepeated || stack.length >= DEPTH_MAX) {
      const where = { btree: 'dirents', pos: bposText(entry.pos) };
      const detail = isRepeated ? 'a directory that was entered before' : `more than ${DEPTH_MAX} directories deep`;
      tree.teller(at)?.(new CorruptError('dir_loop', where, `${detail}: not entered`));
      continue;
    }
    entered.add(idOf(node));
    stack.push(level(node, at));
  }
}
