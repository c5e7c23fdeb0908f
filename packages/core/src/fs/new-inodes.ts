// Inodes of new files: what one takes over from its directory, and what it starts with.
// Source: bch2_inode_init and bch2_inode_create in inode.c, posix_acl_create of Linux, v1.13.0; casefolding: v1.25.3.

import { FILE_TYPE_DIR, FILE_TYPE_LNK } from '../ondisk/inode-tables.ts';
import { modeType, unpackInodeV3 } from '../ondisk/inode-unpack.ts';
import { viewOf } from '../ondisk/layout.ts';
import { aclModeBits, isOnlyMode, maskAcl } from './acl.ts';
import { caseFlag } from './case-edit.ts';
import type { EditState } from './edit-state.ts';
import type { CachedInode } from './inode-cache.ts';
import type { EditableInode } from './inode-pack.ts';
import { defaultAclOf, type TypedAcl } from './xattr-edit.ts';
import { ACL_ACCESS, ACL_DEFAULT } from './xattr-name.ts';

export interface NewInode {
  /** With the file type: S_IFDIR, S_IFREG, … */
  readonly mode: number;
  /** Bits that the mode loses where the directory has no default ACL. */
  readonly umask?: number;
  /** Whether it gets ACLs from its directory's default ACL, as what a system call makes. Default true. */
  readonly inheritsAcl?: boolean;
  readonly uid?: number;
  readonly gid?: number;
  /** Of device nodes. */
  readonly rdev?: { readonly major: number; readonly minor: number };
}

interface Inherited {
  readonly mode: number;
  readonly acls: readonly TypedAcl[];
}

const S_ISGID = 0o2000;
/** An inode that says nothing. */
const BLANK = unpackInodeV3(new Uint8Array(48));

/** What a file takes over of its directory's default ACL, and the mode that it then has. Mirrors posix_acl_create. */
export function inherit(
  state: EditState,
  dir: CachedInode,
  { mode, umask = 0, inheritsAcl = true }: NewInode,
): Inherited {
  const type = modeType(mode);
  if (type === FILE_TYPE_LNK) return { mode, acls: [] };
  const acl = inheritsAcl && state.hasAcls ? defaultAclOf(state, dir) : [];
  if (acl.length === 0) return { mode: mode & ~umask, acls: [] };
  const access = maskAcl(acl, mode);
  return {
    mode: (mode & ~0o777) | aclModeBits(access),
    acls: [
      ...(type === FILE_TYPE_DIR ? [{ type: ACL_DEFAULT, acl }] : []),
      ...(isOnlyMode(access) ? [] : [{ type: ACL_ACCESS, acl: access }]),
    ],
  };
}

/**
 * An inode with a new number, with what it takes over from its directory. Mirrors bch2_inode_init and bch2_inode_create.
 * @param dir undefined for the first of all
 */
export function newInode(
  state: EditState,
  dir: CachedInode | undefined,
  { subvolume, snapshot }: Pick<CachedInode, 'subvolume' | 'snapshot'>,
  { mode, uid = 0, gid = 0, rdev }: NewInode,
): CachedInode {
  const now = state.time();
  const inode: EditableInode = { ...BLANK };
  inode.str_hash = state.newStrHash;
  inode.bi_hash_seed = viewOf(state.random.bytes(8)).getBigUint64(0, true);
  inode.bi_mode = mode;
  inode.bi_uid = uid;
  inode.bi_gid = gid;
  if (rdev !== undefined) inode.bi_dev = ((rdev.major << 20) | rdev.minor) >>> 0;
  inode.bi_atime = now;
  inode.bi_mtime = now;
  inode.bi_ctime = now;
  inode.bi_otime = now;
  if (dir !== undefined) {
    const parent = dir.inode;
    if (parent.bi_mode & S_ISGID) {
      inode.bi_gid = parent.bi_gid;
      if (modeType(mode) === FILE_TYPE_DIR) inode.bi_mode |= S_ISGID;
    }
    for (const { field } of state.rules.inodeOptions) inode[field] = parent[field];
    if (modeType(mode) === FILE_TYPE_DIR) inode.bi_flags |= caseFlag(state, inode);
    else inode.bi_casefold = 0;
  }
  return state.cache.add(subvolume, snapshot, state.inums.next(), inode);
}
