// xxHash64 with seed 0. The portable version (BigInt: 95 MB/s) needs no loading, so that a superblock can be checked
// synchronously at cold start; `loadXxh64` puts the WebAssembly of xxhash-wasm in front of it (16 GB/s at 64 KiB).
// Measured by scripts/bench/checksum.ts. Specification: github.com/Cyan4973/xxHash, doc/xxhash_spec.md.

import { viewOf } from '../ondisk/layout.ts';

const PRIME_1 = 0x9e37_79b1_85eb_ca87n;
const PRIME_2 = 0xc2b2_ae3d_27d4_eb4fn;
const PRIME_3 = 0x1656_67b1_9e37_79f9n;
const PRIME_4 = 0x85eb_ca77_c2b2_ae63n;
const PRIME_5 = 0x27d4_eb2f_1656_67c5n;
const STRIPE_BYTES = 32;

const u64 = (value: bigint) => BigInt.asUintN(64, value);
const rotateLeft = (value: bigint, count: bigint) => u64(value << count) | (value >> (64n - count));
const round = (accumulator: bigint, lane: bigint) => u64(rotateLeft(u64(accumulator + lane * PRIME_2), 31n) * PRIME_1);
const mergeRound = (hash: bigint, accumulator: bigint) => u64((hash ^ round(0n, accumulator)) * PRIME_1 + PRIME_4);

/** A hash that takes its input in pieces. */
export interface Xxh64 {
  update(bytes: Uint8Array): void;
  digest(): bigint;
}

export class PortableXxh64 implements Xxh64 {
  private a = u64(PRIME_1 + PRIME_2);
  private b = PRIME_2;
  private c = 0n;
  private d = u64(-PRIME_1);
  private lengthBytes = 0;
  /** The start of a stripe that the next update completes. */
  private readonly rest = new Uint8Array(STRIPE_BYTES);
  private restBytes = 0;

  update(bytes: Uint8Array): void {
    let input = bytes;
    this.lengthBytes += bytes.length;
    if (this.restBytes > 0) {
      const taken = Math.min(STRIPE_BYTES - this.restBytes, input.length);
      this.rest.set(input.subarray(0, taken), this.restBytes);
      this.restBytes += taken;
      input = input.subarray(taken);
      if (this.restBytes < STRIPE_BYTES) return;
      this.stripes(this.rest, STRIPE_BYTES);
      this.restBytes = 0;
    }
    const wholeBytes = input.length - (input.length % STRIPE_BYTES);
    this.stripes(input, wholeBytes);
    this.rest.set(input.subarray(wholeBytes));
    this.restBytes = input.length - wholeBytes;
  }

  private stripes(bytes: Uint8Array, lengthBytes: number): void {
    const view = viewOf(bytes);
    let { a, b, c, d } = this;
    for (let i = 0; i < lengthBytes; i += STRIPE_BYTES) {
      a = round(a, view.getBigUint64(i, true));
      b = round(b, view.getBigUint64(i + 8, true));
      c = round(c, view.getBigUint64(i + 16, true));
      d = round(d, view.getBigUint64(i + 24, true));
    }
    this.a = a;
    this.b = b;
    this.c = c;
    this.d = d;
  }

  digest(): bigint {
    const { a, b, c, d } = this;
    let hash = PRIME_5;
    if (this.lengthBytes >= STRIPE_BYTES) {
      hash = u64(rotateLeft(a, 1n) + rotateLeft(b, 7n) + rotateLeft(c, 12n) + rotateLeft(d, 18n));
      for (const accumulator of [a, b, c, d]) hash = mergeRound(hash, accumulator);
    }
    hash = u64(hash + BigInt(this.lengthBytes));

    const view = viewOf(this.rest);
    let i = 0;
    for (; i + 8 <= this.restBytes; i += 8) {
      hash = u64(rotateLeft(hash ^ round(0n, view.getBigUint64(i, true)), 27n) * PRIME_1 + PRIME_4);
    }
    if (i + 4 <= this.restBytes) {
      hash = u64(rotateLeft(hash ^ u64(BigInt(view.getUint32(i, true)) * PRIME_1), 23n) * PRIME_2 + PRIME_3);
      i += 4;
    }
    for (; i < this.restBytes; i++) {
      hash = u64(rotateLeft(hash ^ u64(BigInt(this.rest[i]!) * PRIME_5), 11n) * PRIME_1);
    }

    hash = u64((hash ^ (hash >> 33n)) * PRIME_2);
    hash = u64((hash ^ (hash >> 29n)) * PRIME_3);
    return hash ^ (hash >> 32n);
  }
}

/** What `loadXxh64` fills in. */
interface Loaded {
  readonly whole: (bytes: Uint8Array) => bigint;
  readonly stream: () => Xxh64;
}
let loaded: Loaded | undefined;

export function xxh64(bytes: Uint8Array): bigint {
  if (loaded !== undefined) return loaded.whole(bytes);
  const hash = new PortableXxh64();
  hash.update(bytes);
  return hash.digest();
}

export function xxh64Stream(): Xxh64 {
  return loaded === undefined ? new PortableXxh64() : loaded.stream();
}

/** Compiles the WebAssembly; hashes made before stay as they are. Takes about 1 ms, once. */
export async function loadXxh64(): Promise<void> {
  if (loaded !== undefined) return;
  const { default: xxhash } = await import('xxhash-wasm');
  const wasm = await xxhash();
  loaded = {
    whole: bytes => wasm.h64Raw(bytes),
    stream: () => wasm.create64(),
  };
}
