// Decompression of extents. A compressed extent is one unit: to read any part of it, all of its `compressed_size` sectors are
// read, verified and decrypted, and then become its `uncompressed_size` sectors here. What is stored ends somewhere in the
// last block, and the rest of the block is padding; only zstd writes down where. Types: ondisk/compression-types.ts.
// Error names are those of 1.39, whose predecessors only had EIO. Source: compress.c, v1.13.0 and v1.39.2.

import { platform } from '#platform';
import { getBits } from '../ondisk/bits.ts';
import { compressionOptions, compressionTypes } from '../ondisk/compression-types.ts';
import { assert, CorruptError, IncompatibleError } from '../ondisk/errors.ts';
import { incompatFeatures } from '../ondisk/features.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { decodeLz4Block } from './lz4.ts';
import { decodeZstd, loadZstd } from './zstd.ts';

/** No extent is larger: the widest checksum entry counts sectors in 13 bits. The option encoded_extent_max allows less. */
export const UNCOMPRESSED_BYTES_MAX = 512 << 13;

/** The length that a zstd frame follows, a __le32. */
const ZSTD_LENGTH_BYTES = 4;

/**
 * The compression types (numbers) that a filesystem says it has or shall have: its features, which are set before anything of their type is
 * stored or a file asks for it, and its options, whose features come with the first mount or change.
 */
export function declaredCompressionTypes({ features, flags }: Pick<Superblock, 'features' | 'flags'>): number[] {
  const [bits = 0n] = features;
  const chosen = [sbBits.COMPRESSION_TYPE_LO, sbBits.BACKGROUND_COMPRESSION_TYPE_LO].map(bit => getBits(flags, bit));
  const declared = compressionOptions.rows.filter(
    ({ id, feature }) =>
      feature !== null && (chosen.includes(id) || (bits >> BigInt(incompatFeatures.idOf(feature))) & 1n),
  );
  return declared.map(({ name }) => compressionTypes.idOf(name));
}

/**
 * Loads what `decompress` needs and Node does not have: a zstd decoder before Node 22.15, some 15 ms. To be awaited once
 * before data are read.
 * @param types the compression types (numbers) that will occur, such as `declaredCompressionTypes`; all by default
 */
export async function loadCompression(types?: Iterable<number>): Promise<void> {
  const zstd = compressionTypes.idOf('zstd');
  if (types === undefined || [...types].includes(zstd)) await loadZstd();
}

/**
 * The contents of an extent. Mirrors bch2_bio_uncompress. Memory is bounded by `outputBytes`, whatever `input` says.
 * @param type the compression type of the checksum entry, any number
 * @param input the extent as it is on disk, whole blocks, decrypted; not changed
 * @param outputBytes `uncompressed_size` in bytes, up to UNCOMPRESSED_BYTES_MAX
 * @returns `outputBytes` bytes; a part of `input` where nothing is compressed
 * @throws CorruptError data_decompress_err_…, ptr_crc_uncompressed_size_mismatch
 * @throws IncompatibleError ptr_crc_compression_type_unknown, also for a type that was not loaded
 */
export function decompress(type: number, input: Uint8Array, outputBytes: number): Uint8Array {
  assert(outputBytes > 0 && outputBytes <= UNCOMPRESSED_BYTES_MAX, `an extent of ${outputBytes} bytes`);
  const row = compressionTypes.byId(type);
  switch (row?.name) {
    case undefined: {
      const known = `this version knows 0 to ${compressionTypes.rows.length - 1}`;
      throw new IncompatibleError('ptr_crc_compression_type_unknown', {}, `compression type ${type}, ${known}`);
    }
    case 'none':
    case 'incompressible':
      if (input.length < outputBytes) {
        const detail = `${input.length} bytes that are not compressed, expected ${outputBytes}`;
        throw new CorruptError('ptr_crc_uncompressed_size_mismatch', {}, detail);
      }
      return input.subarray(0, outputBytes);
    case 'lz4_old':
    case 'lz4':
      return fromLz4(row.name, input, outputBytes);
    case 'gzip':
      return fromGzip(input, outputBytes);
    case 'zstd':
      return fromZstd(input, outputBytes);
  }
}

/** The reference reads both types alike; nothing has written the old one for long. */
function fromLz4(name: 'lz4_old' | 'lz4', input: Uint8Array, outputBytes: number): Uint8Array {
  const output = new Uint8Array(outputBytes);
  const decodedBytes = decodeLz4Block(input, output);
  if (decodedBytes !== outputBytes) {
    throw new CorruptError(
      `data_decompress_err_${name}`,
      {},
      `${name} block of ${input.length} bytes is damaged or cut off after ${decodedBytes} of ${outputBytes} bytes`,
    );
  }
  return output;
}

/** Raw deflate: no header, no checksum, padded to whole blocks. Source: zlib_inflateInit2(-MAX_WBITS) in compress.c, v1.13.0. */
function fromGzip(input: Uint8Array, outputBytes: number): Uint8Array {
  const output = platform.inflateRaw(input, outputBytes);
  if (output === undefined) {
    const detail = `deflate stream in ${input.length} bytes is damaged, cut off, or longer than ${outputBytes} bytes`;
    throw new CorruptError('data_decompress_err_gzip', {}, detail);
  }
  // Kernels before 1.39 take this for good and leave the rest of the extent undefined.
  if (output.length !== outputBytes) {
    const detail = `deflate stream in ${input.length} bytes holds ${output.length} bytes, expected ${outputBytes}`;
    throw new CorruptError('data_decompress_err_gzip_size_mismatch', {}, detail);
  }
  return output;
}

function fromZstd(input: Uint8Array, outputBytes: number): Uint8Array {
  const roomBytes = Math.max(input.length - ZSTD_LENGTH_BYTES, 0);
  const frameBytes = roomBytes === 0 ? 0 : viewOf(input).getUint32(0, true);
  if (frameBytes === 0 || frameBytes > roomBytes) {
    const detail = `zstd frame of ${frameBytes} bytes, expected 1 to ${roomBytes}`;
    throw new CorruptError('data_decompress_err_zstd_src_len_bad', {}, detail);
  }
  const frame = input.subarray(ZSTD_LENGTH_BYTES, ZSTD_LENGTH_BYTES + frameBytes);
  const output = decodeZstd(frame, outputBytes);
  if (output === undefined) {
    const detail = `zstd frame of ${frameBytes} bytes is damaged, cut off, or does not hold ${outputBytes} bytes`;
    throw new CorruptError('data_decompress_err_zstd_corruption_detected', {}, detail);
  }
  return output;
}
