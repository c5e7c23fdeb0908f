// struct ext4_inode: an inode's own bytes, and what is in them. Source: fs/ext4/ext4.h, ext4_inode_csum of Linux 6.12.

import { crc32c } from '@bcachefs-ts/core/engine';
import { crc32cOfU32 } from './checksums.ts';
import { INCOMPAT_LARGE_DIR, RO_HUGE_FILE, RO_PROJECT } from './features.ts';
import type { Ext4Facts, Ext4Inode, Ext4InodeFlags, Ext4InodeKind } from './types.ts';

export const INODE_BLOCK_AT = 0x28;
export const INODE_BLOCK_BYTES = 60;
const OLD_BYTES = 128;
const CHECKSUM_LO = 0x7c;
const EXTRA_SIZE = 0x80;
const CHECKSUM_HI = 0x82;

export const FLAG_EXTENTS = 0x80000;
export const FLAG_INLINE_DATA = 0x1000_0000;
export const FLAG_EA_INODE = 0x20_0000;
const FLAG_HUGE_FILE = 0x4_0000;

/** 2262-04-11, when signed 64-bit nanoseconds end. */
const SECONDS_MAX = 9_223_372_035;

const S_IFMT = 0o170000;
const kinds: ReadonlyMap<number, Ext4InodeKind> = new Map([
  [0o040000, 'dir'],
  [0o100000, 'file'],
  [0o120000, 'symlink'],
  [0o020000, 'chr'],
  [0o060000, 'blk'],
  [0o010000, 'fifo'],
  [0o140000, 'sock'],
]);

export class Inode implements Ext4Inode {
  readonly number: number;
  readonly raw: Uint8Array;
  readonly view: DataView;
  readonly kind: Ext4InodeKind;
  readonly flagBits: number;
  readonly sizeBytes: number;
  readonly #facts: Ext4Facts;

  /** @param raw its own copy @param isOwn it belongs to the filesystem itself; @returns undefined in `create` for a type that is not one */
  private constructor(number: number, raw: Uint8Array, facts: Ext4Facts, kind: Ext4InodeKind) {
    this.number = number;
    this.raw = raw;
    this.view = new DataView(raw.buffer, raw.byteOffset, raw.length);
    this.#facts = facts;
    this.kind = kind;
    this.flagBits = this.#u32(0x20);
    const hasHigh = this.typeOf() === 0o100000 || (facts.incompat & INCOMPAT_LARGE_DIR) !== 0;
    this.sizeBytes = this.#u32(0x04) + (hasHigh ? this.#u32(0x6c) * 2 ** 32 : 0);
  }

  /** @param isOwn it is the filesystem's own @returns undefined when its type is none */
  static create(number: number, raw: Uint8Array, facts: Ext4Facts, isOwn: boolean): Inode | undefined {
    const type = kinds.get((raw[0]! | (raw[1]! << 8)) & S_IFMT);
    const isValue = (raw[0x22]! & 0x20) !== 0;
    const kind = isOwn ? 'filesystem' : isValue ? 'ea_inode' : type;
    return kind === undefined ? undefined : new Inode(number, raw, facts, kind);
  }

  get mode(): number {
    return this.#u16(0);
  }

  typeOf(): number {
    return this.#u16(0) & S_IFMT;
  }

  get uid(): number {
    return this.#u16(0x02) + this.#u16(0x78) * 65536;
  }

  get gid(): number {
    return this.#u16(0x18) + this.#u16(0x7a) * 65536;
  }

  get nlink(): number {
    return this.#u16(0x1a);
  }

  get dtime(): number {
    return this.#u32(0x14);
  }

  get atimeNs(): bigint {
    return this.#time(0x08, 0x8c);
  }

  get ctimeNs(): bigint {
    return this.#time(0x0c, 0x84);
  }

  get mtimeNs(): bigint {
    return this.#time(0x10, 0x88);
  }

  get crtimeNs(): bigint | undefined {
    return this.#holds(0x90, 4) ? this.#time(0x90, 0x94) : undefined;
  }

  get flags(): Ext4InodeFlags {
    const has = (bit: number) => (this.flagBits & bit) !== 0;
    return {
      sync: has(0x8),
      immutable: has(0x10),
      append: has(0x20),
      nodump: has(0x40),
      noatime: has(0x80),
      encrypted: has(0x800),
      index: has(0x1000),
      hugeFile: has(FLAG_HUGE_FILE),
      extents: has(FLAG_EXTENTS),
      verity: has(0x10_0000),
      eaInode: has(FLAG_EA_INODE),
      inlineData: has(FLAG_INLINE_DATA),
      projectInherit: has(0x2000_0000),
      casefold: has(0x4000_0000),
    };
  }

