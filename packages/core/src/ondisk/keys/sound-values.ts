// The quick way to say that a value is sound: on the words of a node, without taking the value apart. A full scan judges every key, and
// decoding them all would cost ten times as much. True is a promise, which a test holds against `validate`: nothing is wrong.
// False means only: ask `validate`. Types without a function here are always asked.
// Sources: those of the key types' own files.

import { accountingTypes } from '../accounting-types.ts';
import { ROW } from '../bkey-format.ts';
import { rulesFor } from '../format-rules.ts';
import { inodeFields } from '../inode-tables.ts';
import { keyTypes } from './key-types.ts';
import type { KeyValidateContext } from './kind.ts';

/**
 * @param words of the node
 * @param at word where the value begins
 * @param count words of the value
 * @param row where the key's row begins in `rows`
 */
type SoundValue = (
  words: Uint32Array,
  at: number,
  count: number,
  rows: Uint32Array,
  row: number,
  context: KeyValidateContext,
) => boolean;

/**
 * Whether the value of a key is surely sound; its header is not judged.
 * @param words of the node that the row's valueAt counts in
 */
export function isSurelySound(
  words: Uint32Array,
  rows: Uint32Array,
  row: number,
  context: KeyValidateContext,
): boolean {
  const check = byType[(rows[row]! >>> 16) & 0xff];
  return check?.(words, rows[row + ROW.valueAt]! >>> 2, rows[row + ROW.valueBytes]! >>> 2, rows, row, context) ?? false;
}

const always: SoundValue = () => true;
const empty: SoundValue = (_words, _at, count) => count === 0;
const atLeast =
  (words: number): SoundValue =>
  (_words, _at, count) =>
    count >= words;

const INUM = accountingTypes.idOf('inum');
const EXTENT = keyTypes.idOf('extent');
const DT_SUBVOL = 16;
const CSUM_TYPES = 8;
const COMPRESSION_TYPES = 6;
const INCOMPRESSIBLE = 5;
/** Types 3 and 4, whose nonces have to agree. */
const isEncrypted = (csumType: number) => csumType === 3 || csumType === 4;

/** Extent entries in words `at` to `end`. */
function areEntriesSound(
  words: Uint32Array,
  at: number,
  end: number,
  rows: Uint32Array,
  row: number,
  context: KeyValidateContext,
): boolean {
  const size = rows[row + ROW.size]!;
  const isExtent = ((rows[row]! >>> 16) & 0xff) === EXTENT;
  let onDisk = size;
  let ptrs = 0;
  let devices = 0; // a bit for each of the first 31
  let unwritten = 0;
  let crcSincePtr = false;
  let stripeSincePtr = false;
  for (let i = at; i < end; ) {
    const lo = words[i]!;
    const hi = words[i + 1]!;
    if (lo & 1) {
      const dev = (hi >>> 16) & 0xff;
      if (dev > 30 || (devices & (1 << dev)) !== 0) return false;
      devices |= 1 << dev;
      if (lo & 2 && (stripeSincePtr || context.writing)) return false;
      if (lo & 8) unwritten++;
      const device = context.device?.(dev);
      if (device !== undefined && device.bucketSizeSectors !== 0) {
        const offset = (hi & 0xffff) * 0x1000_0000 + (lo >>> 4);
        const bucket = Math.floor(offset / device.bucketSizeSectors);
        if (bucket >= device.bucketCount || bucket < device.firstBucket) return false;
        if (offset - bucket * device.bucketSizeSectors + onDisk > device.bucketSizeSectors) return false;
      }
      ptrs++;
      crcSincePtr = false;
      stripeSincePtr = false;
      i += 2;
      continue;
    }
    switch (32 - Math.clz32(lo & -lo)) {
      case 2: {
        const cSize = ((lo >>> 2) & 0x7f) + 1;
        const compression = lo >>> 28;
        if (
          crcSincePtr ||
          !isCrcSound(cSize, ((lo >>> 9) & 0x7f) + 1, (lo >>> 16) & 0x7f, size, compression, context)
        ) {
          return false;
        }
        const csum = (lo >>> 24) & 15;
        if (csum >= CSUM_TYPES || isEncrypted(csum)) return false;
        onDisk = cSize;
        crcSincePtr = true;
        i += 2;
        break;
      }
      case 3: {
        const cSize = ((lo >>> 3) & 0x1ff) + 1;
        const compression = (hi >>> 12) & 15;
        if (
          crcSincePtr ||
          !isCrcSound(cSize, ((lo >>> 12) & 0x1ff) + 1, (lo >>> 21) & 0x1ff, size, compression, context)
        ) {
          return false;
        }
        const csum = (hi >>> 8) & 15;
        // The nonce of a single one agrees with itself.
        if (csum >= CSUM_TYPES || (isEncrypted(csum) && i !== at)) return false;
        onDisk = cSize;
        crcSincePtr = true;
        i += 4;
        break;
      }
      case 5: // stripe_ptr
        if (stripeSincePtr) return false;
        stripeSincePtr = true;
        i += 2;
        break;
      case 6: // rebalance_v1
      case 9: // reconcile_bp
        i += 2;
        break;
      case 7: // flags
        if (i !== at) return false;
        i += 2;
        break;
      case 8: {
        const isPending = (lo & 0x1_0000) !== 0;
        const isHighPriority = (lo & 0x8000) !== 0;
        const needed = (lo >>> 17) & 31;
        if ((isPending && needed === 0) || (isHighPriority && (needed & 1) === 0) || ((lo >>> 28) & 7) === 0)
          return false;
        i += 2;
        break;
      }
      default:
        return false;
    }
    if (i > end) return false;
  }
  if (ptrs === 0 || ptrs > 16 || crcSincePtr || stripeSincePtr) return false;
  return unwritten === 0 || (isExtent && unwritten === ptrs);
}

