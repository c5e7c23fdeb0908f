// Section `journal_seq_blacklist`: ranges of journal sequence numbers that were in use when a crash lost them: btree nodes may hold
// keys of such entries, which must not be believed. Source: journal/seq_blacklist_format.h and journal/seq_blacklist.c, v1.36.1.

import { at, count64, layout, type Struct, viewOf } from '../layout.ts';
import { PROBLEMS_MAX, problem, type SbFieldKind, type SbProblem } from './kind.ts';

/** struct journal_seq_blacklist_entry. */
const JournalSeqBlacklistEntry = layout('journal_seq_blacklist_entry', 16, {
  start: at(0, count64),
  end: at(8, count64), // exclusive
});
type JournalSeqBlacklistEntry = Struct<typeof JournalSeqBlacklistEntry>;

const FIELD = 'journal_seq_blacklist';

export const journalSeqBlacklistField: SbFieldKind<readonly JournalSeqBlacklistEntry[]> = {
  name: FIELD,
  decode(payload) {
    const view = viewOf(payload);
    const count = Math.floor(payload.length / JournalSeqBlacklistEntry.size);
    return Array.from({ length: count }, (_, i) =>
      JournalSeqBlacklistEntry.get(view, i * JournalSeqBlacklistEntry.size),
    );
  },
  encode(value) {
    const target = new Uint8Array(JournalSeqBlacklistEntry.size * value.length);
    const view = viewOf(target);
    value.forEach((entry, i) => {
      JournalSeqBlacklistEntry.put(view, i * JournalSeqBlacklistEntry.size, entry);
    });
    return target;
  },
  validate(value) {
    const problems: SbProblem[] = [];
    for (const [i, { start, end }] of value.entries()) {
      if (problems.length >= PROBLEMS_MAX) break;
      const wrong = (detail: string) =>
        problems.push(problem('invalid_sb_journal_seq_blacklist', `${FIELD}[${i}]`, detail));
      if (start >= end) wrong(`start is not before end: ${start} >= ${end}`);
      const next = value[i + 1];
      if (next !== undefined && end > next.start) wrong(`out of order with the next entry: ${end} > ${next.start}`);
    }
    return problems;
  },
  text(out, value) {
    out.print(`${value.map(({ start, end }) => `${start}-${end}`).join(' ')}\n`);
  },
  json: value => ({ ranges: value }),
};
