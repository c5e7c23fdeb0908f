// A browser, and whatever else has the web's globals: `#platform` under the condition `browser`, which bundlers set for the web. Random bytes
// are the browser's own. Web Crypto's hashes and keys are asynchronous and core is not, so that those are of packages in plain JavaScript.
// Where nothing is said (ciphers, checksums, zstd), core's own code in JavaScript and WebAssembly serves, as it does on an older Node.

import { scrypt } from '@noble/hashes/scrypt.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { inflateSync } from 'fflate';
import type { HostFiles, Platform } from './platform.ts';

/** The most that getRandomValues gives at once. */
const RANDOM_BYTES_MAX = 65_536;

export const platform: Platform = {
  randomBytes(length) {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += RANDOM_BYTES_MAX)
      crypto.getRandomValues(bytes.subarray(at, at + RANDOM_BYTES_MAX));
    return bytes;
  },
  sha256(...pieces) {
    const hash = sha256.create();
    for (const piece of pieces) hash.update(piece);
    return hash.digest();
  },
  // 0.9 s of processor time with the usual parameters, where Node takes about half.
  scrypt: (passphrase, salt, { N, r, p, keyBytes, maxMemoryBytes }) =>
    scrypt(passphrase, salt, { N, r, p, dkLen: keyBytes, maxmem: maxMemoryBytes }),
  chacha20: () => undefined,
  crc32c: () => undefined,
  inflateRaw,
  zstd: () => undefined,
  threads: undefined,
  get files() {
    return files;
  },
};

function inflateRaw(input: Uint8Array, limitBytes: number): Uint8Array | undefined {
  // A buffer that is given never grows: what does not fit is dropped. With one byte more than may come, a stream that holds too much is seen.
  const out = new Uint8Array(limitBytes + 1);
  try {
    const inflated = inflateSync(input, { out });
    return inflated.length > limitBytes ? undefined : inflated;
  } catch {
    // Its own errors, and a RangeError for a stored block that does not fit: all say that these bytes are not the stream that was written.
    return undefined;
  }
}

/** There are none to be found by their paths: devices are given as they are. */
const files: HostFiles = {
  platform: 'browser',
  exists: () => false,
  realPath: path => path,
  kind: () => undefined,
  list(folder) {
    throw new Error(`${folder}: a browser has no folders`);
  },
};
