// What the values of extents, btree pointers and the like are made of: a row of entries of one to three 64-bit words each. An
// entry's type is the number of its lowest set bit, which leaves the constrained entries more room for the rest. A checksum entry
// applies to the pointers after it, a stripe pointer to the next pointer.
// Sources: data/extents_format.h, data/reconcile/format.h and bch2_bkey_ptrs_to_text in data/extents.c, v1.36.1.

import type { PrintBuffer } from '../util/print-buffer.ts';
import { checksumOptions, checksumTypes, checksumTypeText } from './checksum-types.ts';
import { compressionText, compressionTypes, compressionTypeText } from './compression-types.ts';
import { assert } from './errors.ts';
import { viewOf } from './layout.ts';
import { u32At, u64At } from './little-endian.ts';
import { bitNames, type Row, type Table, table } from './table.ts';
import { decodeTarget } from './targets.ts';

interface ExtentEntryTypeRow extends Row {
  readonly u64s: number;
}

const rows = [
  { id: 0, name: 'ptr', u64s: 1 },
  { id: 1, name: 'crc32', u64s: 1 },
  { id: 2, name: 'crc64', u64s: 2 },
  { id: 3, name: 'crc128', u64s: 3 },
  { id: 4, name: 'stripe_ptr', u64s: 1 },
  { id: 5, name: 'rebalance_v1', u64s: 1 },
  { id: 6, name: 'flags', u64s: 1 },
  { id: 7, name: 'reconcile', u64s: 1 },
  { id: 8, name: 'reconcile_bp', u64s: 1 },
] as const satisfies readonly ExtentEntryTypeRow[];

export type ExtentEntryTypeName = (typeof rows)[number]['name'];
export type ExtentEntryType = ExtentEntryTypeRow & { readonly name: ExtentEntryTypeName };

/** Extent entry types. Filesystems from 1.32 on list the lengths in the superblock (extent_type_u64s), for older readers. */
export const extentEntryTypes: Table<ExtentEntryType> = table<ExtentEntryType>('extent entry type', rows);

/** BCH_EXTENT_FLAGS: bits of a `flags` entry. */
export const extentFlags: Table<Row> = table<Row>('extent flag', [{ id: 0, name: 'poisoned' }]);

/** BCH_RECONCILE_OPTS: bits of `need_rb`. */
export const reconcileOptions: Table<Row> = table<Row>('reconcile option', [
  { id: 0, name: 'data_replicas' },
  { id: 1, name: 'data_checksum' },
  { id: 2, name: 'erasure_code' },
  { id: 3, name: 'background_compression' },
  { id: 4, name: 'background_target' },
  { id: 5, name: 'promote_target' },
]);

/** One copy of the data: where it is. */
export interface ExtentPtr {
  readonly type: 'ptr';
  readonly cached: boolean;
  /** Allocated, not written yet. */
  readonly unwritten: boolean;
  /** Sector on the device. */
  readonly offset: number;
  readonly dev: number;
  /** The bucket's generation when the pointer was made: a newer one makes the pointer stale. */
  readonly gen: number;
}

/** Checksum and compression of the data that the pointers after it point to. Sizes in sectors. */
export interface ExtentCrc {
  readonly type: 'crc32' | 'crc64' | 'crc128';
  readonly compressed_size: number;
  readonly uncompressed_size: number;
  readonly offset: number;
  readonly nonce: number;
  readonly csum_type: number;
  readonly compression_type: number;
  readonly csum_lo: bigint;
  readonly csum_hi: bigint;
}

/** The next pointer is a block of a stripe. */
export interface ExtentStripePtr {
  readonly type: 'stripe_ptr';
  readonly block: number;
  readonly redundancy: number;
  readonly idx: number;
}

