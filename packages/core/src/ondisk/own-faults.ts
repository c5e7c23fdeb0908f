// What can be wrong with a filesystem and has no fsck error of the reference: numbers from 10000, which are never given to another
// fault. Names that the reference has elsewhere (errcode.h, v1.39.2: `invalid_sb_csum`) are its own, verbatim; the rest are ours.

import { type Row, type Table, table } from './table.ts';

/**
 * warning  what is wrong can be computed from the rest: no file is affected, and a repair loses nothing
 * error    a key, a name or data is wrong, lost, or cannot be reached
 * fatal    what everything else hangs on cannot be read: a superblock, a root, a node, a device
 */
export type Severity = 'warning' | 'error' | 'fatal';

interface OwnFaultRow extends Row {
  readonly severity: Severity;
  /** What it means, in a sentence for users. */
  readonly means: string;
}

function row<const N extends string>(id: number, name: N, severity: Severity, means: string) {
  return { id, name, severity, means };
}

const rows = [
  // Superblocks.
  row(10000, 'invalid_sb_magic', 'fatal', 'There is no superblock where one should be.'),
  row(10001, 'invalid_sb_version', 'fatal', 'A superblock names metadata versions that contradict each other.'),
  row(10002, 'invalid_sb_features', 'fatal', 'A superblock names features that are not known.'),
  row(10003, 'invalid_sb_too_big', 'fatal', 'A superblock claims more bytes than there can be.'),
  row(10004, 'invalid_sb_csum_type', 'fatal', 'The checksum type of a superblock cannot protect one.'),
  row(10005, 'invalid_sb_csum', 'fatal', 'The checksum of a superblock is wrong.'),
  row(10006, 'invalid_sb_block_size', 'fatal', 'The block size in a superblock is impossible.'),
  row(10007, 'invalid_sb_uuid', 'fatal', 'A UUID in a superblock is all zeroes.'),
  row(10008, 'invalid_sb_offset', 'error', 'A superblock is not where it says it is.'),
  row(10009, 'invalid_sb_too_many_members', 'fatal', 'The number of members in a superblock is impossible.'),
  row(10010, 'invalid_sb_dev_idx', 'fatal', 'The member that a superblock claims to be on does not exist.'),
  row(10011, 'invalid_sb_time_precision', 'error', 'The time precision in a superblock is impossible.'),
  row(
    10012,
    'invalid_sb_field_size',
    'fatal',
    'A section of a superblock is empty, or ends past the end of the superblock.',
  ),
  row(10013, 'invalid_sb_layout', 'error', 'There is no superblock layout where one should be.'),
  row(10014, 'invalid_sb_layout_type', 'error', 'The superblock layout is of an unknown type.'),
  row(10015, 'invalid_sb_layout_nr_superblocks', 'error', 'The superblock layout lists too many copies, or none.'),
  row(10016, 'invalid_sb_layout_superblocks_overlap', 'error', 'The superblock layout lists copies that overlap.'),
  row(10017, 'invalid_sb_layout_sb_max_size_bits', 'error', 'The superblock layout reserves more than there can be.'),
  row(10018, 'invalid_sb_members_missing', 'fatal', 'The superblock has no list of members.'),
  row(10019, 'invalid_sb_members', 'fatal', 'The list of members in the superblock is damaged.'),
  row(10020, 'invalid_sb_disk_groups', 'error', 'The labels in the superblock are damaged.'),
  row(10021, 'invalid_sb_replicas', 'error', 'The list of replicas in the superblock is damaged.'),
  row(10022, 'invalid_replicas_entry', 'error', 'An entry in the list of replicas is impossible.'),
  row(10023, 'invalid_sb_journal', 'error', 'The list of journal buckets in the superblock is damaged.'),
  row(10024, 'invalid_sb_journal_seq_blacklist', 'error', 'The journal blacklist in the superblock is damaged.'),
  row(10025, 'invalid_sb_crypt', 'fatal', 'The encryption section of the superblock is damaged.'),
  row(10026, 'invalid_sb_clean', 'error', 'The clean section of the superblock is damaged or missing.'),
  row(10027, 'invalid_sb_quota', 'error', 'The quota section of the superblock is damaged.'),
  row(10028, 'invalid_sb_errors', 'warning', 'The list of counted errors in the superblock is damaged.'),
  row(10029, 'invalid_sb_opt_compression', 'error', 'The compression option in the superblock is impossible.'),
  row(10030, 'invalid_sb_ext', 'error', 'The ext section of the superblock is damaged.'),
  row(10031, 'invalid_sb_downgrade', 'warning', 'The downgrade table in the superblock is damaged.'),
  row(10032, 'invalid_sb_extent_type_u64s', 'error', 'The table of entry sizes in the superblock is damaged.'),
  row(10033, 'count_out_of_range', 'error', 'A count is larger than any filesystem can have.'),
  row(10034, 'superblock_copy_differs', 'warning', 'A copy of a superblock is not the one that was written last.'),
  row(
    10035,
    'master_key_wrong',
    'fatal',
    'The master key in a superblock is not the one that the filesystem is encrypted with.',
  ),

  // Options in superblocks and inodes.
  row(10100, 'opt_parse_error', 'error', 'The value of an option is not one that it can have.'),
  row(10101, 'option_not_bool', 'error', 'An option that is yes or no is neither.'),
  row(10102, 'option_negative', 'error', 'The value of an option is negative.'),
  row(10103, 'ERANGE_option_too_small', 'error', 'The value of an option is too small.'),
  row(10104, 'ERANGE_option_too_big', 'error', 'The value of an option is too large.'),
  row(10105, 'ENAMETOOLONG', 'error', 'The text of an option is too long.'),

  // The journal.
  row(10200, 'journal_entry_bad_checksum', 'error', 'The checksum of a journal entry is wrong.'),
  row(10201, 'journal_read_error', 'error', 'Part of the journal cannot be read from its device.'),
  row(10202, 'journal_on_missing_member', 'error', 'Part of the journal may be on a member that is missing.'),

  // Btree nodes, and what hangs on their pointers.
  row(
    10300,
    'btree_node_overlap',
    'error',
    'Two btree nodes claim the same sectors, or one crosses the end of its bucket.',
  ),
  row(10301, 'btree_node_on_missing_member', 'error', 'Only a member that is missing may have a btree node.'),
  row(
    10302,
    'btree_node_seq_shared',
    'warning',
    'Btree nodes have the same random number, by which a kernel finds them.',
  ),

  // Buckets and what is derived from pointers.
  row(
    10400,
    'alloc_key_oldest_gen_wrong',
    'warning',
    'The oldest generation of a bucket is newer than a pointer into it, or than the bucket is.',
  ),
  row(10401, 'alloc_key_external_backpointers_nonzero', 'warning', 'A bucket claims backpointers outside their btree.'),
  row(10402, 'accounting_inum_mismatch', 'warning', 'The counters of an inode do not match its extents.'),
  row(10403, 'rebalance_work_missing', 'warning', 'Data waits to be moved and is not listed for it.'),
  row(10404, 'rebalance_work_bad', 'warning', 'Data is listed to be moved that need not be.'),
  row(10405, 'stripe_bucket_shared', 'error', 'A bucket is in two stripes, or not in the one that it names.'),
  row(10406, 'parity_bucket_in_use', 'error', 'A bucket that holds the parity of a stripe also holds other data.'),
  row(
    10407,
    'sectors_claimed_twice',
    'error',
    'Two keys claim the same sectors, and the data does not say whose they are.',
  ),

  // File data.
  row(10500, 'key_type_error', 'error', 'Data was lost before, and a key says so.'),
  row(10501, 'extent_poisoned', 'error', 'Data is marked as damaged: it was lost before.'),
  row(
    10502,
    'data_read_ptr_stale_dirty',
    'error',
    'Data cannot be distinguished from what its bucket was used for since.',
  ),
  row(10503, 'data_read_no_encryption_key', 'error', 'Data is encrypted, and the filesystem is not.'),
  row(10504, 'stripe_read_csum_err', 'error', 'The checksum of a block of a stripe is wrong.'),
  row(10505, 'stripe_reconstruct_insufficient_blocks', 'error', 'Too many blocks of a stripe are lost to rebuild one.'),
  row(10506, 'data_on_missing_member', 'error', 'Data of a file is only on members that are missing.'),

  // Files and names.
  row(10600, 'dirent_lost', 'error', 'A name may have been in the lost part of a directory.'),
  row(10601, 'symlink_target_lost', 'error', 'The target of a symbolic link is lost.'),
  row(10602, 'snapshot_not_deleted', 'warning', 'A snapshot that no subvolume lives in any more was not removed.'),
  row(10603, 'subvol_snapshot_shared', 'error', 'Two subvolumes say that they live in one snapshot.'),

  // Devices, by the kind of a DeviceError.
  row(10700, 'device_missing', 'fatal', 'A device is not there.'),
  row(10701, 'device_busy', 'fatal', 'A device is in use.'),
  row(10702, 'device_permission', 'fatal', 'A device may not be opened.'),
  row(10703, 'device_read-only', 'fatal', 'A device cannot be written to.'),
  row(10704, 'device_too-small', 'fatal', 'A device is smaller than its filesystem.'),
  row(10705, 'device_out-of-range', 'error', 'Something lies past the end of its device.'),
  row(10706, 'device_full', 'fatal', 'A device or the filesystem that its file is on is full.'),
  row(10707, 'device_io', 'error', 'A device failed to read or write.'),
  row(10708, 'member_given_up', 'error', 'A member is missing, and is not to come back.'),

  // qcow2 files in place of a device.
  row(10800, 'qcow2_bad_magic', 'fatal', 'The file is not a qcow2 file.'),
  row(10801, 'qcow2_header_length', 'fatal', 'The header of a qcow2 file has an impossible length.'),
  row(10802, 'qcow2_cluster_bits', 'fatal', 'The cluster size of a qcow2 file is impossible.'),
  row(10803, 'qcow2_size', 'fatal', 'The size of the device in a qcow2 file is impossible.'),
  row(10804, 'qcow2_l1_size', 'fatal', 'The first table of a qcow2 file does not cover its device.'),
  row(10805, 'qcow2_l1_offset', 'fatal', 'The first table of a qcow2 file is not in the file.'),
  row(10806, 'qcow2_bad_entry', 'error', 'A table of a qcow2 file points to what is not in the file.'),
  row(10807, 'qcow2_shared_tables', 'error', 'Two tables of a qcow2 file are in the same place.'),
  row(10808, 'qcow2_shared_clusters', 'error', 'Too much of a qcow2 file is in the same place.'),
  row(10809, 'qcow2_bad_compression', 'error', 'A compressed cluster of a qcow2 file is damaged.'),
] as const satisfies readonly OwnFaultRow[];

export type OwnFaultName = (typeof rows)[number]['name'];
export type OwnFault = OwnFaultRow & { readonly name: OwnFaultName };

/** In order of their numbers. */
export const ownFaults: Table<OwnFault> = table<OwnFault>('own fault', rows);
