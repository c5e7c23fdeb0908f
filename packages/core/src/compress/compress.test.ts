// What was compressed, decompress gives back, for data of all kinds. Node's own decoders, which are not ours, agree.
import { inflateRawSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { compressionTypes, parseCompression } from '../ondisk/compression-types.ts';
import { seededRandom } from '../util/random.ts';
import { compress, loadCompressors } from './compress.ts';
import { decompress, loadCompression } from './decompress.ts';

beforeAll(async () => {
  await loadCompressors();
  await loadCompression();
});

const random = seededRandom('compress');

/** Data that compresses more or less, by kind. */
function sample(kind: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const noise = random.bytes(length);
  for (let i = 0; i < length; i++) {
    if (kind === 0) bytes[i] = 0;
    else if (kind === 1) bytes[i] = noise[i]!;
    else if (kind === 2) bytes[i] = noise[i]! & 3;
    else if (kind === 3) bytes[i] = i % 300 < 200 && i >= 300 ? bytes[i - 300]! : noise[i]!;
    else bytes[i] = noise[i]! < 250 ? i & 7 : noise[(i * 7) % length]!;
  }
  return bytes;
}

describe.each(['lz4', 'gzip', 'zstd', 'zstd:1', 'zstd:15', 'gzip:1', 'gzip:9'])('%s', text => {
  const option = parseCompression(text);
  test.each([0, 1, 2, 3, 4])('comes back, kind %i', kind => {
    for (const length of [512, 1024, 4096, 4608, 65536, 131072]) {
      for (const blockBytes of [512, 4096]) {
        if (length % blockBytes !== 0) continue;
        const input = sample(kind, length);
        const before = input.slice();
        const { type, bytes } = compress(option, input, blockBytes);
        expect(Buffer.from(input).equals(before)).toBe(true);
        expect(bytes.length % blockBytes).toBe(0);
        if (kind === 1 || length <= blockBytes) {
          expect(compressionTypes.nameOf(type)).toBe('incompressible');
          expect(bytes).toBe(input);
        } else if (length >= 4 * blockBytes && kind !== 3) {
          expect(compressionTypes.nameOf(type)).toBe(text.split(':')[0]);
          expect(bytes.length).toBeLessThan(length);
        }
        expect(Buffer.from(decompress(type, bytes.slice(), length)).equals(before)).toBe(true);
      }
    }
  });
});

test('a deflate stream is what zlib reads', () => {
  const input = sample(2, 65536);
  const { bytes } = compress(parseCompression('gzip'), input, 512);
  expect(new Uint8Array(inflateRawSync(bytes))).toEqual(input);
});

test('without compression nothing happens', () => {
  const input = sample(0, 4096);
  expect(compress(0, input, 512)).toEqual({ type: 0, bytes: input });
});
