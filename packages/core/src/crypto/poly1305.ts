// Message authentication: Poly1305 under a one-time key, which is the first 32 bytes of a chacha20 stream of its own
// (`polyNonce`). The MAC covers the encrypted bytes. Source: gen_poly_key and bch2_checksum in checksum.c, v1.13.0.
// @noble/ciphers: 0.39 GB/s at 64 KiB; what else was measured is in docs/adr/0003.

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
  return poly1305(bytes, oneTimeKey(mac));
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
