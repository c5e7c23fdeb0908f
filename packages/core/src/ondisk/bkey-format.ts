// Packed keys: struct bkey_format says how a btree node shortens the headers of its keys. A packed key is one large integer of
// `key_u64s` 64-bit words, lowest first: the first 24 bits are u64s, format and type as in an unpacked key, and the fields follow
// from the top down: inode, offset, snapshot, size, version. Each is stored in as few bits as the node needs, minus an offset that
// all keys of the node share. A key whose format number is 1 is not packed.
//
// Unpacked keys stand in rows of a Uint32Array, so that a node's keys are one array: see ROW. No key's field is ever a bigint here,
// apart from versions, which are nearly all zero.
// Source: struct bkey_format in bcachefs_format.h; get_inc_field, set_inc_field, bch2_bkey_pack_key, bch2_bkey_format_done,
// bch2_bkey_format_invalid and bch2_bkey_format_field_overflows in btree/bkey.c, v1.36.1 (the same as v1.13.0 in all of these).

import { BKEY_U64S, type Bkey, KEY_FORMAT_CURRENT } from './bkey.ts';
import type { Bpos } from './bpos.ts';
import { array, at, layout, type Struct, u8, u64 } from './layout.ts';

/** struct bkey_format. */
export const BkeyFormat = layout('bkey_format', 56, {
  key_u64s: at(0, u8), // length of a packed header
  nr_fields: at(1, u8), // 6
  bits_per_field: at(2, array(u8, 6)),
  field_offset: at(8, array(u64, 6)),
});
export type BkeyFormat = Struct<typeof BkeyFormat>;

/** KEY_FORMAT_LOCAL_BTREE: packed with the format of the node that it is in. */
export const KEY_FORMAT_LOCAL_BTREE = 0;

/** KEY_PACKED_BITS_START: u64s, format and type come first. */
const HEADER_BITS = 24;

/** BKEY_FIELD_*: inode, offset, snapshot, size, version.hi, version.lo: their widths in an unpacked key. */
const UNPACKED_BITS = [64, 64, 32, 32, 32, 64] as const;

/**
 * A row: one unpacked key. Words 0 to 9 are struct bkey as it is on disk; word 0 has u64s, format and type in its bytes (the
 * format as found: it shows whether the key was packed). Then come where the value is, in bytes, and how long.
 */
export const ROW = {
  header: 0,
  versionLo: 1,
  versionHi: 3,
  size: 4,
  position: 5,
  valueAt: 10,
  valueBytes: 11,
} as const;
export const ROW_WORDS = 12;
const BKEY_WORDS = 10;

/** The low word of each field in a row, in the order of the fields. */
const FIELD_WORD = [8, 6, 5, 4, 3, 1] as const;

/** What is wrong with a format, or undefined. Mirrors bch2_bkey_format_invalid. */
export function bkeyFormatProblem(format: BkeyFormat): string | undefined {
  if (format.nr_fields !== UNPACKED_BITS.length) return `${format.nr_fields} fields, expected ${UNPACKED_BITS.length}`;
  let bits = HEADER_BITS;
  for (const [i, unpackedBits] of UNPACKED_BITS.entries()) {
    const packedBits = format.bits_per_field[i]!;
    const offset = format.field_offset[i]!;
    const greatest = (1n << BigInt(Math.min(packedBits, 64))) - 1n;
    if (packedBits > unpackedBits || greatest + offset >= 1n << BigInt(unpackedBits)) {
      return `field ${i} is too large: ${packedBits} bits from ${offset} on, expected at most ${unpackedBits} bits`;
    }
    bits += packedBits;
  }
  const u64s = Math.ceil(bits / 64);
  return format.key_u64s === u64s ? undefined : `key_u64s ${format.key_u64s}, expected ${u64s}`;
}

/** `u64s 3 fields 64:0, 64:0, 32:0, 0:0, 0:0, 0:0`. Mirrors bch2_bkey_format_to_text. */
export function bkeyFormatText(format: BkeyFormat): string {
  const fields = format.bits_per_field.map((width, i) => `${width}:${format.field_offset[i]}`);
  return `u64s ${format.key_u64s} fields ${fields.join(', ')}`;
}

/** Unpacks the keys of one node. */
export class KeyUnpacker {
  readonly #keyU64s: number;
  /** A row with every field at its offset. */
  readonly #template = new Uint32Array(BKEY_WORDS);
  /** For each field that has bits: its lowest bit in the key, its width, and its low word in a row. */
  readonly #fields: readonly { readonly bit: number; readonly width: number; readonly word: number }[];

  /** @param format sound, see bkeyFormatProblem */
  constructor(format: BkeyFormat) {
    this.#keyU64s = format.key_u64s;
    const fields = [];
    let bit = 64 * format.key_u64s;
    for (const [i, unpackedBits] of UNPACKED_BITS.entries()) {
      const width = format.bits_per_field[i]!;
      const offset = format.field_offset[i]!;
      const word = FIELD_WORD[i]!;
      this.#template[word] = Number(offset & 0xffff_ffffn);
      if (unpackedBits === 64) this.#template[word + 1] = Number(offset >> 32n);
      bit -= width;
      if (width > 0) fields.push({ bit, width, word });
    }
    this.#fields = fields;
  }