function isCrcSound(
  compressedSize: number,
  uncompressedSize: number,
  offset: number,
  size: number,
  compression: number,
  context: KeyValidateContext,
): boolean {
  if (compression >= COMPRESSION_TYPES || offset + size > uncompressedSize) return false;
  if (context.writing && uncompressedSize > (context.encodedExtentMaxSectors ?? 0)) return false;
  return compressedSize === uncompressedSize || (compression !== 0 && compression !== INCOMPRESSIBLE);
}

const extent: SoundValue = (words, at, count, rows, row, context) =>
  areEntriesSound(words, at, at + count, rows, row, context);

const reflinkV: SoundValue = (words, at, count, rows, row, context) => {
  const position = row + ROW.position;
  if (count < 2 || rows[position + 3] !== 0 || rows[position + 4] !== 0) return false;
  if (rows[position + 2]! >>> 24 !== 0) return false;
  return areEntriesSound(words, at + 2, at + count, rows, row, context);
};

const reflinkP: SoundValue = (words, at, count) => {
  if (count < 4) return false;
  return (words[at + 1]! & 0xff_ffff) !== 0 || words[at]! >= words[at + 2]!;
};

const reservation: SoundValue = (words, at, count) => {
  if (count < 2) return false;
  const replicas = words[at + 1]! & 0xff;
  return replicas >= 1 && replicas <= 4;
};

/** Whether some byte is zero or equal to the byte that is repeated four times in `four`. */
const hasByte = (word: number, four: number): boolean => {
  const other = word ^ four;
  return (((other - 0x0101_0101) & ~other & 0x8080_8080) | ((word - 0x0101_0101) & ~word & 0x8080_8080)) !== 0;
};
const SLASHES = 0x2f2f_2f2f;

const dirent: SoundValue = (words, at, count, rows, row, context) => {
  if (count < 4 || context.writing) return false;
  const type = words[at + 2]! & 0xff;
  if (type & 0x80) return false; // casefolded
  const position = row + ROW.position;
  if ((type & 31) !== DT_SUBVOL && words[at] === rows[position + 3] && words[at + 1] === rows[position + 4])
    return false;

  // The name: three bytes of word 2, then whole words up to the last u64, where zeroes may fill up.
  const last = at + count - 2;
  if (at + 2 < last) {
    if (hasByte(words[at + 2]! | 0xff, SLASHES)) return false;
    for (let i = at + 3; i < last; i++) if (hasByte(words[i]!, SLASHES)) return false;
  }
  let hasEnded = false;
  let length = 4 * (last - at - 2) - 1;
  for (let byte = last === at + 2 ? 1 : 0; byte < 8; byte++) {
    const value = (words[last + (byte >> 2)]! >>> (8 * (byte & 3))) & 0xff;
    if (value === 0) hasEnded = true;
    else if (hasEnded || value === 0x2f) return false;
    else length++;
  }
  if (last === at + 2) length++;
  // `.` and `..` are short; so are many good names, which begin with something else.
  return length > 2 || (length > 0 && (words[at + 2]! >>> 8) % 256 !== 0x2e);
};

const xattr: SoundValue = (words, at, count) => {
  if (count < 2) return false;
  const header = words[at]!;
  if ((header & 0xff) > 4) return false;
  const nameLength = (header >>> 8) & 0xff;
  const bytes = 4 + nameLength + (header >>> 16);
  if (count < 2 * Math.ceil(bytes / 8) || count > 2 * Math.ceil((bytes + 4) / 8)) return false;
  for (let i = 0; i < nameLength; i++) {
    if (((words[at + 1 + (i >> 2)]! >>> (8 * (i & 3))) & 0xff) === 0) return false;
  }
  return true;
};

/** By field number: the width, and what else is asked of some of them. */
const FIELD_BITS = Uint8Array.from(inodeFields.rows, field => field.bits);
const fieldNr = (name: (typeof inodeFields.rows)[number]['name']) => inodeFields.idOf(name);
const NLINK = fieldNr('bi_nlink');
const DATA_CHECKSUM = fieldNr('bi_data_checksum');
const COMPRESSION = fieldNr('bi_compression');
const SUBVOL = fieldNr('bi_subvol');
const UNLINKED = 1 << 7;

