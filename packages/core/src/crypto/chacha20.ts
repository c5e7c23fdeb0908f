// ChaCha20 as bcachefs uses it (RFC 8439: 256-bit key, 32-bit block counter, 96-bit nonce). Encrypting and decrypting are the
// same operation. The platform's own cipher where it has one (Node: 4.6 GB/s at 1 MiB), else @noble/ciphers (0.36 GB/s); short inputs always
// go to the latter, because setting up a cipher object costs 3 µs: docs/adr/0003.

import { chacha20 as chacha20Portable } from '@noble/ciphers/chacha.js';
import { platform } from '#platform';
import { assert } from '../ondisk/errors.ts';
import { CHACHA_BLOCK_BYTES, type Nonce } from './nonce.ts';

export const KEY_BYTES = 32;
const COUNTER_END = 0xffff_ffff;

/** Below this, the portable cipher is faster (measured: 2.3 against 3.3 µs for 32 bytes, equal at about 1 KiB). */
const NATIVE_FROM_BYTES = 1024;

type Cipher = (key: Uint8Array, nonce: Nonce, bytes: Uint8Array) => void;

/**
 * Encrypts or decrypts `bytes` in place.
 * @param key 32 bytes
 * @param nonce where in the key stream `bytes` starts
 */
export function chacha20(key: Uint8Array, nonce: Nonce, bytes: Uint8Array): void {
  assert(key.length === KEY_BYTES, `a chacha20 key has ${KEY_BYTES} bytes, not ${key.length}`);
  // At the end of the counter the kernel wraps, OpenSSL carries on into the nonce, and noble refuses. None of the nonce
  // builders comes near: at most 1023 << 22, plus 2^16 blocks of nonce, plus 2^16 blocks of data.
  const blocks = Math.ceil(bytes.length / CHACHA_BLOCK_BYTES);
  assert(nonce[0] + blocks <= COUNTER_END, `the block counter ends inside the data: ${nonce[0]} + ${blocks}`);

  if (bytes.length < NATIVE_FROM_BYTES) chacha20Noble(key, nonce, bytes);
  else cipher()(key, nonce, bytes);
}

/** Exported for the comparison of the two. */
export const chacha20Noble: Cipher = (key, nonce, bytes) => {
  chacha20Portable(key, ivOf(nonce).subarray(4), bytes, bytes, nonce[0]);
};

/** The four words as bytes: what Linux and OpenSSL take whole, and RFC 8439 splits into counter and nonce. */
function ivOf(nonce: Nonce): Uint8Array {
  const iv = new Uint8Array(16);
  const view = new DataView(iv.buffer);
  nonce.forEach((word, i) => {
    view.setUint32(4 * i, word, true);
  });
  return iv;
}

let chosen: Cipher | undefined;

function cipher(): Cipher {
  chosen ??= platformCipher() ?? chacha20Noble;
  return chosen;
}

function platformCipher(): Cipher | undefined {
  const crypt = platform.chacha20();
  return crypt === undefined ? undefined : (key, nonce, bytes) => crypt(key, ivOf(nonce), bytes);
}
