// What is wrong with btree nodes and with how they lie end to end.

import type { ErrorExplanations } from './explanation.ts';

export const nodeErrors = {
  btree_node_unreadable: {
    means: "Nothing readable is left for a range of a btree's positions.",
    repair: 'The range is empty from then on; inodes and names in it are made again from what refers to them.',
    lost: 'The keys of the range.',
  },
  btree_node_fault_injected: {
    means: 'A test made the reading of a btree node fail.',
    whyNever: 'Only a kernel that is built with fault injection raises it; nothing on a disk can.',
  },
  btree_node_bad_magic: {
    means: 'There is no btree node where a pointer leads.',
    repair:
      'Another replica is used; without one, the btree is built again from its other nodes, and from older ones of the same range that a scan finds.',
    lost: 'What no node that is found holds, without another replica.',
  },
  btree_node_bad_seq: {
    means: 'Another btree node is where a pointer leads.',
    repair:
      'Another replica is used; without one, the btree is built again from its other nodes, and from older ones of the same range that a scan finds.',
    lost: 'What no node that is found holds, without another replica.',
  },
  btree_node_unsupported_version: {
    means: 'Part of a btree node is of a version or kind that is not known.',
    repair: 'The btree is built again without that node, from what a scan finds.',
    lost: 'What no node that is found holds.',
  },
  btree_node_bset_older_than_sb_min: {
    means: 'Part of a btree node is older than the oldest version that the superblock says there is.',
    repair: 'The node is written again as a new one.',
    lost: 'Nothing.',
  },
  btree_node_bset_newer_than_sb: {
    means: 'Part of a btree node is newer than the version of the superblock.',
    repair: 'The node is written again as a new one.',
    lost: 'Nothing.',
  },
  btree_node_data_missing: {
    means: 'A btree node is shorter than its pointer says.',
    repair: 'Another replica is used; without one, what is there of the node is kept.',
    lost: 'The keys that were in the missing part, without another replica.',
  },
  btree_node_bset_after_end: {
    means: 'A part of a btree node comes after a gap, where its pointer does not say how much was written.',
    repair: 'The node ends at the gap, as a kernel has it.',
    lost: 'The keys of the part after the gap.',
  },
  btree_node_replicas_sectors_written_mismatch: {
    means: 'Replicas of a btree node are of different lengths.',
    whyNever:
      'Linux 6.12 compares replicas only with the debugging parameter verify_all_btree_replicas. Here each replica is read and held against its own checksums and the length in the pointer, and what is wrong with it has that name.',
  },
  btree_node_replicas_data_mismatch: {
    means: 'Replicas of a btree node differ.',
    whyNever:
      'Linux 6.12 compares replicas only with the debugging parameter verify_all_btree_replicas. Here each replica is read and held against its own checksums, and what is wrong with it has that name.',
  },
  bset_unknown_csum: {
    means: 'Part of a btree node has a checksum of an unknown type.',
    repair: 'Another replica is used; without one, the keys are kept that are valid by themselves.',
    lost: 'Keys that are not valid, without another replica.',
  },
  bset_bad_csum: {
    means: 'The checksum of part of a btree node is wrong.',
    repair: 'Another replica is used; without one, the keys are kept that are valid by themselves.',
    lost: 'Keys that are not valid, without another replica.',
  },
  bset_past_end_of_btree_node: {
    means: 'Part of a btree node is longer than the node.',
    repair: 'Another replica is used; without one, the bytes of that part go to the quarantine file.',
    lost: 'The keys of that part, without another replica.',
  },
  bset_wrong_sector_offset: {
    means: 'Part of a btree node says that it belongs elsewhere in the node.',
    repair: 'Another replica is used; without one, its keys are kept.',
    lost: 'Nothing.',
  },
  bset_empty: {
    means: 'A later part of a btree node has no keys.',
    repair: 'The node is written again without it.',
    lost: 'Nothing.',
  },
  bset_bad_seq: {
    means: 'A btree node is another one than its pointer means.',
    whyNever:
      'Linux 6.12 looks at the same number a moment before and raises btree_node_bad_seq; this one is left for nodes that it is about to write.',
  },
  bset_blacklisted_journal_seq: {
    means: 'The first part of a btree node depends on a journal entry that an earlier recovery has given up.',
    repair: 'Its keys are kept.',
    lost: 'Nothing.',
  },
  first_bset_blacklisted_journal_seq: {
    means:
      'A part of a btree node that its pointer counts depends on a journal entry that an earlier recovery has given up.',
    repair: 'The part is left out.',
    lost: 'The keys of that part, which were given up before.',
  },
  btree_node_bad_btree: {
    means: 'The node where a pointer leads is of another btree.',
    repair:
      'Another replica is used; without one, the btree is built again from its other nodes, and from older ones of the same range that a scan finds.',
    lost: 'What no node that is found holds, without another replica.',
  },
  btree_node_bad_level: {
    means: 'The node where a pointer leads is of another level.',
    repair:
      'Another replica is used; without one, the btree is built again from its other nodes, and from older ones of the same range that a scan finds.',
    lost: 'What no node that is found holds, without another replica.',
  },
  btree_node_bad_min_key: {
    means: 'A btree node starts at another position than its pointer says.',
    repair:
      'Another replica is used; without one, the btree is built again from its other nodes, and from older ones of the same range that a scan finds.',
    lost: 'What no node that is found holds, without another replica.',
  },
  btree_node_bad_max_key: {
    means: 'A btree node ends at another position than its pointer says.',
    repair:
      'Another replica is used; without one, the btree is built again from its other nodes, and from older ones of the same range that a scan finds.',
    lost: 'What no node that is found holds, without another replica.',
  },
  btree_node_bad_format: {
    means: 'The way in which a btree node packs its keys is impossible.',
    repair:
      'Another replica is used; without one, the btree is built again from its other nodes, and from older ones of the same range that a scan finds.',
    lost: 'What no node that is found holds, without another replica.',
  },
  btree_node_bkey_past_bset_end: {
    means: 'A key in a btree node is longer than its part of the node.',
    repair: 'The keys before it are kept, and the bytes from it on go to the quarantine file.',
    lost: 'That key and those after it in its part of the node.',
  },
  btree_node_bkey_bad_format: {
    means: 'A key in a btree node is in a format that does not exist.',
    repair: 'It goes to the quarantine file; reading goes on at the next place that looks like a key.',
    lost: 'That key.',
  },
  btree_node_bad_bkey: {
    means: 'A key in a btree node is not valid.',
    whyNever: 'Linux 6.12 declares it and never raises it: keys are judged by the errors of keys, here too.',
  },
  btree_node_bkey_out_of_order: {
    means: 'Keys in a btree node are not in order.',
    repair: 'The key that comes too late goes to the quarantine file.',
    lost: 'That key.',
  },
  btree_node_bkey_bad_u64s: {
    means: 'A key in a btree node is shorter than its format.',
    repair: 'It goes to the quarantine file; reading goes on at the next place that looks like a key.',
    lost: 'That key.',
  },
  btree_root_read_error: {
    means: 'The root of a btree cannot be read.',
    repair:
      'The btree is built again from nodes that a scan of the devices finds; what follows from other btrees is counted anew instead.',
    lost: 'What no node that is found holds.',
  },
  btree_root_bad_min_key: {
    means: 'The root of a btree does not start at the first position.',
    repair: 'The btree is built again from its leaves, and from what a scan finds for the rest.',
    lost: 'What no node that is found holds.',
  },
  btree_root_bad_max_key: {
    means: 'The root of a btree does not end at the last position.',
    repair: 'The btree is built again from its leaves, and from what a scan finds for the rest.',
    lost: 'What no node that is found holds.',
  },
  btree_node_read_error: {
    means: 'A btree node cannot be read from any replica.',
    repair: 'The btree is built again from its other nodes, and from older ones of the same range that a scan finds.',
    lost: 'What no node that is found holds.',
  },
  btree_node_topology_bad_min_key: {
    means: 'A btree node does not start where the one before it ends.',
    repair: 'Positions between them are filled from a scan; where both have a position, the newer node counts.',
    lost: 'What no node that is found holds.',
  },
  btree_node_topology_bad_max_key: {
    means: 'The last child of a btree node does not end where the node does.',
    repair: 'The rest of the range is filled from a scan.',
    lost: 'What no node that is found holds.',
  },
  btree_node_topology_overwritten_by_prev_node: {
    means: 'A btree node overlaps the one before it, which is newer.',
    repair: 'The older node is cut to what the newer one does not have.',
    lost: 'Nothing: what is cut was replaced.',
  },
  btree_node_topology_overwritten_by_next_node: {
    means: 'A btree node overlaps the one after it, which is newer.',
    repair: 'The older node is cut to what the newer one does not have.',
    lost: 'Nothing: what is cut was replaced.',
  },
  btree_node_topology_interior_node_empty: {
    means: 'A btree node that should have children has none.',
    repair: 'Its range is filled from a scan.',
    lost: 'What no node that is found holds.',
  },
  btree_node_topology_empty_interior_node: {
    means: 'The root of a btree should have children and has none.',
    repair: 'The btree is built again from nodes that a scan finds.',
    lost: 'What no node that is found holds.',
  },
  btree_root_unreadable_and_scan_found_nothing: {
    means: 'The root of a btree cannot be read, and no node of it is on the devices.',
    repair: 'The btree is empty from then on; inodes and names are made again from what refers to them.',
    lost: 'All its keys.',
  },
  btree_bitmap_not_marked: {
    means: "A member's map of where btree nodes may be leaves a node out.",
    repair: 'The map is made anew.',
    lost: 'Nothing.',
  },
  btree_node_overlap: {
    repair:
      'The btree of a node that cannot be read for it is built again in new places; if both can be read, nothing is done.',
    lost: 'What one of the nodes had overwritten.',
  },
  btree_node_seq_shared: {
    repair: 'All but one of the btrees with these nodes are written again, the smallest first.',
    lost: 'Nothing.',
  },
  btree_node_on_missing_member: {
    repair:
      'None while the member may come back; with --give_up_missing the btree is built again from what is found elsewhere.',
    lost: 'With --give_up_missing, what no node that is found holds.',
  },
  btree_node_topology_gap_between_nodes: {
    means: 'No btree node answers for a range of positions.',
    repair: 'The range is filled from a scan.',
    lost: 'What no node that is found holds.',
  },
} satisfies ErrorExplanations;
