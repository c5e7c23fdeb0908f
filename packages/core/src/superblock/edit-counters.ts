// Zeroes persistent counters.

import { type CounterName, counters } from '../ondisk/counters.ts';
import { decodeCounters, encodeCounters } from '../ondisk/sb-fields/counters.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';

/** A copy of the superblock with these counters, or all of them, at zero. One without counters stays as it is. */
export function withCountersReset(sb: Superblock, names?: readonly CounterName[]): Superblock {
  const payload = sectionPayload(sb, 'counters');
  if (payload === undefined) return sb;
  const ids = names && new Set(names.map(name => counters.idOf(name)));
  const values = decodeCounters(payload).map((value, id) => (ids === undefined || ids.has(id) ? 0n : value));
  return withSection(sb, 'counters', encodeCounters(values));
}