/** Data options that the extent was written with, and (reconcile) which of them it does not meet. */
export interface ExtentOptions {
  readonly type: 'rebalance_v1' | 'reconcile';
  /** Bits of reconcileOptions; 0 for rebalance_v1. */
  readonly need_rb: number;
  readonly hipri: boolean;
  readonly pending: boolean;
  readonly data_replicas: number;
  readonly data_checksum: number;
  readonly erasure_code: number;
  readonly background_compression: number;
  readonly background_target: number;
  readonly promote_target: number;
  /** Which of these come from the inode: bits of reconcileOptions. */
  readonly from_inode: number;
}

export type ExtentEntry =
  | ExtentPtr
  | ExtentCrc
  | ExtentStripePtr
  | ExtentOptions
  | { readonly type: 'flags'; readonly flags: bigint }
  | { readonly type: 'reconcile_bp'; readonly idx: bigint }
  /** Nothing after it can be read: its length is not known. */
  | { readonly type: 'unknown'; readonly word: bigint };

/** The entries in these bytes, up to the first one that is unknown or cut off. */
export function decodeExtentEntries(source: Uint8Array): readonly ExtentEntry[] {
  const entries: ExtentEntry[] = [];
  for (let start = 0; start + 8 <= source.length; ) {
    const lo = u32At(source, start);
    const row = extentEntryTypes.byId(lowestSetBit(lo));
    if (row === undefined || start + 8 * row.u64s > source.length) {
      entries.push({ type: 'unknown', word: u64At(source, start) });
      break;
    }
    const words = [lo, u32At(source, start + 4)];
    for (let i = 2; i < 2 * row.u64s; i++) words.push(u32At(source, start + 4 * i));
    entries.push(decoders[row.name](words));
    start += 8 * row.u64s;
  }
  return entries;
}

/** A pointer that stands outside a row of entries, as in stripes. */
export function decodeExtentPtr(word: bigint): ExtentPtr {
  return ptrOf([Number(word & 0xffff_ffffn), Number(word >> 32n)]);
}

/** Of the lower half of an entry, where all types that are known have theirs; 32 for zero. */
const lowestSetBit = (lo: number): number => (lo === 0 ? 32 : 31 - Math.clz32(lo & -lo));

/** The 32-bit words of an entry, lower ones first: with bigints decoding is four times as slow. */
type Words = readonly number[];
const flag = (words: Words, bit: number): boolean => ((words[bit >>> 5]! >>> (bit & 31)) & 1) !== 0;

/** Up to 53 bits of the first 64. */
function field(words: Words, start: number, length: number): number {
  const word = start >>> 5;
  const shift = start & 31;
  const low = words[word]! >>> shift;
  const above = length - (32 - shift);
  if (above <= 0) return length === 32 ? low : low & (2 ** length - 1);
  const high = above === 32 ? words[word + 1]! : words[word + 1]! & (2 ** above - 1);
  return low + (high >>> 0) * 2 ** (32 - shift);
}

/** 64-bit word number `nr`. */
const u64 = (words: Words, nr: number): bigint => (BigInt(words[2 * nr + 1]!) << 32n) | BigInt(words[2 * nr]!);

const ptrOf = (words: Words): ExtentPtr => ({
  type: 'ptr',
  cached: flag(words, 1),
  unwritten: flag(words, 3),
  offset: field(words, 4, 44),
  dev: field(words, 48, 8),
  gen: field(words, 56, 8),
});

