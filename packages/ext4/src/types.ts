// What the reader says of an ext2, ext3 or ext4 filesystem, as its users have it: `migrate`, which adopts blocks where they are, and
// `format --source`, which copies. Everything is synchronous and reads only. Numbers of blocks are plain numbers: 2^53 of them are more
// than any device has; only times are bigint.
//
// Words: *block* the unit of extents; *cluster* the unit of bitmaps, one block but for bigalloc; *group* a run of blocks with its bitmaps
// and its part of the inode table.
//
// Errors of all of it: DeviceError when the device fails; InputError `ext4_damaged` for bytes that cannot be what they should be;
// IncompatibleError `ext4_refused` for what is valid and not read.

import type { BlockDevice } from '@bcachefs-ts/core/engine';

/** What is needed of a device: there is nothing in it to write with. */
export type ReadableDevice = Pick<BlockDevice, 'name' | 'sizeBytes' | 'read'>;

export interface Ext4Options {
  /**
   * Open a filesystem that is refused as well: its `facts` and `refusals` can be shown. All else of it throws the first refusal.
   * Default: openExt4 throws.
   */
  readonly allowRefused?: boolean | undefined;
}

/** Why a filesystem is not read, by a name that stays. */
export type Ext4RefusalName =
  /** The journal holds changes that are not in place yet. */
  | 'needs_recovery'
  /** It was not unmounted, or ext4 itself has noted errors. */
  | 'not_clean'
  /** Files that are deleted but still open, which the next mount would remove. */
  | 'orphans'
  /** Its multiple mount protection says that somebody has it mounted. */
  | 'in_use'
  /** A feature that is not supported, or not known. */
  | 'feature'
  /** A journal device and the like: there are no files in it. */
  | 'no_files'
  /** A geometry that is valid and out of bounds for this reader. */
  | 'geometry';

export interface Ext4Refusal {
  readonly name: Ext4RefusalName;
  /** One line without the device: what is in the way, and what to do. */
  readonly text: string;
  /** The command that takes it away, such as `e2fsck -f DEVICE`; undefined where none does. */
  readonly run: string | undefined;
}

/** Of the superblock; C names where a value is the disk's own. */
export interface Ext4Facts {
  readonly blockBytes: number;
  readonly blocks: number;
  /** Blocks that the superblock says are free. */
  readonly freeBlocks: number;
  /** blockBytes, but for bigalloc. */
  readonly clusterBytes: number;
  readonly blocksPerCluster: number;
  /** 1 with blocks of 1 KiB (but for bigalloc), else 0: blocks below belong to no group and no bitmap. */
  readonly firstDataBlock: number;
  readonly groups: number;
  readonly blocksPerGroup: number;
  readonly clustersPerGroup: number;
  readonly inodes: number;
  readonly freeInodes: number;
  readonly inodesPerGroup: number;
  readonly inodeBytes: number;
  /** The first inode that is not reserved: 11. */
  readonly firstInode: number;
  /** Bytes of a group descriptor: 32 or 64. */
  readonly descBytes: number;
  /** Lower case, with dashes. */
  readonly uuid: string;
  /** Up to its first NUL. */
  readonly label: Uint8Array;
  /** s_last_mounted up to its first NUL. */
  readonly lastMounted: Uint8Array;
  /** As mke2fs and dumpe2fs call them, in the order compat, incompat, ro_compat; those without a name are `FEATURE_I31` and the like. */
  readonly features: readonly string[];
  readonly compat: number;
  readonly incompat: number;
  readonly roCompat: number;
  /** s_state: 1 cleanly unmounted, 2 errors noted, 4 orphans being recovered. */
  readonly state: number;
  /** s_rev_level. */
  readonly revision: number;
  readonly errorCount: number;
  readonly mountCount: number;
  /** Seconds since 1970; 0 for never. */
  readonly createdSeconds: number;
  readonly mountedSeconds: number;
  readonly writtenSeconds: number;
  readonly checkedSeconds: number;
  /** Checksums of metadata are there and verified. */
  readonly hasChecksums: boolean;
  /** Inodes that are the filesystem's own; 0 for one that is not there. */
  readonly journalInode: number;
  readonly resizeInode: number;
  readonly orphanFileInode: number;
  readonly userQuotaInode: number;
  readonly groupQuotaInode: number;
  readonly projectQuotaInode: number;
}

