// What stat and statx say about a file, from its inode.
// Sources: bch2_getattr and bch2_vfs_inode_init in fs.c, fs-ioctl.h, v1.13.0; vfs/fs.c and vfs/ioctl.c, v1.39.2.

import { type FileTypeName, fileTypes } from '../ondisk/inode-tables.ts';
import {
  hasInodeFlag,
  type Inode,
  inodeDevice,
  inodeLinkCount,
  inodeOption,
  inodeTimeNs,
  isDirectory,
  modeType,
} from '../ondisk/inode-unpack.ts';
import { releaseForVersion } from '../ondisk/releases.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { sectorsToBytes } from '../util/sizes.ts';

export interface FileStat {
  readonly ino: bigint;
  readonly subvolume: number;
  /** `unknown` for a mode that says none. */
  readonly type: Exclude<FileTypeName, 'subvol'>;
  /** Permissions, with setuid, setgid and sticky: 12 bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** 0 for a file that is deleted and still open; of a directory, 2 and its subdirectories. */
  readonly nlink: number;
  readonly sizeBytes: bigint;
  /** 512-byte units. */
  readonly blocks: bigint;
  /** Of device nodes. */
  readonly rdev: { readonly major: number; readonly minor: number } | undefined;
  /** Nanoseconds since 1970. */
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly btimeNs: bigint;
  /** 0 for none. */
  readonly projectId: number;
  /** As the get-flags ioctl gives them: see ioctlFlags. */
  readonly flags: number;
  readonly generation: number;
}

/** FS_*_FL of include/uapi/linux/fs.h, by inode flag. */
const ioctlFlags = [
  ['sync', 0x08],
  ['immutable', 0x10],
  ['append', 0x20],
  ['nodump', 0x40],
  ['noatime', 0x80],
] as const;
const FS_CASEFOLD_FL = 0x4000_0000;

/** @param casefolded the directory ignores case: see isCasefolded */
export function statOf(
  file: { readonly inum: bigint; readonly subvolume: number; readonly inode: Inode },
  sb: Superblock,
  casefolded: boolean,
): FileStat {
  const { inode } = file;
  const type = fileTypes.byId(modeType(inode.bi_mode))?.name ?? 'unknown';
  let flags = casefolded ? FS_CASEFOLD_FL : 0;
  for (const [flag, bit] of ioctlFlags) if (hasInodeFlag(inode, flag)) flags |= bit;
  return {
    ino: file.inum,
    subvolume: file.subvolume,
    type: type === 'subvol' ? 'unknown' : type,
    mode: inode.bi_mode & 0o7777,
    uid: inode.bi_uid,
    gid: inode.bi_gid,
    nlink: inodeLinkCount(inode),
    sizeBytes: sizeOf(inode, sb),
    blocks: inode.bi_sectors,
    rdev: type === 'chr' || type === 'blk' ? inodeDevice(inode) : undefined,
    atimeNs: inodeTimeNs(inode.bi_atime, sb),
    mtimeNs: inodeTimeNs(inode.bi_mtime, sb),
    ctimeNs: inodeTimeNs(inode.bi_ctime, sb),
    btimeNs: inodeTimeNs(inode.bi_otime, sb),
    projectId: inodeOption(inode, 'project') ?? 0,
    flags,
    generation: inode.bi_generation,
  };
}

/** Directories store no size: the kernel says 0 at first, and one block in the releases of 1.39, which is the answer for their filesystems. */
function sizeOf(inode: Inode, sb: Superblock): bigint {
  const isSynthetic = isDirectory(inode) && inode.bi_size === 0n && releaseForVersion(sb.version) === '1.39';
  return isSynthetic ? BigInt(sectorsToBytes(sb.block_size)) : inode.bi_size;
}
