// CRC-64 ECMA-182, most significant bit first, as the kernel's crc64_be(): a running value with no inversion at either end.
// The value is kept as two 32-bit halves (BigInt is some ten times slower here); eight bytes a step from tables.

const POLYNOMIAL_HI = 0x42f0_e1eb;
const POLYNOMIAL_LO = 0xa9ea_3693;

/** A 64-bit running value. */
export interface Crc64 {
  hi: number;
  lo: number;
}

interface Tables {
  readonly hi: Int32Array;
  readonly lo: Int32Array;
}

/** Eight tables in a row; table n advances a byte by n more zero bytes. Made at first use: few filesystems need them. */
let tables: Tables | undefined;

function makeTables(): Tables {
  const hi = new Int32Array(8 * 256);
  const lo = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let high = byte << 24;
    let low = 0;
    for (let bit = 0; bit < 8; bit++) {
      const carry = high < 0;
      high = (high << 1) | (low >>> 31);
      low <<= 1;
      if (carry) {
        high ^= POLYNOMIAL_HI;
        low ^= POLYNOMIAL_LO;
      }
    }
    hi[byte] = high;
    lo[byte] = low;
  }
  for (let i = 256; i < hi.length; i++) {
    const high = hi[i - 256]!;
    const low = lo[i - 256]!;
    const top = high >>> 24;
    hi[i] = ((high << 8) | (low >>> 24)) ^ hi[top]!;
    lo[i] = (low << 8) ^ lo[top]!;
  }
  return { hi, lo };
}

/** Carries `crc` over `bytes`, in place. */
export function crc64(crc: Crc64, bytes: Uint8Array): void {
  tables ??= makeTables();
  const { hi, lo } = tables;
  const end = bytes.length;
  let high = crc.hi | 0;
  let low = crc.lo | 0;
  let i = 0;
  for (const lastStep = end - 7; i < lastStep; i += 8) {
    const b0 = 1792 + ((high >>> 24) ^ bytes[i]!);
    const b1 = 1536 + (((high >>> 16) & 255) ^ bytes[i + 1]!);
    const b2 = 1280 + (((high >>> 8) & 255) ^ bytes[i + 2]!);
    const b3 = 1024 + ((high & 255) ^ bytes[i + 3]!);
    const b4 = 768 + ((low >>> 24) ^ bytes[i + 4]!);
    const b5 = 512 + (((low >>> 16) & 255) ^ bytes[i + 5]!);
    const b6 = 256 + (((low >>> 8) & 255) ^ bytes[i + 6]!);
    const b7 = (low & 255) ^ bytes[i + 7]!;
    high = hi[b0]! ^ hi[b1]! ^ hi[b2]! ^ hi[b3]! ^ hi[b4]! ^ hi[b5]! ^ hi[b6]! ^ hi[b7]!;
    low = lo[b0]! ^ lo[b1]! ^ lo[b2]! ^ lo[b3]! ^ lo[b4]! ^ lo[b5]! ^ lo[b6]! ^ lo[b7]!;
  }
  for (; i < end; i++) {
    const top = (high >>> 24) ^ bytes[i]!;
    high = ((high << 8) | (low >>> 24)) ^ hi[top]!;
    low = (low << 8) ^ lo[top]!;
  }
  crc.hi = high >>> 0;
  crc.lo = low >>> 0;
}

/** Carries `crc` over `count` zero bytes, in place; see crc32cOverZeros. */
export function crc64OverZeros(crc: Crc64, count: number): void {
  for (let bit = 0, rest = count; rest > 0; bit++, rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) Object.assign(crc, multiply(crc, advanceBy(bit)));
  }
}

/** x^(8·2^bit): what advances over 2^bit zero bytes. */
const powers: Crc64[] = [{ hi: 0, lo: 0x100 }];

function advanceBy(bit: number): Crc64 {
  for (let known = powers.at(-1)!; powers.length <= bit; powers.push(known)) known = multiply(known, known);
  return powers[bit]!;
}

/** The product of two polynomials modulo ours. */
function multiply(a: Crc64, b: Crc64): Crc64 {
  let high = 0;
  let low = 0;
  for (let bit = 63; bit >= 0; bit--) {
    const carry = high < 0;
    high = (high << 1) | (low >>> 31);
    low <<= 1;
    if (carry) {
      high ^= POLYNOMIAL_HI;
      low ^= POLYNOMIAL_LO;
    }
    const half = bit < 32 ? a.lo : a.hi;
    if ((half >>> (bit & 31)) & 1) {
      high ^= b.hi;
      low ^= b.lo;
    }
  }
  return { hi: high >>> 0, lo: low >>> 0 };
}

export function crc64ToBigInt(crc: Crc64): bigint {
  return (BigInt(crc.hi >>> 0) << 32n) | BigInt(crc.lo >>> 0);
}

export function crc64FromBigInt(value: bigint): Crc64 {
  return { hi: Number(value >> 32n), lo: Number(value & 0xffff_ffffn) };
}
