// Which of the damaged images fsck does not find or repair yet, and what is found where that is not what the damage aims at. The first
// list is empty.

/** What is left of them is found by the next run too, or nothing is found. */
export const OPEN: readonly string[] = [];

/** What is found where it says more than the error that is aimed at, or that one is another's consequence. */
export const TRUER: Readonly<Record<string, string>> = {
  'alloc-journal-bucket-free': 'alloc_key_data_type_bad',
  'bset-blacklisted': 'bset_blacklisted_journal_seq',
  'bset-key-past-end': 'dirent_name_embedded_nul',
  'extent-in-sb-bucket': 'ptr_bucket_data_type_mismatch',
  'interior-zero-extents': 'btree_root_read_error',
  'journal-middle-csum': 'journal_entry_bad_checksum',
  'lru-time-0': 'lru_entry_bad',
  'member-nbuckets-used': 'invalid_sb_members',
  'replica-both-zero': 'btree_root_read_error',
  'topo-overlap-newer': 'btree_node_topology_overwritten_by_next_node',
};

/** Nothing contradicts itself in them: what differs is legal. */
export const LEGAL: readonly string[] = [
  // File data, which fsck does not read: scrub finds it, and repairs it from the other copy (test/scrub).
  'extent-data-corrupt-one',
  'extent-unwritten',
  'inode-size-long',
  'journal-clean-all-zero',
  'journal-entry-type',
  // What a crash leaves: the last entry was being written.
  'journal-last-csum',
  'replicas-extra',
  // A mount makes what is missing, or runs what is asked for.
  'sb-alloc-info-lost',
  'sb-passes-required',
];