const decoders: { readonly [name in ExtentEntryTypeName]: (words: Words) => ExtentEntry } = {
  ptr: ptrOf,
  // Both sizes are stored minus one.
  crc32: words => ({
    type: 'crc32',
    compressed_size: field(words, 2, 7) + 1,
    uncompressed_size: field(words, 9, 7) + 1,
    offset: field(words, 16, 7),
    nonce: 0,
    csum_type: field(words, 24, 4),
    compression_type: field(words, 28, 4),
    csum_lo: BigInt(words[1]!),
    csum_hi: 0n,
  }),
  crc64: words => ({
    type: 'crc64',
    compressed_size: field(words, 3, 9) + 1,
    uncompressed_size: field(words, 12, 9) + 1,
    offset: field(words, 21, 9),
    nonce: field(words, 30, 10),
    csum_type: field(words, 40, 4),
    compression_type: field(words, 44, 4),
    csum_lo: u64(words, 1),
    csum_hi: BigInt(words[1]! >>> 16),
  }),
  crc128: words => ({
    type: 'crc128',
    compressed_size: field(words, 4, 13) + 1,
    uncompressed_size: field(words, 17, 13) + 1,
    offset: field(words, 30, 13),
    nonce: field(words, 43, 13),
    csum_type: field(words, 56, 4),
    compression_type: field(words, 60, 4),
    csum_lo: u64(words, 1),
    csum_hi: u64(words, 2),
  }),
  stripe_ptr: words => ({
    type: 'stripe_ptr',
    block: field(words, 5, 8),
    redundancy: field(words, 13, 4),
    idx: field(words, 17, 47),
  }),
  rebalance_v1: words => ({
    type: 'rebalance_v1',
    need_rb: 0,
    hipri: false,
    pending: false,
    promote_target: field(words, 15, 16),
    erasure_code: field(words, 31, 1),
    data_checksum: field(words, 32, 4),
    data_replicas: field(words, 36, 4),
    background_compression: field(words, 40, 8),
    background_target: field(words, 48, 16),
    from_inode: optionMask(words, REBALANCE_FROM_INODE),
  }),
  flags: words => ({ type: 'flags', flags: u64(words, 0) >> 7n }),
  reconcile: words => ({
    type: 'reconcile',
    hipri: flag(words, 15),
    pending: flag(words, 16),
    need_rb: field(words, 17, 5),
    from_inode: optionMask(words, {
      data_replicas: 22,
      data_checksum: 23,
      erasure_code: 24,
      background_compression: 25,
      background_target: 26,
      promote_target: 27,
    }),
    data_replicas: field(words, 28, 3),
    data_checksum: field(words, 31, 4),
    erasure_code: field(words, 35, 1),
    background_compression: field(words, 36, 8),
    background_target: field(words, 44, 10),
    promote_target: field(words, 54, 10),
  }),
  reconcile_bp: words => ({ type: 'reconcile_bp', idx: u64(words, 0) >> 9n }),
};

/** Bits of a rebalance_v1 entry. */
const REBALANCE_FROM_INODE = {
  promote_target: 9,
  erasure_code: 10,
  data_checksum: 11,
  background_compression: 12,
  data_replicas: 13,
  background_target: 14,
} as const;

/** Single bits of the first word, gathered into a mask of reconcileOptions. */
function optionMask(words: Words, positions: Record<string, number>): number {
  let mask = 0;
  for (const [option, bit] of Object.entries(positions)) {
    if (flag(words, bit)) mask |= 1 << reconcileOptions.idOf(option);
  }
  return mask;
}

/** The word of a pointer. */
export const encodeExtentPtr = (ptr: ExtentPtr): bigint => u64At(encodeExtentEntries([ptr]), 0);

/** Entries that can be written: the others are a later version's. */
export type WritableExtentEntry =
  | Extract<ExtentEntry, { type: 'ptr' | 'crc32' | 'crc64' | 'crc128' | 'stripe_ptr' }>
  | (ExtentOptions & { readonly type: 'rebalance_v1' });

/** What a kernel is to do in the background, as option values; 0 for nothing. Mirrors struct bch_extent_rebalance. */
export const rebalanceEntry = ({
  compression,
  target,
}: {
  readonly compression: number;
  readonly target: number;
}): WritableExtentEntry => ({
  type: 'rebalance_v1',
  need_rb: 0,
  hipri: false,
  pending: false,
  data_replicas: 0,
  data_checksum: 0,
  erasure_code: 0,
  background_compression: compression,
  background_target: target,
  promote_target: 0,
  from_inode: 0,
});

