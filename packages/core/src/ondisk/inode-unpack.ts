// Inodes: three encodings (key types inode, inode_v2, inode_v3) of the same thing. A short header is followed by fields of variable
// length: the table of fields says which; those after the last one that is not zero are left out. The first encoding comes in two
// kinds: with the integers of varint.ts, or with older ones of its own.
// Source: fs/inode_format.h and fs/inode.c, v1.36.1; what was added up to v1.39.2.

import {
  FILE_TYPE_DIR,
  type InodeFieldBits,
  type InodeFieldName,
  type InodeOptionName,
  inodeFields,
  inodeFieldsV2,
  inodeFlags,
  inodeOptions,
} from './inode-tables.ts';
import { at, layout, u16, u32, u64, viewOf } from './layout.ts';
import { u32At, u64At, u64Of } from './little-endian.ts';
import { encodeVarint, VarintReader } from './varint.ts';

/** struct bch_inode without its fields. */
export const BchInode = layout('bch_inode', 14, {
  bi_hash_seed: at(0, u64),
  bi_flags: at(8, u32), // see INODE_V1
  bi_mode: at(12, u16),
});

/** struct bch_inode_v2 without its fields. */
export const BchInodeV2 = layout('bch_inode_v2', 26, {
  bi_journal_seq: at(0, u64),
  bi_hash_seed: at(8, u64),
  bi_flags: at(16, u64), // see INODE_V3
  bi_mode: at(24, u16),
});

/** struct bch_inode_v3 without its fields. */
export const BchInodeV3 = layout('bch_inode_v3', 48, {
  bi_journal_seq: at(0, u64), // the journal entry that the last fsync has to wait for
  bi_hash_seed: at(8, u64), // of the hashes of names below it
  bi_flags: at(16, u64), // see inodeFlags; also the mode, the hash type and the number of fields
  bi_sectors: at(24, u64),
  bi_size: at(32, u64), // bytes; 0 for directories
  bi_version: at(40, u64), // i_version, for NFS
});

/** Shifts and widths inside bi_flags, by 32-bit word. */
const STR_HASH_SHIFT = 20;
const STR_HASH_MASK = 15;
const NR_FIELDS_SHIFT = 24;
const NR_FIELDS_MASK = 127;
/** Bit 31 of the first encoding: the fields are varints. */
const NEW_VARINT = 0x8000_0000;

/** INODEv3_FIELDS_START_CUR: where the fields of inode_v3 begin, in u64s. */
export const INODE_V3_FIELDS_START = 6;

/** Inode numbers below this are for block devices that were once cached; files begin with the root. */
export const BLOCKDEV_INODE_MAX = 4096n;
/** BCACHEFS_ROOT_INO: the root of every subvolume that was not made from another one. */
export const ROOT_INODE = 4096n;

/** Fields of up to 32 bits are numbers; the others are bigints, since inode numbers and hashes use all of their 64 bits. */
export type InodeFields = { readonly [N in WideFieldName]: bigint } & {
  readonly [N in Exclude<InodeFieldName, WideFieldName>]: number;
};
type WideFieldName = 'bi_atime' | 'bi_ctime' | 'bi_mtime' | 'bi_otime' | 'bi_dir' | 'bi_dir_offset';

/** An inode, whatever its encoding. */
export interface Inode extends InodeFields {
  readonly encoding: 'inode' | 'inode_v2' | 'inode_v3';
  readonly bi_journal_seq: bigint;
  readonly bi_hash_seed: bigint;
  /** The lower half of bi_flags, where all flags are: see inodeFlags. */
  readonly bi_flags: number;
  readonly bi_mode: number;
  /** Bytes. */
  readonly bi_size: bigint;
  readonly bi_sectors: bigint;
  readonly bi_version: bigint;
  /** See str-hash-types.ts. */
  readonly str_hash: number;
  readonly nr_fields: number;
  /** Of inode_v3, in u64s; 0 of the others. */
  readonly fields_start: number;
  /** The first field that could not be read: it and all after it are zero. */
  readonly unpack_error: PackedName | undefined;
}

/** Names of all that is packed in some encoding. */
type PackedName = InodeFieldName | 'bi_size' | 'bi_sectors';

/** An inode while it is being unpacked. */
type Unpacking = { -readonly [M in keyof Inode]: Inode[M] };

/**
 * An inode that says nothing. Unpacking into a copy of it takes 1 µs, building the object out of parts took 6 (Node 20, the inodes of
 * the image `many`).
 */
export const blankInode: Inode = {
  encoding: 'inode_v3',
  bi_journal_seq: 0n,
  bi_hash_seed: 0n,
  bi_flags: 0,
  bi_mode: 0,
  bi_size: 0n,
  bi_sectors: 0n,
  bi_version: 0n,
  fields_start: 0,
  str_hash: 0,
  nr_fields: 0,
  unpack_error: undefined,
  ...(Object.fromEntries(
    inodeFields.rows.map(({ name, bits }) => [name, bits < 64 ? 0 : 0n]),
  ) as unknown as InodeFields),
};

