// What a foreign signature is, and how a table row describes one. A row says where superblocks of that format may be, which magic bytes
// mark them, and what else must hold, so that a match by chance does not count; the engine (index.ts) does the reading.
// Names and the list of formats follow libblkid (util-linux 2.38 to 2.42), so that messages say what people search for.

import type { BlockDevice, ByteRange } from '../device/block-device.ts';
import { uuid as uuidCodec, viewOf } from '../ondisk/layout.ts';
import { isUnprintable } from '../util/byte-text.ts';
import { roundDown } from '../util/sizes.ts';

export type SignatureKind =
  | 'filesystem'
  | 'partition-table'
  | 'raid'
  | 'volume-manager'
  | 'crypto'
  | 'swap'
  /** bcache, journals, snapshots and integrity data: parts of something else. */
  | 'other';

/** Something that another tool (or this one) would recognise on the device. */
export interface Signature {
  readonly kind: SignatureKind;
  /** As in blkid: `ext4`, `crypto_LUKS`, `gpt`. */
  readonly name: string;
  readonly version?: string;
  readonly label?: string;
  readonly uuid?: string;
  /** What a wipe has left over: it leads to nothing any more, and is wiped without asking. */
  readonly isRemnant?: true;
  /** The magic bytes, copies and backups included, first the one by which it was recognised. */
  readonly at: readonly ByteRange[];
}

export interface Details {
  readonly name?: string;
  readonly version?: string | undefined;
  readonly label?: string | undefined;
  readonly uuid?: string | undefined;
}

export interface Magic {
  readonly bytes: Uint8Array;
  /** Byte offset inside the superblock. */
  readonly at: number;
}

/** Where a superblock may be on a device of that size; negative or past the end: nowhere. */
export type SignaturePlace = (shape: Shape) => number;

export interface Shape {
  readonly sizeBytes: number;
  readonly logicalSectorBytes: number;
}

/** A format that shows itself by magic bytes at known places. */
export interface SignatureRow {
  readonly kind: SignatureKind;
  readonly name: string;
  readonly places: readonly SignaturePlace[];
  /** Any of them marks it; all that are there are wiped. */
  readonly magics: readonly Magic[];
  /** How much of the superblock `check` and `details` look at; default 512. */
  readonly superblockBytes?: number;
  /** Beyond the magic; required where the magic is short. */
  readonly check?: (superblock: Superblock) => boolean;
  readonly details?: (superblock: Superblock) => Details;
  /** More bytes by which tools recognise it; offsets inside the superblock. */
  readonly alsoWipe?: (superblock: Superblock) => readonly ByteRange[];
}

/** A format that needs its own search. */
export type SignatureFinder = (reader: ProbeReader) => Signature[];

export const fromStart =
  (offset: number): SignaturePlace =>
  () =>
    offset;

/** `offset` bytes before the end, the end rounded down to a whole `unit`. */
export const fromEnd =
  (offset: number, unit = 512): SignaturePlace =>
  ({ sizeBytes }) =>
    roundDown(sizeBytes, unit) - offset;

/** Magic bytes as text (`XFSB`) at an offset inside the superblock. */
export function text(magic: string, at = 0): Magic {
  return { bytes: Uint8Array.from(magic, char => char.charCodeAt(0)), at };
}

/** Magic bytes in hex: `a92b4efc`. */
export function hex(magic: string, at = 0): Magic {
  return { bytes: Uint8Array.from(magic.match(/../g) ?? [], byte => Number.parseInt(byte, 16)), at };
}