/**
 * The narrowest entry that holds it: sizes have 7, 9 or 13 bits, checksums 4, 10 or 16 bytes. Mirrors bch2_extent_crc_append.
 * @param crc with a size of up to 8192 sectors
 */
export function narrowestCrc(crc: Omit<ExtentCrc, 'type'>): ExtentCrc {
  const sizeBytes = checksumTypes.byId(crc.csum_type)?.sizeBytes ?? 0;
  const size = crc.uncompressed_size;
  if (sizeBytes <= 4 && size <= 2 ** 7) return { type: 'crc32', ...crc };
  return { type: sizeBytes <= 10 && size <= 2 ** 9 ? 'crc64' : 'crc128', ...crc };
}

/** The bytes of these entries, which an extent's value consists of. */
export function encodeExtentEntries(entries: readonly WritableExtentEntry[]): Uint8Array {
  let u64s = 0;
  for (const { type } of entries) u64s += extentEntryTypes.byName(type)!.u64s;
  const target = new Uint8Array(8 * u64s);
  const view = viewOf(target);
  let at = 0;
  for (const entry of entries) {
    const { id, u64s: length } = extentEntryTypes.byName(entry.type)!;
    putField(view, at, id, 1, 1);
    putEntry(view, at, entry);
    at += 8 * length;
  }
  return target;
}

/** All fields of an entry but its type, into zeroes. */
function putEntry(view: DataView, at: number, entry: WritableExtentEntry): void {
  switch (entry.type) {
    case 'ptr':
      putField(view, at, 1, 1, Number(entry.cached));
      putField(view, at, 3, 1, Number(entry.unwritten));
      putField(view, at, 4, 44, entry.offset);
      putField(view, at, 48, 8, entry.dev);
      putField(view, at, 56, 8, entry.gen);
      break;
    case 'crc32':
      putField(view, at, 2, 7, entry.compressed_size - 1);
      putField(view, at, 9, 7, entry.uncompressed_size - 1);
      putField(view, at, 16, 7, entry.offset);
      putField(view, at, 24, 4, entry.csum_type);
      putField(view, at, 28, 4, entry.compression_type);
      putField(view, at, 32, 32, Number(entry.csum_lo));
      break;
    case 'crc64':
      putField(view, at, 3, 9, entry.compressed_size - 1);
      putField(view, at, 12, 9, entry.uncompressed_size - 1);
      putField(view, at, 21, 9, entry.offset);
      putField(view, at, 30, 10, entry.nonce);
      putField(view, at, 40, 4, entry.csum_type);
      putField(view, at, 44, 4, entry.compression_type);
      putField(view, at, 48, 16, Number(entry.csum_hi));
      view.setBigUint64(at + 8, entry.csum_lo, true);
      break;
    case 'crc128':
      putField(view, at, 4, 13, entry.compressed_size - 1);
      putField(view, at, 17, 13, entry.uncompressed_size - 1);
      putField(view, at, 30, 13, entry.offset);
      putField(view, at, 43, 13, entry.nonce);
      putField(view, at, 56, 4, entry.csum_type);
      putField(view, at, 60, 4, entry.compression_type);
      view.setBigUint64(at + 8, entry.csum_lo, true);
      view.setBigUint64(at + 16, entry.csum_hi, true);
      break;
    case 'stripe_ptr':
      putField(view, at, 5, 8, entry.block);
      putField(view, at, 13, 4, entry.redundancy);
      putField(view, at, 17, 47, entry.idx);
      break;
    case 'rebalance_v1':
      for (const [name, bit] of Object.entries(REBALANCE_FROM_INODE)) {
        putField(view, at, bit, 1, (entry.from_inode >>> reconcileOptions.idOf(name)) & 1);
      }
      putField(view, at, 15, 16, entry.promote_target);
      putField(view, at, 31, 1, entry.erasure_code);
      putField(view, at, 32, 4, entry.data_checksum);
      putField(view, at, 36, 4, entry.data_replicas);
      putField(view, at, 40, 8, entry.background_compression);
      putField(view, at, 48, 16, entry.background_target);
      break;
  }
}

