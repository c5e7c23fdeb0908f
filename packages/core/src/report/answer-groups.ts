// Which errors go together when the user is asked: the answer to the first of a group is the answer to the rest of it, since no user wants
// to be asked four thousand times whether a counter may be counted anew. As the latch groups of e2fsck (problem.h). An error that is in
// no group is asked for each time; "the same for all of these" then means all of that error.

import type { FaultName } from '../ondisk/faults.ts';

export interface AnswerGroup {
  readonly name: string;
  /** What is asked, once. */
  readonly question: string;
  readonly errors: readonly FaultName[];
  /** What else is found depends on the answer. */
  readonly isDecisive?: boolean;
}

export const answerGroups = [
  {
    name: 'buckets',
    question: 'What buckets hold is not what is noted for them. Count it anew?',
    errors: [
      'alloc_key_data_type_wrong',
      'alloc_key_gen_wrong',
      'alloc_key_dirty_sectors_wrong',
      'alloc_key_cached_sectors_wrong',
      'alloc_key_stripe_wrong',
      'alloc_key_stripe_redundancy_wrong',
      'alloc_key_stripe_sectors_wrong',
      'alloc_key_oldest_gen_wrong',
      'alloc_key_external_backpointers_nonzero',
    ],
  },
  {
    name: 'free buckets',
    question: 'The lists of free buckets do not match the buckets. Make them anew?',
    errors: [
      'freespace_key_wrong',
      'freespace_hole_missing',
      'need_discard_key_wrong',
      'need_discard_freespace_key_bad',
      'need_discard_freespace_key_to_invalid_dev_bucket',
      'bucket_gens_key_wrong',
      'bucket_gens_hole_wrong',
      'bucket_gens_to_invalid_dev',
      'bucket_gens_to_invalid_buckets',
      'bucket_gens_nonzero_for_invalid_buckets',
    ],
  },
  {
    name: 'lru lists',
    question: 'The lists of what was read least recently do not match the buckets. Make them anew?',
    errors: ['alloc_key_to_missing_lru_entry', 'lru_entry_bad', 'lru_entry_to_invalid_bucket'],
  },
  {
    name: 'backpointers',
    question: 'Backpointers do not match the pointers. Make them anew?',
    errors: [
      'ptr_to_missing_backpointer',
      'backpointer_to_missing_ptr',
      'backpointer_to_missing_device',
      'backpointer_to_missing_alloc',
    ],
  },
  {
    name: 'counters',
    question: 'Counters of space do not match what is used. Count it anew?',
    errors: [
      'accounting_mismatch',
      'accounting_inum_mismatch',
      'accounting_replicas_not_marked',
      'accounting_to_invalid_device',
    ],
  },
  {
    name: 'waiting data',
    question: 'The list of data that waits to be moved does not match the data. Make it anew?',
    errors: ['rebalance_work_missing', 'rebalance_work_bad'],
  },
  {
    name: 'reference counts',
    question: 'Shared data does not count right who refers to it. Count it anew?',
    errors: ['reflink_v_refcount_wrong'],
  },
  {
    name: 'sizes on disk',
    question: 'Files do not count right the sectors that they have. Count them anew?',
    errors: ['inode_i_sectors_wrong'],
  },
  {
    name: 'unreachable files',
    question: 'Files and directories have no name. Give them names in lost+found?',
    errors: ['inode_unreachable'],
  },
  {
    name: 'missing members',
    isDecisive: true,
    question: 'Members are missing, and everything that only they have is lost without them. Give them up?',
    errors: ['member_given_up', 'journal_on_missing_member', 'btree_node_on_missing_member', 'data_on_missing_member'],
  },
] as const satisfies readonly AnswerGroup[];

export type AnswerGroupName = (typeof answerGroups)[number]['name'];

const groupOfError: ReadonlyMap<FaultName, AnswerGroup> = new Map(
  answerGroups.flatMap((group: AnswerGroup) => group.errors.map(error => [error, group] as const)),
);

export function answerGroupOf(error: FaultName): AnswerGroup | undefined {
  return groupOfError.get(error);
}
