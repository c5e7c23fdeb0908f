// The public door of @bcachefs-ts/ext4.

export { openExt4 } from './ext4.ts';
export { looksLikeExt4 } from './superblock.ts';
export type {
  Ext4,
  Ext4BlockMap,
  Ext4BlockRun,
  Ext4Dirent,
  Ext4Extent,
  Ext4Facts,
  Ext4Inode,
  Ext4InodeFlags,
  Ext4InodeKind,
  Ext4Loss,
  Ext4Losses,
  Ext4Name,
  Ext4Options,
  Ext4Refusal,
  Ext4RefusalName,
  Ext4Usage,
  Ext4Xattr,
  ReadableDevice,
} from './types.ts';
export { isTooLarge as isXattrTooLarge } from './usage.ts';
