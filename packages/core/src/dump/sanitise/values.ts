// Takes file data out of key values, at their lengths: inline data, values of extended attributes, and what lies in the room after what a
// value says. ACLs become others of the same shape, since the kernel refuses what is not an ACL. Symlink targets are file data, in extents
// or inline, and go with it. Values of unknown types are removed whole.

import { dirent } from '../../ondisk/keys/dirent.ts';
import { BchIndirectInlineData } from '../../ondisk/keys/inline-data.ts';
import { type KeyTypeName, keyTypes } from '../../ondisk/keys/key-types.ts';
import { BchXattr, xattrTypes } from '../../ondisk/keys/xattr.ts';
import { viewOf } from '../../ondisk/layout.ts';

/** What takes the place of data. */
export type Filler = (target: Uint8Array) => void;

export const fillWithZeroes: Filler = target => void target.fill(0);

const ACL_TYPES: readonly number[] = [xattrTypes.idOf('posix_acl_access'), xattrTypes.idOf('posix_acl_default')];

const wipeAll = (value: Uint8Array): void => void value.fill(0);

/** Types whose values hold data; those with `undefined` are kept as they are. Every type that is known is here. */
const wipers: { readonly [name in KeyTypeName]: ((value: Uint8Array, fill: Filler) => void) | undefined } = {
  // Nothing is expected there, and a key that was deleted in place could have left its value.
  deleted: wipeAll,
  whiteout: wipeAll,
  extent_whiteout: wipeAll,
  hash_whiteout: wipeAll,
  inline_data: (value, fill) => fill(value),
  indirect_inline_data: (value, fill) => fill(value.subarray(BchIndirectInlineData.size)),
  xattr: wipeXattr,
  dirent: wipeDirentRest,
  error: undefined,
  cookie: undefined,
  btree_ptr: undefined,
  btree_ptr_v2: undefined,
  extent: undefined,
  reservation: undefined,
  inode: undefined,
  inode_v2: undefined,
  inode_v3: undefined,
  inode_generation: undefined,
  inode_alloc_cursor: undefined,
  alloc: undefined,
  alloc_v2: undefined,
  alloc_v3: undefined,
  alloc_v4: undefined,
  quota: undefined,
  stripe: undefined,
  reflink_p: undefined,
  reflink_v: undefined,
  subvolume: undefined,
  snapshot: undefined,
  snapshot_tree: undefined,
  set: undefined,
  lru: undefined,
  backpointer: undefined,
  bucket_gens: undefined,
  logged_op_truncate: undefined,
  logged_op_finsert: undefined,
  logged_op_stripe_update: undefined,
  accounting: undefined,
  damage: undefined,
};

/** @param value changed in place */
export function wipeData(type: number, value: Uint8Array, fill: Filler): void {
  const name = keyTypes.byId(type)?.name;
  if (name === undefined) wipeAll(value);
  else wipers[name]?.(value, fill);
}

/** The names stay here: they have a file of their own. What cannot be taken apart goes. */
function wipeDirentRest(value: Uint8Array): void {
  if (value.length < dirent.minBytes) {
    value.fill(0);
    return;
  }
  const { name, casefoldedName, namesLength, namesLengthMax } = dirent.decode(value);
  if (namesLength > namesLengthMax) {
    value.fill(0, 9);
    return;
  }
  const last = casefoldedName ?? name;
  value.fill(0, last.byteOffset + last.length - value.byteOffset);
}

function wipeXattr(value: Uint8Array, fill: Filler): void {
  if (value.length < BchXattr.size) {
    value.fill(0);
    return;
  }
  const { x_type, x_name_len, x_val_len } = BchXattr.get(viewOf(value), 0);
  const start = BchXattr.size + x_name_len;
  const end = start + x_val_len;
  if (end > value.length) {
    value.fill(0, BchXattr.size);
    return;
  }
  value.fill(0, end);
  if (ACL_TYPES.includes(x_type)) wipeAcl(value.subarray(start, end));
  else fill(value.subarray(start, end));
}

const ACL_HEADER_BYTES = 4;
/** Tags of entries for a named user or group, which have an id and are 8 bytes long; the others are 4. */
const ACL_NAMED = [0x02, 0x08] as const;
const ACL_TAGS = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20] as const;
const ACL_ALL = 7;

/** Keeps the tags. Ids become 1, 2, 3…, since those of one tag have to differ and rise; permissions become all. */
function wipeAcl(acl: Uint8Array): void {
  const view = viewOf(acl);
  let nextId = 1;
  for (let at = ACL_HEADER_BYTES; at < acl.length; ) {
    const tag = at + 4 <= acl.length ? view.getUint16(at, true) : 0;
    const isNamed = ACL_NAMED.some(named => named === tag);
    const size = isNamed ? 8 : 4;
    if (!ACL_TAGS.some(known => known === tag) || at + size > acl.length) {
      acl.fill(0, at);
      return;
    }
    view.setUint16(at + 2, ACL_ALL, true);
    if (isNamed) view.setUint32(at + 4, nextId++, true);
    at += size;
  }
}
