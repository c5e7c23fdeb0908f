// What the superblock says of the journal, against the journal: which sets of members hold its entries, and the last one before a clean
// shutdown. A kernel asks the second only when it reads the journal of a clean filesystem, which it does with retain_recovery_info.
// Repair: any commit. It writes both anew, and nothing of the old journal is needed after it.
// Source: bch2_journal_read and bch2_verify_superblock_clean, v1.13.0.

import type { JournalReading } from '../journal/journal.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { replicasEntryText } from '../ondisk/replicas-entry.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import { replicas } from '../ondisk/sb-fields/replicas.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { type Finding, findingOf } from '../report/finding.ts';

const JOURNAL = dataTypes.idOf('journal');

/** Entries to be replayed, on members of which the superblock does not say that they hold entries together; a finding for each set. */
export function unmarkedEntries({ set, sb, replay }: Filesystem): readonly Finding[] {
  const { journal } = replay;
  const present = new Set(set.members.map(({ sb: own }) => own.dev_idx));
  // Where a member is missing, an entry may be on more of them than can be seen.
  if (journal === undefined || members(sb).some((member, index) => memberAlive(member) && !present.has(index)))
    return [];
  const listed = new Set(replicas(sb).map(textOf));
  const found = new Map<string, Finding>();
  for (const { seq, use, ptrs } of journal.entries) {
    // A kernel marks the newest one without a word: it may have been written just before the superblock was to be.
    if (use !== 'replay' || seq === replay.lastSeq) continue;
    const devs = [...new Set(ptrs.map(({ dev }) => dev))];
    const text = textOf({ data_type: JOURNAL, nr_required: 1, devs });
    if (listed.has(text) || found.has(text)) continue;
    const detail = `entry ${seq} is in ${text}, which the superblock does not list`;
    found.set(text, findingOf({ error: 'journal_entry_replicas_not_marked', detail }, { journalSeq: seq }));
  }
  return [...found.values()];
}

const textOf = (entry: Parameters<typeof replicasEntryText>[0]): string =>
  replicasEntryText({ ...entry, devs: [...entry.devs].sort((a, b) => a - b) });

/** An entry of a clean filesystem that is newer than the superblock's last one: something was written after that superblock. */
export function entriesAfterClean({ replay }: Filesystem, { entries, blacklist }: JournalReading): readonly Finding[] {
  const newest = entries.findLast(
    ({ seq, isFlush, checksumGood }) => isFlush && checksumGood && !blacklist.has(seq) && !replay.blacklist.has(seq),
  );
  if (newest === undefined || newest.seq <= replay.lastSeq) return [];
  const detail = `the superblock was left clean at journal entry ${replay.lastSeq}, and the journal goes on to ${newest.seq}`;
  return [findingOf({ error: 'sb_clean_journal_seq_mismatch', detail }, { field: 'clean', journalSeq: newest.seq })];
}
