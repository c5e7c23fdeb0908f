// Compression of extents: the other half of decompress.ts. A piece of a file becomes whole blocks that are fewer than its own, or it is
// incompressible and stays as it is. lz4 and gzip are padded with zeroes to whole blocks and store their length nowhere;
// a zstd frame follows its own length, a __le32.
//
// The same bytes come out on every machine, so that images can be reproduced: all encoders are code that this package brings with it
// (JavaScript, WebAssembly), never the zlib or zstd of the Node that runs it, whose output differs between processors and releases. The
// kernel's encoders find other matches; what they write and what is written here is read by either. 64 KiB of source code (Node 20, x64): lz4
// 430 MB/s, zstd 310 at its default level and 6 at 15, gzip 43.
//
// lz4 has one level here, the fast one: from level 3 on (LZ4HC_MIN_CLEVEL) a kernel takes LZ4HC, which searches longer for what is read in
// the same way. The level is kept in the option, so that a kernel goes by it when it writes.
// Source: attempt_compress and __bio_compress in compress.c, v1.13.0.

import { compressionTypes, decodeCompression } from '../ondisk/compression-types.ts';
import { assert, IncompatibleError } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import { encodeLz4Block } from './lz4-encode.ts';

const NONE = compressionTypes.idOf('none');
const INCOMPRESSIBLE = compressionTypes.idOf('incompressible');
const LZ4 = compressionTypes.idOf('lz4');
const GZIP = compressionTypes.idOf('gzip');
const ZSTD = compressionTypes.idOf('zstd');
/** By number of the option. */
const typeOfOption = [NONE, LZ4, GZIP, ZSTD] as const;

/** The length that a zstd frame follows. */
const ZSTD_LENGTH_BYTES = 4;
/** The kernel keeps this many bytes after a frame free. */
const ZSTD_SPARE_BYTES = 7;
const GZIP_DEFAULT_LEVEL = 6;
const ZSTD_DEFAULT_LEVEL = 3;
const ZSTD_LEVEL_MAX = 22;

export interface Compressed {
  /** The compression type of the checksum entry; `incompressible` when `bytes` are what was given. */
  readonly type: number;
  /** Whole blocks. Of the compressor's own room when compressed: the next call uses it again. */
  readonly bytes: Uint8Array;
}

type Encoder = (input: Uint8Array, level: number) => Uint8Array;

let deflate: Encoder | undefined;
let zstd: Encoder | undefined;

/**
 * Loads the encoders of gzip and zstd, up to 60 ms. To be awaited once before anything is compressed with them.
 * @param types compression types (numbers), such as `declaredCompressionTypes`; all by default
 */
export async function loadCompressors(types?: Iterable<number>): Promise<void> {
  const wanted = types === undefined ? undefined : new Set(types);
  if (wanted === undefined || wanted.has(GZIP)) deflate ??= await loadDeflate();
  if (wanted === undefined || wanted.has(ZSTD)) zstd ??= await loadZstdEncoder();
}

async function loadDeflate(): Promise<Encoder> {
  const { deflateSync } = await import('fflate');
  return (input, level) => deflateSync(input, { level: level as 1 });
}

/** What is used of the package, which brings no types. */
interface ZstdCodecModule {
  readonly ZstdCodec: {
    run(
      use: (zstd: {
        readonly Simple: new () => { compress(input: Uint8Array, level: number): Uint8Array | null };
      }) => void,
    ): void;
  };
}

async function loadZstdEncoder(): Promise<Encoder> {
  // @ts-expect-error: no types
  const loaded: { readonly default: ZstdCodecModule } = await import('zstd-codec');
  return new Promise(resolve => {
    loaded.default.ZstdCodec.run(({ Simple }) => {
      const simple = new Simple();
      resolve((input, level) => {
        const frame = simple.compress(input, level);
        assert(frame !== null, 'zstd compresses whatever it is given');
        return frame;
      });
    });
  });
}

/** Room for one extent, grown as needed. */
let room = new Uint8Array(0);

/**
 * Compresses one piece of a file as the option says, or leaves it. Mirrors bch2_bio_compress for a piece that shall stay whole.
 * @param option value of the option `compression`: algorithm and level
 * @param input whole blocks, up to encoded_extent_max
 */
export function compress(option: number, input: Uint8Array, blockBytes: number): Compressed {
  const { type: optionType, level } = decodeCompression(option);
  const type = typeOfOption[optionType];
  assert(type !== undefined, `compression option ${option} was validated`);
  if (type === NONE) return { type, bytes: input };
  // One block never becomes less.
  if (input.length <= blockBytes) return { type: INCOMPRESSIBLE, bytes: input };
  if (room.length < input.length) room = new Uint8Array(input.length);
  // A block must be won; what would not win one need not be written.
  const limit = input.length - blockBytes;
  const usedBytes = encode(type, level, input, room.subarray(0, limit));
  if (usedBytes === 0) return { type: INCOMPRESSIBLE, bytes: input };
  const sizeBytes = Math.ceil(usedBytes / blockBytes) * blockBytes;
  room.fill(0, usedBytes, sizeBytes);
  return { type, bytes: room.subarray(0, sizeBytes) };
}

/** An inode may ask for anything, whatever the features say. */
const notLoaded = (name: string): IncompatibleError =>
  new IncompatibleError(
    'compression_not_declared',
    {},
    `a file asks for compression with ${name}, which the features of the superblock do not name`,
  );

/** @returns how much of `output` is used; 0 when that was not enough */
function encode(type: number, level: number, input: Uint8Array, output: Uint8Array): number {
  if (type === LZ4) return encodeLz4Block(input, output);
  if (type === GZIP) {
    if (deflate === undefined) throw notLoaded('gzip');
    const stream = deflate(input, level === 0 ? GZIP_DEFAULT_LEVEL : Math.min(level, 9));
    if (stream.length > output.length) return 0;
    output.set(stream);
    return stream.length;
  }
  if (zstd === undefined) throw notLoaded('zstd');
  // 15 levels for zstd's 22; 0 is zstd's own default.
  const zstdLevel = level === 0 ? ZSTD_DEFAULT_LEVEL : Math.min(Math.floor((level * 3) / 2), ZSTD_LEVEL_MAX);
  const frame = zstd(input, zstdLevel);
  const usedBytes = ZSTD_LENGTH_BYTES + frame.length;
  if (usedBytes + ZSTD_SPARE_BYTES > output.length) return 0;
  viewOf(output).setUint32(0, frame.length, true);
  output.set(frame, ZSTD_LENGTH_BYTES);
  return usedBytes;
}
