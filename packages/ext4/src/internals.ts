// What the parts of the reader know of an opened filesystem beyond its door.

import type { Groups } from './groups.ts';
import type { Inode } from './inode.ts';
import type { Superblock } from './superblock.ts';
import type { Ext4, Ext4BlockRun } from './types.ts';

export interface Internals extends Ext4 {
  readonly sb: Superblock;
  readonly groups: Groups;
  inodes(): Iterable<Inode>;
  inode(number: number): Inode;
  /** Nodes of the extent tree, or indirect blocks. */
  treeBlocks(inode: Inode): Iterable<Ext4BlockRun>;
  /** Whether there may be any: a quick look. */
  hasAttributes(inode: Inode): boolean;
  /** Without reading the values that are in other inodes. */
  xattrSizes(inode: Inode): Iterable<{ readonly nameBytes: number; readonly valueBytes: number }>;
  /** Of the block of its attributes, verified: how many inodes it says that have it. */
  attributeBlockRefs(inode: Inode): number;
}
