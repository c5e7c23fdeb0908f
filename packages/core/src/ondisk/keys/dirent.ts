// Key type dirent: a name in a directory and what it leads to. The position is DIRECTORY:HASH OF THE NAME:SNAPSHOT. Where names are
// compared without regard to case, the folded name is kept after the real one and is what was hashed.
// Source: fs/dirent_format.h and fs/dirent.c, v1.13.0 and v1.36.1.

import { printableBytes, utf8Text } from '../../util/byte-text.ts';
import { toHex } from '../../util/hex.ts';
import { bposInode } from '../bpos.ts';
import type { FaultName } from '../faults.ts';
import { FILE_TYPE_SUBVOL, fileTypes } from '../inode-tables.ts';
import { at, layout, u8, u16, u64, viewOf } from '../layout.ts';
import { u32At, u64Of } from '../little-endian.ts';
import type { KeyKind, KeyProblem } from './kind.ts';

/** struct bch_dirent up to its name. */
export const BchDirent = layout('bch_dirent', 9, {
  d_inum: at(0, u64), // for the root of a subvolume: its number in the lower, the parent subvolume's in the upper half
  d_type: at(8, u8), // 5 bits; the highest bit says that a name block follows instead of a name
});

/**
 * The name block of struct bch_dirent up to its names, which follows what BchDirent has. The compiler aligned its numbers to each other, so
 * there is a second byte of padding.
 */
export const BchDirentNameBlock = layout('bch_dirent_cf_name_block', 6, {
  d_pad: at(0, u16),
  d_name_len: at(2, u16),
  d_cf_name_len: at(4, u16),
});

const TYPE_MASK = 31;
const CASEFOLD_BIT = 128;

/** BCH_NAME_MAX: of the format. Linux allows 255. */
const NAME_MAX = 512;

export type DirentTarget =
  | { readonly inum: bigint }
  /** A subvolume shows up only in the subvolume `parent_subvol`, not in its snapshots. */
  | { readonly child_subvol: number; readonly parent_subvol: number };

export interface Dirent {
  readonly target: DirentTarget;
  /** See fileTypes. */
  readonly type: number;
  readonly name: Uint8Array;
  /** Undefined where the directory minds the case of names. */
  readonly casefoldedName: Uint8Array | undefined;
  /** How long both names say they are together, and how long they can be. */
  readonly namesLength: number;
  readonly namesLengthMax: number;
}

/** Whether a value has this name, without decoding it; true for one that has a folded name as well, whatever that is. */
export function mayBeNamed(value: Uint8Array, name: Uint8Array): boolean {
  if ((value[BchDirent.offset.d_type]! & CASEFOLD_BIT) !== 0) return true;
  const end = BchDirent.size + name.length;
  // Zeroes fill up the last u64.
  if (value.length < end || value.length > end + 8 || (value.length > end && value[end] !== 0)) return false;
  for (let i = 0; i < name.length; i++) if (value[BchDirent.size + i] !== name[i]) return false;
  return true;
}

