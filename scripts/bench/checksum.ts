// How fast checksums and ciphers are on this machine, before and after `loadChecksums`, for one filesystem block, one btree
// node's worth and one megabyte. The numbers of docs/adr/0003-checksums-and-ciphers.md come from here.
//
//   scripts/run-ts bench/checksum.ts

import { pathToFileURL } from 'node:url';
import { checksum, loadChecksums, mergeChecksums, verifyVstruct } from '../../packages/core/src/checksum/checksum.ts';
import { chacha20, chacha20Noble } from '../../packages/core/src/crypto/chacha20.ts';
import { DEFAULT_KDF, deriveKey } from '../../packages/core/src/crypto/keys.ts';
import type { MacKey } from '../../packages/core/src/crypto/poly1305.ts';
import { checksumTypes } from '../../packages/core/src/ondisk/checksum-types.ts';
import type { Measurement } from './measurement.ts';

const sizesBytes = [4 << 10, 64 << 10, 1 << 20];
const mac: MacKey = { key: new Uint8Array(32).fill(7), nonce: [0, 1, 2, 3] };

export async function bench(): Promise<Measurement[]> {
  const measured: Measurement[] = [];
  // First of all, while nothing is warm: what `show-super` waits for.
  for (const name of ['crc32c_nonzero', 'crc64_nonzero', 'xxhash'] as const) {
    const started = performance.now();
    verifyVstruct(checksumTypes.idOf(name), new Uint8Array(30_000));
    measured.push({ name: `${name}, first call, 30 kB`, value: performance.now() - started, unit: 'ms' });
  }

  const typeNames = ['crc32c', 'crc64', 'xxhash'] as const;
  for (const name of typeNames) measured.push(...throughput(`${name}, portable`, checksumOf(name)));
  const started = performance.now();
  await loadChecksums();
  measured.push({ name: 'loadChecksums', value: performance.now() - started, unit: 'ms' });
  for (const name of ['crc32c', 'xxhash'] as const) measured.push(...throughput(`${name}, loaded`, checksumOf(name)));

  measured.push(...throughput('poly1305 with its key', checksumOf('chacha20_poly1305_128')));
  measured.push(...throughput('chacha20', bytes => chacha20(mac.key, mac.nonce, bytes)));
  measured.push(...throughput('chacha20, portable', bytes => chacha20Noble(mac.key, mac.nonce, bytes)));

  for (const name of ['crc32c', 'crc64'] as const) {
    const type = checksumTypes.idOf(name);
    const csum = checksum(type, Uint8Array.of(1, 2, 3));
    const seconds = secondsPerCall(() => mergeChecksums(type, csum, csum, 128 * 512), 100);
    measured.push({ name: `${name}, merge with 64 KiB`, value: seconds * 1e6, unit: 'µs' });
  }
  const deriving = performance.now();
  deriveKey(new Uint8Array(13), DEFAULT_KDF);
  measured.push({ name: 'deriveKey', value: performance.now() - deriving, unit: 'ms' });
  return measured;
}

function checksumOf(name: Parameters<typeof checksumTypes.idOf>[0]): (bytes: Uint8Array) => void {
  const type = checksumTypes.idOf(name);
  return bytes => {
    checksum(type, bytes, mac);
  };
}

function throughput(name: string, run: (bytes: Uint8Array) => void): Measurement[] {
  return sizesBytes.map(sizeBytes => {
    const bytes = Uint8Array.from({ length: sizeBytes }, (_, i) => (i * 7 + (i >> 8)) & 255);
    const seconds = secondsPerCall(() => run(bytes), Math.ceil((8 << 20) / sizeBytes));
    return { name: `${name}, ${sizeBytes >> 10} KiB`, value: sizeBytes / seconds / 1e6, unit: 'MB/s' };
  });
}

/** The best of ten rounds: the one that the machine's other work disturbed least. */
function secondsPerCall(call: () => void, calls: number): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 10; round++) {
    const started = performance.now();
    for (let i = 0; i < calls; i++) call();
    best = Math.min(best, (performance.now() - started) / 1000 / calls);
  }
  return best;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const { name, value, unit } of await bench()) {
    console.log(`${name.padEnd(36)} ${value.toFixed(value < 100 ? 2 : 0).padStart(8)} ${unit}`);
  }
}
