// Which of the damaged images are found and repaired wholly, and what is found where that is not what the damage aims at. Both lists are
// to grow until they have all images.

/** Areas of which all images are repaired, but for those of `OPEN`. */
export const AREAS: readonly string[] = [
  'accounting',
  'alloc',
  'backpointers',
  'btree topology',
  'journal',
  'replicas and members',
];

/** What is left of these areas; repairs of keys have to follow the repair of nodes. */
export const OPEN: readonly string[] = [
  'journal-last-csum',
  'journal-middle-many',
  'member-nbuckets-used',
  'topo-child-lost-extents',
  'topo-overlap-newer',
  'topo-overwritten-by-next',
];

/** Images of other areas that are repaired. */
export const OTHERS: readonly string[] = [
  'bset-blacklisted',
  'interior-zero-extents',
  'key-after-node',
  'leaf-bitflip-key',
  'leaf-csum-dirents',
  'leaf-zero-backpointers',
  'node-bad-max',
  'node-bad-seq',
  'node-old-version',
  'ptr-written-more',
  'replica-one-zero',
  'root-zero-backpointers',
  'root-zero-deep-backpointers',
  'root-zero-deep-dirents',
  'root-zero-lru',
  'root-zero-xattrs',
];

/** What is found where it says more than the error that is aimed at, or that one is another's consequence. */
export const TRUER: Readonly<Record<string, string>> = {
  'acct-no-device': 'accounting_mismatch',
  'alloc-journal-bucket-free': 'alloc_key_data_type_bad',
  'bset-blacklisted': 'bset_blacklisted_journal_seq',
  'freespace-missing': 'freespace_key_wrong',
  'interior-zero-extents': 'btree_root_read_error',
  'journal-middle-csum': 'journal_entry_bad_checksum',
  'lru-time-0': 'lru_entry_bad',
  'replicas-all-missing': 'ptr_to_missing_replicas_entry',
};

/** Nothing contradicts itself in them: what differs is legal. */
export const LEGAL: readonly string[] = ['journal-clean-all-zero', 'journal-entry-type', 'replicas-extra'];
