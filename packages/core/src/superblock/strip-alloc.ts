// Takes out of a superblock what a filesystem needs to be written to and can be computed from the rest: the roots of the btrees that say which
// buckets are in use. What remains can be read; the first mount for writing rebuilds all of it, as after a mount with
// -o reconstruct_alloc. Mirrors strip_fs_alloc (c_src/cmd_strip_alloc.c, v1.36.1) with the means of 1.13, whose kernels know no feature bit for it:
// recovery passes that are required, and errors that are then to be expected (bch2_reconstruct_alloc, v1.13.0). The reference drops the
// journal and the replicas entries too. Linux 6.12 then fails: it has no journal for what it rebuilds (erofs_journal_err), and does not add
// replicas entries when it reads the counters (fsck_errors_not_fixed).

import { getBits, withBits } from '../ondisk/bits.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { compatFeatures } from '../ondisk/features.ts';
import { type FsckErrorName, fsckErrors } from '../ondisk/fsck-errors.ts';
import { jsetEntryTypes } from '../ondisk/jset-entry-types.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { passMask } from '../ondisk/passes.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { decodeClean, encodeClean } from '../ondisk/sb-fields/clean.ts';
import { withExt, withPassesRequired } from '../ondisk/sb-fields/ext.ts';
import { memberAlive, members, withMembers } from '../ondisk/sb-fields/members.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';

/**
 * btree_id_is_alloc, v1.13.0, but for bucket_gens: by their generations cached data is known to be stale, and 6.12 does not rebuild them
 * right (seen: its own next check finds generations of 0 that should be 1).
 */
const ALLOC_BTREES: ReadonlySet<number> = new Set(
  (['alloc', 'backpointers', 'need_discard', 'freespace'] as const).map(btrees.idOf),
);
const BTREE_ROOT = jsetEntryTypes.idOf('btree_root');

/** @throws CorruptError when there is no clean section */
export function withoutAllocInfo(sb: Superblock): Superblock {
  const payload = sectionPayload(sb, 'clean');
  if (payload === undefined)
    throw new CorruptError('invalid_sb_clean', { field: 'clean' }, 'there is no clean section');
  const clean = decodeClean(payload);
  const entries = clean.entries.filter(({ type, btree_id }) => type !== BTREE_ROOT || !ALLOC_BTREES.has(btree_id));
  const rootless = withSection(sb, 'clean', encodeClean({ ...clean, entries }));
  const unmarked = withMembers(
    rootless,
    members(rootless).map(member =>
      memberAlive(member)
        ? { ...member, flags: withBits([member.flags], memberBits.FREESPACE_INITIALIZED, 0)[0]! }
        : member,
    ),
  );
  const [compat = 0n, ...others] = unmarked.compat;
  return withRebuildRequired({
    ...unmarked,
    compat: [compat & ~(1n << BigInt(compatFeatures.idOf('alloc_info'))), ...others],
  });
}

const PASSES = [
  'check_allocations',
  'check_alloc_info',
  'check_lrus',
  'check_extents_to_backpointers',
  'check_alloc_to_lru_refs',
] as const;
const ERRORS: readonly FsckErrorName[] = [
  'ptr_to_missing_alloc_key',
  'ptr_gen_newer_than_bucket_gen',
  'stale_dirty_ptr',
  'dev_usage_buckets_wrong',
  'dev_usage_sectors_wrong',
  'dev_usage_fragmented_wrong',
  'fs_usage_btree_wrong',
  'fs_usage_cached_wrong',
  'fs_usage_persistent_reserved_wrong',
  'fs_usage_replicas_wrong',
  'alloc_key_data_type_wrong',
  'alloc_key_gen_wrong',
  'alloc_key_dirty_sectors_wrong',
  'alloc_key_cached_sectors_wrong',
  'alloc_key_stripe_wrong',
  'alloc_key_stripe_redundancy_wrong',
  'need_discard_key_wrong',
  'freespace_key_wrong',
  'bucket_gens_key_wrong',
  'freespace_hole_missing',
  'ptr_to_missing_backpointer',
  'lru_entry_bad',
  'accounting_mismatch',
];

/** So that the next mount for writing rebuilds it without asking. */
function withRebuildRequired(sb: Superblock): Superblock {
  return withExt(
    withPassesRequired(sb, mask => mask | passMask(PASSES)),
    ({ errors_silent }) => {
      const silent = [...errors_silent];
      for (const id of ERRORS.map(fsckErrors.idOf)) {
        const word = Math.floor(id / 64);
        silent[word] = (silent[word] ?? 0n) | (1n << BigInt(id % 64));
      }
      return { errors_silent: silent };
    },
  );
}

/** Whether the allocation info was taken out, and no mount for writing has rebuilt it. */
export function isAllocInfoStripped(sb: Superblock): boolean {
  const hasCompat = ((sb.compat[0] ?? 0n) >> BigInt(compatFeatures.idOf('alloc_info'))) & 1n;
  const isAnyMarked = members(sb).some(
    member => memberAlive(member) && getBits([member.flags], memberBits.FREESPACE_INITIALIZED) !== 0,
  );
  return getBits(sb.flags, sbBits.INITIALIZED) !== 0 && hasCompat === 0n && !isAnyMarked;
}
