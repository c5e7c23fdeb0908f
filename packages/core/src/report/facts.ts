// What a finding says beside its name and place: values, so that a repair can act on them, and the words for them, so that every finding
// of a kind reads alike. One row for each error whose facts are more than a sentence; the types of the facts are those that the rows take.

import { type Bpos, bposText, compareBpos, SPOS_MAX } from '../ondisk/bpos.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { fileTypes } from '../ondisk/inode-tables.ts';
import type { AccountingPos } from '../ondisk/keys/accounting.ts';
import { type ReplicasEntry, replicasEntryText } from '../ondisk/replicas-entry.ts';

/** What only a reader knows: a sentence of what was found and what was expected. */
export interface Detail {
  readonly detail: string;
}

/** What there is, and what the rest of the filesystem says should be there. */
export interface Compared<T> {
  readonly found: T;
  readonly expected: T;
}

/** A pointer of a key, and the bucket that it leads to, where there is one. */
export interface PointerFact {
  readonly dev: number;
  /** Sector on the device. */
  readonly offset: number;
  readonly gen: number;
  readonly cached: boolean;
  readonly bucket?: number;
}

/** A block of a stripe. */
export interface BlockFact {
  readonly block: number;
  readonly dev: number;
  readonly bucket: number;
  readonly gen: number;
}

export type Words = readonly [found: string, expected: string];

type None = Readonly<Record<never, never>>;
type Counter = Exclude<AccountingPos, { readonly type: 'inum' }>;

const compared = ({ found, expected }: Compared<number | bigint | boolean>): Words => [`${found}`, `${expected}`];
const comparedPos = ({ found, expected }: Compared<Bpos>): Words => [bposText(found), bposText(expected)];
const comparedDataType = ({ found, expected }: Compared<number>): Words => [
  dataTypes.nameOf(found),
  dataTypes.nameOf(expected),
];
const comparedFileType = ({ found, expected }: Compared<number>): Words => [
  fileTypes.nameOf(found),
  fileTypes.nameOf(expected),
];
const always =
  (...words: Words) =>
  (_: None): Words =>
    words;

function pointerText({ dev, offset, gen, cached, bucket }: PointerFact): string {
  const pointer = `a ${cached ? 'cached ' : ''}pointer to ${dev}:${offset} gen ${gen}`;
  return bucket === undefined ? pointer : `${pointer}, bucket ${dev}:${bucket}`;
}

type OfBucket = { readonly pointer: PointerFact; readonly bucketGen: number };
const generation = ({ pointer, bucketGen }: OfBucket): Words => [pointerText(pointer), `generation ${bucketGen}`];

function counterText(counter: Counter): string {
  if (counter.type === 'replicas') return `replicas ${replicasEntryText(counter.entry)}`;
  return Object.values(counter).join(' ');
}

type Counters = readonly number[] | undefined;
const missingSubvolume = ({ subvolume }: { readonly subvolume: number }): Words => [
  `subvolume ${subvolume}, which is missing`,
  'a subvolume',
];
const range = (start: number, end: number): string => `buckets ${start} to ${end}`;

