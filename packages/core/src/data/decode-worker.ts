// A worker thread that verifies and decompresses extents: see decode-pool.ts, which starts it and where its answers are judged. It gives
// only what is right; whatever is wrong with an extent is found again, and said, by the reader.

import { platform } from '#platform';
import { canChecksum, checksum, loadChecksums } from '../checksum/checksum.ts';
import { csumEquals } from '../checksum/csum.ts';
import { decompress, loadCompression } from '../compress/decompress.ts';
import { CorruptError, IncompatibleError } from '../ondisk/errors.ts';
import { DecodeSlots } from './decode-slots.ts';

/** @returns whether the slot holds what the extent is */
export function decodeSlot(slots: DecodeSlots, slot: number): boolean {
  const { csumType, csumLo, csumHi, compressionType, inputBytes, outputBytes } = slots.parameters(slot);
  if (!canChecksum(csumType)) return false;
  // A copy: not every decoder takes memory that is shared.
  const input = slots.input(slot).slice(0, inputBytes);
  if (!csumEquals(checksum(csumType, input), { lo: csumLo, hi: csumHi })) return false;
  try {
    slots.output(slot).set(decompress(compressionType, input, outputBytes));
    return true;
  } catch (thrown) {
    if (!(thrown instanceof CorruptError || thrown instanceof IncompatibleError)) throw thrown;
    return false;
  }
}

async function work(slots: DecodeSlots): Promise<void> {
  await loadChecksums();
  await loadCompression();
  for (let slot = slots.claim(); slot !== undefined; slot = slots.claim()) slots.finish(slot, decodeSlot(slots, slot));
}

const memory = platform.threads?.threadMemory();
if (memory !== undefined) await work(new DecodeSlots(memory));
