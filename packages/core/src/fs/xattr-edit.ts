// Extended attributes and ACLs as they are changed: what setxattr and removexattr do to an inode, and what new inodes start with.
// Source: xattr.c and acl.c, v1.13.0.

import { bposText, inSnapshot } from '../ondisk/bpos.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { isDirectory, modeType } from '../ondisk/inode-unpack.ts';
import { decodeAcl, xattr } from '../ondisk/keys/xattr.ts';
import { printableBytes } from '../util/byte-text.ts';
import { type Acl, aclModeBits, encodeAcl, isOnlyMode, isWholeAcl, parseAcl } from './acl.ts';
import type { EditState, FileRef } from './edit-state.ts';
import { FileError } from './file-error.ts';
import { type HashTable, hashDelete, hashFind, hashSet, isXattrOf, xattrTable } from './hash-insert.ts';
import { type CachedInode, hashOf } from './inode-cache.ts';
import {
  ACL_ACCESS,
  ACL_DEFAULT,
  hasContents,
  isAclType,
  splitXattrName,
  XATTR_USER,
  type XattrName,
} from './xattr-name.ts';

export interface TypedAcl {
  /** Of xattrTypes. */
  readonly type: number;
  readonly acl: Acl;
}

const XATTR_NAME_MAX = 255;
/** A key has up to 255 u64s, 5 of them its header. */
const VALUE_U64S_MAX = 250;
const NO_NAME = new Uint8Array(0);
const NO_ACL: Acl = [];
const encoder = new TextEncoder();

/**
 * Sets an extended attribute, as setxattr takes it: ACLs in the form of the system call, which may change the mode; `bcachefs.NAME`
 * is setOption's.
 * @throws FileError for a namespace that cannot be stored, or not of such a file, a value that is too large for a key, and what is not an ACL
 */
export function setXattr(state: EditState, file: FileRef, fullName: string | Uint8Array, value: Uint8Array): void {
  const cached = state.writable(file);
  const name = xattrNameOf(fullName);
  const { type, what } = name;
  if (type === XATTR_USER && !hasContents(modeType(cached.inode.bi_mode))) throw new FileError('EPERM', what);
  if (!isAclType(type)) put(state, cached, name, value);
  else {
    if (type === ACL_DEFAULT && !isDirectory(cached.inode)) throw new FileError('EINVAL', what);
    const acl = parseAcl(value);
    if (type === ACL_ACCESS && isOnlyMode(acl)) drop(state, cached, name);
    else put(state, cached, name, encodeAcl(acl));
    if (type === ACL_ACCESS) cached.inode.bi_mode = (cached.inode.bi_mode & ~0o777) | aclModeBits(acl);
  }
  state.touchChanged(cached);
}

/** @throws FileError ENODATA when it is not there */
export function removeXattr(state: EditState, file: FileRef, fullName: string | Uint8Array): void {
  const cached = state.writable(file);
  const name = xattrNameOf(fullName);
  if (!drop(state, cached, name)) throw new FileError('ENODATA', name.what);
  state.touchChanged(cached);
}

export function putAcls(state: EditState, cached: CachedInode, acls: readonly TypedAcl[]): void {
  for (const { type, acl } of acls) put(state, cached, { type, name: NO_NAME, what: 'an ACL' }, encodeAcl(acl));
}

/** Of a directory; without entries when it has none. Read once. */
export function defaultAclOf(state: EditState, dir: CachedInode): Acl {
  dir.defaultAcl ??= aclOf(state, dir, ACL_DEFAULT) ?? NO_ACL;
  return dir.defaultAcl;
}

/** @param type ACL_ACCESS or ACL_DEFAULT @throws CorruptError */
export function aclOf(state: EditState, cached: CachedInode, type: number): Acl | undefined {
  const hash = hashOf(cached).xattr(type, NO_NAME);
  const key = hashFind(state.tx, state.table, tableOf(cached), hash, isXattrOf(type, NO_NAME));
  if (key === undefined) return undefined;
  const acl = decodeAcl(xattr.decode(key.value).value);
  if (acl === undefined || !isWholeAcl(acl)) {
    const where = { btree: 'xattrs', pos: bposText(key.k.p) } as const;
    throw new CorruptError('xattr_val_size_too_small', where, 'not a whole ACL');
  }
  return acl;
}

/** A name with the words for it in messages. */
interface NamedXattr extends XattrName {
  readonly what: string;
}

/** @throws FileError ERANGE */
function put({ tx, table }: EditState, cached: CachedInode, { type, name, what }: NamedXattr, value: Uint8Array): void {
  if (name.length > XATTR_NAME_MAX || value.length > 0xffff) throw new FileError('ERANGE', what);
  const lengths = { nameLength: name.length, valueLength: value.length, sizeU64s: 0 };
  const encoded = xattr.encode({ type, name, value, ...lengths });
  if (encoded.length > 8 * VALUE_U64S_MAX) throw new FileError('ERANGE', what);
  hashSet(tx, table, tableOf(cached), hashOf(cached).xattr(type, name), isXattrOf(type, name), encoded);
  if (type === ACL_DEFAULT) cached.defaultAcl = undefined;
}

/** @returns whether it was there */
function drop({ tx, table }: EditState, cached: CachedInode, { type, name }: XattrName): boolean {
  const xattrs = tableOf(cached);
  const key = hashFind(tx, table, xattrs, hashOf(cached).xattr(type, name), isXattrOf(type, name));
  if (key === undefined) return false;
  hashDelete(tx, table, xattrs, inSnapshot(key.k.p, cached.snapshot));
  if (type === ACL_DEFAULT) cached.defaultAcl = undefined;
  return true;
}

function tableOf(cached: CachedInode): HashTable {
  const { words: inum, snapshot, subvolume, isNew } = cached;
  return xattrTable({ inum, snapshot, subvolume, isNew, hash: hashOf(cached) });
}

/** Its namespace as a type, and the rest. @throws FileError */
function xattrNameOf(fullName: string | Uint8Array): NamedXattr {
  const full = typeof fullName === 'string' ? encoder.encode(fullName) : fullName;
  const what = printableBytes(full);
  const split = splitXattrName(full);
  if (split === undefined) throw new FileError('EINVAL', `${what} is in no namespace that can be stored`);
  return { ...split, what };
}
