import zlib, { deflateRawSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { cpuMs } from '../../../../test/support/patience.ts';
import { type Random, randomFrom, testSeed } from '../../../../test/support/random.ts';
import { compressionTypes } from '../ondisk/compression-types.ts';
import { CorruptError, IncompatibleError } from '../ondisk/errors.ts';
import { decompress, loadCompression, UNCOMPRESSED_BYTES_MAX } from './decompress.ts';
import { decodeZstd, wasmDecoder } from './zstd.ts';

const fromHex = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], pair => Number.parseInt(pair, 16));
const concat = (...parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap(part => [...part]));
const le32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const type = compressionTypes.idOf;

/** What the vectors hold: sixteen lines and spaces up to 512 bytes. */
const CONTENT = new TextEncoder().encode(
  Array.from({ length: 16 }, (_, i) => `line ${i} of ${(i * i * 7919) % 1000}\n`)
    .join('')
    .padEnd(512, ' '),
);
/** By zlib 1.3. */
const DEFLATED = fromHex(
  'ed8ebb0dc0200c447ba660040e03c60325522494ecdf45fed06682b8f2d3e9ecb7aefbc8253f672e69e90edd05e25495060f2752aa0ca7a6' +
    'c4a53975eb71771a4a332256a0684d4b101745a9517c838948d92ae602d9a9c9104515e467e32e4c07357ec27c987bcaff7ccc0b',
);
/** By the npm package lz4 0.6.5. */
const LZ4 = fromHex(
  'c16c696e652030206f6620300a0c0010310c00323931390e0010320e00323637360e0010330e00323237310e0010340e00323730340e0010' +
    '350e00323937350e0010360e0013381b0010370d001333360010380d00233831520010390e002334336e00113189002439308b00018c0024' +
    '31391e00018d002333333b0011318e00233331580011318f002331327400113190005f3737350a200100fec0202020202020202020202020',
);
/** By zstd 1.5.4, level 19. */
const ZSTD = fromHex(
  '28b52ffd600001350300a2440d10b0b9183ca11a5649d77637495d321703055235c730fe75dfd57b6d56f61eae788cd3215237d114d77042' +
    '45d8776055525911644e1fa81078d5613b808344391088b2eeffffdf011a2cb8c4245b21933c5c21249d2967ccb866ac0fe8221fe6214a01',
);

/** As bcachefs stores them, without padding. */
const STORED = { lz4_old: LZ4, gzip: DEFLATED, lz4: LZ4, zstd: concat(le32(ZSTD.length), ZSTD) } as const;
const names = ['lz4_old', 'gzip', 'lz4', 'zstd'] as const;

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (thrown) {
    return thrown;
  }
  return undefined;
}

/** Error name and detail of the CorruptError that decompressing ends with. */
function failure(name: (typeof names)[number], input: Uint8Array, outputBytes: number = CONTENT.length): string {
  const thrown = thrownBy(() => decompress(type(name), input, outputBytes));
  return thrown instanceof CorruptError ? `${thrown.error}: ${thrown.detail}` : String(thrown);
}

const seed = testSeed();

beforeAll(async () => loadCompression());

