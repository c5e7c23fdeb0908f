// Names in the values of dirents and xattrs: what they are, and others in their place. Values keep their lengths.

import { BchDirent, BchDirentNameBlock, dirent } from '../../ondisk/keys/dirent.ts';
import { BchXattr } from '../../ondisk/keys/xattr.ts';
import { viewOf } from '../../ondisk/layout.ts';
import type { FoundName } from './names.ts';

/** The name of a dirent; undefined where there is none. */
export function direntName(value: Uint8Array): FoundName | undefined {
  if (value.length < dirent.minBytes) return undefined;
  const { name, casefoldedName, namesLength, namesLengthMax } = dirent.decode(value);
  if (name.length === 0 || namesLength > namesLengthMax) return undefined;
  if (casefoldedName === undefined) {
    const lengthMax = value.length - BchDirent.size;
    return {
      hashed: name.slice(),
      name: name.slice(),
      xattrType: undefined,
      isFolded: false,
      length: name.length,
      lengthMax,
    };
  }
  // Both new names are the same one: half of the room for each, as near to the old sum as the key's length allows.
  const start = BchDirent.size + BchDirentNameBlock.size;
  const u64s = (length: number) => Math.ceil((start + 2 * length) / 8);
  const half = Math.floor(namesLength / 2);
  const length = half > 0 && 8 * u64s(half) === value.length ? half : Math.floor((value.length - start) / 2);
  const lengthMax = Math.floor((value.length - start) / 2);
  if (length === 0) return undefined;
  return {
    hashed: casefoldedName.slice(),
    name: name.slice(),
    xattrType: undefined,
    isFolded: true,
    length,
    lengthMax,
  };
}

/** @param name as long as the one that `direntName` wanted, or up to its longest */
export function renameDirent(value: Uint8Array, name: Uint8Array): void {
  const view = viewOf(value);
  const isFolded = (view.getUint8(BchDirent.offset.d_type) & 128) !== 0;
  if (!isFolded) {
    value.fill(0, BchDirent.size);
    value.set(name, BchDirent.size);
    return;
  }
  const start = BchDirent.size + BchDirentNameBlock.size;
  value.fill(0, BchDirent.size);
  BchDirentNameBlock.put(view, BchDirent.size, { d_pad: 0, d_name_len: name.length, d_cf_name_len: name.length });
  value.set(name, start);
  value.set(name, start + name.length);
}

/** The name of an xattr. That of an ACL is empty. */
export function xattrName(value: Uint8Array): FoundName | undefined {
  if (value.length < BchXattr.size) return undefined;
  const { x_type, x_name_len, x_val_len } = BchXattr.get(viewOf(value), 0);
  const end = BchXattr.size + x_name_len + x_val_len;
  if (end > value.length) return undefined;
  const name = value.slice(BchXattr.size, BchXattr.size + x_name_len);
  const lengthMax = Math.min(255, x_name_len + value.length - end);
  return { hashed: name, name, xattrType: x_type, isFolded: false, length: x_name_len, lengthMax };
}

/** @param name as long as the old one, or longer by the room after the value */
export function renameXattr(value: Uint8Array, name: Uint8Array): void {
  const view = viewOf(value);
  const { x_type, x_name_len, x_val_len } = BchXattr.get(view, 0);
  const start = BchXattr.size + x_name_len;
  const content = value.slice(start, start + x_val_len);
  value.fill(0, BchXattr.size);
  BchXattr.put(view, 0, { x_type, x_name_len: name.length, x_val_len });
  value.set(name, BchXattr.size);
  value.set(content, BchXattr.size + name.length);
}
