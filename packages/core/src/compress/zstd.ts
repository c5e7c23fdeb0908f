// Zstandard frames, by the platform's own decoder where it has one (Node 22.15, 23.8 and later), else by the reference decoder compiled to
// WebAssembly, from the package zstddec. Numbers and choice: docs/adr/0007.

import { platform } from '#platform';
import { IncompatibleError } from '../ondisk/errors.ts';
import type { ZstdDecoder } from '../platform/platform.ts';

let decoder: ZstdDecoder | undefined;

/** Puts a decoder in place: at once where the platform has one, else some 15 ms, and 30 where the package decodes itself with `fetch`. */
export async function loadZstd(): Promise<void> {
  decoder ??= platform.zstd() ?? (await wasmDecoder());
}

/** The decoder from zstddec, the kernel's own code; exported for tests on a Node that does not need it. */
export async function wasmDecoder(): Promise<ZstdDecoder> {
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
  decoder ??= platform.zstd();
  if (decoder === undefined) {
    const detail = 'data compressed with zstd, which the features of the superblock do not name';
    throw new IncompatibleError('ptr_crc_compression_type_unknown', {}, detail);
  }
  return decoder(frame, outputBytes);
}