/** i_flags by name, those that say something about reading or keeping a file. */
export interface Ext4InodeFlags {
  readonly sync: boolean;
  readonly immutable: boolean;
  readonly append: boolean;
  readonly nodump: boolean;
  readonly noatime: boolean;
  readonly encrypted: boolean;
  readonly verity: boolean;
  readonly casefold: boolean;
  readonly extents: boolean;
  readonly inlineData: boolean;
  /** The inode holds the value of another inode's attribute. */
  readonly eaInode: boolean;
  readonly hugeFile: boolean;
  readonly index: boolean;
  readonly projectInherit: boolean;
}

/** What an inode is: `filesystem` for the journal, quota files and others that no directory names. */
export type Ext4InodeKind = 'dir' | 'file' | 'symlink' | 'chr' | 'blk' | 'fifo' | 'sock' | 'ea_inode' | 'filesystem';

/** An inode in use, its checksum verified. It stays valid; it holds its own bytes. */
export interface Ext4Inode {
  readonly number: number;
  readonly kind: Ext4InodeKind;
  /** i_mode with the type. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** As stored; 1 of a directory means more than 65,000. */
  readonly nlink: number;
  /** Nanoseconds since 1970; before 1970 in inodes of 128 bytes too. */
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Of creation; undefined in inodes that have no place for it. */
  readonly crtimeNs: bigint | undefined;
  readonly flagBits: number;
  readonly flags: Ext4InodeFlags;
  readonly generation: number;
  readonly projectId: number;
  /** Of device nodes; else undefined. */
  readonly rdev: { readonly major: number; readonly minor: number } | undefined;
  /** i_blocks in sectors of 512 bytes, with attributes and the nodes of the extent tree. */
  readonly sectors: number;
}

/** A run of a file. Numbers are of filesystem blocks, with bigalloc too. */
export interface Ext4Extent {
  readonly fileBlock: number;
  /** On the device. */
  readonly block: number;
  readonly blocks: number;
  /** Allocated and never written: it reads as zeroes. */
  readonly unwritten: boolean;
}

export interface Ext4BlockRun {
  readonly block: number;
  readonly blocks: number;
}

export interface Ext4Xattr {
  /** With its namespace: `user.mime_type`, `system.posix_acl_access`. */
  readonly name: Uint8Array;
  /** As getxattr gives it: ACLs in the form of posix_acl_xattr.h. */
  readonly value: Uint8Array;
}

export interface Ext4Dirent {
  /** 1 to 255 bytes, none of them a slash or NUL; never `.` or `..`. */
  readonly name: Uint8Array;
  readonly inode: number;
  /** EXT4_FT_…; 0 where the filesystem has no feature `filetype`. */
  readonly fileType: number;
}

/** A name in the tree, in the order of `SourceTree`: parents first, siblings by the bytes of their names. */
export interface Ext4Name {
  /** From the root, without a slash in front; empty for the root. */
  readonly path: Uint8Array;
  readonly name: Uint8Array;
  /** 0 for the root. */
  readonly depth: number;
  readonly inode: Ext4Inode;
  /** Of the directory; the root's own for the root. */
  readonly parent: number;
  /** A later name of an inode that came before. */
  readonly isFurtherName: boolean;
}

/** Blocks of the filesystem, as bits of clusters. */
export interface Ext4BlockMap {
  /** Blocks of the whole filesystem. */
  readonly blocks: number;
  readonly usedBlocks: number;
  isUsed(block: number): boolean;
  /** Maximal runs in ascending order. @param from,to a range of blocks, default all */
  usedRuns(from?: number, to?: number): Iterable<Ext4BlockRun>;
  freeRuns(from?: number, to?: number): Iterable<Ext4BlockRun>;
}

