// CRC-32C (Castagnoli), as the kernel's crc32c(): a running value with no inversion at either end. The usual checksum
// starts with all ones and inverts the result; bcachefs does so for crc32c_nonzero only.
//
// Sixteen bytes a step from tables (slicing-by-16): 2.4 GB/s at 64 KiB, ready in 0.3 ms, no loading. `loadNativeCrc32c` puts
// the processor's own instruction in its place where a prebuilt binding exists: 7.5 GB/s. Numbers and choice: docs/adr/0003.

import { platform } from '#platform';

const POLYNOMIAL = 0x82f6_3b78; // reflected

/** Sixteen tables in a row; table n advances a byte by n more zero bytes. */
const TABLES = makeTables();

function makeTables(): Int32Array {
  const tables = new Int32Array(16 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    tables[byte] = crc;
  }
  for (let i = 256; i < tables.length; i++) {
    const before = tables[i - 256]!;
    tables[i] = (before >>> 8) ^ tables[before & 255]!;
  }
  return tables;
}

/** Words are read in the host's order; on the few big-endian hosts every byte goes through the slow loop. */
const LITTLE_ENDIAN_HOST = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

/** The portable loop; `crc32c` uses it until a native one is loaded. */
export function crc32cPortable(crc: number, bytes: Uint8Array): number {
  const t = TABLES;
  const end = bytes.length;
  let c = crc | 0;
  let i = 0;
  if (LITTLE_ENDIAN_HOST && end >= 16) {
    for (; (bytes.byteOffset + i) & 3; i++) c = t[(c ^ bytes[i]!) & 255]! ^ (c >>> 8);
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + i, (end - i) >>> 2);
    const lastStep = words.length - 3;
    let w = 0;
    for (; w < lastStep; w += 4) {
      const w0 = c ^ words[w]!;
      const w1 = words[w + 1]!;
      const w2 = words[w + 2]!;
      const w3 = words[w + 3]!;
      c =
        t[3840 + (w0 & 255)]! ^
        t[3584 + ((w0 >>> 8) & 255)]! ^
        t[3328 + ((w0 >>> 16) & 255)]! ^
        t[3072 + (w0 >>> 24)]! ^
        t[2816 + (w1 & 255)]! ^
        t[2560 + ((w1 >>> 8) & 255)]! ^
        t[2304 + ((w1 >>> 16) & 255)]! ^
        t[2048 + (w1 >>> 24)]! ^
        t[1792 + (w2 & 255)]! ^
        t[1536 + ((w2 >>> 8) & 255)]! ^
        t[1280 + ((w2 >>> 16) & 255)]! ^
        t[1024 + (w2 >>> 24)]! ^
        t[768 + (w3 & 255)]! ^
        t[512 + ((w3 >>> 8) & 255)]! ^
        t[256 + ((w3 >>> 16) & 255)]! ^
        t[w3 >>> 24]!;
    }
    i += w * 4;
  }
  for (; i < end; i++) c = t[(c ^ bytes[i]!) & 255]! ^ (c >>> 8);
  return c >>> 0;
}

/**
 * Carries `crc` over `count` zero bytes: a multiplication by x^(8·count) in GF(2)[x] modulo the polynomial, so it costs
 * about a microsecond whatever the count.
 */
export function crc32cOverZeros(crc: number, count: number): number {
  let advanced = crc;
  for (let bit = 0, rest = count; rest > 0; bit++, rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) advanced = multiply(advanced, advanceBy(bit));
  }
  return advanced >>> 0;
}

/** x^(8·2^bit): what advances over 2^bit zero bytes. */
const powers: number[] = [0x0080_0000]; // x^8; reflected, so that x^0 is the top bit

function advanceBy(bit: number): number {
  for (let known = powers.at(-1)!; powers.length <= bit; powers.push(known)) known = multiply(known, known);
  return powers[bit]!;
}

function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b | 0;
  for (let bit = 31; bit >= 0; bit--) {
    if ((a >>> bit) & 1) product ^= shifted;
    shifted = shifted & 1 ? (shifted >>> 1) ^ POLYNOMIAL : shifted >>> 1;
  }
  return product;
}

let loop: (crc: number, bytes: Uint8Array) => number = crc32cPortable;

/** Carries `crc` over `bytes`. */
export function crc32c(crc: number, bytes: Uint8Array): number {
  return loop(crc, bytes);
}

/** Calling into the native code costs 140 ns, which the portable loop needs for this many bytes. */
const NATIVE_FROM_BYTES = 256;

/** So much is checksummed before the native code has paid for being loaded. */
const NATIVE_AFTER_BYTES = 16 << 20;

/** Loads the native code once enough was checksummed: commands that read a few nodes go without. */
export function expectMuchCrc32c(): void {
  if (loop !== crc32cPortable) return;
  let leftBytes = NATIVE_AFTER_BYTES;
  loop = (crc, bytes) => {
    leftBytes -= bytes.length;
    if (leftBytes < 0) {
      loop = crc32cPortable;
      loadNativeCrc32c();
    }
    return leftBytes < 0 ? loop(crc, bytes) : crc32cPortable(crc, bytes);
  };
}

/**
 * Puts the platform's own loop in front, if it has one. Takes 5 to 12 ms once, won back after 20 to 40 MB.
 * @returns whether it has
 */
export function loadNativeCrc32c(): boolean {
  if (loop !== crc32cPortable) return true;
  const nativeLoop = platform.crc32c();
  const probe = Uint8Array.from({ length: 300 }, (_, i) => i);
  if (nativeLoop === undefined || nativeLoop(1, probe) !== crc32cPortable(1, probe)) return false;
  loop = (crc, bytes) => (bytes.length < NATIVE_FROM_BYTES ? crc32cPortable(crc, bytes) : nativeLoop(crc, bytes));
  return true;
}
