// Zstandard frames, by Node's own decoder where it has one (22.15, 23.8 and later), else by the reference decoder compiled to
// WebAssembly, from the package zstddec. Numbers and choice: docs/adr/0007.

import zlib from 'node:zlib';
import { IncompatibleError } from '../ondisk/errors.ts';

/** The `outputBytes` bytes that a frame holds, or undefined when it is damaged, cut off, or holds more or less. */
type Decoder = (frame: Uint8Array, outputBytes: number) => Uint8Array | undefined;

/** Node's, which the type definitions for Node 20 lack. */
interface NodeZstd {
  zstdDecompressSync(
    frame: Uint8Array,
    options: { maxOutputLength: number; chunkSize: number; params: Record<number, number>; info: true },
  ): { readonly buffer: Uint8Array; readonly engine: { readonly bytesWritten: number } };
}

const ZSTD_D_WINDOW_LOG_MAX = 100;
/** 8 MiB, what every decoder has to support; the kernel's encoder never asks for more than the largest extent. */
const WINDOW_LOG_MAX = 23;
/** As in gzip.ts. */
const SPARE_BYTES = 64;

let decoder: Decoder | undefined;

/**
 * Node's decoder stops after the first frame, and takes the end of the input for the end of the frame without complaint: so
 * both ends are compared here. All that it still lets through is a frame whose contents are complete and whose end is not.
 */
function nodeDecoder(): Decoder | undefined {
  const node: typeof zlib & Partial<NodeZstd> = zlib;
  if (node.zstdDecompressSync === undefined) return undefined;
  const { zstdDecompressSync } = node;
  return (frame, outputBytes) => {
    try {
      const { buffer, engine } = zstdDecompressSync(frame, {
        maxOutputLength: outputBytes,
        chunkSize: outputBytes + SPARE_BYTES,
        params: { [ZSTD_D_WINDOW_LOG_MAX]: WINDOW_LOG_MAX },
        info: true,
      });
      if (buffer.length !== outputBytes || engine.bytesWritten !== frame.length) return undefined;
      return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
    } catch {
      // ZSTD_error_… or ERR_BUFFER_TOO_LARGE: both say that these bytes are not what was written.
      return undefined;
    }
  };
}

/** Puts a decoder in place: at once where Node has one, else some 15 ms, and 30 where the package decodes itself with `fetch`. */
export async function loadZstd(): Promise<void> {
  decoder ??= nodeDecoder() ?? (await wasmDecoder());
}

/** The decoder from zstddec, the kernel's own code; exported for tests on a Node that does not need it. */
export async function wasmDecoder(): Promise<Decoder> {
  const { ZSTDDecoder } = await import('zstddec');
  const wasm = new ZSTDDecoder();
  await wasm.init();
  return (frame, outputBytes) => {
    try {
      // Gives an empty array for every error.
      const output = wasm.decode(frame, outputBytes);
      return output.length === outputBytes ? output : undefined;
    } catch {
      // A trap inside of the WebAssembly machine, which a hostile frame may set off.
      return undefined;
    }
  };
}

/**
 * The `outputBytes` bytes that a frame holds, or undefined when it is damaged, cut off, or holds more or less.
 * @param frame exactly the frame, without padding
 * @throws IncompatibleError when no decoder was loaded, because nothing said that there would be such data
 */
export function decodeZstd(frame: Uint8Array, outputBytes: number): Uint8Array | undefined {
  decoder ??= nodeDecoder();
  if (decoder === undefined) {
    const detail = 'data compressed with zstd, which the features of the superblock do not name';
    throw new IncompatibleError('ptr_crc_compression_type_unknown', {}, detail);
  }
  return decoder(frame, outputBytes);
}