/** What a look at every inode has found, and compared with ext4's own accounts. */
export interface Ext4Usage {
  /** Every block that is in use: by inodes, by the groups' metadata, and those below firstDataBlock. */
  readonly map: Ext4BlockMap;
  /** The part of it that no file's data lies in: superblocks, descriptors, bitmaps, inode tables, journal, directories, nodes, attributes. */
  readonly metadata: Ext4BlockMap;
  /** By kind. */
  readonly inodes: Readonly<Record<Ext4InodeKind, number>>;
  /** Extents of regular files. */
  readonly extents: number;
  /** Blocks of regular files; those that two files share (feature shared_blocks) count twice. */
  readonly dataBlocks: number;
  /** Blocks that more than one inode owns: only with the feature shared_blocks, else that is damage. */
  readonly shared: Ext4BlockMap;
  /** Of a copy, what it would lose: see Ext4Losses. */
  readonly losses: Ext4Losses;
}

/** What bcachefs cannot keep: how many, and the first inodes, for messages. */
export interface Ext4Losses {
  readonly casefold: Ext4Loss;
  readonly verity: Ext4Loss;
  /** Not a loss: contents are not readable without the key, so such a filesystem cannot be copied. */
  readonly encrypted: Ext4Loss;
  /** Attributes whose name and value are over the limit: see XATTR_BYTES_MAX. */
  readonly largeXattrs: Ext4Loss;
  /** Times after 2262-04-11, or before 1677. */
  readonly times: Ext4Loss;
}

export interface Ext4Loss {
  readonly count: number;
  /** Up to ten. */
  readonly inodes: readonly number[];
}

/** An opened filesystem. */
export interface Ext4 {
  /** The device's. */
  readonly name: string;
  readonly facts: Ext4Facts;
  /** Empty for one that can be read. */
  readonly refusals: readonly Ext4Refusal[];
  /** Inodes in use in the order of the tables, reserved ones included where they are something. */
  inodes(): Iterable<Ext4Inode>;
  /** @throws InputError when it is not in use */
  inode(number: number): Ext4Inode;
  /** In the order of the file; also past its end. Nothing for inline data, fast symlinks, devices. Neighbours are joined. */
  extents(inode: Ext4Inode): Iterable<Ext4Extent>;
  /** Contents that lie in the inode, with what its attribute system.data holds of them; undefined for others. */
  inlineData(inode: Ext4Inode): Uint8Array | undefined;
  symlinkTarget(inode: Ext4Inode): Uint8Array;
  /** In the order of the bytes of their names. Without system.data, which is contents. */
  xattrs(inode: Ext4Inode): readonly Ext4Xattr[];
  /** In the order of the disk, without `.` and `..`. */
  directory(inode: Ext4Inode): Iterable<Ext4Dirent>;
  /** Blocks that an inode owns besides its data: nodes of its tree, indirect blocks, the block of its attributes (also a shared one). */
  metadataBlocks(inode: Ext4Inode): Iterable<Ext4BlockRun>;
  /** Fills `into` with a file's bytes from `offset` up to its size; holes and unwritten extents are zeroes. */
  read(inode: Ext4Inode, offset: number, into: Uint8Array): void;
  /**
   * Looks at every inode, and compares what is found with ext4's bitmaps, counts and descriptors.
   * @throws InputError for any difference, and for a block with two owners
   */
  usage(): Ext4Usage;
  /** The same in steps, for progress: each value is the share of inodes looked at, 0 to 1. */
  usageSteps(): Generator<number, Ext4Usage>;
  /** The whole tree. @throws InputError for loops, names twice, link counts that are wrong; at its end for inodes without a name */
  tree(): Iterable<Ext4Name>;
}
