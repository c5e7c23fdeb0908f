// The header block of an archive's member: 512 bytes, in the variants that are met: v7, ustar (POSIX), star, and GNU's.
// Source: ustar in POSIX.1-2017; the manuals of GNU tar ("Basic Tar Format") and star(4); tar(5) of libarchive.

export const BLOCK_BYTES = 512;

export type HeaderVariant = 'v7' | 'ustar' | 'star' | 'gnu';

export interface TarHeader {
  readonly variant: HeaderVariant;
  /** `0` to `7` and letters; NUL is given as `0`. */
  readonly typeFlag: string;
  /** With its prefix. */
  readonly path: Uint8Array;
  readonly linkPath: Uint8Array;
  readonly mode: number;
  readonly uid: bigint;
  readonly gid: bigint;
  /** Of what follows in the archive. */
  readonly sizeBytes: bigint;
  /** Seconds since 1970. */
  readonly mtime: bigint;
  readonly devMajor: number;
  readonly devMinor: number;
}

/** What is not a valid header, with the reason. */
export class TarHeaderError extends Error {
  override readonly name = 'TarHeaderError';
}

export const isZeroBlock = (block: Uint8Array): boolean => block.every(byte => byte === 0);

/** @param block 512 bytes @throws TarHeaderError */
export function decodeTarHeader(block: Uint8Array): TarHeader {
  checkSum(block);
  const variant = variantOf(block);
  const prefixBytes = variant === 'ustar' ? 155 : variant === 'star' ? 131 : 0;
  const prefix = untilNul(block.subarray(345, 345 + prefixBytes));
  const name = untilNul(block.subarray(0, 100));
  const isDevice = block[156] === 0x33 || block[156] === 0x34;
  const small = (at: number, length: number, what: string) => Number(numberAt(block, at, length, what) & 0xffff_ffffn);
  return {
    variant,
    typeFlag: block[156] === 0 ? '0' : String.fromCharCode(block[156]!),
    path: prefix.length === 0 ? name.slice() : Uint8Array.of(...prefix, 0x2f, ...name),
    linkPath: untilNul(block.subarray(157, 257)).slice(),
    mode: small(100, 8, 'mode'),
    uid: numberAt(block, 108, 8, 'owner'),
    gid: numberAt(block, 116, 8, 'group'),
    sizeBytes: numberAt(block, 124, 12, 'size'),
    mtime: numberAt(block, 136, 12, 'time'),
    devMajor: isDevice ? small(329, 8, 'major number') : 0,
    devMinor: isDevice ? small(337, 8, 'minor number') : 0,
  };
}

function variantOf(block: Uint8Array): HeaderVariant {
  const text = (at: number, length: number) => String.fromCharCode(...block.subarray(at, at + length));
  if (text(257, 8) === 'ustar  \0') return 'gnu';
  if (text(257, 5) !== 'ustar') return 'v7';
  return text(508, 4) === 'tar\0' ? 'star' : 'ustar';
}

/** Some old programs added the bytes up as signed ones. */
function checkSum(block: Uint8Array): void {
  let [unsigned, signed] = [0, 0];
  for (let i = 0; i < BLOCK_BYTES; i++) {
    const byte = i >= 148 && i < 156 ? 0x20 : block[i]!;
    unsigned += byte;
    signed += byte < 0x80 ? byte : byte - 0x100;
  }
  const stored = Number(numberAt(block, 148, 8, 'checksum'));
  if (stored !== unsigned && stored !== signed)
    throw new TarHeaderError(`the checksum of a header is ${stored}, expected ${unsigned}`);
}

/**
 * Octal digits, with spaces before and a NUL or space after them; or, with the top bit of the first byte set, a binary number
 * of which the highest byte gives seven bits, the first of them its sign.
 */
export function numberAt(block: Uint8Array, at: number, length: number, what: string): bigint {
  const field = block.subarray(at, at + length);
  if (field[0]! & 0x80) {
    const first = field[0]! & 0x7f;
    let value = BigInt(first & 0x40 ? first - 0x80 : first);
    for (const byte of field.subarray(1)) value = (value << 8n) | BigInt(byte);
    return value;
  }
  let start = 0;
  while (start < length && (field[start] === 0x20 || field[start] === 0)) start++;
  let end = start;
  while (end < length && field[end] !== 0x20 && field[end] !== 0) end++;
  // Twelve digits are 36 bits.
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = field[i]! - 0x30;
    if (digit < 0 || digit > 7) throw new TarHeaderError(`the ${what} of a header is not a number`);
    value = value * 8 + digit;
  }
  return BigInt(value);
}

function untilNul(field: Uint8Array): Uint8Array {
  const end = field.indexOf(0);
  return end < 0 ? field : field.subarray(0, end);
}
