// Bit masks as lists of names.

import { nameAt, type Release, type ReleasedRow } from '../releases.ts';
import type { Table } from '../table.ts';

/** The numbers of the bits that are set, over several 64-bit words. */
export function setBits(words: readonly bigint[]): number[] {
  const found: number[] = [];
  words.forEach((word, i) => {
    for (let bit = 0; bit < 64; bit++) {
      if ((word >> BigInt(bit)) & 1n) found.push(i * 64 + bit);
    }
  });
  return found;
}

/** Names of the bits of a mask as a release calls them; bits without a name come as `unknown(37)` (the reference stops there). */
export function flagNames(names: Table<ReleasedRow>, mask: bigint, release: Release): string[] {
  return setBits([mask]).map(bit => {
    const row = names.byId(bit);
    return row === undefined ? `unknown(${bit})` : nameAt(release, row);
  });
}
