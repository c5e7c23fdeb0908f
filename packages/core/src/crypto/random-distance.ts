// How far a counter that nonces are made of jumps before it goes on. A counter alone does not keep nonces apart: it goes on from the last
// commit, and data and journal entries are written before the commit that records how far it came; and a copy of an image counts on from
// the same number. So each opening for writing begins at a random distance, which does not have to be recorded.

import { viewOf } from '../ondisk/layout.ts';
import type { RandomSource } from '../util/random.ts';

/**
 * Extent versions: the kernel counts them in 63 bits (key_version in bcachefs.h, v1.13.0), of which the upper half is left to it.
 */
export const KEY_VERSION_LIMIT = 2n ** 62n;

/**
 * Journal entries: after a crash the kernel puts the entries that it finds in order by 31 bits of their numbers
 * (journal_entry_radix_idx in journal_io.c, v1.13.0), and half of that is left to it.
 */
export const JOURNAL_SEQ_LIMIT = 2n ** 30n;

/** The first distance is below `limit / DIVISOR`: 2^51 versions, 2^19 journal entries. */
const DIVISOR = 2n ** 11n;

/**
 * A random number from 1 on. The range goes down with the square of the room that is left, so that the room is never used up: after a
 * thousand openings distances are about two thirds of the first, after a million one 60,000th (2^35 versions, 8 journal entries).
 * @param used how far the counter has come
 */
export function randomDistance(random: RandomSource, used: bigint, limit: bigint): bigint {
  const room = used < limit ? limit - used : 0n;
  const range = (room * room) / (limit * DIVISOR);
  // 64 bits over at most 51: no number is more likely than another by more than 2^-13 of its share.
  const word = viewOf(random.bytes(8)).getBigUint64(0, true);
  return 1n + (range === 0n ? 0n : word % range);
}
