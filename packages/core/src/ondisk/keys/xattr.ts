// Key type xattr: an extended attribute. The position is INODE:HASH OF TYPE AND NAME:SNAPSHOT. Prefixes of names are kept as types;
// ACLs have types of their own, no name, and a format that is not the system call's.
// Source: fs/xattr_format.h, fs/xattr.c, fs/acl.h and fs/acl.c, v1.36.1.

import { printableBytes } from '../../util/byte-text.ts';
import { toHex } from '../../util/hex.ts';
import type { PrintBuffer } from '../../util/print-buffer.ts';
import { at, layout, u8, u16, u32, viewOf } from '../layout.ts';
import { type Row, type Table, table } from '../table.ts';
import { bytesJson } from './dirent.ts';
import type { KeyKind, KeyProblem } from './kind.ts';

interface XattrTypeRow extends Row {
  /** What stands before the stored name in the name that users see. */
  readonly prefix: string;
}

const types = [
  { id: 0, name: 'user', prefix: 'user.' },
  { id: 1, name: 'posix_acl_access', prefix: 'system.posix_acl_access' },
  { id: 2, name: 'posix_acl_default', prefix: 'system.posix_acl_default' },
  { id: 3, name: 'trusted', prefix: 'trusted.' },
  { id: 4, name: 'security', prefix: 'security.' },
] as const satisfies readonly XattrTypeRow[];

export type XattrTypeName = (typeof types)[number]['name'];

export const xattrTypes: Table<XattrTypeRow & { readonly name: XattrTypeName }> = table('xattr type', types);

const isAcl = (type: number): boolean => type === 1 || type === 2;

/** struct bch_xattr up to its name. */
export const BchXattr = layout('bch_xattr', 4, {
  x_type: at(0, u8),
  x_name_len: at(1, u8),
  x_val_len: at(2, u16),
});

export interface Xattr {
  /** See xattrTypes. */
  readonly type: number;
  /** Without its prefix. */
  readonly name: Uint8Array;
  readonly value: Uint8Array;
  /** How long they say they are; the arrays end where the key does. */
  readonly nameLength: number;
  readonly valueLength: number;
  /** Of the whole key value, in u64s. */
  readonly sizeU64s: number;
}

export const xattr: KeyKind<Xattr> = {
  name: 'xattr',
  minBytes: 8,
  decode(source) {
    const { x_type, x_name_len, x_val_len } = BchXattr.get(viewOf(source), 0);
    const valueStart = BchXattr.size + x_name_len;
    return {
      type: x_type,
      name: source.subarray(BchXattr.size, valueStart),
      value: source.subarray(valueStart, valueStart + x_val_len),
      nameLength: x_name_len,
      valueLength: x_val_len,
      sizeU64s: source.length / 8,
    };
  },
  encode({ type, name, value }) {
    const target = new Uint8Array(8 * valueU64s(name.length, value.length));
    BchXattr.put(viewOf(target), 0, { x_type: type, x_name_len: name.length, x_val_len: value.length });
    target.set(name, BchXattr.size);
    target.set(value, BchXattr.size + name.length);
    return target;
  },
  validate({ type, name, nameLength, valueLength, sizeU64s }) {
    const problems: KeyProblem[] = [];
    const needed = valueU64s(nameLength, valueLength);
    // The reference allows four bytes more than name and value need.
    const max = valueU64s(nameLength, valueLength + 4);
    if (sizeU64s < needed) {
      problems.push({ error: 'xattr_val_size_too_small', detail: `${sizeU64s} u64s, expected ${needed}` });
    }
    if (sizeU64s > max) {
      problems.push({ error: 'xattr_val_size_too_big', detail: `${sizeU64s} u64s, expected ${max} or fewer` });
    }
    if (xattrTypes.byId(type) === undefined) {
      problems.push({ error: 'xattr_invalid_type', detail: `type ${type}, expected 0 to ${types.length - 1}` });
    }
    if (name.includes(0)) {
      const detail = `a NUL at byte ${name.indexOf(0)} of the name`;
      problems.push({ error: 'xattr_name_invalid_chars', detail });
    }
    return problems;
  },
  text(out, { type, name, value }, { bytesText = printableBytes }) {
    const row = xattrTypes.byId(type);
    if (row === undefined) out.print(`(unknown type ${type})`);
    else out.print(isAcl(type) ? `(type ${type})` : row.prefix);
    out.print(bytesText(untilNul(name)));
    out.print(':');
    out.print(bytesText(untilNul(value)));
    if (isAcl(type)) aclText(out.print(' '), value);
  },
  json({ type, name, value }) {
    return {
      type: xattrTypes.nameOf(type),
      ...bytesJson('name', name),
      value: toHex(value),
      ...(isAcl(type) ? { acl: decodeAcl(value) } : {}),
    };
  },
};

