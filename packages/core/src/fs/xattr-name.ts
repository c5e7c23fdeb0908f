// Names of extended attributes: the namespaces that bcachefs has a place for, and which files may have attributes of a namespace.
// Source: xattr.c, v1.13.0; xattr_permission in fs/xattr.c of Linux.

import { FILE_TYPE_DIR, FILE_TYPE_REG } from '../ondisk/inode-tables.ts';
import { xattrTypes } from '../ondisk/keys/xattr.ts';

export const XATTR_USER = xattrTypes.idOf('user');
export const ACL_ACCESS = xattrTypes.idOf('posix_acl_access');
export const ACL_DEFAULT = xattrTypes.idOf('posix_acl_default');

export const isAclType = (type: number): boolean => type === ACL_ACCESS || type === ACL_DEFAULT;

export interface XattrName {
  /** Its namespace: see xattrTypes. */
  readonly type: number;
  /** What is stored of it: the rest; nothing of an ACL's. */
  readonly name: Uint8Array;
}

const encoder = new TextEncoder();
const namespaces = xattrTypes.rows.map(({ id, prefix }) => ({ type: id, prefix: encoder.encode(prefix) }));

/** @returns undefined for a name that has no place in bcachefs, or that no system call would take */
export function splitXattrName(full: Uint8Array): XattrName | undefined {
  const found = namespaces.find(({ prefix }) => prefix.every((byte, i) => byte === full[i]));
  if (found === undefined) return undefined;
  const { type, prefix } = found;
  const name = full.subarray(prefix.length);
  const isSound = isAclType(type) ? name.length === 0 : name.length > 0 && !name.includes(0);
  return isSound ? { type, name } : undefined;
}

/** Whether bcachefs has a place for an attribute of that name, with its namespace. */
export const isStorableXattr = (full: Uint8Array): boolean => splitXattrName(full) !== undefined;

/** Whether Linux lets only regular files and directories have the attribute: it neither shows it of others nor sets it. */
export const isXattrOfContents = (full: Uint8Array): boolean => splitXattrName(full)?.type === XATTR_USER;

/** @param fileType of the inode's mode: FILE_TYPE_… */
export const hasContents = (fileType: number): boolean => fileType === FILE_TYPE_REG || fileType === FILE_TYPE_DIR;
