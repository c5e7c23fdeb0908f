// The bytes of a node as words: how keys and values are looked at where there are many.

import { assert } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';

const isLittleEndianHost = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

/** The bytes as 32-bit words: the same memory, except on big-endian machines, and there a copy. */
export function littleEndianWords(bytes: Uint8Array): Uint32Array {
  assert(bytes.byteOffset % 4 === 0 && bytes.length % 4 === 0, 'a node is in whole words');
  if (isLittleEndianHost) return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const view = viewOf(bytes);
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(4 * i, true));
}