/** xattr_val_u64s. */
const valueU64s = (nameLength: number, valueLength: number): number =>
  Math.ceil((BchXattr.size + nameLength + valueLength) / 8);

/** The reference prints names and values as C strings. */
function untilNul(source: Uint8Array): Uint8Array {
  const end = source.indexOf(0);
  return end < 0 ? source : source.subarray(0, end);
}

/** bch_acl_header. */
const AclHeader = layout('bch_acl_header', 4, { a_version: at(0, u32) });
const ACL_VERSION = 1;
/** bch_acl_entry_short, and bch_acl_entry for the tags that have an id. */
const AclEntryShort = layout('bch_acl_entry_short', 4, { e_tag: at(0, u16), e_perm: at(2, u16) });
const AclEntry = layout('bch_acl_entry', 8, { e_tag: at(0, u16), e_perm: at(2, u16), e_id: at(4, u32) });

export interface AclTagRow extends Row {
  /** What the entry's id is called; null for entries without one. */
  readonly id_name: 'uid' | 'gid' | null;
}

export const aclTags: Table<AclTagRow> = table<AclTagRow>('ACL tag', [
  { id: 0x01, name: 'user_obj', id_name: null },
  { id: 0x02, name: 'user', id_name: 'uid' },
  { id: 0x04, name: 'group_obj', id_name: null },
  { id: 0x08, name: 'group', id_name: 'gid' },
  { id: 0x10, name: 'mask', id_name: null },
  { id: 0x20, name: 'other', id_name: null },
]);

export interface AclEntryValue {
  readonly tag: string;
  /** Of entries for a named user or group. */
  readonly id?: number;
  /** Read 4, write 2, execute 1. */
  readonly perm: number;
}

/** The entries of an ACL; undefined when it is none, or damaged. */
export function decodeAcl(source: Uint8Array): readonly AclEntryValue[] | undefined {
  const { entries, isWhole } = readAcl(source);
  return isWhole ? entries : undefined;
}

/** As far as it goes. */
function readAcl(source: Uint8Array): { readonly entries: readonly AclEntryValue[]; readonly isWhole: boolean } {
  const entries: AclEntryValue[] = [];
  const view = viewOf(source);
  if (source.length < AclHeader.size || AclHeader.get(view, 0).a_version !== ACL_VERSION)
    return { entries, isWhole: false };
  for (let start = AclHeader.size; start < source.length; ) {
    if (start + AclEntryShort.size > source.length) return { entries, isWhole: false };
    const { e_tag, e_perm } = AclEntryShort.get(view, start);
    const row = aclTags.byId(e_tag);
    const size = row !== undefined && row.id_name !== null ? AclEntry.size : AclEntryShort.size;
    if (row === undefined || start + size > source.length) return { entries, isWhole: false };
    const id = row.id_name === null ? {} : { id: AclEntry.get(view, start).e_id };
    entries.push({ tag: row.name, ...id, perm: e_perm });
    start += size;
  }
  return { entries, isWhole: true };
}

/** Mirrors bch2_acl_to_text, which reads on for ever at a tag that it does not know. */
function aclText(out: PrintBuffer, source: Uint8Array): void {
  const { entries, isWhole } = readAcl(source);
  const texts = entries.map(({ tag, id, perm }) => {
    const idText = id === undefined ? '' : ` ${aclTags.byName(tag)?.id_name} ${id}`;
    return `${tag}${idText} ${perm.toString(8)}`;
  });
  if (!isWhole && entries.length > 0) texts.push('(damaged)');
  out.print(texts.join(' '));
}