/**
 * Mirrors bch2_inode_unpack.
 * @param value 16 bytes or more
 */
export function unpackInodeV1(value: Uint8Array): Inode {
  const view = viewOf(value);
  const inode: Unpacking = { ...blankInode, encoding: 'inode' };
  inode.bi_hash_seed = view.getBigUint64(BchInode.offset.bi_hash_seed, true);
  inode.bi_flags = view.getUint32(BchInode.offset.bi_flags, true);
  inode.bi_mode = view.getUint16(BchInode.offset.bi_mode, true);
  const isVarint = (inode.bi_flags & NEW_VARINT) !== 0;
  const read = isVarint ? varints(value, BchInode.size) : oldIntegers(value, BchInode.size);
  return unpackFields(inode, inodeFieldsV2.rows, read, isVarint);
}

/** @param value 32 bytes or more */
export function unpackInodeV2(value: Uint8Array): Inode {
  const view = viewOf(value);
  const inode: Unpacking = { ...blankInode, encoding: 'inode_v2' };
  inode.bi_journal_seq = view.getBigUint64(BchInodeV2.offset.bi_journal_seq, true);
  inode.bi_hash_seed = view.getBigUint64(BchInodeV2.offset.bi_hash_seed, true);
  inode.bi_flags = view.getUint32(BchInodeV2.offset.bi_flags, true);
  inode.bi_mode = view.getUint16(BchInodeV2.offset.bi_mode, true);
  return unpackFields(inode, inodeFieldsV2.rows, varints(value, BchInodeV2.size), true);
}

/** @param value 48 bytes or more */
export function unpackInodeV3(value: Uint8Array): Inode {
  const { offset } = BchInodeV3;
  const inode: Unpacking = { ...blankInode };
  inode.bi_journal_seq = u64At(value, offset.bi_journal_seq);
  inode.bi_hash_seed = u64At(value, offset.bi_hash_seed);
  inode.bi_sectors = u64At(value, offset.bi_sectors);
  inode.bi_size = u64At(value, offset.bi_size);
  inode.bi_version = u64At(value, offset.bi_version);
  const flags = u32At(value, offset.bi_flags);
  const flagsHigh = u32At(value, offset.bi_flags + 4);
  inode.bi_flags = flags;
  inode.fields_start = ((flagsHigh & 15) << 1) | (flags >>> 31); // bits 31 to 35
  inode.bi_mode = (flagsHigh >>> 4) & 0xffff; // bits 36 to 51
  // As the reference: the fields begin after the header that is known here, whatever fields_start says.
  return unpackFields(inode, inodeFields.rows, varints(value, BchInodeV3.size), true);
}

/** Reads the next integer; false at the end, or where there is no valid one. The words of the integer, lower one first. */
interface IntegerReader {
  readonly lo: number;
  readonly hi: number;
  next(): boolean;
}

const varints = (value: Uint8Array, start: number): IntegerReader => new VarintReader(value, start);

/** Lengths by the position of the highest set bit of the first byte, from the top. */
const OLD_LENGTHS = [1, 2, 3, 4, 6, 8, 10, 13] as const;

/** The integers of the first inodes: big-endian, the length in the first byte's highest set bit. */
function oldIntegers(source: Uint8Array, start: number): IntegerReader {
  let from = start;
  const reader = {
    lo: 0,
    hi: 0,
    next(): boolean {
      const first = source[from];
      if (first === undefined || first === 0) return false;
      const highestZeroes = Math.clz32(first) - 24;
      const length = OLD_LENGTHS[highestZeroes]!;
      if (from + length > source.length) return false;
      let value = BigInt(first & (0x7f >> highestZeroes));
      for (let i = 1; i < length; i++) value = (value << 8n) | BigInt(source[from + i]!);
      if (value >> 64n !== 0n) return false;
      reader.lo = Number(value & 0xffff_ffffn);
      reader.hi = Number(value >> 32n);
      from += length;
      return true;
    },
  };
  return reader;
}

/** @param timesAreTwo a time is two integers, of which the second is zero */
function unpackFields(
  inode: Unpacking,
  rows: readonly { readonly id: number; readonly name: PackedName; readonly bits: InodeFieldBits }[],
  read: IntegerReader,
  timesAreTwo: boolean,
): Inode {
  inode.str_hash = (inode.bi_flags >>> STR_HASH_SHIFT) & STR_HASH_MASK;
  inode.nr_fields = (inode.bi_flags >>> NR_FIELDS_SHIFT) & NR_FIELDS_MASK;
  const fields = inode as Record<PackedName, number | bigint>;
  const count = Math.min(inode.nr_fields, rows.length);
  for (let i = 0; i < count; i++) {
    const { name, bits } = rows[i]!;
    const isGood = read.next();
    const { lo, hi } = read;
    const fits = bits >= 64 || (hi === 0 && (bits === 32 || lo >>> bits === 0));
    const isWhole = bits < 96 || !timesAreTwo || (read.next() && read.lo === 0 && read.hi === 0);
    if (!isGood || !fits || !isWhole) {
      inode.unpack_error = name;
      break;
    }
    if (lo === 0 && hi === 0) continue;
    fields[name] = bits < 64 ? lo : u64Of(lo, hi);
  }
  return inode;
}

