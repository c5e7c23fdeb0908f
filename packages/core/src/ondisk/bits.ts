// Bit ranges inside 64-bit words: what the C code declares with LE64_BITMASK. Cold paths only (superblock flags, member
// flags), hence bigint words; a value of up to 53 bits is a plain number.

import { assert } from './errors.ts';

/** Bits `lo` (inclusive) to `hi` (exclusive) of 64-bit word number `word`. */
export interface BitRange {
  readonly word: number;
  readonly lo: number;
  readonly hi: number;
}

/** @param hi exclusive, as in LE64_BITMASK */
export function bits(word: number, lo: number, hi: number): BitRange {
  assert(lo >= 0 && lo < hi && hi <= 64, `bits ${lo} to ${hi} are not a range inside a 64-bit word`);
  return { word, lo, hi };
}

const mask = (range: BitRange) => (1n << BigInt(range.hi - range.lo)) - 1n;

export function getBigBits(words: readonly bigint[], range: BitRange): bigint {
  return ((words[range.word] ?? 0n) >> BigInt(range.lo)) & mask(range);
}

/** For ranges of at most 53 bits. */
export function getBits(words: readonly bigint[], range: BitRange): number {
  assert(range.hi - range.lo <= 53, `bits ${range.lo} to ${range.hi} do not fit a number`);
  return Number(getBigBits(words, range));
}

/** A copy of `words` with the range replaced. The value must fit. */
export function withBits(words: readonly bigint[], range: BitRange, value: number | bigint | boolean): bigint[] {
  const wanted = BigInt(value);
  assert(wanted >= 0n && wanted <= mask(range), `${value} does not fit into bits ${range.lo} to ${range.hi}`);
  const changed = [...words];
  const word = changed[range.word];
  assert(word !== undefined, `there is no flags word ${range.word}`);
  changed[range.word] = (word & ~(mask(range) << BigInt(range.lo))) | (wanted << BigInt(range.lo));
  return changed;
}
