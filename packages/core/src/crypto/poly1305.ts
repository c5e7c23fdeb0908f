// Message authentication: Poly1305 under a one-time key, which is the first 32 bytes of a chacha20 stream of its own
// (`polyNonce`). The MAC covers the encrypted bytes. Source: gen_poly_key and bch2_checksum in checksum.c, v1.13.0.
// @noble/ciphers, audited and there at once: 0.39 GB/s at 64 KiB. Where much is to come, `loadMacs` puts libsodium's WebAssembly in front of it
// for whole pieces: 2.5 GB/s. What else was measured is in docs/adr/0003.

import { poly1305 } from '@noble/ciphers/_poly1305.js';
import { chacha20, KEY_BYTES } from './chacha20.ts';
import { type Nonce, polyNonce } from './nonce.ts';

/** What a MAC is made with: the filesystem's key and the nonce of the data. */
export interface MacKey {
  /** 32 bytes */
  readonly key: Uint8Array;
  readonly nonce: Nonce;
}

/** The 32-byte key that authenticates one piece of data. */
export function oneTimeKey(mac: MacKey): Uint8Array {
  const key = new Uint8Array(KEY_BYTES);
  chacha20(mac.key, polyNonce(mac.nonce), key);
  return key;
}

/** All 16 bytes of the MAC. */
export function macOf(mac: MacKey, bytes: Uint8Array): Uint8Array {
  return loop(bytes, oneTimeKey(mac));
}

type Poly1305 = (bytes: Uint8Array, key: Uint8Array) => Uint8Array;

let loop: Poly1305 = poly1305;

/**
 * Puts the fast implementation in front. Takes 20 to 30 ms once, won back after some 15 MB. Results do not change.
 * @returns whether it is there
 */
export async function loadMacs(): Promise<boolean> {
  if (loop !== poly1305) return true;
  const { default: sodium } = await import('libsodium-wrappers-sumo');
  await sodium.ready;
  const fast: Poly1305 = (bytes, key) => sodium.crypto_onetimeauth(bytes, key);
  const probe = Uint8Array.from({ length: 300 }, (_, i) => i);
  const key = probe.subarray(7, 7 + KEY_BYTES);
  const expected = poly1305(probe, key);
  if (fast(probe, key).some((byte, i) => byte !== expected[i])) return false;
  loop = fast;
  return true;
}

/** The same over several pieces. */
export interface MacStream {
  update(bytes: Uint8Array): void;
  digest(): Uint8Array;
}

export function macStream(mac: MacKey): MacStream {
  const state = poly1305.create(oneTimeKey(mac));
  return {
    update(bytes) {
      state.update(bytes);
    },
    digest: () => state.digest(),
  };
}
