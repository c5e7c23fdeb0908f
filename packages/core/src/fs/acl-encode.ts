// ACLs on their way to disk: from the form of setxattr to that of an xattr's value, and what they mean for a mode.
// Source: bch2_acl_to_xattr in acl.c, v1.13.0; posix_acl_valid and posix_acl_equiv_mode in fs/posix_acl.c of Linux.

import { UsageError } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';

/** POSIX_ACL_XATTR_VERSION and BCH_ACL_VERSION. */
const SYSTEM_VERSION = 2;
const DISK_VERSION = 1;
const TAG = { user_obj: 0x01, user: 0x02, group_obj: 0x04, group: 0x08, mask: 0x10, other: 0x20 } as const;
const TAGS: readonly number[] = Object.values(TAG);

interface AclEntry {
  readonly tag: number;
  readonly perm: number;
  readonly id: number;
}

export interface EncodedAcl {
  readonly value: Uint8Array;
  /** Permission bits that it stands for: those of owner, mask or group, and others. */
  readonly modeBits: number;
  /** It says no more than these bits do: nothing need be stored. */
  readonly isMode: boolean;
}

/**
 * @param source struct posix_acl_xattr_header and entries, as getxattr gives them
 * @throws UsageError for what the kernel refuses
 */
export function encodeAcl(source: Uint8Array): EncodedAcl {
  const refuse = (why: string) => new UsageError(`not an ACL: ${why}`);
  if (source.length < 4 || (source.length - 4) % 8 !== 0) throw refuse(`${source.length} bytes`);
  const view = viewOf(source);
  if (view.getUint32(0, true) !== SYSTEM_VERSION) throw refuse(`version ${view.getUint32(0, true)}, expected 2`);
  const entries: AclEntry[] = [];
  for (let at = 4; at < source.length; at += 8) {
    const entry = {
      tag: view.getUint16(at, true),
      perm: view.getUint16(at + 2, true),
      id: view.getUint32(at + 4, true),
    };
    const before = entries.at(-1);
    if (!TAGS.includes(entry.tag) || entry.perm > 7) throw refuse(`tag ${entry.tag} with permissions ${entry.perm}`);
    const isNamed = entry.tag === TAG.user || entry.tag === TAG.group;
    if (before !== undefined && (entry.tag < before.tag || (entry.tag === before.tag && !isNamed)))
      throw refuse('entries out of order');
    entries.push(entry);
  }
  const permOf = (tag: number) => entries.find(entry => entry.tag === tag)?.perm;
  const [owner, group, other] = [permOf(TAG.user_obj), permOf(TAG.group_obj), permOf(TAG.other)];
  if (owner === undefined || group === undefined || other === undefined)
    throw refuse('owner, group or others are missing');
  const mask = permOf(TAG.mask);
  const isMode = entries.length === 3;
  if (mask === undefined && !isMode) throw refuse('named entries without a mask');

  const sizes = entries.map(({ tag }) => (tag === TAG.user || tag === TAG.group ? 8 : 4));
  const value = new Uint8Array(sizes.reduce<number>((sum, size) => sum + size, 4));
  const target = viewOf(value);
  target.setUint32(0, DISK_VERSION, true);
  let at = 4;
  for (const [i, { tag, perm, id }] of entries.entries()) {
    target.setUint16(at, tag, true);
    target.setUint16(at + 2, perm, true);
    if (sizes[i] === 8) target.setUint32(at + 4, id, true);
    at += sizes[i]!;
  }
  return { value, modeBits: (owner << 6) | ((mask ?? group) << 3) | other, isMode };
}
