// Ranges of journal sequence numbers that were used before a crash and never reached the journal: entries and bsets of these numbers
// are not believed, and none of them is missed. Source: journal/seq_blacklist.c, v1.36.1.

import { journalSeqBlacklistField } from '../ondisk/sb-fields/journal-seq-blacklist.ts';
import { type Superblock, sectionPayload } from '../ondisk/superblock.ts';

/** Sequence numbers from `start` to before `end`. */
export interface SeqRange {
  readonly start: number;
  readonly end: number;
}

export class SeqBlacklist {
  /** In order, apart from each other. */
  readonly ranges: readonly SeqRange[];

  /** @param ranges in any order, overlapping or not; empty ones are dropped */
  constructor(ranges: readonly SeqRange[]) {
    const merged: SeqRange[] = [];
    for (const range of [...ranges].sort((a, b) => a.start - b.start)) {
      const last = merged.at(-1);
      if (range.start >= range.end) continue;
      if (last !== undefined && range.start <= last.end) {
        merged[merged.length - 1] = { start: last.start, end: Math.max(last.end, range.end) };
      } else merged.push({ start: range.start, end: range.end });
    }
    this.ranges = merged;
  }

  /** @throws CorruptError count_out_of_range */
  static of(sb: Superblock): SeqBlacklist {
    const payload = sectionPayload(sb, 'journal_seq_blacklist');
    return new SeqBlacklist(payload === undefined ? [] : journalSeqBlacklistField.decode(payload, sb));
  }

  with(more: readonly SeqRange[]): SeqBlacklist {
    return new SeqBlacklist([...this.ranges, ...more]);
  }

  /** Whether keys of this journal entry are not to be believed. */
  has(seq: number): boolean {
    const index = this.#firstEndingAfter(seq);
    return index < this.ranges.length && this.ranges[index]!.start <= seq;
  }

  /** The end of the last range; 0 when there is none. */
  get end(): number {
    return this.ranges.at(-1)?.end ?? 0;
  }

  /** What of `start` to before `end` is not in any range. Mirrors repeated bch2_journal_entry_missing_range. */
  gaps(start: number, end: number): readonly SeqRange[] {
    const gaps: SeqRange[] = [];
    let from = start;
    for (let i = this.#firstEndingAfter(start); i < this.ranges.length && from < end; i++) {
      const range = this.ranges[i]!;
      if (range.start >= end) break;
      if (range.start > from) gaps.push({ start: from, end: range.start });
      from = range.end;
    }
    if (from < end) gaps.push({ start: from, end });
    return gaps;
  }

  #firstEndingAfter(seq: number): number {
    let low = 0;
    let high = this.ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.ranges[middle]!.end <= seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
