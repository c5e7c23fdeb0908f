// What is wrong with superblocks, options and devices.

import type { ErrorExplanations } from './explanation.ts';

export const superblockErrors = {
  invalid_sb_magic: {
    repair:
      'The commit writes all copies again from one that is whole; recover-super finds one if none is in its place.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_version: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_features: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
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
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_uuid: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_offset: {
    repair: 'The commit writes all copies again, each in its place.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_too_many_members: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_dev_idx: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_time_precision: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_field_size: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  superblock_copy_differs: {
    repair: 'All copies are written again from the newest one.',
    lost: 'Nothing.',
  },
  invalid_sb_layout: {
    repair: 'The copies are found without it, and the commit writes it again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_layout_type: {
    repair: 'The copies are found without it, and the commit writes it again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_layout_nr_superblocks: {
    repair: 'The copies are found without it, and the commit writes it again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_layout_superblocks_overlap: {
    repair: 'The copies are found without it, and the commit writes it again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_layout_sb_max_size_bits: {
    repair: 'The copies are found without it, and the commit writes it again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_members_missing: {
    repair: 'Another copy is used, and the commit writes all copies again.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_members: {
    repair: 'Another copy is used; without one, the first fields of each member come from members_v1.',
    lost: 'Nothing, while one copy is whole.',
  },
  invalid_sb_disk_groups: {
    repair: 'Another copy is used; without one, nothing is repaired.',
    lost: 'Nothing.',
  },
  invalid_sb_replicas: { repair: 'The list is made anew.', lost: 'Nothing.' },
  invalid_replicas_entry: { repair: 'The list is made anew.', lost: 'Nothing.' },
  invalid_sb_journal: {
    repair: "The buckets are the journal's that the alloc keys give to it and no pointer leads to.",
    lost: 'Nothing.',
  },
  invalid_sb_journal_seq_blacklist: {
    repair: 'Another copy is used; without one, nothing is repaired.',
    lost: 'Nothing, unless what was given up is still there and counts again.',
  },
  invalid_sb_crypt: {
    repair: 'Another copy is used; without one, nothing can be read.',
    lost: 'Everything, without another copy.',
  },
  invalid_sb_clean: {
    repair: 'The roots are taken from the journal, and the commit writes the section again.',
    lost: 'Nothing.',
  },
  invalid_sb_quota: { repair: 'Another copy is used; without one, nothing is repaired.', lost: 'Nothing.' },
  invalid_sb_errors: { repair: 'Another copy is used; without one, the list begins anew.', lost: 'Nothing.' },
  invalid_sb_opt_compression: { repair: 'Another copy is used; set-fs-option sets it.', lost: 'Nothing.' },
  invalid_sb_ext: { repair: 'Another copy is used; without one, nothing is repaired.', lost: 'Nothing.' },
  invalid_sb_downgrade: { repair: 'Another copy is used; without one, nothing is repaired.', lost: 'Nothing.' },
  invalid_sb_extent_type_u64s: {
    repair: 'Another copy is used; without one, nothing is repaired.',
    lost: 'Nothing.',
  },
  count_out_of_range: {
    repair: 'What it is in is repaired as any damaged node, journal entry or superblock.',
    lost: 'What the repair of that loses.',
  },
  opt_parse_error: {
    repair: 'None: the option has its default until set-fs-option or set-file-option sets it.',
    lost: 'That option.',
  },
  option_not_bool: {
    repair: 'None: the option has its default until set-fs-option or set-file-option sets it.',
    lost: 'That option.',
  },
  option_negative: {
    repair: 'None: the option has its default until set-fs-option or set-file-option sets it.',
    lost: 'That option.',
  },
  ERANGE_option_too_small: {
    repair: 'None: the option has its default until set-fs-option or set-file-option sets it.',
    lost: 'That option.',
  },
  ERANGE_option_too_big: {
    repair: 'None: the option has its default until set-fs-option or set-file-option sets it.',
    lost: 'That option.',
  },
  ENAMETOOLONG: {
    repair: 'None: the option has its default until set-fs-option or set-file-option sets it.',
    lost: 'That option.',
  },
  member_given_up: {
    repair: 'With --give_up_missing it stops being a member, and what was only on it is repaired as lost.',
    lost: 'What was only on that member, which is listed before.',
  },
  device_missing: { repair: 'None: connect it, or check what is left without it.', lost: 'Nothing.' },
  device_busy: { repair: 'None: the check ends before it writes anything.', lost: 'Nothing.' },
  device_permission: { repair: 'None: the check ends before it writes anything.', lost: 'Nothing.' },
  'device_read-only': { repair: 'None: the check ends before it writes anything.', lost: 'Nothing.' },
  'device_too-small': { repair: 'None: what lies past its end is missing.', lost: 'What lies past its end.' },
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