/** The value of a key of type inode_v3. Mirrors bch2_inode_pack. */
export function packInodeV3(inode: Inode): Uint8Array {
  const { fields, nr_fields } = packFields(inode, inodeFields.rows);
  const target = new Uint8Array(roundUp8(BchInodeV3.size + fields.length));
  const flags =
    BigInt(flagsOf(inode, nr_fields) & ~NEW_VARINT) |
    (BigInt(INODE_V3_FIELDS_START) << 31n) |
    (BigInt(inode.bi_mode) << 36n);
  BchInodeV3.put(viewOf(target), 0, { ...inode, bi_flags: BigInt.asUintN(64, flags) });
  target.set(fields, BchInodeV3.size);
  return target;
}

/** The value of a key of type inode_v2. */
export function packInodeV2(inode: Inode): Uint8Array {
  const { fields, nr_fields } = packFields(inode, inodeFieldsV2.rows);
  const target = new Uint8Array(roundUp8(BchInodeV2.size + fields.length));
  BchInodeV2.put(viewOf(target), 0, { ...inode, bi_flags: BigInt((flagsOf(inode, nr_fields) & ~NEW_VARINT) >>> 0) });
  target.set(fields, BchInodeV2.size);
  return target;
}

/** The value of a key of type inode, always with the newer integers. */
export function packInodeV1(inode: Inode): Uint8Array {
  const { fields, nr_fields } = packFields(inode, inodeFieldsV2.rows);
  const target = new Uint8Array(roundUp8(BchInode.size + fields.length));
  BchInode.put(viewOf(target), 0, { ...inode, bi_flags: (flagsOf(inode, nr_fields) | NEW_VARINT) >>> 0 });
  target.set(fields, BchInode.size);
  return target;
}

const roundUp8 = (length: number): number => Math.ceil(length / 8) * 8;

/** The flags themselves, the hash type and the number of fields. */
function flagsOf(inode: Inode, nrFields: number): number {
  const flags = inode.bi_flags & ((1 << STR_HASH_SHIFT) - 1);
  return flags | (inode.str_hash << STR_HASH_SHIFT) | (nrFields << NR_FIELDS_SHIFT);
}

function packFields(
  inode: Inode,
  rows: readonly { readonly id: number; readonly name: keyof Inode; readonly bits: number }[],
) {
  const fields: number[] = [];
  let nr_fields = 0;
  let used = 0;
  for (const { id, name, bits } of rows) {
    const value = inode[name] as number | bigint;
    fields.push(...encodeVarint(value));
    if (bits > 64) fields.push(0);
    if (BigInt(value) === 0n) continue;
    nr_fields = id + 1;
    used = fields.length;
  }
  return { fields: fields.slice(0, used), nr_fields };
}

export function hasInodeFlag(inode: Inode, flag: string): boolean {
  return ((inode.bi_flags >>> inodeFlags.idOf(flag)) & 1) !== 0;
}

/** An option of the inode's own, or undefined when it has the directory's or the filesystem's. */
export function inodeOption(inode: Inode, option: InodeOptionName): number | undefined {
  const value = inode[inodeOptions.byName(option)!.field];
  return value === 0 ? undefined : value - 1;
}

/** The file type of a mode: see fileTypes. */
export const modeType = (mode: number): number => (mode >>> 12) & 15;

export const isDirectory = (inode: Inode): boolean => modeType(inode.bi_mode) === FILE_TYPE_DIR;

/** st_nlink: on disk it is less by what every inode of its type has. Mirrors bch2_inode_nlink_get. */
export function inodeLinkCount(inode: Inode): number {
  if (hasInodeFlag(inode, 'unlinked')) return 0;
  return inode.bi_nlink + (isDirectory(inode) ? 2 : 1);
}

/** A time of an inode in nanoseconds since 1970. Mirrors bch2_time_to_timespec. */
export function inodeTimeNs(
  time: bigint,
  sb: { readonly time_base_lo: bigint; readonly time_precision: number },
): bigint {
  return (BigInt.asIntN(64, time) + sb.time_base_lo) * BigInt(sb.time_precision || 1);
}

/** Major and minor number of a device node: 12 and 20 bits. */
export function inodeDevice(inode: Inode): { readonly major: number; readonly minor: number } {
  return { major: inode.bi_dev >>> 20, minor: inode.bi_dev & 0xf_ffff };
}
