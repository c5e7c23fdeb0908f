// Orphans: inodes that no name leads to, because the names were lost or because the file was deleted while it was open. Of trees that
// were cut off only the top is given: what is below it is reached by walking from there. Directories in a loop, which have no top, are
// given by the lowest of their inode numbers.
//
// Costs a walk over everything, one over all inodes, and memory for two sets of inode numbers: 20 bytes for
// each file, and as much for what is below directories that were cut off.
// Source: check_unreachable_inodes and check_directory_structure in fsck.c, v1.13.0.

import { bposSnapshot } from '../ondisk/bpos.ts';
import { hasInodeFlag, isDirectory } from '../ondisk/inode-unpack.ts';
import { visibleKeys } from '../snapshots/visible.ts';
import { type FileNode, type FileTree, wordsOf } from './file-tree.ts';
import { inodeOfKey } from './inode.ts';
import { InumSet } from './inum-set.ts';

export interface Orphan {
  readonly node: FileNode;
  /** It was deleted on purpose, and was still open: the kernel removes it when it mounts. */
  readonly isUnlinked: boolean;
}

/**
 * The inodes of the tree's own subvolume (not of those inside of it) that no name in it leads to, in the order of their numbers; loops
 * of directories come last.
 * @throws as FileTree.walk, unless the tree reports damage
 */
export function* orphans(tree: FileTree): Generator<Orphan> {
  const reached = new InumSet();
  const mark = (from: FileNode, path: Uint8Array) => {
    for (const { node } of tree.walk({ from, path, descend: ({ node }) => isOwn(node) })) {
      if (isOwn(node)) reached.add(wordsOf(node.inum));
    }
  };
  // Other subvolumes have inodes of their own, under the same numbers.
  const isOwn = (node: FileNode | undefined): node is FileNode =>
    node !== undefined && node.snapshot === tree.snapshot && node.subvolume === tree.subvolume;

  const root = tree.node(tree.rootInode);
  if (root !== undefined) mark(root, new Uint8Array(0));
  const below = new InumSet();
  for (const node of inodes(tree)) {
    if (reached.has(wordsOf(node.inum)) || !isDirectory(node.inode)) continue;
    for (const { target } of tree.entries(node)) if ('inum' in target) below.add(wordsOf(target.inum));
  }
  // Tops first, and before files the directories that are in a loop: what is still left then is in no directory at all.
  const rounds = [
    (node: FileNode) => !below.has(wordsOf(node.inum)),
    (node: FileNode) => isDirectory(node.inode),
    () => true,
  ];
  for (const isWanted of rounds) {
    for (const node of inodes(tree)) {
      const words = wordsOf(node.inum);
      if (reached.has(words) || !isWanted(node)) continue;
      yield { node, isUnlinked: hasInodeFlag(node.inode, 'unlinked') };
      reached.add(words);
      if (isDirectory(node.inode)) mark(node, new TextEncoder().encode(`(inode ${node.inum})`));
    }
  }
}

/** All inodes that the tree's snapshot sees. */
function* inodes(tree: FileTree): Generator<FileNode> {
  const { subvolume, snapshot, table, source } = tree;
  const onDamage = tree.onDamageAt(undefined);
  const options = onDamage === undefined ? {} : { onDamage };
  for (const key of visibleKeys(source.btree('inodes'), table, snapshot, options)) {
    const inode = inodeOfKey(key, onDamage);
    if (inode === undefined) continue;
    const inum = (BigInt(key.k.p[2]!) << 32n) | BigInt(key.k.p[1]!);
    yield { inum, subvolume, snapshot, keySnapshot: bposSnapshot(key.k.p), inode };
  }
}
