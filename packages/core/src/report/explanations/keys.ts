// What is wrong with a key by itself: what its validator refuses.

import type { ErrorExplanations } from './explanation.ts';

export const keyErrors = {
  bkey_version_in_future: {
    means: 'A key has a version that was not given out yet.',
    repair: 'The counter of versions is raised above that of data; keys that are not of data get none.',
    lost: 'Nothing.',
  },
  bkey_u64s_too_small: {
    means: 'A key is shorter than its own header.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key.',
  },
  bkey_invalid_type_for_btree: {
    means: 'A key is of a type that its btree does not hold.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key.',
  },
  bkey_extent_size_zero: {
    means: 'An extent has no length.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key, which covered nothing.',
  },
  bkey_extent_size_greater_than_offset: {
    means: 'An extent starts before the beginning of its file.',
    repair: 'It goes to the quarantine file.',
    lost: 'That extent.',
  },
  bkey_size_nonzero: {
    means: 'A key that is not an extent has a length.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key.',
  },
  bkey_snapshot_nonzero: {
    means: 'A key is in a snapshot, and its btree has none.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key.',
  },
  bkey_snapshot_zero: {
    means: 'A key is in no snapshot, and its btree has them.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key.',
  },
  bkey_at_pos_max: {
    means: 'A key is at the position that stands for the end.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key.',
  },
  bkey_before_start_of_btree_node: {
    means: 'A key is before the beginning of its node.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key.',
  },
  bkey_after_end_of_btree_node: {
    means: 'A key is after the end of its node.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key.',
  },
  bkey_val_size_nonzero: {
    means: 'A key of a type without a value has one.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key.',
  },
  bkey_val_size_too_small: {
    means: 'The value of a key is shorter than its type needs.',
    repair: 'It goes to the quarantine file.',
    lost: 'That key; an inode is made again from its extents and names.',
  },
  btree_ptr_val_too_big: {
    means: 'A pointer to a btree node is longer than it may be.',
    repair: 'The btree is built again from its other nodes, and from what a scan finds.',
    lost: 'What no node that is found holds.',
  },
  btree_ptr_v2_val_too_big: {
    means: 'A pointer to a btree node is longer than it may be.',
    repair: 'The btree is built again from its other nodes, and from what a scan finds.',
    lost: 'What no node that is found holds.',
  },
  btree_ptr_v2_min_key_bad: {
    means: 'A pointer to a btree node says that it starts after its end.',
    repair: 'The btree is built again from its other nodes, and from what a scan finds.',
    lost: 'What no node that is found holds.',
  },
  btree_ptr_v2_written_0: {
    means: 'A pointer to a btree node does not say how much of the node was written.',
    repair: 'None: the node is read to its end, and gets a right pointer when it is next written.',
    lost: 'Nothing.',
  },
  btree_ptr_has_non_ptr: {
    means: 'A pointer to a btree node holds something else than pointers.',
    repair: 'The btree is built again from its other nodes, and from what a scan finds.',
    lost: 'What no node that is found holds.',
  },
  extent_ptrs_invalid_entry: {
    means: 'An extent has an entry of an unknown kind.',
    repair: 'The pointers before it are kept, if they are sound.',
    lost: 'The pointers after it; without any before it, the data of the extent.',
  },
  extent_ptrs_no_ptrs: {
    means: 'An extent, or another key with pointers, has none.',
    repair: 'The range becomes a key of type error, and reads of it fail; a stripe goes to the quarantine file.',
    lost: 'The data of the extent.',
  },
  extent_ptrs_too_many_ptrs: {
    means: 'An extent has more pointers than it may.',
    repair: 'The first ones that are sound together are kept.',
    lost: 'The pointers that are too many, but no data.',
  },
  extent_ptrs_redundant_crc: {
    means: 'An extent has a checksum that no pointer uses.',
    repair: 'It is taken out.',
    lost: 'Nothing.',
  },
  extent_ptrs_redundant_stripe: {
    means: 'An extent names a stripe that no pointer uses.',
    repair: 'It is taken out.',
    lost: 'Nothing.',
  },
  extent_ptrs_unwritten: {
    means: 'A pointer to a btree node is marked as not yet written.',
    repair: 'The btree is built again from its other nodes, and from what a scan finds.',
    lost: 'What no node that is found holds.',
  },
  extent_ptrs_written_and_unwritten: {
    means: 'Some pointers of an extent are marked as not yet written, and some are not.',
    repair: 'The first ones that are sound together are kept.',
    lost: 'The other pointers.',
  },
  ptr_to_duplicate_device: {
    means: 'Two pointers of an extent, or of a stripe, are to one device.',
    repair: 'The first one is kept; a stripe goes to the quarantine file.',
    lost: 'The second copy, or the parity of the stripe, but no data.',
  },
  ptr_after_last_bucket: {
    means: 'A pointer leads past the end of its device.',
    repair: 'It is taken out; without another one, the range becomes a key of type error.',
    lost: 'The data of the extent, without another copy.',
  },
  ptr_before_first_bucket: {
    means: 'A pointer leads before the first bucket of its device.',
    repair: 'It is taken out; without another one, the range becomes a key of type error.',
    lost: 'The data of the extent, without another copy.',
  },
  ptr_spans_multiple_buckets: {
    means: 'What a pointer leads to crosses the end of a bucket.',
    repair: 'It is taken out; without another one, the range becomes a key of type error.',
    lost: 'The data of the extent, without another copy.',
  },
  ptr_cached_and_erasure_coded: {
    means: 'A pointer is both cached and in a stripe, which is not possible.',
    repair: 'It is taken out.',
    lost: 'That copy, which was a cached one.',
  },
  ptr_crc_uncompressed_size_too_small: {
    means: 'A checksum of an extent is over less than the extent.',
    repair: 'The pointers that it is for are taken out; without others, the range becomes a key of type error.',
    lost: 'The data of the extent, without another copy.',
  },
  ptr_crc_csum_type_unknown: {
    means: 'A checksum of an extent is of an unknown type.',
    repair: 'The pointers that it is for are taken out; without others, the range becomes a key of type error.',
    lost: 'The data of the extent, without another copy.',
  },
  ptr_crc_compression_type_unknown: {
    means: 'An extent is compressed in an unknown way.',
    repair: 'The pointers that it is for are taken out; without others, the range becomes a key of type error.',
    lost: 'The data of the extent, without another copy.',
  },
  ptr_crc_redundant: {
    means: 'An extent has a checksum that is not followed by a pointer.',
    repair: 'It is taken out.',
    lost: 'Nothing.',
  },
  ptr_crc_uncompressed_size_too_big: {
    means: 'A checksum of an extent is over more than one extent may have.',
    repair: 'None: only what is written is held to it, as in a kernel; what is there stays.',
    lost: 'Nothing.',
  },
  ptr_crc_nonce_mismatch: {
    means: 'Copies of an encrypted extent are encrypted with different nonces.',
    repair: 'The first ones that agree are kept.',
    lost: 'The other copies, but no data.',
  },
  ptr_stripe_redundant: {
    means: 'An extent names two stripes for one pointer.',
    repair: 'One of them is taken out.',
    lost: 'Nothing.',
  },
  ptr_crc_uncompressed_size_mismatch: {
    means: 'A checksum is over another length than its extent has.',
    repair: 'The pointers that it is for are taken out; without others, the range becomes a key of type error.',
    lost: 'The data of the extent, without another copy.',
  },
  extent_flags_not_at_start: {
    means: 'The flags of an extent are not its first entry.',
    repair: 'The pointers are kept, and the flags are not.',
    lost: 'The flags.',
  },
  extent_ptrs_all_invalid: {
    means: 'All pointers of an extent are marked as invalid.',
    repair: 'The range becomes a key of type error, and reads of it fail.',
    lost: 'The data of the extent, which was lost before.',
  },
  extent_reconcile_bad_pending: {
    means: 'An extent is marked as waiting in a way that is impossible.',
    repair: 'The pointers are kept, and the mark is not.',
    lost: 'Nothing.',
  },
  extent_reconcile_bad_hipri: {
    means: 'An extent is marked as urgent in a way that is impossible.',
    repair: 'The pointers are kept, and the mark is not.',
    lost: 'Nothing.',
  },
  extent_reconcile_bad_replicas: {
    means: 'An extent is to have an impossible number of replicas.',
    repair: 'The pointers are kept, and the wish is not.',
    lost: 'Nothing.',
  },
  reservation_key_nr_replicas_invalid: {
    means: 'A reservation is for an impossible number of replicas.',
    repair: 'The number is brought into the range from 1 to 4.',
    lost: 'Nothing.',
  },
  reflink_p_front_pad_bad: {
    means: 'A reference to shared data says that more comes before it than there is.',
    repair: 'What comes before is cut to what there can be.',
    lost: 'Nothing.',
  },
  reflink_v_pos_bad: {
    means: 'Shared data is at a position where none can be.',
    repair: 'It goes to the quarantine file; references to it become keys of type error.',
    lost: 'The data that was shared.',
  },
  stripe_pos_bad: {
    means: 'A stripe is at a position where none can be.',
    repair: 'It goes to the quarantine file.',
    lost: 'The parity of the stripe, but no data.',
  },
  stripe_val_size_bad: {
    means: 'The value of a stripe is shorter than its blocks need.',
    repair: 'It goes to the quarantine file.',
    lost: 'The parity of the stripe, but no data.',
  },
  stripe_csum_granularity_bad: {
    means: 'The checksums of a stripe are over an impossible number of bytes.',
    repair: 'It goes to the quarantine file.',
    lost: 'The parity of the stripe, but no data.',
  },
  stripe_sectors_zero: {
    means: 'A stripe has no sectors.',
    repair: 'It goes to the quarantine file.',
    lost: 'The parity of the stripe, but no data.',
  },
  snapshot_tree_pos_bad: {
    means: 'A snapshot tree is at a position where none can be.',
    repair: 'It goes to the quarantine file, and the snapshots get a tree again.',
    lost: 'Nothing.',
  },
  snapshot_pos_bad: {
    means: 'A snapshot is at a position where none can be.',
    repair: 'It goes to the quarantine file, and is made again from what names it.',
    lost: 'Nothing that its keys do not say.',
  },
  snapshot_children_not_normalized: {
    means: 'The children of a snapshot are in the wrong order.',
    repair: 'They are put in order.',
    lost: 'Nothing.',
  },
  snapshot_child_duplicate: { means: 'A snapshot has one child twice.', repair: 'It has it once.', lost: 'Nothing.' },
  snapshot_skiplist_not_normalized: {
    means: 'The list of ancestors of a snapshot is in the wrong order.',
    repair: 'It is put in order.',
    lost: 'Nothing.',
  },
  snapshot_skiplist_bad: {
    means: 'The list of ancestors of a snapshot has one that is not an ancestor.',
    repair: 'It is made anew, from the parent alone.',
    lost: 'Nothing.',
  },
  snapshot_pad_nonzero: {
    means: 'The padding of a snapshot is not zero.',
    repair: 'It is set to zero.',
    lost: 'Nothing.',
  },
  subvol_pos_bad: {
    means: 'A subvolume is at a position where none can be.',
    repair: 'It goes to the quarantine file, and is made again from what names it.',
    lost: 'Nothing that its directory does not say.',
  },
  subvol_snapshot_bad: {
    means: 'A subvolume lives in a snapshot that cannot exist.',
    repair: 'It goes to the quarantine file, and is made again from what names it.',
    lost: 'Nothing that its directory does not say.',
  },
  subvol_inode_bad: {
    means: 'A subvolume names no root directory.',
    repair: 'It goes to the quarantine file, and is made again from what names it.',
    lost: 'Nothing that its directory does not say.',
  },
  subvol_pad_nonzero: {
    means: 'The padding of a subvolume is not zero.',
    repair: 'It goes to the quarantine file, and is made again from what names it.',
    lost: 'Nothing that its directory does not say.',
  },
  inode_pos_inode_nonzero: {
    means: 'An inode is at a position where none can be.',
    repair: 'It goes to the quarantine file, and is made again from its extents and names.',
    lost: 'Its owner, mode and times.',
  },
  inode_pos_blockdev_range: {
    means: 'An inode has a number that is kept for block devices.',
    repair: 'It goes to the quarantine file, and is made again from its extents and names.',
    lost: 'Its owner, mode and times.',
  },
  inode_unpack_error: {
    means: 'The fields of an inode cannot be unpacked.',
    repair: 'What could be unpacked is kept, and the rest is zero.',
    lost: 'The fields that could not be unpacked.',
  },
  inode_str_hash_invalid: {
    means: 'An inode hashes names in an unknown way.',
    repair: 'It hashes them with siphash, and names are moved to where lookups find them.',
    lost: 'Nothing.',
  },
  inode_v3_fields_start_bad: {
    means: 'An inode says that its fields start in the wrong place.',
    repair: 'The inode is written again: its fields are where they always are.',
    lost: 'Nothing.',
  },
  inode_unlinked_but_nlink_nonzero: {
    means: 'An unlinked inode counts links.',
    repair: 'The count is set to zero.',
    lost: 'Nothing.',
  },
  inode_checksum_type_invalid: {
    means: 'The checksum option of an inode is impossible.',
    repair: 'The option is taken away.',
    lost: 'That option.',
  },
  inode_compression_type_invalid: {
    means: 'The compression option of an inode is impossible.',
    repair: 'The option is taken away.',
    lost: 'That option.',
  },
  inode_subvol_root_but_not_dir: {
    means: 'A file that is not a directory takes itself for the root of a subvolume.',
    repair: 'It is not a root any more.',
    lost: 'Nothing.',
  },
  inode_alloc_cursor_inode_bad: {
    means: 'A note on which inode numbers are free is at a position where none can be.',
    repair: 'It goes to the quarantine file.',
    lost: 'Nothing.',
  },
  dirent_empty_name: {
    means: 'A name is empty.',
    repair: 'It becomes `#NUMBER`, by what it leads to.',
    lost: 'Nothing.',
  },
  dirent_val_too_big: {
    means: 'The names in an entry are longer than its value.',
    repair: 'The name is written again with what there is of it.',
    lost: 'The end of the name.',
  },
  dirent_name_too_long: {
    means: 'A name is longer than names can be.',
    repair: 'None: only what is written is held to it, as in a kernel; what is there stays.',
    lost: 'Nothing.',
  },
  dirent_name_embedded_nul: {
    means: 'A name has a zero byte in it.',
    repair: 'The byte becomes `_`.',
    lost: 'That byte of the name.',
  },
  dirent_name_dot_or_dotdot: { means: 'A name is `.` or `..`.', repair: 'It becomes `_` or `__`.', lost: 'Nothing.' },
  dirent_name_has_slash: {
    means: 'A name has a slash in it.',
    repair: 'The slash becomes `_`.',
    lost: 'That byte of the name.',
  },
  dirent_to_itself: {
    means: 'A name in a directory leads to that directory.',
    repair: 'It goes to the quarantine file.',
    lost: 'The name, which led to nothing else.',
  },
  dirent_cf_name_too_big: {
    means: 'The folded form of a name is longer than it can be.',
    repair: 'None: only what is written is held to it, as in a kernel; what is there stays.',
    lost: 'Nothing.',
  },
  dirent_stray_data_after_cf_name: {
    means: 'The folded form of a name has a zero byte in it.',
    repair: 'The byte becomes `_`.',
    lost: 'That byte of the folded form.',
  },
  quota_type_invalid: {
    means: 'A quota is of a type that does not exist.',
    repair: 'It goes to the quarantine file.',
    lost: 'That quota, which held for nothing.',
  },
  xattr_val_size_too_small: {
    means: 'An extended attribute is shorter than its name and value.',
    repair: 'It is written again with what there is of it.',
    lost: 'The end of its value, or of its name.',
  },
  xattr_val_size_too_big: {
    means: 'An extended attribute is longer than its name and value.',
    repair: 'It is written again in its own length.',
    lost: 'Nothing.',
  },
  xattr_invalid_type: {
    means: 'An extended attribute is of a type that does not exist.',
    repair: 'It becomes one of users, `user.fsck.typeN.NAME`.',
    lost: 'Nothing.',
  },
  xattr_name_invalid_chars: {
    means: 'The name of an extended attribute has a zero byte in it.',
    repair: 'The byte becomes `_`.',
    lost: 'That byte of the name.',
  },
  damage_entries_bad: {
    means: 'A record of lost data has entries that cannot be read.',
    repair: 'Filesystems that have such records are checked and not repaired.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
} satisfies ErrorExplanations;