const words = {
  // ---- btrees
  btree_node_topology_bad_min_key: comparedPos,
  /** The end of a root is the last position there is; `found` is undefined where no child is left that could end there. */
  btree_node_topology_bad_max_key: ({
    found,
    expected,
    of,
  }: Compared<Bpos | undefined> & { readonly of: 'root' | 'child' }) => [
    found === undefined ? 'no child' : of === 'root' ? bposText(found) : `a child that ends at ${bposText(found)}`,
    expected === undefined || compareBpos(expected, SPOS_MAX) === 0 ? 'SPOS_MAX' : bposText(expected),
  ],
  /** Sectors on the device that `where` names; `nextSector` is undefined for a node that crosses the end of its bucket. */
  btree_node_overlap: ({
    nextSector,
    sector,
    nodeSectors,
  }: {
    readonly nextSector: number | undefined;
    readonly sector: number;
    readonly nodeSectors: number;
  }) =>
    nextSector === undefined
      ? ['a node across the end of its bucket', `${nodeSectors} sectors in one`]
      : [`another node at sector ${nextSector}`, `none before ${sector + nodeSectors}`],
  /** `nodes` is how many have the number. */
  btree_node_seq_shared: ({ seq, nodes }: { readonly seq: bigint; readonly nodes: number }) => [
    `${nodes} nodes with the number ${seq.toString(16)}`,
    'one',
  ],
  btree_ptr_v2_written_0: always('0', 'what was written of the node'),
  btree_bitmap_not_marked: ({ dev, sector }: { readonly dev: number; readonly sector: number }) => [
    `sector ${sector} of device ${dev} unmarked`,
    'marked',
  ],

  // ---- buckets and the pointers into them
  alloc_key_to_missing_dev_bucket: always('a key', 'a bucket of a member'),
  alloc_key_data_type_wrong: comparedDataType,
  alloc_key_dirty_sectors_wrong: compared,
  alloc_key_cached_sectors_wrong: compared,
  alloc_key_stripe_sectors_wrong: compared,
  alloc_key_stripe_wrong: compared,
  alloc_key_stripe_redundancy_wrong: compared,
  alloc_key_external_backpointers_nonzero: compared,
  /** Older than the bucket itself, or than a pointer that it is known by. */
  alloc_key_oldest_gen_wrong: ({
    found,
    most,
    pointer,
  }: {
    readonly found: number;
    readonly most: number;
    readonly pointer: PointerFact | undefined;
  }) =>
    pointer === undefined
      ? [`oldest_gen ${found}`, `at most gen ${most}`]
      : [`${pointerText(pointer)} with oldest_gen ${found}`, `at most ${most}`],
  alloc_key_journal_seq_in_future: ({ found, most }: { readonly found: bigint; readonly most: number }) => [
    `${found}`,
    `at most ${most}`,
  ],
  alloc_key_cached_but_read_time_zero: always('io_time[READ] 0', 'when it was last read'),
  bucket_metadata_type_mismatch: ({ found, expected }: Compared<number>) => [
    `${dataTypes.nameOf(expected)} and ${dataTypes.nameOf(found)}`,
    dataTypes.nameOf(expected),
  ],
  ptr_to_invalid_device: (place: { readonly pointer: PointerFact } | BlockFact) => [
    'pointer' in place ? pointerText(place.pointer) : `block ${place.block} in bucket ${place.dev}:${place.bucket}`,
    'a bucket of a member',
  ],
  ptr_to_missing_alloc_key: ({ pointer }: { readonly pointer: PointerFact }) => [pointerText(pointer), 'an alloc key'],
  ptr_gen_newer_than_bucket_gen: generation,
  ptr_too_stale: generation,
  stale_dirty_ptr: (stale: OfBucket | (BlockFact & { readonly bucketGen: number })) =>
    'pointer' in stale ? generation(stale) : [`block ${stale.block} gen ${stale.gen}`, `generation ${stale.bucketGen}`],
  /** `found`: what the bucket held already. */
  ptr_bucket_data_type_mismatch: ({
    pointer,
    found,
    expected,
  }: Compared<number> & { readonly pointer: PointerFact }) => [
    `${pointerText(pointer)}: ${dataTypes.nameOf(found)}`,
    dataTypes.nameOf(expected),
  ],
  bucket_sector_count_overflow: ({ found, most }: { readonly found: number; readonly most: number }) => [
    `${found} sectors`,
    `at most ${most}`,
  ],
  /** Free buckets, `end` excluded, that are not listed under their generation bits. */
  freespace_key_wrong: ({
    start,
    end,
    genBits,
  }: {
    readonly start: number;
    readonly end: number;
    readonly genBits: number;
  }) => [
    end - start === 1 ? 'no key in freespace' : `no key for ${range(start, end)}`,
    genBits === 0 ? 'its key in freespace' : `one at bits ${genBits}`,
  ],
  /** A run of freespace, `end` excluded; undefined for the one bucket of a key in need_discard. */
  need_discard_freespace_key_to_invalid_dev_bucket: ({
    run,
  }: {
    readonly run: readonly [start: number, end: number] | undefined;
  }) => (run === undefined ? ['a key', 'a bucket of a member'] : [range(...run), 'buckets of a member']),
  need_discard_freespace_key_bad: (
    bad:
      | { readonly btree: 'need_discard'; readonly dataType: number }
      | {
          readonly btree: 'freespace';
          readonly bucket: number;
          readonly dataType: number;
          readonly genBits: Compared<number>;
        },
  ) =>
    bad.btree === 'need_discard'
      ? [`a ${dataTypes.nameOf(bad.dataType)} bucket`, 'one that needs discard']
      : [
          `${dataTypes.nameOf(bad.dataType)} bucket ${bad.bucket} of generation bits ${bad.genBits.expected}`,
          `a free one of ${bad.genBits.found}`,
        ],
  /** Free buckets without alloc keys, `end` excluded. */
  freespace_hole_missing: ({ start, end }: { readonly start: number; readonly end: number }) => [
    end - start === 1 ? 'no key in freespace' : `no key for ${range(start, end)}`,
    'one: nothing says that anything was ever there',
  ],
  need_discard_key_wrong: always('no key in need_discard', 'one'),
  bucket_gens_key_wrong: ({ found, expected }: { readonly found: number | undefined; readonly expected: number }) => [
    found === undefined ? 'no key in bucket_gens' : `${found}`,
    `${expected}`,
  ],
  bucket_gens_hole_wrong: ({ gen }: { readonly gen: number }) => [`generation ${gen}`, '0, as there is no alloc key'],
  bucket_gens_to_invalid_dev: ({ dev }: { readonly dev: bigint }) => [`device ${dev}`, 'a member'],
  bucket_gens_to_invalid_buckets: ({
    start,
    bucketCount,
  }: {
    readonly start: number;
    readonly bucketCount: number;
  }) => [`buckets from ${start}`, `less than ${bucketCount}`],
  bucket_gens_nonzero_for_invalid_buckets: ({ bucket, gen }: { readonly bucket: number; readonly gen: number }) => [
    `generation ${gen} at ${bucket}`,
    '0',
  ],
  alloc_key_to_missing_lru_entry: ({
    list,
    time,
  }: {
    readonly list: 'read' | 'fragmentation';
    readonly time: number;
  }) => [`no entry in the ${list} list`, `one at ${time}`],
  lru_entry_to_invalid_bucket: ({ dev, bucket }: { readonly dev: number; readonly bucket: number }) => [
    `bucket ${dev}:${bucket}`,
    'a bucket of a member',
  ],
  /** `expected` 0: the bucket is not to be in the list. */
  lru_entry_bad: ({ list, found, expected }: Compared<number> & { readonly list: number }) => [
    `time ${found} in list ${list}`,
    expected === 0 ? 'no entry' : `time ${expected}`,
  ],

  // ---- backpointers
  /** `buckets`: so many more whose backpointers differ were not looked into. */
  ptr_to_missing_backpointer: (
    missing:
      | { readonly dev: number; readonly sector: number; readonly sectors: number; readonly count: number }
      | { readonly buckets: number },
  ) =>
    'buckets' in missing
      ? [`${missing.buckets} more buckets whose backpointers differ`, 'none']
      : [
          `${missing.count === 1 ? 'no backpointer' : `${missing.count} pointers too many`} at device ${missing.dev} sector ${missing.sector}`,
          `one of ${missing.sectors} sectors`,
        ],
  backpointer_to_missing_ptr: ({
    sectors,
    btree,
    pos,
  }: {
    readonly sectors: number;
    readonly btree: string;
    readonly pos: Bpos;
  }) => [`a backpointer of ${sectors} sectors to ${btree} ${bposText(pos)}`, 'a pointer there to here'],
  backpointer_to_missing_device: ({ dev }: { readonly dev: number }) => [
    `a place on device ${dev}`,
    'a bucket of a member',
  ],

  backpointer_to_missing_alloc: ({ dev, bucket }: { readonly dev: number; readonly bucket: number }) => [
    `no alloc key for bucket ${dev}:${bucket}`,
    'one',
  ],

  // ---- counters
  accounting_to_invalid_device: ({ counter }: { readonly counter: Counter }) => [
    counterText(counter),
    'counters of members only',
  ],
  /** Undefined: there is no counter, or there is to be none. */
  accounting_mismatch: ({ counter, found, expected }: Compared<Counters> & { readonly counter: Counter }) => [
    found === undefined ? `no counter for ${counterText(counter)}` : `${counterText(counter)}: ${found.join(' ')}`,
    expected === undefined ? 'no counter' : expected.join(' '),
  ],
  accounting_inum_mismatch: ({
    inum,
    found,
    expected,
  }: {
    readonly inum: bigint;
    readonly found: Counters;
    readonly expected: readonly number[];
  }) => [
    found === undefined ? `no counter for inode ${inum}` : `inode ${inum}: ${found.join(' ')}`,
    expected.join(' '),
  ],
  rebalance_work_missing: ({ sectors }: { readonly sectors: number }) => [
    `${sectors} sectors wait, no key in rebalance_work`,
    'one',
  ],
  rebalance_work_bad: always('a key', 'none: nothing waits there'),
  accounting_replicas_not_marked: ({ entry }: { readonly entry: ReplicasEntry }) => [
    `a counter for ${replicasEntryText(entry)}, and no entry`,
    'one for each set of devices that is counted',
  ],
  ptr_to_missing_replicas_entry: ({ entry }: { readonly entry: ReplicasEntry }) => [
    `no entry ${replicasEntryText(entry)}`,
    'one for each set of devices in use',
  ],

  // ---- stripes and indirect extents
  ptr_to_missing_stripe: ({ stripe }: { readonly stripe: number }) => [`stripe ${stripe}`, 'a stripe'],
  ptr_to_incorrect_stripe: ({ stripe, block }: { readonly stripe: number; readonly block: number }) => [
    `block ${block} of stripe ${stripe}`,
    'the block that it points into',
  ],
  stripe_sector_count_wrong: ({ block, found, expected }: Compared<number> & { readonly block: number }) => [
    `block ${block}: ${found}`,
    `${expected}`,
  ],
  stripe_bucket_shared: ({
    dev,
    bucket,
    stripe,
  }: {
    readonly dev: number;
    readonly bucket: number;
    readonly stripe: number;
  }) => [`bucket ${dev}:${bucket} of stripe ${stripe}`, 'a bucket of its own'],
  reflink_v_refcount_wrong: compared,
  /** Sectors of the reflink btree. */
  reflink_p_to_missing_reflink_v: ({ start, end }: { readonly start: number; readonly end: number }) => [
    `no indirect extent from ${start} to ${end}`,
    'one',
  ],

  // ---- snapshots and subvolumes
  bkey_in_missing_snapshot: ({ snapshot }: { readonly snapshot: number }) => [
    `snapshot ${snapshot}, which is missing`,
    'a snapshot',
  ],
  /** As what the missing one is named where it is. */
  snapshot_node_missing: ({
    as,
    snapshot,
  }: {
    readonly as: 'parent' | 'child' | 'snapshot';
    readonly snapshot: number;
  }) => [`${as} ${snapshot}, which is missing`, 'a snapshot'],
  snapshot_parent_bad: ({
    parent,
    children,
    snapshot,
  }: {
    readonly parent: number;
    readonly children: readonly number[];
    readonly snapshot: number;
  }) => [`parent ${parent} with children ${children.join(' ')}`, `${snapshot} among them`],
  snapshot_child_bad: ({ child, found, expected }: Compared<number> & { readonly child: number }) => [
    `child ${child} with parent ${found}`,
    `${expected}`,
  ],
  snapshot_bad_depth: compared,
  snapshot_bad_skiplist: ({ skip }: { readonly skip: readonly number[] }) => [
    skip.join(' '),
    'ancestors, none for a root',
  ],
  snapshot_should_not_have_subvol: ({ subvolume }: { readonly subvolume: number }) => [
    `subvolume ${subvolume}`,
    'none',
  ],
  snapshot_subvol_backref_wrong: compared,
  snapshot_to_bad_snapshot_tree: ({ tree }: { readonly tree: number }) => [`tree ${tree}`, 'the tree that it is in'],
  snapshot_tree_to_missing_snapshot: ({ root }: { readonly root: number }) => [`root ${root}`, 'a root of this tree'],
  snapshot_tree_to_missing_subvol: missingSubvolume,
  snapshot_tree_to_wrong_subvol: ({
    subvolume,
    snapshot,
  }: {
    readonly subvolume: number;
    readonly snapshot: number;
  }) => [`subvolume ${subvolume} in snapshot ${snapshot}`, 'one in this tree'],
  snapshot_tree_to_snapshot_subvol: ({ subvolume }: { readonly subvolume: number }) => [
    `subvolume ${subvolume}, a snapshot`,
    'one that is not a snapshot',
  ],
  subvol_missing: missingSubvolume,
  subvol_snapshot_shared: ({ snapshot, subvolume }: { readonly snapshot: number; readonly subvolume: number }) => [
    `snapshot ${snapshot}, in which subvolume ${subvolume} lives`,
    'one of its own',
  ],
  subvol_to_missing_root: ({ inum }: { readonly inum: bigint }) => [`inode ${inum}, which is missing`, 'a directory'],
  subvol_root_wrong_bi_subvol: compared,
  subvol_not_master_and_not_snapshot: compared,
  subvol_root_fs_path_parent_nonzero: compared,
  subvol_unreachable: always('an unlinked subvolume', 'none after a clean shutdown'),
  subvol_children_not_set: ({ parent, subvolume }: { readonly parent: number; readonly subvolume: number }) => [
    'no key in subvolume_children',
    `one at ${parent}:${subvolume}`,
  ],
  /** The parent that the child names; undefined where there is no such child. */
  subvol_children_bad: ({ parent }: { readonly parent: number | undefined }) => [
    'a key',
    parent === undefined ? 'no such subvolume' : `parent ${parent}`,
  ],
  subvol_fs_path_parent_wrong: compared,

  // ---- files
  inode_snapshot_mismatch: ({ seed, type }: { readonly seed: bigint; readonly type: number }) => [
    `seed ${seed.toString(16)}, type ${type}`,
    'the same as in other snapshots',
  ],
  inode_i_sectors_wrong: compared,
  inode_wrong_nlink: compared,
  inode_dir_wrong_nlink: compared,
  inode_multiple_links_but_nlink_0: ({ links }: { readonly links: number }) => [`${links} links`, 'one'],
  /** `dir` and `dirOffset`: the name that the inode has noted; `expected`: where the name is. */
  inode_wrong_backpointer: ({
    inum,
    snapshot,
    dir,
    dirOffset,
    expected,
  }: {
    readonly inum: bigint;
    readonly snapshot: number;
    readonly dir: bigint;
    readonly dirOffset: bigint;
    readonly expected: Bpos;
  }) => [`inode ${inum}:${snapshot} names ${dir}:${dirOffset}`, bposText(expected)],
  inode_points_to_missing_dirent: ({ dir, dirOffset }: { readonly dir: bigint; readonly dirOffset: bigint }) => [
    `the name ${dir}:${dirOffset}`,
    'a dirent there that leads here',
  ],
  inode_points_to_wrong_dirent: ({
    dir,
    dirOffset,
    leadsTo,
  }: {
    readonly dir: bigint;
    readonly dirOffset: bigint;
    readonly leadsTo: bigint;
  }) => [`the name ${dir}:${dirOffset}, which leads to ${leadsTo}`, 'a dirent there that leads here'],
  inode_unreachable: always('no name', 'one'),
  inode_unlinked_but_has_dirent: ({ inum }: { readonly inum: bigint }) => [
    `inode ${inum} unlinked`,
    'an inode with a name',
  ],
  inode_bi_subvol_missing: missingSubvolume,
  /** `root` and `snapshot`: of the subvolume that the inode takes itself for the root of. */
  inode_bi_subvol_wrong: ({
    subvolume,
    root,
    snapshot,
  }: {
    readonly subvolume: number;
    readonly root: bigint;
    readonly snapshot: number;
  }) => [`subvolume ${subvolume}`, `the one whose root it is, not of ${root}:${snapshot}`],
  inode_bi_parent_nonzero: compared,
  inode_bi_parent_wrong: compared,
  inode_has_child_snapshots_wrong: compared,
  key_in_missing_inode: ({ inum }: { readonly inum: bigint }) => [`no inode ${inum}`, 'one that its snapshot sees'],
  /** Types as in modes. */
  key_in_wrong_inode_type: ({ found, allowed }: { readonly found: number; readonly allowed: readonly number[] }) => [
    fileTypes.nameOf(found),
    allowed.map(type => fileTypes.nameOf(type)).join(' or '),
  ],
  /** Sectors of the file. */
  extent_past_end_of_inode: ({
    end,
    most,
    snapshot,
  }: {
    readonly end: number;
    readonly most: number;
    readonly snapshot: number;
  }) => [`end ${end}`, `at most ${most}, snapshot ${snapshot}`],
  extent_overlapping: ({
    start,
    end,
    least,
    snapshot,
  }: {
    readonly start: number;
    readonly end: number;
    readonly least: number;
    readonly snapshot: number;
  }) => [`sectors ${start} to ${end} in snapshot ${snapshot}`, `nothing before ${least}`],
  dirent_to_missing_inode: ({ inum }: { readonly inum: bigint }) => [`inode ${inum}, which is missing`, 'an inode'],
  dirent_to_missing_subvol: missingSubvolume,
  dirent_to_missing_parent_subvol: missingSubvolume,
  /** `snapshot` has the name, and `parentSnapshot`, the subvolume's that is said to hold it, does not see it. */
  dirent_not_visible_in_parent_subvol: ({
    snapshot,
    parentSnapshot,
  }: {
    readonly snapshot: number;
    readonly parentSnapshot: number;
  }) => [`snapshot ${snapshot}`, `one that ${parentSnapshot} sees`],
  dirent_d_type_wrong: comparedFileType,
  dir_loop: ({ directories }: { readonly directories: number }) => [
    `${directories} directories above it lead back to it`,
    'a root',
  ],
  /** Offsets in the btree; `gap`: a free one on the way, where the search for the name ends. */
  hash_table_key_wrong_offset: ({ found, expected, gap }: Compared<bigint> & { readonly gap: bigint | undefined }) => [
    gap === undefined ? `${found}` : `${found}, nothing at ${gap}`,
    `${expected}`,
  ],
  hash_table_key_duplicate: ({ other }: { readonly other: bigint }) => [
    `the same name at ${other}`,
    'one key of a name',
  ],
  logged_op_but_clean: ({ type }: { readonly type: string }) => [type, 'none'],
  unlinked_inode_not_on_deleted_list: always('no key in deleted_inodes', 'one'),
  deleted_inode_not_unlinked: always('a key', 'an unlinked inode without younger snapshots'),
} satisfies { readonly [N in FaultName]?: (facts: never) => Words };

