import { describe, expect, test } from 'vitest';
import type { BitRange } from './bits.ts';
import { memberBits } from './member-bits.ts';
import { sbBits, sbExtBits } from './sb-bits.ts';

/** Bits of each word that no range uses. */
function unusedBits(ranges: readonly BitRange[], words: number): string[] {
  return Array.from({ length: words }, (_, word) => {
    const used = new Set<number>();
    for (const range of ranges.filter(candidate => candidate.word === word)) {
      for (let bit = range.lo; bit < range.hi; bit++) {
        expect(used.has(bit), `bit ${bit} of word ${word} is used once`).toBe(false);
        used.add(bit);
      }
    }
    const gaps: string[] = [];
    for (let bit = 0; bit < 64; bit++) {
      if (used.has(bit)) continue;
      const from = bit;
      while (bit + 1 < 64 && !used.has(bit + 1)) bit++;
      gaps.push(`${from}-${bit}`);
    }
    return gaps.join(' ');
  });
}

describe('no bit is used twice', () => {
  test('superblock: the first six words are full', () => {
    expect(unusedBits(Object.values(sbBits), 7)).toEqual(['', '', '', '', '', '', '60-63']);
  });

  test('ext section', () => {
    expect(unusedBits(Object.values(sbExtBits), 1)).toEqual(['49-63']);
  });

  test('members', () => {
    expect(unusedBits(Object.values(memberBits), 1)).toEqual(['4-13 38-63']);
  });
});
