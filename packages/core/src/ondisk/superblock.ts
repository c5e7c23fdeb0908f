// struct bch_sb: the fixed part of a superblock, its layout block, and the variable sections after it as raw payloads.
// Bytes in, value out, and back; sections of unknown types survive a round trip untouched, in their order.
// Reading from devices, choosing among copies and writing are superblock/'s. Source: bcachefs_format.h.

import { assert, CorruptError, type Location, locate } from './errors.ts';
import { array, at, bytes, count64, i64, layout, type Struct, u8, u16, u32, u64, uuid, viewOf } from './layout.ts';
import { type SbFieldName, sbFieldIds } from './sb-field-ids.ts';

/** The magic that identifies a superblock and its layout block. */
export const BCHFS_MAGIC = 'c68573f6-66ce-90a9-d96a-60cf803df7ef';
/** The older magic, from bcache days; still readable. */
export const BCACHE_MAGIC = 'c68573f6-4e1a-45ca-8265-f57f48ba6d81';

/** The sector of the layout block: a copy of the list of superblocks, in front of the first of them. */
export const SB_LAYOUT_SECTOR = 7;
/** The sector of the first superblock. */
export const SB_SECTOR = 8;
/** `sb_max_size_bits` is at most this: 32 MiB. */
export const SB_LAYOUT_SIZE_BITS_MAX = 16;
/** How many superblock offsets a layout holds. */
export const SB_LAYOUT_OFFSETS = 61;
export const SB_LABEL_BYTES = 32;
/** One more than the highest number of members that any version allows. */
export const SB_MEMBERS_MAX = 256;

/** struct bch_csum: up to 128 bits; shorter checksums leave the rest zero. */
export const BchCsum = layout('bch_csum', 16, { lo: at(0, u64), hi: at(8, u64) });
export type BchCsum = Struct<typeof BchCsum>;

/** struct bch_sb_layout: where the superblocks of one device are. */
export const BchSbLayout = layout('bch_sb_layout', 512, {
  magic: at(0, uuid),
  layout_type: at(16, u8),
  sb_max_size_bits: at(17, u8), // base-2 logarithm of 512-byte sectors
  nr_superblocks: at(18, u8),
  pad: at(19, bytes(5)),
  sb_offset: at(24, array(u64, SB_LAYOUT_OFFSETS)), // sectors
});
export type BchSbLayout = Struct<typeof BchSbLayout>;

/** struct bch_sb without the sections that follow it. */
export const BchSb = layout('bch_sb', 752, {
  csum: at(0, BchCsum), // over everything after it, to the end of the last section
  version: at(16, u16), // major << 10 | minor
  version_min: at(18, u16), // the oldest version that anything on disk may have
  pad: at(20, bytes(4)),
  magic: at(24, uuid),
  uuid: at(40, uuid), // internal: never changes; member identity and the magics of btree and journal derive from it
  user_uuid: at(56, uuid), // external: what mount and blkid show
  label: at(72, bytes(SB_LABEL_BYTES)),
  offset: at(104, u64), // the sector that this copy was written to
  seq: at(112, count64), // one more each time the superblock is written
  block_size: at(120, u16), // sectors
  dev_idx: at(122, u8), // which member this device is
  nr_devices: at(123, u8), // one more than the highest member index in use
  u64s: at(124, u32), // length of the sections, in u64s
  time_base_lo: at(128, i64), // nanoseconds since 1970: the origin of inode times
  time_base_hi: at(136, u32),
  time_precision: at(140, u32), // nanoseconds per unit of inode times
  flags: at(144, array(u64, 7)), // see sb-bits.ts
  write_time: at(200, i64), // seconds since 1970
  features: at(208, array(u64, 2)),
  compat: at(224, array(u64, 2)),
  layout: at(240, BchSbLayout),
});
export type BchSb = Struct<typeof BchSb>;

/** struct bch_sb_field: the header of each section. */
export const BchSbField = layout('bch_sb_field', 8, {
  u64s: at(0, u32), // length including this header
  type: at(4, u32),
});

/** One variable section: its type and everything after its 8-byte header (a multiple of 8 bytes). */
export interface SbSection {
  readonly type: number;
  readonly payload: Uint8Array;
}

/** A decoded superblock. `u64s` is the length of `sections`; `csum` is what was on disk, until it is sealed for writing. */
export interface Superblock extends BchSb {
  readonly sections: readonly SbSection[];
}

/** Whether these bytes begin with a superblock: only the magic is looked at. */
export function hasSuperblockMagic(view: DataView, at: number): boolean {
  if (at + BchSb.size > view.byteLength) return false;
  const magic = uuid.get(view, at + BchSb.offset.magic);
  return magic === BCHFS_MAGIC || magic === BCACHE_MAGIC;
}

/** The number of bytes from the start of the superblock at `at` to the end of its last section, as its header claims. */
export function superblockBytes(view: DataView, at: number): number {
  return BchSb.size + 8 * view.getUint32(at + BchSb.offset.u64s, true);
}

