// What is wrong with the journal, and with the list of roots that a clean shutdown leaves.

import type { ErrorExplanations } from './explanation.ts';

export const journalErrors = {
  clean_but_journal_not_empty: {
    means: 'The superblock says clean, and the journal has entries that a mount would have to replay.',
    repair: 'Nothing is replayed: writing into such a filesystem is refused until a check has gone over it.',
    lost: 'Nothing.',
  },
  dirty_but_no_journal_entries: {
    means: 'The filesystem was not unmounted, and its journal has no entry.',
    repair: 'None: without an entry nothing says where the btrees begin, and the check ends with exit code 8.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  dirty_but_no_journal_entries_post_drop_nonflushes: {
    means: 'The journal has entries, but none that was flushed.',
    repair: 'The newest entry that was found is taken, and what its roots lead to is repaired.',
    lost: 'What the entries before it would have changed, where they are gone.',
  },
  sb_clean_journal_seq_mismatch: {
    means: 'The journal has an entry that is newer than the clean shutdown that the superblock has noted.',
    repair: 'The roots of the superblock count, and the entry is left out.',
    lost: 'What that entry changed and no node holds.',
  },
  sb_clean_btree_root_mismatch: {
    means: 'The superblock and the last journal entry have different roots for a btree.',
    repair: "The superblock's root counts, unless it cannot be used or its btree has gaps: then the journal's does.",
    lost: 'Nothing.',
  },
  sb_clean_missing: {
    means: 'The superblock says clean and has no list of roots.',
    repair: 'The roots are taken from the journal, and the commit writes the list again.',
    lost: 'Nothing.',
  },
  sb_clean_entry_overrun: {
    means: "An entry in the superblock's list of roots is longer than the list.",
    repair: 'The roots are taken from the journal, and the commit writes the list again.',
    lost: 'Nothing.',
  },
  jset_unsupported_version: {
    means: 'A journal entry is of a metadata version that is not known.',
    repair:
      'The entry is left out. If its checksum is right, the check ends with exit code 8: newer tools can read it.',
    lost: 'What only that entry had changed.',
  },
  jset_unknown_csum: {
    means: 'A journal entry has a checksum of an unknown type.',
    repair:
      'A copy on another member is used; without one, what can be read of the entry is replayed and judged key by key.',
    lost: 'Keys of it that are not valid.',
  },
  jset_last_seq_newer_than_seq: {
    means: 'A journal entry says that it needs an entry that is newer than itself.',
    repair: 'Only the entry itself is replayed.',
    lost: 'What older entries had changed and no node holds yet.',
  },
  jset_past_bucket_end: {
    means: 'A journal entry is longer than what is left of its bucket.',
    repair:
      'A copy on another member is used; without one, what is there of the entry is replayed and judged key by key.',
    lost: 'What the rest of the entry had changed.',
  },
  jset_seq_blacklisted: {
    means: 'A flushed journal entry has a number that an earlier recovery has given up.',
    repair: 'The entry is left out.',
    lost: 'What only that entry had changed; an earlier recovery went on without it.',
  },
  journal_entries_missing: {
    means: 'Entries between those that are to be replayed are not there.',
    repair: 'What is there is replayed, and what does not fit together after that is repaired like any other damage.',
    lost: 'What only the missing entries had changed.',
  },
  journal_entry_replicas_not_marked: {
    means: 'A journal entry is on members of which the superblock does not say that they hold entries together.',
    repair: 'The commit replays the entry and leaves a journal that is listed.',
    lost: 'Nothing.',
  },
  journal_entry_past_jset_end: {
    means: 'A part of a journal entry is longer than the entry.',
    repair: 'The parts before it are replayed.',
    lost: 'What the rest of the entry had changed.',
  },
  journal_entry_replicas_data_mismatch: {
    means: 'Two whole copies of a journal entry are not the same.',
    repair: 'The copy that was read last is replayed.',
    lost: 'What only the other copy has.',
  },
  journal_entry_bkey_u64s_0: {
    means: 'A key in a journal entry has no length.',
    repair: 'The keys before it are replayed, and the bytes from it on go to the quarantine file.',
    lost: 'That key and those after it in its part of the entry.',
  },
  journal_entry_bkey_past_end: {
    means: 'A key in a journal entry is longer than its part of the entry.',
    repair: 'The keys before it are replayed, and the bytes from it on go to the quarantine file.',
    lost: 'That key and those after it in its part of the entry.',
  },
  journal_entry_bkey_bad_format: {
    means: 'A key in a journal entry is packed, which is not allowed there.',
    repair: 'Its bytes go to the quarantine file.',
    lost: 'That change.',
  },
  journal_entry_bkey_invalid: {
    means: 'A key in a journal entry is not valid.',
    whyNever:
      'Linux 6.12 declares it and never raises it: keys of the journal are judged by the errors of keys, here too.',
  },
  journal_entry_btree_root_bad_size: {
    means: 'A root in the journal is not one valid pointer.',
    repair: 'The btree is built again from nodes that a scan finds.',
    lost: 'What no node that is found holds.',
  },
  journal_entry_blacklist_bad_size: {
    means: 'A list of given-up numbers in the journal has the wrong size.',
    repair: 'It is left out.',
    lost: 'Nothing.',
  },
  journal_entry_blacklist_v2_bad_size: {
    means: 'A range of given-up numbers in the journal has the wrong size.',
    repair: 'It is left out.',
    lost: 'Nothing.',
  },
  journal_entry_blacklist_v2_start_past_end: {
    means: 'A range of given-up numbers in the journal ends before it starts.',
    repair: 'It is left out.',
    lost: 'Nothing.',
  },
  journal_entry_usage_bad_size: {
    means: 'A counter in a journal entry has the wrong size.',
    repair: 'It is left out, and everything is counted anew.',
    lost: 'Nothing.',
  },
  journal_entry_data_usage_bad_size: {
    means: 'A counter of replicas in a journal entry has the wrong size.',
    repair: 'It is left out, and everything is counted anew.',
    lost: 'Nothing.',
  },
  journal_entry_clock_bad_size: {
    means: 'A clock in a journal entry has the wrong size.',
    repair: 'It is left out, and the clock goes on from what an earlier entry says.',
    lost: 'Nothing but the ages of cached data.',
  },
  journal_entry_clock_bad_rw: {
    means: 'A clock in a journal entry is neither that of reads nor that of writes.',
    repair: 'It is left out.',
    lost: 'Nothing but the ages of cached data.',
  },
  journal_entry_dev_usage_bad_size: {
    means: 'A counter of a device, or a date, in a journal entry has the wrong size.',
    repair: 'It is left out, and everything is counted anew.',
    lost: 'Nothing.',
  },
  journal_entry_dev_usage_bad_dev: {
    means: 'A counter in a journal entry is of a device that is not a member.',
    whyNever: 'Linux 6.12 declares it and never raises it: such counters are no longer read, there or here.',
  },
  journal_entry_dev_usage_bad_pad: {
    means: 'The padding of a counter of a device in a journal entry is not zero.',
    repair: 'It is left out, and everything is counted anew.',
    lost: 'Nothing.',
  },
  journal_entry_dup_same_device: {
    means: 'One member has two entries of one number.',
    repair: 'The copy with a right checksum is replayed.',
    lost: 'Nothing, as long as one of them is whole.',
  },
  invalid_btree_id: {
    means: 'The journal or the superblock has a root of a btree that cannot exist.',
    repair: 'The root is left out.',
    lost: 'Nothing that any version knows.',
  },
  btree_root_bkey_invalid: {
    means: 'The pointer to the root of a btree cannot be used.',
    repair: 'The btree is built again from nodes that a scan of the devices finds.',
    lost: 'What no node that is found holds.',
  },
  logged_op_but_clean: {
    means: 'Something long, such as a truncate, was begun and is not finished after a clean shutdown.',
    repair: 'It is finished, as a mount would do after a crash.',
    lost: 'What the operation was to take away.',
  },
  journal_entry_bad_checksum: {
    repair: 'What can be read of the entry is replayed and judged key by key.',
    lost: 'Keys of it that are not valid.',
  },
  journal_on_missing_member: {
    repair: 'None while the member may come back; with --give_up_missing what is there of the journal is replayed.',
    lost: 'With --give_up_missing, what only the entries on that member had changed.',
  },
  journal_read_error: {
    repair: 'What can be read is replayed.',
    lost: 'What only the unreadable entries had changed.',
  },
  journal_entry_rewind_limit_bad_size: {
    means: 'The limit of a rewind in a journal entry has the wrong size.',
    repair: 'It is left out.',
    lost: 'Nothing.',
  },
  journal_entry_rewind_bad_size: {
    means: 'A rewind in a journal entry has the wrong size.',
    repair: 'None: what a rewind has begun is left to a kernel.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
} satisfies ErrorExplanations;