/** Adds a field of up to 53 bits to the 64-bit word at a byte; by halves, since bigints take six times as long. */
function putField(view: DataView, at: number, start: number, length: number, value: number): void {
  // Checked first: the words for it take longer than the rest.
  if (!(Number.isInteger(value) && value >= 0 && value < 2 ** length))
    assert(false, `${value} fits into ${length} bits`);
  if (start < 32) {
    const low = start + length <= 32 ? value : value % 2 ** (32 - start);
    view.setUint32(at, view.getUint32(at, true) | (low << start), true);
  }
  if (start + length <= 32) return;
  const high = start < 32 ? Math.floor(value / 2 ** (32 - start)) : value * 2 ** (start - 32);
  view.setUint32(at + 4, view.getUint32(at + 4, true) | high, true);
}

/** What printing a pointer needs to know about a member. */
export interface ExtentDevice {
  /** Such as `sda`. */
  readonly name: string;
  readonly isOnline: boolean;
  readonly bucketSizeSectors: number;
  readonly durability: number;
  readonly isEvacuating: boolean;
}

/** What printing entries needs to know about the filesystem. */
export interface ExtentTextContext {
  device(index: number): ExtentDevice | undefined;
  /** The path of a label, by its group index. */
  label(group: number): string;
}

/** How many copies a key's pointers are worth. Mirrors bch2_bkey_durability_safe. */
export function durabilityOf(entries: readonly ExtentEntry[], context: ExtentTextContext): number {
  let durability = 0;
  let stripe: ExtentStripePtr | undefined;
  for (const entry of entries) {
    if (entry.type === 'stripe_ptr') stripe = entry;
    if (entry.type !== 'ptr') continue;
    const device = context.device(entry.dev);
    if (device !== undefined && !device.isEvacuating && !entry.cached) {
      durability += stripe === undefined ? device.durability : stripe.redundancy + 1;
    }
    stripe = undefined;
  }
  return durability;
}

/** Prints entries as they stand in a key, one a line. Mirrors bch2_bkey_ptrs_to_text. */
export function extentEntriesText(out: PrintBuffer, entries: readonly ExtentEntry[], context: ExtentTextContext): void {
  out.print(`durability: ${durabilityOf(entries, context)} `);
  for (const entry of entries) {
    out.newline();
    if (entry.type === 'unknown') out.print(`(unknown extent entry ${entry.word.toString(16).padStart(16, '0')})`);
    else out.print(`${entry.type}: ${entryText(entry, context)}`);
  }
}

function entryText(entry: Exclude<ExtentEntry, { type: 'unknown' }>, context: ExtentTextContext): string {
  switch (entry.type) {
    case 'ptr':
      return extentPtrText(entry, context);
    case 'crc32':
    case 'crc64':
    case 'crc128':
      return (
        `c_size ${entry.compressed_size} size ${entry.uncompressed_size} offset ${entry.offset} nonce ${entry.nonce} ` +
        `csum ${checksumTypeText(entry.csum_type)} ${entry.csum_hi.toString(16)}:${entry.csum_lo.toString(16)}  ` +
        `compress ${compressionTypeText(entry.compression_type)}`
      );
    case 'stripe_ptr':
      return `idx ${entry.idx} block ${entry.block}`;
    case 'rebalance_v1':
    case 'reconcile':
      return optionsText(entry, context);
    case 'flags':
      return bitNames(extentFlags, entry.flags).join(',');
    case 'reconcile_bp':
      return `idx ${entry.idx}`;
  }
}

