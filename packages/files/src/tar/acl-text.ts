// POSIX ACLs as text, in the form that archives carry in SCHILY.acl.access and SCHILY.acl.default: `user::rw-,user:1000:r--,…`. Users and
// groups are numbers: their names are not on the filesystem. GNU tar and libarchive both take a number where they expect a name.
// Source: include/uapi/linux/posix_acl_xattr.h of Linux; acl(5).

const VERSION = 2;
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;

const tags: ReadonlyMap<number, { readonly name: string; readonly hasId: boolean }> = new Map([
  [0x01, { name: 'user', hasId: false }],
  [0x02, { name: 'user', hasId: true }],
  [0x04, { name: 'group', hasId: false }],
  [0x08, { name: 'group', hasId: true }],
  [0x10, { name: 'mask', hasId: false }],
  [0x20, { name: 'other', hasId: false }],
]);

/** @param value as getxattr gives system.posix_acl_access @returns undefined when it is not an ACL */
export function aclText(value: Uint8Array): string | undefined {
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  if (value.length < HEADER_BYTES || (value.length - HEADER_BYTES) % ENTRY_BYTES !== 0) return undefined;
  if (view.getUint32(0, true) !== VERSION) return undefined;
  const entries: string[] = [];
  for (let at = HEADER_BYTES; at < value.length; at += ENTRY_BYTES) {
    const tag = tags.get(view.getUint16(at, true));
    if (tag === undefined) return undefined;
    const perm = view.getUint16(at + 2, true);
    const id = tag.hasId ? `${view.getUint32(at + 4, true)}` : '';
    entries.push(`${tag.name}:${id}:${perm & 4 ? 'r' : '-'}${perm & 2 ? 'w' : '-'}${perm & 1 ? 'x' : '-'}`);
  }
  return entries.join(',');
}