  /** The length of the header of a key of this format number, in u64s. */
  keyU64s(format: number): number {
    return format === KEY_FORMAT_CURRENT ? BKEY_U64S : this.#keyU64s;
  }

  /**
   * Unpacks one key. It lies inside `words`, has format 0 or 1, and is at least as long as its header.
   * @param from index of the key's first 32-bit word
   * @param row index of the row's first word in `rows`
   */
  unpack(words: Uint32Array, from: number, rows: Uint32Array, row: number): void {
    const header = words[from]!;
    const u64s = header & 0xff;
    if (((header >>> 8) & 0x7f) === KEY_FORMAT_CURRENT) {
      for (let i = 1; i < BKEY_WORDS; i++) rows[row + i] = words[from + i]!;
      rows[row] = header & 0x00ff_7fff; // without needs_whiteout, which means something in memory only
      rows[row + ROW.valueAt] = 4 * (from + BKEY_WORDS);
      rows[row + ROW.valueBytes] = 8 * (u64s - BKEY_U64S);
      return;
    }
    const keyU64s = this.#keyU64s;
    const template = this.#template;
    for (let i = 1; i < BKEY_WORDS; i++) rows[row + i] = template[i]!;
    rows[row] = (header & 0x00ff_0000) | (u64s - keyU64s + BKEY_U64S);
    rows[row + ROW.valueAt] = 4 * (from + 2 * keyU64s);
    rows[row + ROW.valueBytes] = 8 * (u64s - keyU64s);
    const fields = this.#fields;
    for (let i = 0; i < fields.length; i++) {
      const { bit, width, word } = fields[i]!;
      const low = bitsAt(words, from, bit, Math.min(width, 32)) + rows[row + word]!;
      rows[row + word] = low;
      if (width > 32) rows[row + word + 1]! += bitsAt(words, from, bit + 32, width - 32);
      // The format was checked: a carry can only come from a field of 64 bits.
      if (low > 0xffff_ffff) rows[row + word + 1]!++;
    }
  }
}

/** `width` bits, 1 to 32, from bit number `bit` of the integer that starts at word `from`. */
function bitsAt(words: Uint32Array, from: number, bit: number, width: number): number {
  const word = from + (bit >>> 5);
  const shift = bit & 31;
  let value = words[word]! >>> shift;
  if (shift + width > 32) value |= words[word + 1]! << (32 - shift);
  return width === 32 ? value >>> 0 : value & ((1 << width) - 1);
}

/** So many bits more for sizes, so that extents can be merged later. */
const SIZE_SPARE_BITS = 4;
const SIZE_FIELD = 3;

/** Collects what the keys of a node have in common: struct bkey_format_state. */
export class BkeyFormatBuilder {
  /** Least and greatest value of each field: low words, then high words. */
  readonly #least = new Uint32Array(2 * UNPACKED_BITS.length).fill(0xffff_ffff);
  readonly #greatest = new Uint32Array(2 * UNPACKED_BITS.length);

  constructor() {
    // A size of 0 can always be stored: whiteouts and deletions have one.
    this.#least[2 * SIZE_FIELD] = 0;
    this.#least[2 * SIZE_FIELD + 1] = 0;
  }

  /** A position that the format has to hold, such as the ends of the node. */
  addPosition(p: Bpos): void {
    this.#add(0, p[3]!, p[4]!);
    this.#add(1, p[1]!, p[2]!);
    this.#add(2, p[0]!, 0);
  }

  addKey(k: Bkey): void {
    this.addPosition(k.p);
    this.#add(SIZE_FIELD, k.size, 0);
    this.#add(4, k.bversion_hi, 0);
    // Most versions are 0, which is found faster so than by comparing bigints.
    if (k.bversion_lo) this.#add(5, Number(k.bversion_lo & 0xffff_ffffn), Number(k.bversion_lo >> 32n));
    else this.#add(5, 0, 0);
  }