/** A piece of the device, read for one row. All getters are inside what was read, or they throw RangeError: rows declare the size. */
export class Superblock {
  readonly #view: DataView;
  constructor(
    /** Byte offset on the device. */
    readonly offset: number,
    readonly bytes: Uint8Array,
    readonly reader: ProbeReader,
  ) {
    this.#view = viewOf(bytes);
  }
  u8 = (at: number): number => this.#view.getUint8(at);
  le16 = (at: number): number => this.#view.getUint16(at, true);
  le32 = (at: number): number => this.#view.getUint32(at, true);
  le64 = (at: number): bigint => this.#view.getBigUint64(at, true);
  be16 = (at: number): number => this.#view.getUint16(at);
  be32 = (at: number): number => this.#view.getUint32(at);
  be64 = (at: number): bigint => this.#view.getBigUint64(at);
  has = (magic: Magic): boolean => magic.bytes.every((byte, i) => this.bytes[magic.at + i] === byte);
  /** Text up to a NUL, blanks trimmed; undefined when nothing is left. */
  text = (at: number, length: number, encoding: 'utf-8' | 'utf-16le' = 'utf-8'): string | undefined =>
    printable(new TextDecoder(encoding).decode(this.bytes.subarray(at, at + length)));
  /** undefined when all bytes are zero. */
  uuid = (at: number): string | undefined => (this.#isZero(at, 16) ? undefined : uuidCodec.get(this.#view, at));
  /** Microsoft's byte order: the first three parts little-endian. */
  guid = (at: number): string | undefined => {
    if (this.#isZero(at, 16)) return undefined;
    const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    return uuidCodec.get(viewOf(Uint8Array.from(order, i => this.bytes[at + i] ?? 0)), 0);
  };
  /** FAT's and exFAT's `1234-ABCD`. */
  serial = (at: number): string | undefined => {
    const digits = this.le32(at).toString(16).toUpperCase().padStart(8, '0');
    return this.le32(at) === 0 ? undefined : `${digits.slice(0, 4)}-${digits.slice(4)}`;
  };
  /** Something that this superblock points to, or undefined when that is not inside the device. */
  follow = (offset: number, length: number): Superblock | undefined => this.reader.superblock(offset, length);
  #isZero(at: number, length: number): boolean {
    return this.bytes.subarray(at, at + length).every(byte => byte === 0);
  }
}

/** Reads of 64 KiB at a time, each once: some 150 rows look at about 25 places. */
const CHUNK_BYTES = 64 * 1024;

export class ProbeReader implements Shape {
  readonly #chunks = new Map<number, Uint8Array>();
  readonly #device: BlockDevice;

  constructor(device: BlockDevice) {
    this.#device = device;
  }

  get sizeBytes(): number {
    return this.#device.sizeBytes;
  }
  get logicalSectorBytes(): number {
    return this.#device.logicalSectorBytes;
  }

  /** A superblock, or undefined when it would not lie inside the device. */
  superblock(offset: number, length: number): Superblock | undefined {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset > this.sizeBytes - length) return undefined;
    return new Superblock(offset, this.#read(offset, length), this);
  }

  /** Whether these bytes are there. Asked far more often than a superblock is wanted. */
  has(offset: number, bytes: Uint8Array): boolean {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset > this.sizeBytes - bytes.length) return false;
    const start = roundDown(offset, CHUNK_BYTES);
    const chunk = this.#chunk(start);
    if (offset + bytes.length > start + chunk.length)
      return this.#read(offset, bytes.length).every((b, i) => b === bytes[i]);
    for (let i = 0; i < bytes.length; i++) if (chunk[offset - start + i] !== bytes[i]) return false;
    return true;
  }

  #read(offset: number, length: number): Uint8Array {
    const into = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const start = roundDown(offset + done, CHUNK_BYTES);
      const part = this.#chunk(start).subarray(offset + done - start, offset + length - start);
      into.set(part, done);
      done += part.length;
    }
    return into;
  }

  #chunk(start: number): Uint8Array {
    let chunk = this.#chunks.get(start);
    if (chunk === undefined) {
      chunk = new Uint8Array(Math.min(CHUNK_BYTES, this.sizeBytes - start));
      this.#device.read(start, chunk);
      this.#chunks.set(start, chunk);
    }
    return chunk;
  }
}

/** What can be shown of a name from disk: up to a NUL, U+FFFD for what cannot be. */
export function printable(raw: string): string | undefined {
  const end = raw.indexOf('\0');
  const clean = Array.from(end < 0 ? raw : raw.slice(0, end), char =>
    isUnprintable(char.codePointAt(0)!) ? '\ufffd' : char,
  );
  return clean.join('').trim() || undefined;
}

/** A finding without the details that are not there. */
export function signature(kind: SignatureKind, name: string, details: Details, at: readonly ByteRange[]): Signature {
  return {
    kind,
    name: details.name ?? name,
    ...(details.version === undefined ? {} : { version: details.version }),
    ...(details.label === undefined ? {} : { label: details.label }),
    ...(details.uuid === undefined ? {} : { uuid: details.uuid }),
    at,
  };
}
