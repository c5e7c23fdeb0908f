// What is wrong with superblocks, options and devices.

import type { ErrorExplanations } from './explanation.ts';

export const superblockErrors = {
  invalid_sb_magic: {
    repair:
      'The commit writes all copies again from one that is whole; recover-super finds one if none is in its place.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_version: {
    repair:
      'None: the check ends with exit code 8. Of a version that is too new, its own tools repair it; else recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_features: {
    repair: 'None: the check ends with exit code 8. Tools that know the features can repair it.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_too_big: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_csum_type: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_csum: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_block_size: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_uuid: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_offset: {
    repair: 'The commit writes all copies again, each in its place.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_too_many_members: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_dev_idx: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_time_precision: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_field_size: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  superblock_copy_differs: {
    repair: '`scrub` reports it and writes all copies again from the newest one; so does every commit.',
    lost: 'Nothing.',
  },
  master_key_wrong: {
    repair:
      'The key of another copy of the superblock, or of another member, that authenticates something is put back. Without one the check ends with exit code 8 and changes nothing: to a wrong key, everything looks lost.',
    lost: 'Nothing, while one copy has the right key. Without it nothing can be read; an undo file or a saved superblock may have it.',
  },
  invalid_sb_layout: {
    repair:
      'At sector 7: the copies are found without it, and it is written again. In a superblock: the check ends with exit code 8; recover-super looks for a copy that is sound.',
    lost: 'Nothing, while one copy is sound.',
  },
  invalid_sb_layout_type: {
    repair:
      'At sector 7: the copies are found without it, and it is written again. In a superblock: the check ends with exit code 8; recover-super looks for a copy that is sound.',
    lost: 'Nothing, while one copy is sound.',
  },
  invalid_sb_layout_nr_superblocks: {
    repair:
      'At sector 7: the copies are found without it, and it is written again. In a superblock: the check ends with exit code 8; recover-super looks for a copy that is sound.',
    lost: 'Nothing, while one copy is sound.',
  },
  invalid_sb_layout_superblocks_overlap: {
    repair:
      'At sector 7: the copies are found without it, and it is written again. In a superblock: the check ends with exit code 8; recover-super looks for a copy that is sound.',
    lost: 'Nothing, while one copy is sound.',
  },
  invalid_sb_layout_sb_max_size_bits: {
    repair:
      'At sector 7: the copies are found without it, and it is written again. In a superblock: the check ends with exit code 8; recover-super looks for a copy that is sound.',
    lost: 'Nothing, while one copy is sound.',
  },
  invalid_sb_members_missing: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_members: {
    repair:
      'The first fields of each member come from members_v1, and the number of buckets from the keys. Where that is not enough, the check ends with exit code 8.',
    lost: 'Nothing but the counts of errors of the members, where they are damaged too.',
  },
  invalid_sb_disk_groups: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_replicas: { repair: 'The list is made anew.', lost: 'Nothing.' },
  invalid_replicas_entry: { repair: 'The list is made anew.', lost: 'Nothing.' },
  invalid_sb_journal: {
    repair:
      "The journal's buckets are those that begin with an entry, and those that the alloc keys give to it and no pointer leads to.",
    lost: 'Nothing.',
  },
  invalid_sb_journal_seq_blacklist: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_crypt: {
    repair: 'None: nothing can be read without it. recover-super looks for a copy that is sound.',
    lost: 'Everything, when no copy is sound.',
  },
  invalid_sb_clean: {
    repair: 'The section is left out: the journal is replayed, and the commit writes the section again.',
    lost: 'Nothing.',
  },
  invalid_sb_quota: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_errors: {
    repair: 'The list is left out, and begins anew.',
    lost: 'The counts of errors that were found before.',
  },
  invalid_sb_opt_compression: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_ext: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  invalid_sb_downgrade: { repair: 'The table is left out; the next mount makes it anew.', lost: 'Nothing.' },
  invalid_sb_extent_type_u64s: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  count_out_of_range: {
    repair: 'What it is in is repaired as any damaged node, journal entry or superblock.',
    lost: 'What the repair of that loses.',
  },
  opt_parse_error: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  option_not_bool: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  option_negative: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  ERANGE_option_too_small: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  ERANGE_option_too_big: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  ENAMETOOLONG: {
    repair: 'None: the check ends with exit code 8. recover-super looks for a copy that is sound.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  member_given_up: {
    repair: 'With --give_up_missing it stops being a member, and what only it had is repaired as lost.',
    lost: 'What only that member had, which is listed before.',
  },
  device_missing: { repair: 'None: connect it, or check the other members with --allow_missing.', lost: 'Nothing.' },
  device_busy: { repair: 'None: the check ends before it writes anything.', lost: 'Nothing.' },
  device_permission: { repair: 'None: the check ends before it writes anything.', lost: 'Nothing.' },
  'device_read-only': { repair: 'None: the check ends before it writes anything.', lost: 'Nothing.' },
  'device_too-small': {
    repair: 'None: the check ends with exit code 8 until the device has its whole length again.',
    lost: 'Nothing is written, so nothing is lost by it.',
  },
  'device_out-of-range': {
    repair: 'What leads there is repaired as any pointer to nowhere.',
    lost: 'What would be there.',
  },
  device_full: { repair: 'None: the check ends, and what was begun does not count.', lost: 'Nothing.' },
  device_io: {
    repair: 'What could not be read counts as damaged; a failed write ends the check, and does not count.',
    lost: 'What cannot be read.',
  },
  qcow2_bad_magic: { repair: 'None: such files are only read.', lost: 'Nothing.' },
  qcow2_header_length: { repair: 'None: such files are only read.', lost: 'Nothing.' },
  qcow2_cluster_bits: { repair: 'None: such files are only read.', lost: 'Nothing.' },
  qcow2_size: { repair: 'None: such files are only read.', lost: 'Nothing.' },
  qcow2_l1_size: { repair: 'None: such files are only read.', lost: 'Nothing.' },
  qcow2_l1_offset: { repair: 'None: such files are only read.', lost: 'Nothing.' },
  qcow2_bad_entry: { repair: 'None: such files are only read.', lost: 'Nothing.' },
  qcow2_shared_tables: { repair: 'None: such files are only read.', lost: 'Nothing.' },
  qcow2_shared_clusters: { repair: 'None: such files are only read.', lost: 'Nothing.' },
  qcow2_bad_compression: { repair: 'None: such files are only read.', lost: 'Nothing.' },
} satisfies ErrorExplanations;