/** Errors whose facts are values. */
export type ValuedName = keyof typeof words;

/** The values of one error. */
export type ValuesOf<N extends ValuedName> = Parameters<(typeof words)[N]>[0];

/** What a finding of an error may say: its values, or the sentence of a reader that could not go on. */
export type FactsOf<N extends FaultName> = N extends ValuedName ? ValuesOf<N> | Detail : Detail;

/** What was found and what was expected; undefined where the facts are a sentence. */
export function factWords<N extends FaultName>(error: N, facts: FactsOf<N>): Words | undefined {
  if (isDetail(facts)) return undefined;
  // The row of an error takes the facts of that error: what the type says, but for the compiler's view of a union of rows.
  const row = (words as { readonly [name: string]: ((facts: unknown) => Words) | undefined })[error];
  return row?.(facts);
}

/** Facts that are a sentence. */
export function isDetail(facts: object): facts is Detail {
  return 'detail' in facts && Object.keys(facts).length === 1;
}

/** Facts as JSON has them: positions as text, numbers above 2^53 as digits. */
export function factsJson(facts: object): unknown {
  return jsonOf(facts);
}

function jsonOf(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : `${value}`;
  if (value instanceof Uint32Array) return bposText(value);
  if (Array.isArray(value)) return value.map(jsonOf);
  if (typeof value !== 'object' || value === null) return value ?? null;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, jsonOf(one)]));
}
