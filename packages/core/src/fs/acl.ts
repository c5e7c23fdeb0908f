// ACLs: from the form of setxattr to that of an xattr's value and back, what they mean for a mode, and what a mode means for them.
// Source: bch2_acl_to_xattr in acl.c, v1.13.0; posix_acl_valid, posix_acl_equiv_mode, posix_acl_create_masq and __posix_acl_chmod_masq in
// fs/posix_acl.c of Linux.

import { UsageError } from '../ondisk/errors.ts';
import { type AclEntryValue, aclTags } from '../ondisk/keys/xattr.ts';
import { viewOf } from '../ondisk/layout.ts';

/** In the order in which an ACL has them. Those of owner, owning group and others are in every ACL. */
export type Acl = readonly AclEntryValue[];

/** POSIX_ACL_XATTR_VERSION and BCH_ACL_VERSION. */
const SYSTEM_VERSION = 2;
const DISK_VERSION = 1;
/** The id of entries that name no one. */
const UNDEFINED_ID = 0xffff_ffff;
const NAMED: readonly string[] = aclTags.rows.filter(({ id_name }) => id_name !== null).map(({ name }) => name);

/**
 * @param source struct posix_acl_xattr_header and entries, as getxattr gives them
 * @throws UsageError for what the kernel refuses
 */
export function parseAcl(source: Uint8Array): Acl {
  const refuse = (why: string) => new UsageError(`not an ACL: ${why}`);
  if (source.length < 4 || (source.length - 4) % 8 !== 0) throw refuse(`${source.length} bytes`);
  const view = viewOf(source);
  if (view.getUint32(0, true) !== SYSTEM_VERSION) throw refuse(`version ${view.getUint32(0, true)}, expected 2`);
  const entries: AclEntryValue[] = [];
  let before = 0;
  for (let at = 4; at < source.length; at += 8) {
    const number = view.getUint16(at, true);
    const tag = aclTags.byId(number)?.name;
    const perm = view.getUint16(at + 2, true);
    if (tag === undefined || perm > 7) throw refuse(`tag ${number} with permissions ${perm}`);
    const isNamed = NAMED.includes(tag);
    if (number < before || (number === before && !isNamed)) throw refuse('entries out of order');
    before = number;
    entries.push(isNamed ? { tag, id: view.getUint32(at + 4, true), perm } : { tag, perm });
  }
  if (!isWholeAcl(entries)) throw refuse('owner, group or others are missing');
  if (entries.length > 3 && permOf(entries, 'mask') === undefined) throw refuse('named entries without a mask');
  return entries;
}

/** struct posix_acl_xattr_header, and a struct posix_acl_xattr_entry of tag, permissions and id for each entry. */
export function aclForSystemCall(acl: Acl): Uint8Array {
  const value = new Uint8Array(4 + 8 * acl.length);
  const view = viewOf(value);
  view.setUint32(0, SYSTEM_VERSION, true);
  for (const [i, { tag, perm, id }] of acl.entries()) {
    view.setUint16(4 + 8 * i, aclTags.idOf(tag), true);
    view.setUint16(6 + 8 * i, perm, true);
    view.setUint32(8 + 8 * i, id ?? UNDEFINED_ID, true);
  }
  return value;
}

/** Whether it has what every ACL has. */
export const isWholeAcl = (acl: Acl): boolean =>
  ['user_obj', 'group_obj', 'other'].every(tag => permOf(acl, tag) !== undefined);

/** The value of an xattr. */
export function encodeAcl(acl: Acl): Uint8Array {
  const value = new Uint8Array(acl.reduce((sum, { tag }) => sum + (NAMED.includes(tag) ? 8 : 4), 4));
  const view = viewOf(value);
  view.setUint32(0, DISK_VERSION, true);
  let at = 4;
  for (const { tag, id, perm } of acl) {
    view.setUint16(at, aclTags.idOf(tag), true);
    view.setUint16(at + 2, perm, true);
    at += 4;
    if (!NAMED.includes(tag)) continue;
    view.setUint32(at, id ?? 0, true);
    at += 4;
  }
  return value;
}

const permOf = (acl: Acl, tag: string): number | undefined => acl.find(entry => entry.tag === tag)?.perm;

/** Permissions that it stands for: those of the owner, of the mask or else the group, and of others. */
export const aclModeBits = (acl: Acl): number =>
  ((permOf(acl, 'user_obj') ?? 0) << 6) |
  ((permOf(acl, 'mask') ?? permOf(acl, 'group_obj') ?? 0) << 3) |
  (permOf(acl, 'other') ?? 0);

/** Whether it says no more than its bits of the mode: nothing need be stored then. */
export const isOnlyMode = (acl: Acl): boolean => acl.length === 3;

/** What it becomes when a file's permissions are set. */
export const chmodAcl = (acl: Acl, mode: number): Acl => withModeBits(acl, (_, bits) => bits, mode);

/** What a new file gets of its directory's default ACL, when it is made with a mode: no more than both allow. */
export const maskAcl = (acl: Acl, mode: number): Acl => withModeBits(acl, (perm, bits) => perm & bits, mode);

function withModeBits(acl: Acl, combined: (perm: number, bits: number) => number, mode: number): Acl {
  const middle = permOf(acl, 'mask') === undefined ? 'group_obj' : 'mask';
  const shifts: Readonly<Record<string, number>> = { user_obj: 6, [middle]: 3, other: 0 };
  return acl.map(entry => {
    const shift = shifts[entry.tag];
    return shift === undefined ? entry : { ...entry, perm: combined(entry.perm, (mode >> shift) & 7) };
  });
}
