// What is wrong with snapshots, subvolumes, inodes, names and data.

import type { ErrorExplanations } from './explanation.ts';

export const fileErrors = {
  snapshot_tree_to_missing_snapshot: {
    means: 'A snapshot tree has no root.',
    repair: 'It gets the root that its snapshots lead up to; a tree without any goes.',
    lost: 'Nothing.',
  },
  snapshot_tree_to_missing_subvol: {
    means: 'A snapshot tree names a subvolume that does not exist.',
    repair: 'It names the first subvolume in it that is not a snapshot, else the oldest.',
    lost: 'Nothing.',
  },
  snapshot_tree_to_wrong_subvol: {
    means: 'A snapshot tree names a subvolume of another tree.',
    repair: 'It names the first subvolume in it that is not a snapshot, else the oldest.',
    lost: 'Nothing.',
  },
  snapshot_tree_to_snapshot_subvol: {
    means: 'A snapshot tree names a subvolume that is a snapshot itself.',
    repair: 'It names the first subvolume in it that is not a snapshot, else the oldest.',
    lost: 'Nothing.',
  },
  snapshot_parent_bad: {
    means: 'A snapshot and the one that it has as its parent do not agree.',
    repair: 'A link that one of them has is believed.',
    lost: 'Nothing.',
  },
  snapshot_child_bad: {
    means: 'A snapshot and one that it has as its child do not agree.',
    repair: 'A link that one of them has is believed.',
    lost: 'Nothing.',
  },
  snapshot_should_not_have_subvol: {
    means: 'A snapshot has a subvolume, and is not a leaf or was deleted.',
    repair: 'The link goes, unless the subvolume does live there.',
    lost: 'Nothing.',
  },
  snapshot_to_bad_snapshot_tree: {
    means: 'A snapshot names a tree that is not its own.',
    repair: 'It names the tree of its root, which is made if need be.',
    lost: 'Nothing.',
  },
  snapshot_bad_depth: {
    means: 'A snapshot says that it is on another level of its tree.',
    repair: 'The level is computed.',
    lost: 'Nothing.',
  },
  snapshot_bad_skiplist: {
    means: 'The list of ancestors of a snapshot has one that is not an ancestor.',
    repair: 'It is computed.',
    lost: 'Nothing.',
  },
  snapshot_node_missing: {
    means: 'A snapshot that others name, or that keys are in, does not exist.',
    repair: 'It is made again from what names it and from the snapshots that occur beside it.',
    lost: 'Nothing that its keys do not say.',
  },
  snapshot_subvol_backref_wrong: {
    means: 'A snapshot and the subvolume that lives in it do not name each other.',
    repair: 'The subvolume is believed.',
    lost: 'Nothing.',
  },
  snapshot_not_deleted: {
    repair: 'It goes with the keys in it, as a kernel would have done.',
    lost: 'What was deleted with the subvolume.',
  },
  subvol_not_master_and_not_snapshot: {
    means: 'A subvolume is not a snapshot, and its tree names another one as the first.',
    repair: 'It is marked as a snapshot.',
    lost: 'Nothing.',
  },
  subvol_to_missing_root: {
    means: 'A subvolume has no root directory.',
    repair: 'The directory is made again, in the snapshot that its entries are in.',
    lost: 'Its owner, mode and times.',
  },
  subvol_root_wrong_bi_subvol: {
    means: 'The root directory of a subvolume does not know that it is one.',
    repair: "The directory gets the subvolume's number.",
    lost: 'Nothing.',
  },
  subvol_root_fs_path_parent_nonzero: {
    means: 'The first subvolume says that it is inside another one.',
    repair: 'The link goes.',
    lost: 'Nothing.',
  },
  subvol_children_not_set: {
    means: 'A subvolume is not listed below the one that it is in.',
    repair: 'The list is set.',
    lost: 'Nothing.',
  },
  subvol_children_bad: {
    means: 'A subvolume is listed below one that it is not in.',
    repair: 'The list is set.',
    lost: 'Nothing.',
  },
  subvol_loop: {
    means: 'A subvolume is below itself.',
    repair: 'The one that was made first leaves the loop and goes to lost+found.',
    lost: 'The place that it had.',
  },
  subvol_unreachable: {
    means: 'A subvolume has no name, or was unlinked and is still there.',
    repair: 'It gets the name `subvol-NUMBER` in lost+found; one that was unlinked goes.',
    lost: 'What was deleted with the subvolume.',
  },
  subvol_fs_path_parent_wrong: {
    means: 'A subvolume says that it is in another one than its name is in.',
    repair: 'The subvolume gets the number of the one that its name is in.',
    lost: 'Nothing.',
  },
  subvol_missing: {
    means: 'A subvolume that a snapshot or a directory names does not exist.',
    repair: 'It is made again from what names it.',
    lost: 'Nothing that its directory does not say.',
  },
  subvol_snapshot_shared: {
    repair: 'The one that the snapshot and its directory name stays.',
    lost: "The other one's key.",
  },
  root_subvol_missing: {
    means: 'The first subvolume, which a mount shows, does not exist.',
    repair: 'It is made again.',
    lost: 'Nothing that its directory does not say.',
  },
  root_dir_missing: {
    means: 'The root directory does not exist.',
    repair: 'It is made again, and its entries are found where they are.',
    lost: 'Its owner, mode and times.',
  },
  root_inode_not_dir: {
    means: 'The root directory is not a directory.',
    repair: 'It becomes one.',
    lost: 'Nothing that a root directory can have.',
  },
  bkey_in_missing_snapshot: {
    means: 'A key is in a snapshot that does not exist.',
    repair: 'The snapshot is made again; nothing is deleted for it.',
    lost: 'Nothing.',
  },
  inode_snapshot_mismatch: {
    means:
      'Versions of an inode in several snapshots differ in what must not differ: their type or how they hash names.',
    repair: 'The versions get what the first one has.',
    lost: 'Nothing.',
  },
  inode_unlinked_but_clean: {
    means: 'An inode is unlinked after a clean shutdown.',
    whyNever:
      'Linux 6.12 declares it and never raises it: unlinked_inode_not_on_deleted_list and deleted_inode_but_clean took its place.',
  },
  inode_unlinked_and_not_open: {
    means: 'An inode is unlinked, and no program has it open.',
    whyNever:
      'Linux 6.12 asks it only while the filesystem is mounted, since only then something can be open. Here such an inode is deleted as deleted_inode_but_clean, or by the next mount.',
  },
  inode_i_size_dirty_but_clean: {
    means: 'After a clean shutdown, an inode says that its size is being changed.',
    repair: 'The flag goes.',
    lost: 'Nothing.',
  },
  inode_i_sectors_dirty_but_clean: {
    means: 'After a clean shutdown, an inode says that its sectors are being counted.',
    repair: 'The flag goes, and they are counted.',
    lost: 'Nothing.',
  },
  inode_i_sectors_wrong: {
    means: 'An inode counts another number of sectors than its extents have.',
    repair: 'The count is set.',
    lost: 'Nothing.',
  },
  inode_dir_wrong_nlink: {
    means: 'A directory counts another number of subdirectories than it has.',
    repair: 'The count is set.',
    lost: 'Nothing.',
  },
  inode_dir_multiple_links: {
    means: 'A directory has a second name.',
    repair: 'The second name goes to the quarantine file.',
    lost: 'The second name.',
  },
  inode_dir_missing_backpointer: {
    means: 'A directory does not know its name.',
    repair: 'It gets the name that leads to it.',
    lost: 'Nothing.',
  },
  inode_multiple_links_but_nlink_0: {
    means: 'A file has several names and counts one.',
    repair: 'The count is set.',
    lost: 'Nothing.',
  },
  inode_wrong_backpointer: {
    means: 'An inode has noted another name than the one that leads to it.',
    repair: 'It gets the name that leads to it.',
    lost: 'Nothing.',
  },
  inode_wrong_nlink: {
    means: 'A file counts another number of names than it has.',
    repair: 'The count is set.',
    lost: 'Nothing.',
  },
  inode_unreachable: {
    means: 'No name leads to an inode.',
    repair: 'It gets the name `#NUMBER` in the lost+found of its subvolume; what is below a directory stays there.',
    lost: 'The name, unless a lost entry still has it.',
  },
  inode_unlinked_but_has_dirent: {
    means: 'A name leads to an inode that is marked as deleted.',
    repair: 'The mark goes.',
    lost: 'Nothing.',
  },
  inode_dir_unlinked_but_not_empty: {
    means: 'A directory is marked as deleted and has entries.',
    repair: 'The mark goes, and it gets a name in lost+found.',
    lost: 'Nothing.',
  },
  inode_has_child_snapshots_wrong: {
    means: 'An inode says wrongly whether it has versions in younger snapshots.',
    repair: 'The flag is set.',
    lost: 'Nothing.',
  },
  inode_journal_seq_in_future: {
    means: 'An inode was last changed in a journal entry that was not written yet.',
    repair: 'The number is set to that of the last entry.',
    lost: 'Nothing.',
  },
  inode_bi_subvol_missing: {
    means: 'A directory takes itself for the root of a subvolume that does not exist.',
    repair: 'The subvolume is made again if something else names it; else the directory is one like others.',
    lost: 'Nothing.',
  },
  inode_bi_subvol_wrong: {
    means: 'A directory takes itself for the root of a subvolume that has another one.',
    repair: 'The directory is one like others.',
    lost: 'Nothing.',
  },
  inode_bi_parent_nonzero: {
    means: 'A directory that is not the root of a subvolume says that it is inside one as such.',
    repair: 'The field is set to zero.',
    lost: 'Nothing.',
  },
  inode_bi_parent_wrong: {
    means: 'The root directory of a subvolume says that it is in another one than its name is in.',
    repair: 'It gets the number of the one that its name is in.',
    lost: 'Nothing.',
  },
  inode_points_to_missing_dirent: {
    means: 'An inode has noted a name that does not exist.',
    repair: 'It gets a name that leads to it, if there is one; else it goes to lost+found.',
    lost: 'The name, if there is no other one.',
  },
  inode_points_to_wrong_dirent: {
    means: 'An inode has noted a name that leads to something else.',
    repair: 'It gets a name that leads to it, if there is one; else it goes to lost+found.',
    lost: 'The name, if there is no other one.',
  },
  deleted_inode_but_clean: {
    means: 'After a clean shutdown, a file is still there that was deleted while it was open.',
    repair: 'It is deleted, as a mount would do.',
    lost: 'What was deleted.',
  },
  deleted_inode_missing: {
    means: 'The list of deleted inodes has one that does not exist.',
    repair: 'It is taken off the list.',
    lost: 'Nothing.',
  },
  deleted_inode_is_dir: {
    means: 'The list of deleted inodes has a directory with entries.',
    repair: 'It is taken off the list.',
    lost: 'Nothing.',
  },
  deleted_inode_not_unlinked: {
    means: 'The list of deleted inodes has one that is not deleted.',
    repair: 'It is taken off the list.',
    lost: 'Nothing.',
  },
  deleted_inode_has_child_snapshots: {
    means: 'The list of deleted inodes has one with versions in younger snapshots.',
    repair: 'It is taken off the list.',
    lost: 'Nothing.',
  },
  unlinked_inode_not_on_deleted_list: {
    means: 'An inode is deleted and not on the list of those.',
    repair: 'It is put on the list.',
    lost: 'Nothing.',
  },
  extent_overlapping: {
    means: 'Two extents of a file are for the same range.',
    repair: 'The one that was written later stays whole, and the other keeps what is not covered.',
    lost: 'What is covered.',
  },
  extent_past_end_of_inode: {
    means: 'Data lies past the end of its file.',
    repair: 'It goes, as after a crash before the size was written.',
    lost: "Data that the file's size does not reach.",
  },
  key_in_missing_inode: {
    means: 'Data, names or attributes belong to an inode that does not exist.',
    repair: 'The inode is made again with what they say of it; it gets a name in lost+found if none leads to it.',
    lost: 'Its owner, mode and times.',
  },
  key_in_wrong_inode_type: {
    means: 'An inode has data or names that its type cannot have.',
    repair: 'The type becomes the one that its keys are for.',
    lost: 'Keys that are not for the type.',
  },
  dirent_d_type_wrong: {
    means: 'A name says that it leads to something of another type.',
    repair: 'The name gets the right type.',
    lost: 'Nothing.',
  },
  dirent_in_missing_dir_inode: {
    means: 'A name is in a directory that does not exist.',
    whyNever: 'Linux 6.12 declares it and never raises it: key_in_missing_inode took its place.',
  },
  dirent_in_non_dir_inode: {
    means: 'A name is in something that is not a directory.',
    whyNever: 'Linux 6.12 declares it and never raises it: key_in_wrong_inode_type took its place.',
  },
  xattr_in_missing_inode: {
    means: 'An extended attribute is of an inode that does not exist.',
    whyNever: 'Linux 6.12 declares it and never raises it: key_in_missing_inode took its place.',
  },
  dirent_to_missing_inode: {
    means: 'A name leads to an inode that does not exist.',
    repair: 'A directory whose entries are there is made again; else the name goes to the quarantine file.',
    lost: 'The name.',
  },
  dirent_to_missing_subvol: {
    means: 'A name leads to a subvolume that does not exist.',
    repair: 'The subvolume is made again if something else names it; else the name goes to the quarantine file.',
    lost: 'The name.',
  },
  dirent_to_missing_parent_subvol: {
    means: 'The name of a subvolume says that it is in one that does not exist.',
    repair: 'It gets the number of the one that it is in.',
    lost: 'Nothing.',
  },
  dirent_not_visible_in_parent_subvol: {
    means: 'The name of a subvolume cannot be seen from the one that it says it is in.',
    repair: 'It gets the number of one that sees it.',
    lost: 'Nothing.',
  },
  dir_loop: {
    means: 'A directory is below itself.',
    repair: 'The one that was made first leaves the loop and goes to lost+found under its name.',
    lost: 'The place that it had.',
  },
  hash_table_key_duplicate: {
    means: 'A name or an attribute is there twice.',
    repair: 'Of a name, the second becomes `NAME.fsck_renamed-N`; of an attribute, `user.fsck.dup.NAME`.',
    lost: 'Nothing.',
  },
  hash_table_key_wrong_offset: {
    means: 'A name or an attribute is where no lookup finds it.',
    repair: 'It is moved to where lookups find it.',
    lost: 'Nothing.',
  },
  vfs_i_size_bad: {
    means: 'The size of a file is impossible.',
    repair: 'Reading a file reports it; a check does not repair it.',
    lost: 'What the size does not reach.',
  },
  dirent_lost: { repair: 'Reading files reports it; a check repairs the btree node.', lost: 'The name.' },
  symlink_target_lost: {
    repair: 'Reading files reports it; a check repairs the btree node, and cannot know the target.',
    lost: 'The target.',
  },
  key_type_error: { repair: 'None: that is what such a key is for.', lost: 'What was lost before.' },
  extent_poisoned: { repair: 'None: that is what the mark is for.', lost: 'What was lost before.' },
  data_read_ptr_stale_dirty: {
    repair: 'A check repairs it as stale_dirty_ptr.',
    lost: 'The data, without another copy.',
  },
  data_read_no_encryption_key: { repair: 'None: without a key it cannot be read.', lost: 'That data.' },
  data_read_csum_err: {
    means: 'The checksum of data is wrong in every copy.',
    repair: 'None: scrub writes a bad copy again from a good one, and names the files that have none.',
    lost: 'Nothing but what the bytes do not say any more.',
  },
  data_decompress_err_gzip: {
    means: 'Data that gzip compressed cannot be decompressed.',
    repair: 'None: reading files reports it.',
    lost: 'That data.',
  },
  data_decompress_err_gzip_size_mismatch: {
    means: 'Data that gzip compressed is of another length than its key says.',
    repair: 'None: reading files reports it.',
    lost: 'That data.',
  },
  data_decompress_err_zstd_src_len_bad: {
    means: 'Data that zstd compressed says that it is longer than it can be.',
    repair: 'None: reading files reports it.',
    lost: 'That data.',
  },
  data_decompress_err_zstd_corruption_detected: {
    means: 'Data that zstd compressed cannot be decompressed.',
    repair: 'None: reading files reports it.',
    lost: 'That data.',
  },
  stripe_read_ptr_stale: {
    means: 'A block of a stripe is in a bucket that was used for something else since.',
    repair: 'None: the block is rebuilt from the others while it is read.',
    lost: 'Nothing, while enough blocks are left.',
  },
  data_on_missing_member: {
    repair: 'None while the member may come back; with --give_up_missing the range becomes a key of type error.',
    lost: 'With --give_up_missing, that data.',
  },
  stripe_read_csum_err: {
    repair: 'None: the block is rebuilt from the others while it is read.',
    lost: 'Nothing, while enough blocks are left.',
  },
  stripe_reconstruct_insufficient_blocks: {
    repair: 'None: reading files reports it.',
    lost: 'The data of the blocks that are lost.',
  },
} satisfies ErrorExplanations;
