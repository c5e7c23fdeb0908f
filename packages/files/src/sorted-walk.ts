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
} from '@bcachefs-ts/core/engine';

export interface SortedItem {
  readonly path: Uint8Array;
  /** 1 for what is in the directory where the walk began. */
  readonly depth: number;
  readonly entry: FileEntry;
  /** Undefined: what the entry leads to is lost, which was reported. */
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

/** A directory with what is in it. */
export interface SortedDirectory {
  readonly path: Uint8Array;
  /** Of depth 1, as a walk over this directory alone gives them. */
  readonly items: readonly SortedItem[];
}

/**
 * The directories of a walk, `from` first, each with all that is in it: what the walk meets, in its order, with everything read once.
 * Memory: the entries of one directory, and the subdirectories of each on the way down.
 */
export function* sortedDirectories(
  tree: FileTree,
  from: FileNode,
  path: Uint8Array,
  takes: (entry: FileEntry) => boolean,
): Generator<SortedDirectory> {
  const entered = new Set<string>();
  const ahead: { node: FileNode; path: Uint8Array; depth: number; entry: FileEntry | undefined }[] = [
    { node: from, path, depth: 0, entry: undefined },
  ];
  for (let next = ahead.pop(); next !== undefined; next = ahead.pop()) {
    const { node, path: at, depth, entry } = next;
    const isRepeated = entered.has(idOf(node));
    const isTooDeep = depth >= DEPTH_MAX;
    if (!isRepeated) {
      const items = [...sortedWalk(tree, node, at, { takes, depthMax: 1 })];
      yield { path: at, items };
      entered.add(idOf(node));
      if (!isTooDeep) {
        for (const item of items.toReversed()) {
          if (item.node === undefined || !isDirectory(item.node.inode)) continue;
          ahead.push({ node: item.node, path: item.path, depth: depth + 1, entry: item.entry });
        }
      }
    }
    if (entry !== undefined && (isRepeated || isTooDeep)) reportNotEntered(tree, entry, at, isRepeated);
  }
}

export function* sortedWalk(
  tree: FileTree,
  from: FileNode,
  path: Uint8Array,
  { takes = () => true, depthMax = DEPTH_MAX }: SortedWalkOptions = {},
): Generator<SortedItem> {
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
      reportNotEntered(tree, entry, at, isRepeated);
      continue;
    }
    entered.add(idOf(node));
    stack.push(level(node, at));
  }
}

const idOf = ({ subvolume, snapshot, inum }: FileNode): string => `${subvolume}:${snapshot}:${inum}`;

function reportNotEntered(tree: FileTree, entry: FileEntry, path: Uint8Array, isRepeated: boolean): void {
  const where = { btree: 'dirents', pos: bposText(entry.pos) };
  const detail = isRepeated ? 'a directory that was entered before' : `more than ${DEPTH_MAX} directories deep`;
  tree.onDamageAt(path)?.(new CorruptError('dir_loop', where, `${detail}: not entered`));
}