  /** A time that bcachefs has no number for. Quick: no bigint is made. */
  hasTimePast2262(): boolean {
    return [
      [0x08, 0x8c],
      [0x0c, 0x84],
      [0x10, 0x88],
      [0x90, 0x94],
    ].some(([at, extra]) => at !== undefined && extra !== undefined && this.#isPast2262(at, extra));
  }

  get generation(): number {
    return this.#u32(0x64);
  }

  get projectId(): number {
    return (this.#facts.roCompat & RO_PROJECT) !== 0 && this.#holds(0x9c, 4) ? this.#u32(0x9c) : 0;
  }

  get rdev(): { readonly major: number; readonly minor: number } | undefined {
    if (this.kind !== 'chr' && this.kind !== 'blk') return undefined;
    const old = this.#u32(INODE_BLOCK_AT);
    if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff };
    const dev = this.#u32(INODE_BLOCK_AT + 4);
    return { major: (dev >>> 8) & 0xfff, minor: (dev & 0xff) | ((dev >>> 12) & 0xf_ff00) };
  }

  get sectors(): number {
    if ((this.#facts.roCompat & RO_HUGE_FILE) === 0) return this.#u32(0x1c);
    const count = this.#u32(0x1c) + this.#u16(0x74) * 2 ** 32;
    return (this.flagBits & FLAG_HUGE_FILE) === 0 ? count : count * (this.#facts.blockBytes / 512);
  }

  /** The block of its attributes; 0 for none. */
  get attributeBlock(): number {
    return this.#u32(0x68) + this.#u16(0x76) * 2 ** 32;
  }

  /** i_block. */
  get blockBytes(): Uint8Array {
    return this.raw.subarray(INODE_BLOCK_AT, INODE_BLOCK_AT + INODE_BLOCK_BYTES);
  }

  /** Where attributes in the inode begin; undefined where there is no room for any. */
  get attributesAt(): number | undefined {
    const at = OLD_BYTES + this.extraBytes;
    return this.raw.length > OLD_BYTES && this.extraBytes > 0 && at + 4 <= this.raw.length ? at : undefined;
  }

  get extraBytes(): number {
    return this.raw.length > OLD_BYTES ? this.#u16(EXTRA_SIZE) : 0;
  }

  #holds(at: number, bytes: number): boolean {
    return at + bytes <= OLD_BYTES + this.extraBytes && at + bytes <= this.raw.length;
  }

  #isPast2262(at: number, extraAt: number): boolean {
    if (!this.#holds(extraAt, 4)) return false;
    const epoch = this.#u32(extraAt) & 3;
    return epoch !== 0 && this.view.getInt32(at, true) + epoch * 2 ** 32 > SECONDS_MAX;
  }

  /** 34 bits of seconds from 1901 on, 30 of nanoseconds. */
  #time(at: number, extraAt: number): bigint {
    const seconds = this.view.getInt32(at, true);
    if (!this.#holds(extraAt, 4)) return BigInt(seconds) * 1_000_000_000n;
    const extra = this.#u32(extraAt);
    return BigInt(seconds + (extra & 3) * 2 ** 32) * 1_000_000_000n + BigInt(extra >>> 2);
  }

  #u16(at: number): number {
    return this.view.getUint16(at, true);
  }

  #u32(at: number): number {
    return this.view.getUint32(at, true);
  }
}

/** Where checksums of what belongs to an inode begin. */
export function inodeSeed(seed: number, number: number, generation: number): number {
  return crc32cOfU32(crc32cOfU32(seed, number), generation);
}

/** @param raw whole; put back as it was @returns what the checksum is and what it should be; 16 bits where there is no room for more */
export function inodeChecksum(seed: number, number: number, raw: Uint8Array): { stored: number; computed: number } {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  const lo = view.getUint16(CHECKSUM_LO, true);
  const isWide = raw.length > OLD_BYTES && view.getUint16(EXTRA_SIZE, true) >= 4;
  const hi = isWide ? view.getUint16(CHECKSUM_HI, true) : 0;
  view.setUint16(CHECKSUM_LO, 0, true);
  if (isWide) view.setUint16(CHECKSUM_HI, 0, true);
  const whole = crc32c(inodeSeed(seed, number, view.getUint32(0x64, true)), raw);
  view.setUint16(CHECKSUM_LO, lo, true);
  if (isWide) view.setUint16(CHECKSUM_HI, hi, true);
  return { stored: (lo | (hi << 16)) >>> 0, computed: isWide ? whole : whole & 0xffff };
}
