// Undoing the compression of an archive, piece by piece: gzip by Node, zstd and xz by WebAssembly that is loaded when it is needed, in
// memory that goes by the window of the stream and not by its length. docs/adr/0015 has the choice and the numbers.
//
// Whatever is wrong with a stream ends in DecoderError: cut off, damaged, or made with options that its decoder does not know.

import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { setImmediate } from 'node:timers/promises';
import zlib from 'node:zlib';

export class DecoderError extends Error {
  override readonly name = 'DecoderError';

  /** @param kind `options`: a sound stream, for all that is known, that this decoder cannot undo */
  constructor(
    readonly kind: 'damaged' | 'options',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** @param steady for decoders that cannot wait for a piece */
export type Decoder = (pieces: AsyncIterable<Uint8Array>, steady: SteadyPieces) => AsyncIterable<Uint8Array>;

/** All pieces without waiting for any: from the file that they are in, or from a copy that is made of them first. To be gone through once. */
export type SteadyPieces = (pieces: AsyncIterable<Uint8Array>) => Promise<Iterable<Uint8Array>>;

export async function* gunzipped(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const transform = zlib.createGunzip();
  const source = Readable.from(pieces);
  source.on('error', error => transform.destroy(error));
  try {
    yield* source.pipe(transform);
  } catch (cause) {
    const isOfData = cause instanceof Error && 'code' in cause && `${cause.code}`.startsWith('Z_');
    if (isOfData) throw new DecoderError('damaged', cause.message, { cause });
    throw cause;
  } finally {
    source.destroy();
    transform.destroy();
  }
}

/** So many pieces are decoded before signals are looked at. */
const PIECES_AT_ONCE = 64;

/**
 * The package decodes from an iterable that does not wait. Its loop does not see errors of the decoder, which then stands still: each turn
 * consumes at least a byte or gives one, else it is one.
 */
export async function* unzstd(pieces: AsyncIterable<Uint8Array>, steady: SteadyPieces): AsyncGenerator<Uint8Array> {
  const { ZSTDDecoder } = await import('zstddec/stream');
  const decoder = new ZSTDDecoder();
  await decoder.init();
  const all = await steady(pieces);
  let turnsLeft = 0;
  const input = function* () {
    for (const piece of all) {
      turnsLeft = piece.length;
      yield piece;
    }
  };
  let count = 0;
  try {
    for (const output of decoder.decodeStreaming(input())) {
      if (output.length > 0) yield output;
      else if (turnsLeft-- === 0) throw new DecoderError('damaged', 'no sense in it');
      if (++count % PIECES_AT_ONCE === 0) await setImmediate();
    }
  } catch (cause) {
    if (cause instanceof Error && cause.message.startsWith('Incomplete stream'))
      throw new DecoderError('damaged', 'it ends too early', { cause });
    if (isTrap(cause)) throw new DecoderError('damaged', cause.message, { cause });
    throw cause;
  }
}

/** Inside of the WebAssembly machine. */
const isTrap = (thrown: unknown): thrown is Error => thrown instanceof Error && thrown.name === 'RuntimeError';

/** Of xz-embedded's enum xz_ret: a dictionary of more than 64 MiB; filters and checks other than LZMA2, CRC32 and CRC64. */
const XZ_MEMLIMIT_ERROR = 4;
const XZ_OPTIONS_ERROR = 6;

export async function* unxz(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  // CommonJS, whose names Node and bundlers do not all see from outside.
  const loaded: XzModule & { readonly default?: XzModule } = await import('xz-decompress');
  const { XzReadableStream } = loaded.default ?? loaded;
  const output = new XzReadableStream(webStream(pieces));
  try {
    for await (const piece of output) yield piece;
  } catch (cause) {
    if (isTrap(cause)) throw new DecoderError('damaged', cause.message, { cause });
    const code =
      cause instanceof Error ? /^get_next_output failed with error code (\d+)$/.exec(cause.message)?.[1] : undefined;
    if (code === undefined) throw cause;
    if (Number(code) === XZ_MEMLIMIT_ERROR)
      throw new DecoderError('options', 'a dictionary of more than 64 MiB', { cause });
    if (Number(code) === XZ_OPTIONS_ERROR)
      throw new DecoderError('options', 'a filter or a kind of check that is not known here', { cause });
    throw new DecoderError('damaged', `error ${code} of the decoder`, { cause });
  }
}

type XzModule = Pick<typeof import('xz-decompress'), 'XzReadableStream'>;

function webStream(pieces: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = pieces[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value, done } = await iterator.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await iterator.return?.();
    },
  });
}
