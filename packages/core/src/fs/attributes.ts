// Modes, owners, times and flags of inodes as they are changed.
// Source: bch2_setattr in fs.c, bch2_acl_chmod in acl.c, v1.13.0.

import { inodeFlags } from '../ondisk/inode-tables.ts';
import { chmodAcl } from './acl.ts';
import type { EditState, FileRef } from './edit-state.ts';
import { aclOf, putAcls } from './xattr-edit.ts';
import { ACL_ACCESS } from './xattr-name.ts';

export interface Attributes {
  /** The twelve bits of permissions. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Nanoseconds since 1970. */
  readonly atimeNs?: bigint;
  readonly mtimeNs?: bigint;
  readonly ctimeNs?: bigint;
  readonly btimeNs?: bigint;
  /** FS_*_FL of the ioctl, those that bcachefs has. */
  readonly flags?: readonly ('sync' | 'immutable' | 'append' | 'nodump' | 'noatime')[];
}

const USER_FLAGS = 0b1_1111;

/** Without a time for ctime it is now. A new mode changes the file's ACL too. */
export function setAttributes(state: EditState, file: FileRef, attributes: Attributes): void {
  const cached = state.writable(file);
  const { inode } = cached;
  const { mode, uid, gid, atimeNs, mtimeNs, ctimeNs, btimeNs, flags } = attributes;
  if (mode !== undefined) {
    const acl = aclOf(state, cached, ACL_ACCESS);
    inode.bi_mode = (inode.bi_mode & 0xf000) | (mode & 0o7777);
    if (acl !== undefined) putAcls(state, cached, [{ type: ACL_ACCESS, acl: chmodAcl(acl, mode) }]);
  }
  if (uid !== undefined) inode.bi_uid = uid;
  if (gid !== undefined) inode.bi_gid = gid;
  if (atimeNs !== undefined) inode.bi_atime = state.timeOf(atimeNs);
  if (mtimeNs !== undefined) inode.bi_mtime = state.timeOf(mtimeNs);
  if (btimeNs !== undefined) inode.bi_otime = state.timeOf(btimeNs);
  if (flags !== undefined) {
    const bits = flags.reduce((mask, flag) => mask | (1 << inodeFlags.idOf(flag)), 0);
    inode.bi_flags = (inode.bi_flags & ~USER_FLAGS) | bits;
  }
  inode.bi_ctime = ctimeNs === undefined ? state.time() : state.timeOf(ctimeNs);
}