  #add(field: number, lo: number, hi: number): void {
    const least = this.#least;
    const greatest = this.#greatest;
    const i = 2 * field;
    if (hi < least[i + 1]! || (hi === least[i + 1]! && lo < least[i]!)) {
      least[i] = lo;
      least[i + 1] = hi;
    }
    if (hi > greatest[i + 1]! || (hi === greatest[i + 1]! && lo > greatest[i]!)) {
      greatest[i] = lo;
      greatest[i + 1] = hi;
    }
  }

  /** The format that the kernel would choose: as few bits as hold everything, then rounded up where that costs nothing. */
  finish(): BkeyFormat {
    const bits_per_field: number[] = [];
    const field_offset: bigint[] = [];
    let bits = HEADER_BITS;
    for (const [i, unpackedBits] of UNPACKED_BITS.entries()) {
      const greatest = wide(this.#greatest, i);
      const least = lesser(wide(this.#least, i), greatest);
      const width = bitLength(greatest - least);
      bits_per_field.push(width);
      field_offset.push(offsetFor(width, unpackedBits, least));
      bits += width;
    }
    const size = bits_per_field[SIZE_FIELD]!;
    if (size > 0) {
      const spare = Math.min(SIZE_SPARE_BITS, 32 - size);
      bits_per_field[SIZE_FIELD] = size + spare;
      bits += spare;
    }
    const key_u64s = Math.ceil(bits / 64);
    let left = 64 * key_u64s - bits;
    for (const [i, unpackedBits] of UNPACKED_BITS.entries()) {
      const width = bits_per_field[i]!;
      const more = (8 - (width % 8)) % 8;
      if (more > left) continue;
      bits_per_field[i] = width + more;
      field_offset[i] = offsetFor(width + more, unpackedBits, field_offset[i]!);
      left -= more;
    }
    return { key_u64s, nr_fields: UNPACKED_BITS.length, bits_per_field, field_offset };
  }
}

/** The greatest offset from which `width` bits do not reach past the unpacked field. Mirrors set_format_field. */
function offsetFor(width: number, unpackedBits: number, wanted: bigint): bigint {
  const highest = (1n << BigInt(unpackedBits)) - (1n << BigInt(width));
  return lesser(wanted, highest);
}

const wide = (words: Uint32Array, field: number): bigint =>
  (BigInt(words[2 * field + 1]!) << 32n) | BigInt(words[2 * field]!);

function lesser(a: bigint, b: bigint): bigint {
  if (a < b) return a;
  return b;
}

const bitLength = (value: bigint): number => (value === 0n ? 0 : value.toString(2).length);

/** Packs the headers of keys of one node. */
export class KeyPacker {
  readonly format: BkeyFormat;
  readonly keyU64s: number;
  /** For each field: its lowest bit in the key, its width, its offset in two words, and where each of two words ends. */
  readonly #fields: readonly {
    readonly bit: number;
    readonly width: number;
    readonly offsetLo: number;
    readonly offsetHi: number;
    readonly endLo: number;
    readonly endHi: number;
  }[];

  /** @param format sound, see bkeyFormatProblem */
  constructor(format: BkeyFormat) {
    this.format = format;
    this.keyU64s = format.key_u64s;
    let bit = 64 * format.key_u64s;
    this.#fields = UNPACKED_BITS.map((_, i) => {
      const width = format.bits_per_field[i]!;
      const offset = format.field_offset[i]!;
      bit -= width;
      const offsets = { offsetLo: Number(offset & 0xffff_ffffn), offsetHi: Number(offset >> 32n) };
      return { bit, width, ...offsets, endLo: 2 ** Math.min(width, 32), endHi: 2 ** Math.max(width - 32, 0) };
    });
  }

  /**
   * Packs one key's header, with its u64s and type, format 0. Mirrors bch2_bkey_pack_key.
   * @param words zero from `from` on, for `keyU64s` 64-bit words
   * @returns false when a field does not fit; the words are then zero again
   */
  pack(k: Bkey, words: Uint32Array, from: number): boolean {
    const { p } = k;
    const hasVersion = Boolean(k.bversion_lo);
    const fits =
      this.#put(words, from, 0, p[3]!, p[4]!) &&
      this.#put(words, from, 1, p[1]!, p[2]!) &&
      this.#put(words, from, 2, p[0]!, 0) &&
      this.#put(words, from, 3, k.size, 0) &&
      this.#put(words, from, 4, k.bversion_hi, 0) &&
      this.#put(
        words,
        from,
        5,
        hasVersion ? Number(k.bversion_lo & 0xffff_ffffn) : 0,
        hasVersion ? Number(k.bversion_lo >> 32n) : 0,
      );
    if (!fits) {
      words.fill(0, from, from + 2 * this.keyU64s);
      return false;
    }
    words[from]! |= (k.u64s - BKEY_U64S + this.keyU64s) | (k.type << 16);
    return true;
  }

  /** Whether `pack` would succeed. */
  fits(k: Bkey): boolean {
    return this.pack(k, this.#scratch.fill(0), 0);
  }

  readonly #scratch = new Uint32Array(BKEY_WORDS);

  #put(words: Uint32Array, from: number, field: number, lo: number, hi: number): boolean {
    const { bit, width, offsetLo, offsetHi, endLo, endHi } = this.#fields[field]!;
    let low = lo - offsetLo;
    let high = hi - offsetHi;
    if (low < 0) {
      low += 0x1_0000_0000;
      high--;
    }
    if (high < 0 || high >= endHi || low >= endLo) return false;
    if (width > 0) putBits(words, from, bit, Math.min(width, 32), low);
    if (width > 32) putBits(words, from, bit + 32, width - 32, high);
    return true;
  }
}

/** Stores `width` bits, 1 to 32, at bit number `bit` of the integer that starts at word `from`; zero so far. */
function putBits(words: Uint32Array, from: number, bit: number, width: number, value: number): void {
  const word = from + (bit >>> 5);
  const shift = bit & 31;
  words[word]! |= value << shift;
  if (shift + width > 32) words[word + 1]! |= value >>> (32 - shift);
}
