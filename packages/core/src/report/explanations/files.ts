// What is wrong with snapshots, subvolumes, inodes, names and data.

import type { ErrorExplanations } from './explanation.ts';

export const fileErrors = {
  snapshot_tree_to_missing_snapshot: {
    means: 'A snapshot tree has no root.',
    repair: 'It gets the root that its snapshots lead up to; a tree without one is deleted.',
    lost: 'Nothing.',
  },
  snapshot_tree_to_missing_subvol: {
    means: 'A snapshot tree names a subvolume that does not exist.',
    repair:
      'It names the first subvolume in it that is not a snapshot; if all are, the oldest, which is not marked as one any more.',
    lost: 'Nothing.',
  },
  snapshot_tree_to_wrong_subvol: {
    means: 'A snapshot tree names a subvolume of another tree.',
    repair:
      'It names the first subvolume in it that is not a snapshot; if all are, the oldest, which is not marked as one any more.',
    lost: 'Nothing.',
  },
  snapshot_tree_to_snapshot_subvol: {
    means: 'A snapshot tree names a subvolume that is a snapshot itself.',
    repair:
      'It names the first subvolume in it that is not a snapshot; if all are, the oldest, which is not marked as one any more.',
    lost: 'Nothing.',
  },
  snapshot_parent_bad: {
    means: 'A snapshot and the one that it has as its parent do not agree.',
    repair:
      'An impossible parent is taken out; any other takes the snapshot in as a child, or, without room, the snapshot becomes the root of a tree.',
    lost: 'Nothing.',
  },
  snapshot_child_bad: {
    means: 'A snapshot and one that it has as its child do not agree.',
    repair:
      'A child that is impossible, or that another snapshot has and names, is taken off the list; any other gets this one as its parent.',
    lost: 'Nothing.',
  },
  snapshot_should_not_have_subvol: {
    means: 'A snapshot has a subvolume, and is not a leaf or was deleted.',
    repair:
      'A subvolume that lives in the leaf stays, and the leaf is not deleted; one that has a leaf elsewhere gets that one; else the link is removed.',
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
    repair: 'It is made anew, from the parent alone.',
    lost: 'Nothing.',
  },
  snapshot_node_missing: {
    means: 'A snapshot that others name, or that keys are in, does not exist.',
    repair:
      'It is made again from what names it and what is in it; a child of which nothing is left is taken off the list.',
    lost: 'Nothing that its keys do not say.',
  },
  snapshot_subvol_backref_wrong: {
    means: 'A snapshot and the subvolume that lives in it do not name each other.',
    repair: 'What the subvolume says counts.',
    lost: 'Nothing.',
  },
  snapshot_not_deleted: {
    repair: 'It is deleted with the keys in it, as a kernel would have done.',
    lost: 'What was deleted with the subvolume.',
  },
  subvol_not_master_and_not_snapshot: {
    means: 'A subvolume is not a snapshot, and its tree names another one as the first.',
    repair: 'It is marked as a snapshot.',
    lost: 'Nothing.',
  },
  subvol_to_missing_root: {
    means: 'A subvolume has no root directory.',
    repair:
      'The directory that takes itself for the root becomes it; without one, a directory is made, in the snapshot that its entries are in.',
    lost: 'The owner, mode and times of a directory that is made.',
  },
  subvol_root_wrong_bi_subvol: {
    means: 'The directory that a subvolume has for its root does not say so.',
    repair:
      "The directory that takes itself for the root becomes it; without one, this directory gets the subvolume's number.",
    lost: 'Nothing.',
  },
  subvol_root_fs_path_parent_nonzero: {
    means: 'The first subvolume says that it is inside another one.',
    repair: 'The link is removed.',
    lost: 'Nothing.',
  },
  subvol_children_not_set: {
    means: 'A subvolume is not listed below the one that it is in.',
    repair: 'It is put on the list.',
    lost: 'Nothing.',
  },
  subvol_children_bad: {
    means: 'A subvolume is listed below one that it is not in.',
    repair: 'It is taken off the list.',
    lost: 'Nothing.',
  },
  subvol_loop: {
    means: 'A subvolume is below itself, or a name leads to the first subvolume, which is in no other.',
    repair:
      'The one that was made first leaves the loop and goes to lost+found; a name for the first one is given to the subvolume that knows it, or goes.',
    lost: 'The place that it had.',
  },
  subvol_unreachable: {
    means: 'A subvolume has no name, or was unlinked and is still there.',
    repair:
      'It gets the name `subvol-NUMBER` in lost+found. One that was unlinked is deleted; if it has a name, or is the first one, it stays and is not unlinked.',
    lost: 'What was deleted with the subvolume.',
  },
  subvol_fs_path_parent_wrong: {
    means: 'A subvolume says that it is in another one than its name is in.',
    repair: 'The subvolume gets the number of the one that its name is in.',
    lost: 'Nothing.',
  },
  subvol_missing: {
    means: 'A subvolume that a snapshot or a directory names does not exist.',
    repair:
      'It is made again from the directory that is its root; without one, a new subvolume shows what is in the snapshot, and an empty snapshot loses the link.',
    lost: 'Nothing that its directory does not say.',
  },
  subvol_snapshot_shared: {
    repair: 'The one that the root directory names stays, else the one that the snapshot names.',
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
    means: 'The root directory, or that of another subvolume, is not a directory.',
    repair: 'It becomes one.',
    lost: 'Nothing that a root directory can have.',
  },
  bkey_in_missing_snapshot: {
    means: 'A key is in a snapshot that does not exist.',
    repair:
      'The snapshot is made again; where only a few keys are in it, they go to the snapshot that the rest of their inode is in.',
    lost: 'Nothing, but marks that hide what is not there.',
  },
  inode_snapshot_mismatch: {
    means:
      'Versions of an inode in several snapshots differ in how they hash names, or in whether they are the root of a subvolume.',
    repair: 'They hash as the first one does, and are the root that the subvolume has.',
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
    repair: 'The flag is cleared.',
    lost: 'Nothing.',
  },
  inode_i_sectors_dirty_but_clean: {
    means: 'After a clean shutdown, an inode says that its sectors are being counted.',
    repair: 'The flag is cleared, and they are counted.',
    lost: 'Nothing.',
  },
  inode_i_sectors_wrong: {
    means: 'An inode counts another number of sectors than its extents have.',
    repair: 'The count is set. After nodes with extents were lost, what a file lacks becomes keys of type error.',
    lost: 'Nothing, or what was in the nodes that are lost.',
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
    repair: 'It gets the name that leads to it; a second name of a subvolume goes to the quarantine file.',
    lost: 'Nothing, or the second name.',
  },
  inode_wrong_nlink: {
    means: 'A file counts another number of names than it has.',
    repair: 'The count is set.',
    lost: 'Nothing.',
  },
  inode_unreachable: {
    means: 'No name leads to an inode.',
    repair: 'It gets the name `#NUMBER` in the lost+found of its subvolume; what is in a directory stays in it.',
    lost: 'The name.',
  },
  inode_unlinked_but_has_dirent: {
    means: 'A name leads to an inode that is marked as deleted.',
    repair: 'The mark is removed.',
    lost: 'Nothing.',
  },
  inode_dir_unlinked_but_not_empty: {
    means: 'A directory is marked as deleted and has entries.',
    repair: 'The mark is removed, and it gets a name in lost+found if it has none.',
    lost: 'Nothing.',
  },
  inode_has_child_snapshots_wrong: {
    means: 'An inode says wrongly whether it has versions in younger snapshots.',
    repair: 'The flag is set or cleared.',
    lost: 'Nothing.',
  },
  inode_has_case_insensitive_not_set: {
    means: 'A directory compares names without regard to case and is not marked as one that does.',
    repair: 'The flag is set.',
    lost: 'Nothing.',
  },
  inode_parent_has_case_insensitive_not_set: {
    means: 'A directory is above one that compares names without regard to case and is not marked so.',
    repair: 'The flag is set.',
    lost: 'Nothing.',
  },
  inode_journal_seq_in_future: {
    means: 'An inode was last changed in a journal entry that was not written yet.',
    repair: 'The number is set to that of the commit.',
    lost: 'Nothing.',
  },
  inode_bi_subvol_missing: {
    means: 'A directory takes itself for the root of a subvolume that does not exist.',
    repair:
      'The subvolume is made again if something else names it; else the directory becomes an ordinary one, or the root of the subvolume that has it for its root.',
    lost: 'Nothing.',
  },
  inode_bi_subvol_wrong: {
    means: 'A directory takes itself for the root of a subvolume that has another one.',
    repair: 'The directory becomes an ordinary one, or the root of the subvolume that has it for its root.',
    lost: 'Nothing.',
  },
  inode_bi_parent_nonzero: {
    means: 'A directory that is not the root of a subvolume, or the root directory, says which subvolume it is in.',
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
    means: 'The list of deleted inodes has a directory that has entries or is not unlinked.',
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
    means: 'An inode is deleted, and is not on the list of deleted inodes.',
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
    repair: 'It is deleted, as after a crash before the size was written.',
    lost: "Data that the file's size does not reach.",
  },
  key_in_missing_inode: {
    means: 'Data, names or attributes belong to an inode that does not exist.',
    repair: 'The inode is made again with what they say of it; it gets a name in lost+found if none leads to it.',
    lost: 'Its owner, mode and times.',
  },
  key_in_wrong_inode_type: {
    means: 'An inode has data or names that its type cannot have.',
    repair:
      'The type becomes the one that its name and its other keys show; keys that do not fit it go to the quarantine file.',
    lost: 'Keys that do not fit the type.',
  },
  dirent_d_type_wrong: {
    means: 'A name says that it leads to something of another type.',
    repair: 'The name gets the right type; a link that was made again as a file becomes a link.',
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
    repair:
      'The inode is made again if anything of it is left, or if nodes with inodes were lost; else the name goes to the quarantine file.',
    lost: "The inode's owner, mode and times, or the name.",
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
    repair:
      'Of a name, the second becomes `NAME.fsck_renamed-N`; of an attribute, `user.fsck.dup.NAME`. Two that say the same become one.',
    lost: 'Nothing.',
  },
  hash_table_key_wrong_offset: {
    means: 'A name or an attribute is where no lookup finds it.',
    repair: 'It is moved to where lookups find it.',
    lost: 'Nothing.',
  },
  vfs_i_size_bad: {
    means: 'The size of a file is impossible.',
    repair: 'None: reading the file reports it, and fsck does not change it.',
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
    repair: '`fsck` repairs it as stale_dirty_ptr.',
    lost: 'The data, without another copy.',
  },
  data_read_no_encryption_key: { repair: 'None: without a key it cannot be read.', lost: 'That data.' },
  data_read_csum_err: {
    means: 'The checksum of a copy of data is wrong.',
    repair: '`scrub` puts a good copy in its place, and names the files that have none; fsck does not check data.',
    lost: 'The data, without a good copy.',
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
    repair: 'It is rebuilt from the others while it is read.',
    lost: 'Nothing, while enough blocks are left.',
  },
  data_on_missing_member: {
    repair: 'None while the member may come back; with --give_up_missing the range becomes a key of type error.',
    lost: 'With --give_up_missing, that data.',
  },
  stripe_read_csum_err: {
    repair: 'It is rebuilt from the others while it is read; scrub makes a plain copy of a block of data.',
    lost: 'Nothing, while enough blocks are left.',
  },
  stripe_reconstruct_insufficient_blocks: {
    repair: 'None: reading files reports it.',
    lost: 'The data of the blocks that are lost.',
  },
} satisfies ErrorExplanations;
