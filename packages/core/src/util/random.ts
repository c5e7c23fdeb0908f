// Where random bytes come from: the system, or a seed, so that a filesystem can be made again byte for byte.

import { platform } from '#platform';

/** A source of random bytes. */
export interface RandomSource {
  /** The same numbers may have been given before, to a filesystem on the same device. */
  readonly isReproducible?: boolean;
  bytes(length: number): Uint8Array;
}

/** The system's generator: for everything that is not asked to be reproducible. */
export const systemRandom: RandomSource = {
  bytes(length) {
    if (length > POOL_BYTES / 4) return platform.randomBytes(length);
    if (pool.length < length) pool = platform.randomBytes(POOL_BYTES);
    const taken = new Uint8Array(pool.subarray(0, length));
    // Nothing is given twice, and keys do not lie about.
    pool.fill(0, 0, length);
    pool = pool.subarray(length);
    return taken;
  },
};
/** A call of the system's generator costs as much as a hundred small takings: each new inode wants a few bytes. */
const POOL_BYTES = 4096;
let pool: Uint8Array = new Uint8Array(0);

/**
 * A reproducible source: SHA-256 over the seed and a block counter. Anyone who knows the seed knows every byte, encryption keys
 * included; the command that offers it says so.
 */
export function seededRandom(seed: string): RandomSource {
  let block = 0;
  let rest: Uint8Array = new Uint8Array(0);
  const encoder = new TextEncoder();
  return {
    isReproducible: true,
    bytes(length) {
      const result = new Uint8Array(length);
      for (let filled = 0; filled < length; ) {
        if (rest.length === 0) rest = platform.sha256(encoder.encode(`${block++}\0${seed}`));
        const taken = rest.subarray(0, length - filled);
        result.set(taken, filled);
        filled += taken.length;
        rest = rest.subarray(taken.length);
      }
      return result;
    },
  };
}

/** A version 4 UUID. */
export function randomUuid(source: RandomSource): string {
  const raw = source.bytes(16);
  raw[6] = (raw[6]! & 0x0f) | 0x40;
  raw[8] = (raw[8]! & 0x3f) | 0x80;
  const hex = Array.from(raw, byte => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