const inodeV3: SoundValue = (words, at, count, rows, row) => {
  if (count < 12) return false;
  const position = row + ROW.position;
  if (rows[position + 3] !== 0 || rows[position + 4] !== 0) return false;
  if (rows[position + 2] === 0 && rows[position + 1]! < 4096) return false;
  const flags = words[at + 4]!;
  const flagsHigh = words[at + 5]!;
  if (((flags >>> 20) & 15) > 3) return false;
  const fieldsStart = (flags >>> 31) | ((flagsHigh & 15) << 1);
  if (fieldsStart < 6 || 2 * fieldsStart > count) return false;

  const fields = Math.min((flags >>> 24) & 127, FIELD_BITS.length);
  const end = 4 * (at + count);
  let from = 4 * (at + 12);
  for (let nr = 0; nr < fields; nr++) {
    const bits = FIELD_BITS[nr]!;
    if (from >= end) return false;
    const first = (words[from >> 2]! >>> (8 * (from & 3))) & 0xff;
    if (first !== 0) {
      const length = first === 255 ? 9 : 32 - Math.clz32(~first & (first + 1));
      if (from + length > end) return false;
      if (bits < 64) {
        // As many bytes as a value of this width can need, else the full way decides.
        if (length > bits >>> 3) return false;
        if (nr === NLINK && flags & UNLINKED) return false;
        if (nr === DATA_CHECKSUM && first >>> 1 > 4) return false;
        if (nr === COMPRESSION && first >>> 1 > 4) return false;
        if (nr === SUBVOL && ((flagsHigh >>> 16) & 15) !== 4) return false;
      }
      from += length;
    } else {
      from++;
    }
    if (bits === 96) {
      if (from >= end || ((words[from >> 2]! >>> (8 * (from & 3))) & 0xff) !== 0) return false;
      from++;
    }
  }
  return true;
};

const inodeGeneration: SoundValue = (_words, _at, count, rows, row) =>
  count >= 2 && rows[row + ROW.position + 3] === 0 && rows[row + ROW.position + 4] === 0;

const VERSION_1_14 = (1 << 10) | 14;
const LEVEL_MAX = 4;

const backpointer: SoundValue = (words, at, count, rows, row, context) => {
  if (count < 8 || ((words[at]! >>> 8) & 0xff) > LEVEL_MAX) return false;
  const position = row + ROW.position;
  if (rows[position + 4] !== 0 || rows[position + 3]! >= 255) return false;
  return (context.version ?? VERSION_1_14) >= VERSION_1_14 || isOldBackpointerSound(words, at, rows, position, context);
};

/** Counters of inodes, of which there is one for each file. */
const accounting: SoundValue = (_words, _at, count, rows, row, context) => {
  if (count < 2 || count > 6 || (rows[row + ROW.versionLo] === 0 && rows[row + ROW.versionLo + 1] === 0)) return false;
  const position = row + ROW.position;
  const isReversed = rulesFor(context).accountingByteOrder === 'big';
  return (isReversed ? rows[position + 4]! >>> 24 : rows[position]! & 0xff) === INUM;
};

/** So far, positions are exact numbers. */
const OLD_HIGH_MAX = 2 ** 20;

/** Before 1.14 they repeat a part of the position: where in the bucket the pointer goes. */
function isOldBackpointerSound(
  words: Uint32Array,
  at: number,
  rows: Uint32Array,
  position: number,
  context: KeyValidateContext,
): boolean {
  const device = context.device?.(rows[position + 3]!);
  if (device === undefined || device.bucketSizeSectors === 0) return true;
  const low = rows[position + 1]!;
  const high = rows[position + 2]!;
  if (high >= OLD_HIGH_MAX) return false;
  const { backpointerShift: shift } = rulesFor(context);
  const unit = (1 << shift) >>> 0;
  const sector = high * (2 ** 32 / unit) + (low >>> shift);
  const inBucket = (sector % device.bucketSizeSectors) * unit + (low & (unit - 1));
  return inBucket === words[at + 1]! * 256 + (words[at]! >>> 24);
}

const checks: { readonly [name in Parameters<typeof keyTypes.idOf>[0]]?: SoundValue } = {
  deleted: always,
  whiteout: always,
  extent_whiteout: always,
  error: always,
  inline_data: always,
  hash_whiteout: empty,
  set: empty,
  cookie: atLeast(2),
  indirect_inline_data: atLeast(2),
  logged_op_truncate: atLeast(6),
  logged_op_finsert: atLeast(6),
  logged_op_stripe_update: atLeast(10),
  extent,
  reflink_v: reflinkV,
  reflink_p: reflinkP,
  reservation,
  inode_v3: inodeV3,
  inode_generation: inodeGeneration,
  dirent,
  xattr,
  backpointer,
  accounting,
};

const byType: readonly (SoundValue | undefined)[] = Array.from({ length: 256 }, (_, id) => {
  const name = keyTypes.byId(id)?.name;
  return name === undefined ? undefined : checks[name];
});