/** `   sda 0:61:0 gen 0`. Mirrors bch2_extent_ptr_to_text; whether a pointer is stale is not known here. */
export function extentPtrText(ptr: ExtentPtr, context: ExtentTextContext): string {
  const device = context.device(ptr.dev);
  let text: string;
  if (device === undefined || device.bucketSizeSectors === 0) {
    text = `${ptr.dev}:${ptr.offset} gen ${ptr.gen}`;
  } else {
    const bucket = Math.floor(ptr.offset / device.bucketSizeSectors);
    const offset = ptr.offset % device.bucketSizeSectors;
    text = `${device.name.padStart(6)} ${ptr.dev}:${bucket}:${offset} gen ${ptr.gen}`;
    if (device.durability !== 1) text += ` d=${device.durability}`;
  }
  if (ptr.cached) text += ' cached';
  if (ptr.unwritten) text += ' unwritten';
  return text;
}

function optionsText(entry: ExtentOptions, context: ExtentTextContext): string {
  let text = '';
  const print = (option: string, label: string, value: number, valueText: string, always: boolean) => {
    const fromInode = (entry.from_inode >> reconcileOptions.idOf(option)) & 1;
    if (always || value !== 0 || fromInode) text += ` ${label}=${valueText}${fromInode ? ' (inode)' : ''}`;
  };
  print('data_replicas', 'replicas', entry.data_replicas, `${entry.data_replicas}`, true);
  const checksum = checksumOptions.byId(entry.data_checksum)?.name ?? `(unknown csum_opt ${entry.data_checksum})`;
  print('data_checksum', 'checksum', entry.data_checksum, checksum, true);
  const { background_compression, background_target, promote_target, erasure_code } = entry;
  print(
    'background_compression',
    'background_compression',
    background_compression,
    compressionText(background_compression),
    false,
  );
  print('background_target', 'background_target', background_target, targetText(background_target, context), false);
  print('promote_target', 'promote_target', promote_target, targetText(promote_target, context), false);
  print('erasure_code', 'ec', erasure_code, `${erasure_code}`, false);
  if (entry.type === 'rebalance_v1') return text.trimStart();

  const pending = bitNames(reconcileOptions, BigInt(entry.need_rb)).join(',');
  return `need_rb=${pending}${entry.hipri ? ' hipri' : ''}${entry.pending ? ' pending' : ''}${text}`;
}

/** A target of an extent, where the members are known by name. Mirrors bch2_target_to_text. */
function targetText(value: number, context: ExtentTextContext): string {
  const target = decodeTarget(value);
  if (target.type === 'none') return 'none';
  if (target.type === 'group') return context.label(target.group);
  const device = context.device(target.dev);
  if (device === undefined) return `invalid device ${target.dev}`;
  return device.isOnline ? `/dev/${device.name}` : `offline device ${target.dev}`;
}

/** An entry as a plain value, numbers replaced by names where they have one. */
export function extentEntryJson(entry: ExtentEntry): unknown {
  switch (entry.type) {
    case 'crc32':
    case 'crc64':
    case 'crc128': {
      const { csum_lo, csum_hi, ...rest } = entry;
      return {
        ...rest,
        csum_type: checksumTypes.nameOf(entry.csum_type),
        compression_type: compressionTypes.nameOf(entry.compression_type),
        csum: `${csum_hi.toString(16)}:${csum_lo.toString(16)}`,
      };
    }
    case 'rebalance_v1':
    case 'reconcile':
      return {
        ...entry,
        need_rb: bitNames(reconcileOptions, BigInt(entry.need_rb)),
        from_inode: bitNames(reconcileOptions, BigInt(entry.from_inode)),
        data_checksum: checksumOptions.nameOf(entry.data_checksum),
        background_compression: compressionText(entry.background_compression),
      };
    case 'flags':
      return { type: entry.type, flags: bitNames(extentFlags, entry.flags) };
    case 'unknown':
      return { type: entry.type, word: entry.word.toString(16).padStart(16, '0') };
    default:
      return entry;
  }
}