/** The most bytes that one superblock may take, as its layout says. */
export function superblockMaxBytes(sb: { readonly layout: BchSbLayout }): number {
  return 512 * 2 ** Math.min(sb.layout.sb_max_size_bits, SB_LAYOUT_SIZE_BITS_MAX);
}

/**
 * Takes a superblock apart. Checks only what is needed to do so; `superblock/verify.ts` judges the values.
 * @param source the superblock's bytes; more may follow
 * @throws CorruptError invalid_sb_magic, invalid_sb_too_big or invalid_sb_field_size
 */
export function decodeSuperblock(source: Uint8Array, where: Location): Superblock {
  const view = viewOf(source);
  if (source.length < BchSb.size) {
    throw new CorruptError(
      'invalid_sb_too_big',
      where,
      `${source.length} bytes, a superblock has at least ${BchSb.size}`,
    );
  }
  if (!hasSuperblockMagic(view, 0)) {
    const found = uuid.get(view, BchSb.offset.magic);
    throw new CorruptError(
      'invalid_sb_magic',
      where,
      `not a bcachefs superblock: magic ${found}, expected ${BCHFS_MAGIC}`,
    );
  }
  const size = superblockBytes(view, 0);
  if (size > source.length) {
    throw new CorruptError('invalid_sb_too_big', where, `claims ${size} bytes, only ${source.length} are there`);
  }
  const fixed = locate(where, () => BchSb.get(view, 0));
  return { ...fixed, sections: decodeSections(source.subarray(BchSb.size, size), where) };
}

function decodeSections(source: Uint8Array, where: Location): SbSection[] {
  const view = viewOf(source);
  const sections: SbSection[] = [];
  for (let at = 0; at < source.length; ) {
    const { u64s, type } = BchSbField.get(view, at);
    const end = at + 8 * u64s;
    const field = sbFieldIds.nameOf(type);
    if (u64s === 0) throw new CorruptError('invalid_sb_field_size', { ...where, field }, 'a section of size 0');
    if (end > source.length) {
      throw new CorruptError(
        'invalid_sb_field_size',
        { ...where, field },
        `${8 * u64s} bytes, only ${source.length - at} are left in the superblock`,
      );
    }
    sections.push({ type, payload: source.subarray(at + BchSbField.size, end) });
    at = end;
  }
  return sections;
}

/**
 * Puts a superblock together: `u64s` is computed, `csum` is written as it stands in `sb` (superblock/write.ts computes it).
 * The result is a multiple of 8 bytes long.
 */
export function encodeSuperblock(sb: Superblock): Uint8Array {
  const sectionBytes = sectionsBytes(sb.sections);
  const target = new Uint8Array(BchSb.size + sectionBytes);
  const view = viewOf(target);
  BchSb.put(view, 0, { ...sb, u64s: sectionBytes / 8 });
  let at = BchSb.size;
  for (const { type, payload } of sb.sections) {
    assert(
      payload.length % 8 === 0,
      `section ${sbFieldIds.nameOf(type)} is ${payload.length} bytes, not a multiple of 8`,
    );
    BchSbField.put(view, at, { u64s: (BchSbField.size + payload.length) / 8, type });
    target.set(payload, at + BchSbField.size);
    at += BchSbField.size + payload.length;
  }
  return target;
}

/** The payload of a section, if the superblock has it. */
export function sectionPayload(sb: Superblock, name: SbFieldName): Uint8Array | undefined {
  const type = sbFieldIds.idOf(name);
  return sb.sections.find(section => section.type === type)?.payload;
}

/** A copy with one section replaced, added at the end, or (with undefined) removed. Payloads are padded to 8 bytes. */
export function withSection(sb: Superblock, name: SbFieldName, payload: Uint8Array | undefined): Superblock {
  const type = sbFieldIds.idOf(name);
  if (payload === undefined)
    return withSections(
      sb,
      sb.sections.filter(section => section.type !== type),
    );
  const padded = new Uint8Array(Math.ceil(payload.length / 8) * 8);
  padded.set(payload);
  const section = { type, payload: padded };
  const isThere = sb.sections.some(other => other.type === type);
  return withSections(
    sb,
    isThere ? sb.sections.map(other => (other.type === type ? section : other)) : [...sb.sections, section],
  );
}

/** A copy with these sections, and `u64s` to match. */
export function withSections(sb: Superblock, sections: readonly SbSection[]): Superblock {
  return { ...sb, sections, u64s: sectionsBytes(sections) / 8 };
}

function sectionsBytes(sections: readonly SbSection[]): number {
  return sections.reduce((sum, section) => sum + BchSbField.size + section.payload.length, 0);
}

/** The label as text, up to its first NUL; bytes that are not UTF-8 come as U+FFFD. */
export function fsLabelText(label: Uint8Array): string {
  const end = label.indexOf(0);
  return new TextDecoder().decode(end < 0 ? label : label.subarray(0, end));
}