export const dirent: KeyKind<Dirent> = {
  name: 'dirent',
  minBytes: 16,
  decode(value) {
    const low = u32At(value, BchDirent.offset.d_inum);
    const high = u32At(value, BchDirent.offset.d_inum + 4);
    const d_type = value[BchDirent.offset.d_type]!;
    const type = d_type & TYPE_MASK;
    const target: DirentTarget =
      type === FILE_TYPE_SUBVOL ? { child_subvol: low, parent_subvol: high } : { inum: u64Of(low, high) };
    const end = nameEnd(value);
    if ((d_type & CASEFOLD_BIT) === 0) {
      const name = value.subarray(BchDirent.size, Math.max(BchDirent.size, end));
      return { target, type, name, casefoldedName: undefined, namesLength: name.length, namesLengthMax: name.length };
    }
    const { d_name_len, d_cf_name_len } = BchDirentNameBlock.get(viewOf(value), BchDirent.size);
    const start = BchDirent.size + BchDirentNameBlock.size;
    return {
      target,
      type,
      name: value.subarray(start, start + d_name_len),
      casefoldedName: value.subarray(start + d_name_len, start + d_name_len + d_cf_name_len),
      namesLength: d_name_len + d_cf_name_len,
      namesLengthMax: Math.max(0, end - start),
    };
  },
  encode({ target, type, name, casefoldedName }) {
    const start = BchDirent.size + (casefoldedName === undefined ? 0 : BchDirentNameBlock.size);
    const encoded = new Uint8Array(Math.ceil((start + name.length + (casefoldedName?.length ?? 0)) / 8) * 8);
    const view = viewOf(encoded);
    const d_inum = 'inum' in target ? target.inum : BigInt(target.child_subvol) | (BigInt(target.parent_subvol) << 32n);
    BchDirent.put(view, 0, { d_inum, d_type: type | (casefoldedName === undefined ? 0 : CASEFOLD_BIT) });
    if (casefoldedName !== undefined) {
      const lengths = { d_pad: 0, d_name_len: name.length, d_cf_name_len: casefoldedName.length };
      BchDirentNameBlock.put(view, BchDirent.size, lengths);
      encoded.set(casefoldedName, start + name.length);
    }
    encoded.set(name, start);
    return encoded;
  },
  validate(value, k, { writing = false } = {}) {
    const { name, casefoldedName, namesLength, namesLengthMax } = value;
    const problems: KeyProblem[] = [];
    const wrong = (error: FaultName, detail: string) => problems.push({ error, detail });
    if (name.length === 0) wrong('dirent_empty_name', 'name length 0, expected 1 or more');
    if (namesLength > namesLengthMax) {
      wrong('dirent_val_too_big', `names of ${namesLength} bytes, only ${namesLengthMax} are there`);
    }
    if (writing && name.length > NAME_MAX) {
      wrong('dirent_name_too_long', `name length ${name.length}, expected ${NAME_MAX} or less`);
    }
    if (name.includes(0)) wrong('dirent_name_embedded_nul', `a NUL at byte ${name.indexOf(0)} of the name`);
    if (isDots(name)) wrong('dirent_name_dot_or_dotdot', `the name is ${'.'.repeat(name.length)}`);
    if (name.includes(SLASH)) wrong('dirent_name_has_slash', `a slash at byte ${name.indexOf(SLASH)} of the name`);
    if ('inum' in value.target && value.target.inum === bposInode(k.p)) {
      wrong('dirent_to_itself', `leads to its own directory ${value.target.inum}`);
    }
    if (casefoldedName !== undefined) {
      if (writing && casefoldedName.length > NAME_MAX) {
        wrong(
          'dirent_cf_name_too_big',
          `casefolded name length ${casefoldedName.length}, expected ${NAME_MAX} or less`,
        );
      }
      if (casefoldedName.includes(0)) {
        wrong('dirent_stray_data_after_cf_name', `a NUL at byte ${casefoldedName.indexOf(0)} of the casefolded name`);
      }
    }
    return problems;
  },
  text(out, { target, type, name, casefoldedName }, { bytesText = printableBytes }) {
    out.printAsIs(bytesText(name));
    if (casefoldedName !== undefined) out.print(' (casefold ').printAsIs(bytesText(casefoldedName)).print(')');
    const to = 'inum' in target ? `${target.inum}` : `${target.parent_subvol} -> ${target.child_subvol}`;
    out.print(` -> ${to} type ${fileTypes.byId(type)?.name ?? '(bad d_type)'}`);
  },
  json: ({ target, type, name, casefoldedName }) => ({
    ...bytesJson('name', name),
    ...(casefoldedName === undefined ? {} : bytesJson('casefolded_name', casefoldedName)),
    ...target,
    type: fileTypes.nameOf(type),
  }),
};

const SLASH = 0x2f;

const isDots = (name: Uint8Array): boolean =>
  (name.length === 1 || name.length === 2) && name.every(byte => byte === 0x2e);

/** Where the zeroes begin that fill up the last u64. */
function nameEnd(value: Uint8Array): number {
  let end = value.length;
  while (end > value.length - 8 && end > 0 && value[end - 1] === 0) end--;
  return end;
}

/** A name as text, or, where it is not UTF-8, its bytes under another name. */
export function bytesJson(member: string, source: Uint8Array): Record<string, string> {
  const text = utf8Text(source);
  return text === undefined ? { [`${member}_hex`]: toHex(source) } : { [member]: text };
}
