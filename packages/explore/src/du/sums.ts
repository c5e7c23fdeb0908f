// What directories take, each with all that is below it. A file with several names counts where the first of them is met; subvolumes and
// snapshots that are met on the way are directories like others.

import type { OpenedTree } from '@bcachefs-ts/command';
import {
  areEqual,
  type FileNode,
  FileSpace,
  isDirectory,
  type OnDamage,
  Space,
  type WalkItem,
} from '@bcachefs-ts/core/engine';

export interface DuRow {
  /** From the root; empty for the root. */
  readonly path: Uint8Array;
  /** The last part of its path. */
  readonly name: Uint8Array;
  /** 0 for where the walk began. */
  readonly depth: number;
  readonly isDirectory: boolean;
  readonly space: Space;
  /** Those below it, itself left out. */
  files: number;
  readonly rows: DuRow[];
}

export interface DuOptions {
  readonly onDamage: OnDamage;
  /** Rows end here: what lies deeper counts for the last one above it. */
  readonly depthMax: number;
  /** Files have rows too. */
  readonly all: boolean;
  /** Called for each file. */
  step(): void;
}

export function duOf(
  { filesystem, tree }: OpenedTree,
  start: FileNode,
  path: Uint8Array,
  { depthMax, all, onDamage, step }: DuOptions,
): DuRow {
  const spaces = new FileSpace(filesystem, tree.table, onDamage);
  const counted = new Set<string>();
  const spaceOf = (node: FileNode): Space => {
    if (isDirectory(node.inode)) return NOTHING;
    if (node.inode.bi_nlink > 0) {
      const id = `${node.inum}:${node.snapshot}`;
      if (counted.has(id)) return NOTHING;
      counted.add(id);
    }
    return spaces.of(node.inum, node.snapshot);
  };
  const root = rowOf({ path, depth: 0, entry: undefined, node: start }, start);
  // The rows that the walk is in, the innermost last.
  const stack = [root];
  for (const item of tree.walk({ from: start, path })) {
    const { depth, node } = item;
    if (node === undefined) continue;
    step();
    while (stack.length > 1 && !isBelow(item, stack.at(-1)!)) stack.pop();
    const space = spaceOf(node);
    if (depth > 0 && depth <= depthMax && (all || isDirectory(node.inode))) {
      const row = rowOf(item, node);
      stack.at(-1)!.rows.push(row);
      row.space.add(space);
      for (const above of stack) count(above, space);
      if (row.isDirectory) stack.push(row);
    } else if (depth === 0 && !root.isDirectory) root.space.add(space);
    else if (depth > 0) for (const above of stack) count(above, space);
  }
  return root;
}

const NOTHING: Readonly<Space> & Space = new Space();

function count(row: DuRow, space: Space): void {
  row.space.add(space);
  row.files++;
}

function rowOf(
  { path, depth, entry }: Omit<WalkItem, 'node'> & { node?: FileNode | undefined },
  node: FileNode,
): DuRow {
  const name = entry?.name ?? path;
  return { path, name, depth, isDirectory: isDirectory(node.inode), space: new Space(), files: 0, rows: [] };
}

function isBelow({ path, depth }: WalkItem, { path: above, depth: aboveDepth }: DuRow): boolean {
  if (depth <= aboveDepth) return false;
  if (above.length === 0) return true;
  return path[above.length] === 0x2f && areEqual(path.subarray(0, above.length), above);
}

/** What takes most comes first. */
export const largestFirst = (rows: readonly DuRow[]): readonly DuRow[] =>
  rows.toSorted((a, b) => takenSectors(b.space) - takenSectors(a.space));

export const takenSectors = ({ exclusiveSectors, sharedSectors }: Space): number => exclusiveSectors + sharedSectors;
