// What is wrong with buckets, the pointers into them, and what is derived from both.

import type { ErrorExplanations } from './explanation.ts';

export const spaceErrors = {
  fs_usage_hidden_wrong: {
    means: 'The counter of superblocks and journals was wrong.',
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  fs_usage_btree_wrong: {
    means: 'The counter of btree nodes was wrong.',
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  fs_usage_data_wrong: {
    means: 'The counter of data was wrong.',
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  fs_usage_cached_wrong: {
    means: 'The counter of cached data was wrong.',
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  fs_usage_reserved_wrong: {
    means: 'The counter of reservations was wrong.',
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  fs_usage_persistent_reserved_wrong: {
    means: 'The counter of lasting reservations was wrong.',
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  fs_usage_nr_inodes_wrong: {
    means: 'The counter of inodes was wrong.',
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  fs_usage_replicas_wrong: {
    means: 'A counter of replicas was wrong.',
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  dev_usage_buckets_wrong: {
    means: "A device's counter of buckets was wrong.",
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  dev_usage_sectors_wrong: {
    means: "A device's counter of sectors was wrong.",
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  dev_usage_fragmented_wrong: {
    means: "A device's counter of fragmented sectors was wrong.",
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: these counters are in the accounting btree now, and accounting_mismatch is their error.',
  },
  dev_usage_buckets_ec_wrong: {
    means: "A device's counter of buckets in stripes was wrong.",
    whyNever: 'Linux 6.12 only names it in its tables of upgrades: there is no such counter any more.',
  },
  alloc_v1_val_size_bad: {
    means: 'The value of an alloc key of the first kind has the wrong size.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing.',
  },
  alloc_v2_unpack_error: {
    means: 'An alloc key of the second kind cannot be unpacked.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing.',
  },
  alloc_v3_unpack_error: {
    means: 'An alloc key of the third kind cannot be unpacked; 6.12 calls that alloc_v2_unpack_error.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing.',
  },
  alloc_v4_val_size_bad: {
    means: 'The value of an alloc key has the wrong size.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing.',
  },
  alloc_v4_backpointers_start_bad: {
    means: 'An alloc key says that its backpointers start in the wrong place.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing.',
  },
  alloc_key_data_type_bad: {
    means: 'The type of a bucket does not match what its own key says is in it.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing.',
  },
  alloc_key_empty_but_have_data: {
    means: 'A bucket is empty, and its own key counts data.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing.',
  },
  alloc_key_dirty_sectors_0: {
    means: 'A bucket has data by its type, and its own key counts none.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing.',
  },
  alloc_key_cached_inconsistency: {
    means: 'A bucket has cached data by its type, and its own key counts none or other data.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing.',
  },
  alloc_key_io_time_bad: {
    means: 'The time at which a bucket was last used is impossible.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing but the age of cached data.',
  },
  alloc_key_data_type_inconsistency: {
    means: 'The type of a bucket contradicts its counters.',
    whyNever: 'Linux 6.12 declares it and never raises it: alloc_key_data_type_bad and its kin took its place.',
  },
  alloc_key_to_missing_dev_bucket: {
    means: 'An alloc key is of a bucket that does not exist.',
    repair: 'The alloc keys are made anew.',
    lost: 'Nothing.',
  },
  alloc_key_cached_but_read_time_zero: {
    means: 'A bucket of cached data does not know when it was last read.',
    repair: 'It counts as read now.',
    lost: 'Nothing.',
  },
  alloc_key_to_missing_lru_entry: {
    means: 'A bucket is missing from a list by age or by use.',
    repair: 'The lists are made anew.',
    lost: 'Nothing.',
  },
  alloc_key_data_type_wrong: {
    means: 'A bucket is of another type than what is in it.',
    repair: 'What is in each bucket is counted anew from all pointers.',
    lost: 'Nothing.',
  },
  alloc_key_gen_wrong: {
    means: 'A bucket has another generation than the pointers to it.',
    whyNever:
      'Linux 6.12 raises it after it has taken the generation from a pointer in memory, for which it raised ptr_gen_newer_than_bucket_gen or ptr_to_missing_alloc_key before; here those are the findings, and the same repair follows.',
  },
  alloc_key_dirty_sectors_wrong: {
    means: 'A bucket counts another number of sectors than there are in it.',
    repair: 'What is in each bucket is counted anew from all pointers.',
    lost: 'Nothing.',
  },
  alloc_key_cached_sectors_wrong: {
    means: 'A bucket counts another number of cached sectors than there are in it.',
    repair: 'What is in each bucket is counted anew from all pointers.',
    lost: 'Nothing.',
  },
  alloc_key_stripe_wrong: {
    means: 'A bucket says that it is in another stripe than it is.',
    repair: 'What is in each bucket is counted anew from all stripes.',
    lost: 'Nothing.',
  },
  alloc_key_stripe_redundancy_wrong: {
    means: 'A bucket says that its stripe has another redundancy than it has.',
    repair: 'What is in each bucket is counted anew from all stripes.',
    lost: 'Nothing.',
  },
  alloc_key_stripe_sectors_wrong: {
    means: 'A bucket counts another number of sectors in stripes than there are in it.',
    repair: 'What is in each bucket is counted anew from all pointers.',
    lost: 'Nothing.',
  },
  alloc_key_fragmentation_lru_wrong: {
    means: 'A bucket said that it is elsewhere in the list of buckets that could be emptied.',
    whyNever:
      'Linux 6.12 only names it in its tables of upgrades: buckets do not say that any more, and the list has alloc_key_to_missing_lru_entry and lru_entry_bad.',
  },
  alloc_key_journal_seq_in_future: {
    means: 'A bucket was last filled in a journal entry that was not written yet.',
    repair: 'The number is set to that of the last entry.',
    lost: 'Nothing.',
  },
  alloc_key_oldest_gen_wrong: { repair: 'It is set to the older one.', lost: 'Nothing.' },
  alloc_key_external_backpointers_nonzero: { repair: 'The alloc keys are made anew.', lost: 'Nothing.' },
  bucket_sector_count_overflow: {
    means: 'The pointers into a bucket claim more sectors than it has.',
    repair:
      'Keys that claim the same sectors are distinguished by their data, and copied apart where that does not decide.',
    lost: 'The data of an extent that was overwritten before, without another copy.',
  },
  bucket_metadata_type_mismatch: {
    means: 'A superblock and a journal claim the same bucket.',
    repair: 'None: nothing says which of them is right.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  need_discard_key_wrong: {
    means: 'A bucket that waits to be discarded is not listed for it.',
    repair: 'The lists of free buckets are made anew.',
    lost: 'Nothing.',
  },
  freespace_key_wrong: {
    means: 'A free bucket is not listed as free.',
    repair: 'The lists of free buckets are made anew.',
    lost: 'Nothing.',
  },
  freespace_hole_missing: {
    means: 'Buckets without alloc keys, which are free, are not listed as free.',
    repair: 'The lists of free buckets are made anew.',
    lost: 'Nothing.',
  },
  bucket_gens_val_size_bad: {
    means: 'A list of generations has the wrong size.',
    repair: 'The lists of generations are made anew from the alloc keys.',
    lost: 'Nothing.',
  },
  bucket_gens_key_wrong: {
    means: "A list of generations has another one than the bucket's alloc key.",
    repair: 'The lists of generations are made anew from the alloc keys.',
    lost: 'Nothing.',
  },
  bucket_gens_hole_wrong: {
    means: 'A list of generations has one for a bucket that has no alloc key.',
    repair: 'The lists of generations are made anew from the alloc keys.',
    lost: 'Nothing.',
  },
  bucket_gens_to_invalid_dev: {
    means: 'A list of generations is of a device that is not a member.',
    repair: 'The lists of generations are made anew from the alloc keys.',
    lost: 'Nothing.',
  },
  bucket_gens_to_invalid_buckets: {
    means: 'A list of generations is of buckets that do not exist.',
    repair: 'The lists of generations are made anew from the alloc keys.',
    lost: 'Nothing.',
  },
  bucket_gens_nonzero_for_invalid_buckets: {
    means: 'A list of generations has one for a bucket that does not exist.',
    repair: 'The lists of generations are made anew from the alloc keys.',
    lost: 'Nothing.',
  },
  need_discard_freespace_key_to_invalid_dev_bucket: {
    means: 'A list of free buckets has one that does not exist.',
    repair: 'The lists of free buckets are made anew.',
    lost: 'Nothing.',
  },
  need_discard_freespace_key_bad: {
    means: 'A list of free buckets has one that is not free.',
    repair: 'The lists of free buckets are made anew.',
    lost: 'Nothing.',
  },
  backpointer_bucket_offset_wrong: {
    means: 'A backpointer says that it is elsewhere in its bucket than its position says.',
    repair: 'The backpointers are made anew from all pointers.',
    lost: 'Nothing.',
  },
  backpointer_level_bad: {
    means: 'A backpointer is to a level that no btree has.',
    repair: 'The backpointers are made anew from all pointers.',
    lost: 'Nothing.',
  },
  backpointer_dev_bad: {
    means: 'A backpointer is for no device.',
    repair: 'The backpointers are made anew from all pointers.',
    lost: 'Nothing.',
  },
  backpointer_to_missing_device: {
    means: 'A backpointer is for a bucket that does not exist.',
    repair: 'The backpointers are made anew from all pointers.',
    lost: 'Nothing.',
  },
  backpointer_to_missing_alloc: {
    means: 'A backpointer is for a bucket that has no alloc key, and that no pointer leads to.',
    repair: 'The backpointers are made anew from all pointers.',
    lost: 'Nothing.',
  },
  backpointer_to_missing_ptr: {
    means: 'A backpointer leads to a key that does not point back.',
    repair: 'The backpointers are made anew from all pointers.',
    lost: 'Nothing.',
  },
  lru_entry_at_time_0: {
    means: 'An entry in a list by age has no time.',
    repair: 'The lists are made anew.',
    lost: 'Nothing.',
  },
  lru_entry_to_invalid_bucket: {
    means: 'A list by age has a bucket that does not exist.',
    repair: 'The lists are made anew.',
    lost: 'Nothing.',
  },
  lru_entry_bad: {
    means: 'A list by age has a bucket that is not of that age, or does not belong there.',
    repair: 'The lists are made anew.',
    lost: 'Nothing.',
  },
  ptr_to_invalid_device: {
    means: 'A pointer is to a device that is not a member, or to a bucket that does not exist.',
    repair:
      'It is taken out; without another one, the range becomes a key of type error. The pointer of a btree node makes its btree be built again; that of a stripe stays.',
    lost: 'The data of the extent, without another copy.',
  },
  ptr_to_missing_replicas_entry: {
    means: 'Data is on a set of devices that the superblock does not list.',
    repair: 'The list is made anew.',
    lost: 'Nothing.',
  },
  ptr_to_missing_alloc_key: {
    means: 'A pointer leads into a bucket that has no alloc key.',
    repair: 'The bucket gets one, with the generation of the pointer.',
    lost: 'Nothing.',
  },
  ptr_to_missing_stripe: {
    means: 'A pointer says that it is in a stripe that does not exist.',
    repair: 'The pointer stays, and is in no stripe any more.',
    lost: 'Nothing: the data does not need the stripe.',
  },
  ptr_to_incorrect_stripe: {
    means: 'A pointer says that it is a block of a stripe, which has another place for that block.',
    repair: 'The pointer stays, and is in no stripe any more.',
    lost: 'Nothing: the data does not need the stripe.',
  },
  ptr_to_missing_backpointer: {
    means: 'A pointer has no backpointer.',
    repair: 'The backpointers are made anew from all pointers.',
    lost: 'Nothing.',
  },
  ptr_gen_newer_than_bucket_gen: {
    means: 'A pointer is of a generation that its bucket has not come to yet.',
    repair:
      "Where nothing of the bucket's own generation is in it, the bucket gets that of the pointer; else the pointer is taken out.",
    lost: 'The data of the extent, where the bucket is in use by something else and there is no other copy.',
  },
  ptr_too_stale: {
    means: 'A pointer is of a generation that is too old to be compared.',
    repair: 'It is taken out; without another one, the range becomes a key of type error.',
    lost: 'The data of the extent, without another copy.',
  },
  stale_dirty_ptr: {
    means: 'A pointer to data that is not cached is of an older generation than its bucket.',
    repair:
      "Where nothing of the bucket's own generation is in it, the bucket gets that of the pointer; else the pointer is taken out. That of a stripe stays.",
    lost: 'The data of the extent, where the bucket was used again and there is no other copy.',
  },
  ptr_bucket_data_type_mismatch: {
    means: 'Pointers to data of two kinds lead into one bucket.',
    repair:
      'Those to btree nodes, superblocks and journals stay, and others are taken out; without another copy, the range becomes a key of type error.',
    lost: 'The data of the extent, without another copy.',
  },
  dup_backpointer_to_bad_csum_extent: {
    means: 'Two keys claim the same sectors, and the data there belongs to the other one.',
    repair:
      'The data decides: the pointer whose checksum does not match is taken out, and without checksums the older one. Without another copy, the range becomes a key of type error.',
    lost: 'The data of the extent, without another copy: it was overwritten before.',
  },
  sectors_claimed_twice: {
    repair: 'One of them stays where it is, and the others get copies of their own.',
    lost: 'Nothing.',
  },
  reflink_v_refcount_wrong: {
    means: 'Shared data counts another number of references than there are.',
    repair: 'The count is set; shared data that nothing refers to is deleted.',
    lost: 'Nothing that a file refers to.',
  },
  reflink_p_to_missing_reflink_v: {
    means: 'A file refers to shared data that is not there.',
    repair: 'The part that is missing becomes a key of type error; the rest stays.',
    lost: 'The part that is missing.',
  },
  stripe_sector_count_wrong: {
    means: 'A block of a stripe counts another number of sectors than the pointers into it.',
    repair: 'The pointers into each block are counted anew.',
    lost: 'Nothing.',
  },
  accounting_mismatch: {
    means: 'A counter of space or of inodes is wrong.',
    repair: 'Everything is counted anew.',
    lost: 'Nothing.',
  },
  accounting_inum_mismatch: { repair: 'Everything is counted anew.', lost: 'Nothing.' },
  accounting_replicas_not_marked: {
    means: 'Data is counted on a set of devices that the superblock does not list.',
    repair: 'The list is made anew.',
    lost: 'Nothing.',
  },
  accounting_to_invalid_device: {
    means: 'A counter is of a device that is not a member.',
    repair: 'Everything is counted anew.',
    lost: 'Nothing.',
  },
  accounting_key_junk_at_end: {
    means: 'A counter has something after the end of its name.',
    repair: 'Everything is counted anew.',
    lost: 'Nothing.',
  },
  accounting_key_replicas_nr_devs_0: {
    means: 'A counter of replicas is for no device.',
    repair: 'Everything is counted anew.',
    lost: 'Nothing.',
  },
  accounting_key_replicas_nr_required_bad: {
    means: 'A counter of replicas needs more devices than it names.',
    repair: 'Everything is counted anew.',
    lost: 'Nothing.',
  },
  accounting_key_replicas_devs_unsorted: {
    means: 'A counter of replicas names its devices in the wrong order.',
    repair: 'Everything is counted anew.',
    lost: 'Nothing.',
  },
  accounting_key_version_0: {
    means: 'A counter has no version, by which changes to it are told apart.',
    repair: 'Everything is counted anew.',
    lost: 'Nothing.',
  },
  accounting_key_nr_counters_wrong: {
    means: 'A counter has another number of values than its kind has.',
    repair: 'Everything is counted anew.',
    lost: 'Nothing.',
  },
  rebalance_work_missing: { repair: 'The list is made anew.', lost: 'Nothing.' },
  rebalance_work_bad: { repair: 'The list is made anew.', lost: 'Nothing.' },
  stripe_bucket_shared: {
    repair: 'None yet: a check reports it as left, and a commit that would make it so is refused.',
    lost: 'Nothing: data can still be read.',
  },
  parity_bucket_in_use: {
    repair: 'None: a commit that would make it so is refused.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
} satisfies ErrorExplanations;