describe('decompress', () => {
  it.each(names)('%s: exact or padded with anything', name => {
    const stored = STORED[name];
    expect(decompress(type(name), stored, CONTENT.length)).toEqual(CONTENT);
    for (const padding of [new Uint8Array(1), new Uint8Array(4096), new Uint8Array(511).fill(255), stored]) {
      expect(decompress(type(name), concat(stored, padding), CONTENT.length)).toEqual(CONTENT);
    }
  });

  it('gives back what is not compressed, without what follows', () => {
    for (const name of ['none', 'incompressible'] as const) {
      expect(decompress(type(name), CONTENT, 512)).toEqual(CONTENT);
      expect(decompress(type(name), CONTENT, 100)).toEqual(CONTENT.subarray(0, 100));
      expect(() => decompress(type(name), CONTENT, 513)).toThrow(
        new CorruptError('ptr_crc_uncompressed_size_mismatch', {}, '512 bytes that are not compressed, expected 513'),
      );
    }
  });

  it('refuses types that it does not know, by number', () => {
    for (const unknown of [6, 15, -1]) {
      const thrown = thrownBy(() => decompress(unknown, CONTENT, 512));
      expect(thrown).toBeInstanceOf(IncompatibleError);
      expect(thrown).toMatchObject({ detail: `compression type ${unknown}, this version knows 0 to 5` });
    }
  });

  it('lz4: says where a damaged block ends', () => {
    expect(failure('lz4', LZ4.subarray(0, 60))).toBe(
      'data_decompress_err_lz4: lz4 block of 60 bytes is damaged or cut off after 78 of 512 bytes',
    );
    expect(failure('lz4_old', new Uint8Array(8))).toMatch(/^data_decompress_err_lz4_old: lz4_old block of 8 bytes/);
    expect(failure('lz4', LZ4, 513)).toMatch(/after 512 of 513 bytes$/);
  });

  it('gzip: a stream that is cut off, damaged, too long or too short', () => {
    const error = `data_decompress_err_gzip: deflate stream in`;
    expect(failure('gzip', DEFLATED.subarray(0, 80))).toBe(
      `${error} 80 bytes is damaged, cut off, or longer than 512 bytes`,
    );
    expect(failure('gzip', DEFLATED, 511)).toBe(
      `${error} ${DEFLATED.length} bytes is damaged, cut off, or longer than 511 bytes`,
    );
    expect(failure('gzip', new Uint8Array(0))).toMatch(error);
    expect(failure('gzip', new Uint8Array(100).fill(255))).toMatch(error);
    expect(failure('gzip', DEFLATED, 1024)).toBe(
      `data_decompress_err_gzip_size_mismatch: deflate stream in ${DEFLATED.length} bytes holds 512 bytes, expected 1024`,
    );
  });

  it('zstd: a length or a frame that cannot be', () => {
    const bad = 'data_decompress_err_zstd_corruption_detected: zstd frame of';
    expect(failure('zstd', new Uint8Array(3))).toBe(
      'data_decompress_err_zstd_src_len_bad: zstd frame of 0 bytes, expected 1 to 0',
    );
    expect(failure('zstd', concat(le32(113), ZSTD))).toBe(
      'data_decompress_err_zstd_src_len_bad: zstd frame of 113 bytes, expected 1 to 112',
    );
    expect(failure('zstd', concat(le32(0xffff_ffff), ZSTD))).toMatch(
      /zstd frame of 4294967295 bytes, expected 1 to 112/,
    );
    expect(failure('zstd', concat(le32(111), ZSTD))).toBe(
      `${bad} 111 bytes is damaged, cut off, or does not hold 512 bytes`,
    );
    expect(failure('zstd', concat(le32(100), new Uint8Array(200)))).toMatch(bad);
    expect(failure('zstd', STORED.zstd, 511)).toMatch(bad);
    expect(failure('zstd', STORED.zstd, 1024)).toMatch(bad);
    // What is inside of the stated length is part of the frame, what follows it is padding.
    expect(failure('zstd', concat(le32(113), ZSTD, le32(0)))).toMatch(bad);
  });

  it('zstd: takes no notice of the sizes that a frame claims for itself', () => {
    // Content of 2^62 bytes; then a window of 2^41 bytes and no content size; each with one raw block of one byte.
    const block = [0x09, 0, 0, 0x78];
    for (const header of [
      [0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40],
      [0x00, 0xf8],
    ]) {
      const frame = Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, ...header, ...block]);
      const before = process.memoryUsage.rss();
      expect(failure('zstd', concat(le32(frame.length), frame))).toMatch(/^data_decompress_err_zstd_/);
      expect(process.memoryUsage.rss() - before).toBeLessThan(100e6);
    }
  });

  it('takes the largest extent that there can be', () => {
    const largest = new Uint8Array(UNCOMPRESSED_BYTES_MAX);
    const output = decompress(type('gzip'), deflateRawSync(largest), largest.length);
    expect(Buffer.compare(output, largest)).toBe(0);
  });

  it.each(names)(`%s: damage ends in a CorruptError or in all the bytes, soon (TEST_SEED=${seed})`, name => {
    const random = randomFrom(seed);
    const outcomes = { good: 0, corrupt: 0 };
    let slowestMs = 0;
    for (let round = 0; round < 4000; round++) {
      const input = mutant(random, STORED[name]);
      const outputBytes = random.pick([512, 512, 512, 1, 1024, 65536]);
      const started = cpuMs();
      const thrown = thrownBy(() => {
        const { length } = decompress(type(name), input, outputBytes);
        expect(length).toBe(outputBytes);
        outcomes.good++;
      });
      slowestMs = Math.max(slowestMs, cpuMs() - started);
      if (thrown === undefined) continue;
      expect(thrown, `round ${round}`).toBeInstanceOf(CorruptError);
      outcomes.corrupt++;
    }
    expect(outcomes.corrupt).toBeGreaterThan(1000);
    expect(slowestMs).toBeLessThan(1000);
  });
});

describe('the zstd decoders', () => {
  const two = 'zstdDecompressSync' in zlib ? 'two' : 'one on this Node';
  it(`(${two}) agree about damaged frames (TEST_SEED=${seed})`, async () => {
    const wasm = await wasmDecoder();
    const random = randomFrom(seed);
    for (let round = 0; round < 2000; round++) {
      const frame = mutant(random, ZSTD);
      expect(decodeZstd(frame, 512), `round ${round}`).toEqual(wasm(frame, 512));
    }
  });
});

/** Some bytes changed, some removed, something appended, or nothing but noise. */
function mutant(random: Random, stored: Uint8Array): Uint8Array {
  const kind = random.below(8);
  if (kind === 0) return Uint8Array.from({ length: random.below(300) }, () => random.below(256));
  const bytes = [...stored];
  if (kind === 1) bytes.splice(random.below(bytes.length));
  if (kind === 2) bytes.splice(random.below(bytes.length), 1 + random.below(4));
  for (let changes = random.below(4); changes > 0; changes--) {
    const at = random.below(bytes.length + 1);
    bytes[at] = random.pick([0, 255, random.below(256), (bytes[at] ?? 0) ^ (1 << random.below(8))]);
  }
  return Uint8Array.from([...bytes, ...Array.from({ length: random.below(3) * 50 }, () => random.below(256))]);
}
