// Variable-length integers: one byte for each seven bits. The number of one bits at the low end of the first byte, plus one, is the
// length; the value begins after the zero that ends them. A first byte of 255 means that eight whole bytes follow.
// Source: util/varint.c, v1.36.1.

/** Reads one integer after the other; values are two 32-bit words, so that nothing is rounded and nothing is allocated. */
export class VarintReader {
  /** The words of the integer that was read last. */
  lo = 0;
  hi = 0;
  #at: number;
  readonly #source: Uint8Array;
  readonly #end: number;

  /** @param end at most the length of the source */
  constructor(source: Uint8Array, at: number, end: number = source.length) {
    this.#source = source;
    this.#at = at;
    this.#end = end;
  }

  /** Where the next integer begins. */
  get at(): number {
    return this.#at;
  }

  /** Reads the next integer into `lo` and `hi`; false, and nothing read, when it does not fit into the source. */
  next(): boolean {
    const source = this.#source;
    if (this.#at >= this.#end) return false;
    const first = source[this.#at]!;
    // The position of the lowest zero bit, counted from 1.
    const length = first === 255 ? 9 : 32 - Math.clz32(~first & (first + 1));
    const end = this.#at + length;
    if (end > this.#end) return false;
    const start = length === 9 ? this.#at + 1 : this.#at;
    let lo = 0;
    let hi = 0;
    for (let i = 0; i < end - start; i++) {
      if (i < 4) lo |= source[start + i]! << (8 * i);
      else hi |= source[start + i]! << (8 * (i - 4));
    }
    if (length < 9) {
      lo = (lo >>> length) | (hi << (32 - length));
      hi >>>= length;
    }
    this.lo = lo >>> 0;
    this.hi = hi >>> 0;
    this.#at = end;
    return true;
  }
}

/** The bytes of an integer, as few as possible. */
export function encodeVarint(value: bigint | number): readonly number[] {
  const whole = BigInt(value);
  const length = Math.ceil(whole.toString(2).length / 7);
  const bytes: number[] = [];
  let rest = whole;
  if (length >= 9) bytes.push(255);
  else rest = (whole << BigInt(length)) | ((1n << BigInt(length - 1)) - 1n);
  for (let i = 0; i < Math.min(length, 8); i++) {
    bytes.push(Number(rest & 255n));
    rest >>= 8n;
  }
  return bytes;
}
