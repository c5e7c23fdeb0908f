// ACLs as archives have them, in words: `user::rw-,user:1000:r--,group::r--,mask::rw-,other::r--`, made the bytes that setxattr takes.
// GNU tar writes users and groups by name even when it is asked to write numbers; star and libarchive write the number after the name. A
// number is taken where there is one; for names the caller is asked.
// Source: acl(5); star's description of SCHILY.acl.access; include/uapi/linux/posix_acl_xattr.h of Linux.

const VERSION = 2;
const NO_ID = 0xffff_ffff;

const tags: Readonly<Record<string, { readonly own: number; readonly named?: number }>> = {
  user: { own: 0x01, named: 0x02 },
  u: { own: 0x01, named: 0x02 },
  group: { own: 0x04, named: 0x08 },
  g: { own: 0x04, named: 0x08 },
  mask: { own: 0x10 },
  m: { own: 0x10 },
  other: { own: 0x20 },
  o: { own: 0x20 },
};

/** The number of a user or group; undefined when it is not known. */
export type LookUpName = (kind: 'user' | 'group', name: string) => number | undefined;

export type AclWords = { readonly value: Uint8Array } | { readonly problem: string };

/** @returns struct posix_acl_xattr_header and its entries, in the kernel's order; else what is wrong */
export function aclFromWords(text: string, lookUp: LookUpName): AclWords {
  const entries: { tag: number; perm: number; id: number }[] = [];
  for (const line of text.split(/[,\n]/)) {
    const entry = line
      .replace(/#.*/, '')
      .trim()
      .replace(/^(default|d):/, '');
    if (entry === '') continue;
    const parts = entry.split(':').map(part => part.trim());
    // `other:r--` is allowed for those that have no name.
    if (parts.length === 2 && tags[parts[0]!]?.named === undefined) parts.splice(1, 0, '');
    const [kind = '', name = '', permissions = '', number = ''] = parts;
    const tag = Object.hasOwn(tags, kind) ? tags[kind] : undefined;
    const perm = permOf(permissions);
    if (tag === undefined || perm === undefined) return { problem: `'${entry}' is not an entry of an ACL` };
    if (name === '') {
      entries.push({ tag: tag.own, perm, id: NO_ID });
      continue;
    }
    if (tag.named === undefined) return { problem: `'${entry}' is not an entry of an ACL` };
    const nameKind = tag.named === 0x02 ? 'user' : 'group';
    const written = [number, name].find(word => /^\d{1,10}$/.test(word));
    const id = written === undefined ? lookUp(nameKind, name) : Number(written);
    if (id === undefined)
      return {
        problem: `an ACL names the ${nameKind} '${name}', who is not known on this machine, and gives no number`,
      };
    if (id >= NO_ID) return { problem: `'${entry}' is not an entry of an ACL` };
    entries.push({ tag: tag.named, perm, id });
  }
  entries.sort((a, b) => a.tag - b.tag || a.id - b.id);
  const value = new Uint8Array(4 + 8 * entries.length);
  const view = new DataView(value.buffer);
  view.setUint32(0, VERSION, true);
  for (const [i, { tag, perm, id }] of entries.entries()) {
    view.setUint16(4 + 8 * i, tag, true);
    view.setUint16(6 + 8 * i, perm, true);
    view.setUint32(8 + 8 * i, id, true);
  }
  return { value };
}

/** The nine bits of a mode that say the same; undefined for an ACL that says more than those, or less. */
export function modeOfAcl(value: Uint8Array): number | undefined {
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  const isPlain = value.length === 28 && [0x01, 0x04, 0x20].every((tag, i) => view.getUint16(4 + 8 * i, true) === tag);
  if (!isPlain) return undefined;
  return (view.getUint16(6, true) << 6) | (view.getUint16(14, true) << 3) | view.getUint16(22, true);
}

function permOf(text: string): number | undefined {
  if (!/^[rwxX-]{0,3}$/.test(text)) return undefined;
  return (text.includes('r') ? 4 : 0) | (text.includes('w') ? 2 : 0) | (/x/i.test(text) ? 1 : 0);
}
