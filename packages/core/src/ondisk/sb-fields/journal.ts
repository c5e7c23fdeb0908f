// Sections `journal` and `journal_v2`: which buckets of this device hold its journal: a list of bucket numbers, or (v2, since
// 0.13) a list of ranges. They differ per device. Source: journal/sb.c, v1.36.1.

import { assert } from '../errors.ts';
import { at, count64, layout, type Struct, viewOf } from '../layout.ts';
import type { Superblock } from '../superblock.ts';
import { problem, type SbFieldKind, type SbProblem } from './kind.ts';
import { members } from './members.ts';

/** struct bch_sb_field_journal_v2_entry: a run of journal buckets. */
export const JournalRange = layout('bch_sb_field_journal_v2_entry', 16, {
  start: at(0, count64), // bucket
  nr: at(8, count64), // buckets
});
export type JournalRange = Struct<typeof JournalRange>;

export function decodeJournal(payload: Uint8Array): readonly number[] {
  const view = viewOf(payload);
  return Array.from({ length: Math.floor(payload.length / 8) }, (_, i) => count64.get(view, i * 8));
}

export function encodeJournal(buckets: readonly number[]): Uint8Array {
  const target = new Uint8Array(8 * buckets.length);
  const view = viewOf(target);
  buckets.forEach((bucket, i) => {
    count64.put(view, i * 8, bucket);
  });
  return target;
}

export function decodeJournalV2(payload: Uint8Array): readonly JournalRange[] {
  const view = viewOf(payload);
  const count = Math.floor(payload.length / JournalRange.size);
  return Array.from({ length: count }, (_, i) => JournalRange.get(view, i * JournalRange.size));
}

export function encodeJournalV2(ranges: readonly JournalRange[]): Uint8Array {
  const target = new Uint8Array(JournalRange.size * ranges.length);
  const view = viewOf(target);
  ranges.forEach((range, i) => {
    JournalRange.put(view, i * JournalRange.size, range);
  });
  return target;
}

/** Bucket numbers in the order in which the journal uses them, as ranges. */
export function journalRanges(buckets: readonly number[]): readonly JournalRange[] {
  const ranges: JournalRange[] = [];
  for (const bucket of buckets) {
    const last = ranges.at(-1);
    if (last !== undefined && last.start + last.nr === bucket) ranges[ranges.length - 1] = { ...last, nr: last.nr + 1 };
    else ranges.push({ start: bucket, nr: 1 });
  }
  return ranges;
}

/** The bucket numbers of ranges that were validated, one by one. */
export function journalBuckets(ranges: readonly JournalRange[]): readonly number[] {
  const total = ranges.reduce((sum, range) => sum + range.nr, 0);
  assert(total < 2 ** 32, `${total} journal buckets: the ranges were not validated`);
  return ranges.flatMap(({ start, nr }) => Array.from({ length: nr }, (_, i) => start + i));
}

function validateRanges(ranges: readonly JournalRange[], field: string, sb: Superblock): SbProblem[] {
  const wrong = (detail: string) => [problem('invalid_sb_journal', field, detail)];
  const empty = ranges.find(range => range.nr === 0);
  if (empty !== undefined) return wrong(`an entry of no buckets: ${empty.start}+${empty.nr}`);

  const sorted = [...ranges].sort((a, b) => a.start - b.start);
  const first = sorted[0];
  const last = sorted.at(-1);
  if (first === undefined || last === undefined) return [];
  const member = members(sb)[sb.dev_idx];
  if (first.start === 0) return wrong('a journal bucket at sector 0');
  if (member !== undefined && first.start < member.first_bucket) {
    return wrong(`journal bucket ${first.start} before first bucket ${member.first_bucket}`);
  }
  if (member !== undefined && last.start + last.nr > member.nbuckets) {
    return wrong(`journal bucket ${last.start + last.nr - 1} past end of device (nbuckets ${member.nbuckets})`);
  }
  for (let i = 1; i < sorted.length; i++) {
    const [before, after] = [sorted[i - 1]!, sorted[i]!];
    if (before.start + before.nr > after.start) {
      return wrong(`duplicate journal buckets in ranges ${rangeText(before)}, ${rangeText(after)}`);
    }
  }
  const total = ranges.reduce((sum, range) => sum + range.nr, 0);
  return total < 2 ** 32 ? [] : wrong(`${total} journal buckets, below 2^32 expected`);
}

/** The end is exclusive, as in the reference. */
const rangeText = ({ start, nr }: JournalRange) => `${start}-${start + nr}`;

export const journalField: SbFieldKind<readonly number[]> = {
  name: 'journal',
  decode: decodeJournal,
  encode: encodeJournal,
  validate: (value, sb) =>
    validateRanges(
      value.map(start => ({ start, nr: 1 })),
      'journal',
      sb,
    ),
  text(out, value) {
    out.print('Buckets: ');
    for (const bucket of value) out.print(` ${bucket}`);
    out.newline();
  },
  json: value => ({ buckets: value }),
};

export const journalV2Field: SbFieldKind<readonly JournalRange[]> = {
  name: 'journal_v2',
  decode: decodeJournalV2,
  encode: encodeJournalV2,
  validate: (value, sb) => validateRanges(value, 'journal_v2', sb),
  text(out, value) {
    out.print('Buckets: ');
    for (const range of value) out.print(` ${rangeText(range)}`);
    out.newline();
  },
  json: value => ({ ranges: value.map(({ start, nr }) => ({ first_bucket: start, buckets: nr })) }),
};
