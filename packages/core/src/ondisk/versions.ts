// Metadata versions: one number for all structures on disk, `major << 10 | minor` in 16 bits. A newer minor version can
// be opened by older code ("compatible" upgrade); a newer major version cannot. Since 1.16 some minor versions also
// gate structures that older code would misread: those are used only once the superblock's version_incompat says so.
// Source: BCH_METADATA_VERSIONS in bcachefs_format.h, v1.13.0 to v1.39.2; version.c and super-io.c for texts and rules.

import { UsageError } from './errors.ts';
import type { Release, ReleasedRow } from './releases.ts';
import { type Table, table } from './table.ts';

interface VersionRow extends ReleasedRow {
  /** Structures of this version need version_incompat to allow them. */
  readonly incompat: boolean;
}

const MINOR_BITS = 10;

function at(major: number, minor: number): number {
  return (major << MINOR_BITS) | minor;
}

const rows = [
  { id: at(0, 10), name: 'bkey_renumber', since: '1.13', incompat: false },
  { id: at(0, 11), name: 'inode_btree_change', since: '1.13', incompat: false },
  { id: at(0, 12), name: 'snapshot', since: '1.13', incompat: false },
  { id: at(0, 13), name: 'inode_backpointers', since: '1.13', incompat: false },
  { id: at(0, 14), name: 'btree_ptr_sectors_written', since: '1.13', incompat: false },
  { id: at(0, 15), name: 'snapshot_2', since: '1.13', incompat: false },
  { id: at(0, 16), name: 'reflink_p_fix', since: '1.13', incompat: false },
  { id: at(0, 17), name: 'subvol_dirent', since: '1.13', incompat: false },
  { id: at(0, 18), name: 'inode_v2', since: '1.13', incompat: false },
  { id: at(0, 19), name: 'freespace', since: '1.13', incompat: false },
  { id: at(0, 20), name: 'alloc_v4', since: '1.13', incompat: false },
  { id: at(0, 21), name: 'new_data_types', since: '1.13', incompat: false },
  { id: at(0, 22), name: 'backpointers', since: '1.13', incompat: false },
  { id: at(0, 23), name: 'inode_v3', since: '1.13', incompat: false },
  { id: at(0, 24), name: 'unwritten_extents', since: '1.13', incompat: false },
  { id: at(0, 25), name: 'bucket_gens', since: '1.13', incompat: false },
  { id: at(0, 26), name: 'lru_v2', since: '1.13', incompat: false },
  { id: at(0, 27), name: 'fragmentation_lru', since: '1.13', incompat: false },
  { id: at(0, 28), name: 'no_bps_in_alloc_keys', since: '1.13', incompat: false },
  { id: at(0, 29), name: 'snapshot_trees', since: '1.13', incompat: false },
  { id: at(1, 0), name: 'major_minor', since: '1.13', incompat: false },
  { id: at(1, 1), name: 'snapshot_skiplists', since: '1.13', incompat: false },
  { id: at(1, 2), name: 'deleted_inodes', since: '1.13', incompat: false },
  { id: at(1, 3), name: 'rebalance_work', since: '1.13', incompat: false },
  { id: at(1, 4), name: 'member_seq', since: '1.13', incompat: false },
  { id: at(1, 5), name: 'subvolume_fs_parent', since: '1.13', incompat: false },
  { id: at(1, 6), name: 'btree_subvolume_children', since: '1.13', incompat: false },
  { id: at(1, 7), name: 'mi_btree_bitmap', since: '1.13', incompat: false },
  { id: at(1, 8), name: 'bucket_stripe_sectors', since: '1.13', incompat: false },
  { id: at(1, 9), name: 'disk_accounting_v2', since: '1.13', incompat: false },
  { id: at(1, 10), name: 'disk_accounting_v3', since: '1.13', incompat: false },
  { id: at(1, 11), name: 'disk_accounting_inum', since: '1.13', incompat: false },
  { id: at(1, 12), name: 'rebalance_work_acct_fix', since: '1.13', incompat: false },
  { id: at(1, 13), name: 'inode_has_child_snapshots', since: '1.13', incompat: false },
  { id: at(1, 14), name: 'backpointer_bucket_gen', since: '1.36', incompat: false },
  { id: at(1, 15), name: 'disk_accounting_big_endian', since: '1.36', incompat: false },
  { id: at(1, 16), name: 'reflink_p_may_update_opts', since: '1.36', incompat: true },
  { id: at(1, 17), name: 'inode_depth', since: '1.36', incompat: false },
  { id: at(1, 18), name: 'persistent_inode_cursors', since: '1.36', incompat: false },
  { id: at(1, 19), name: 'autofix_errors', since: '1.36', incompat: false },
  { id: at(1, 20), name: 'directory_size', since: '1.36', incompat: false },
  { id: at(1, 21), name: 'cached_backpointers', since: '1.36', incompat: false },
  { id: at(1, 22), name: 'stripe_backpointers', since: '1.36', incompat: false },
  { id: at(1, 23), name: 'stripe_lru', since: '1.36', incompat: false },
  { id: at(1, 24), name: 'casefolding', since: '1.36', incompat: true },
  { id: at(1, 25), name: 'extent_flags', since: '1.36', incompat: true },
  { id: at(1, 26), name: 'snapshot_deletion_v2', since: '1.36', incompat: true },
  { id: at(1, 27), name: 'fast_device_removal', since: '1.36', incompat: true },
  { id: at(1, 28), name: 'inode_has_case_insensitive', since: '1.36', incompat: false },
  { id: at(1, 29), name: 'extent_snapshot_whiteouts', since: '1.36', incompat: true },
  { id: at(1, 30), name: '31bit_dirent_offset', since: '1.36', incompat: true },
  { id: at(1, 31), name: 'btree_node_accounting', since: '1.36', incompat: false },
  { id: at(1, 32), name: 'sb_field_extent_type_u64s', since: '1.36', incompat: true },
  { id: at(1, 33), name: 'reconcile', since: '1.36', incompat: true },
  { id: at(1, 34), name: 'extented_key_type_error', since: '1.36', incompat: true },
  { id: at(1, 35), name: 'bucket_stripe_index', since: '1.36', incompat: false },
  { id: at(1, 36), name: 'no_sb_user_data_replicas', since: '1.36', incompat: true },
  { id: at(1, 37), name: 'erasure_coding', since: '1.39', incompat: false },
  { id: at(1, 38), name: 'need_discard_by_journal_seq', since: '1.39', incompat: false },
  { id: at(1, 39), name: 'per_dev_fragmentation_lru', since: '1.39', incompat: false },
] as const satisfies readonly VersionRow[];

export type VersionName = (typeof rows)[number]['name'];
export type Version = VersionRow & { readonly name: VersionName };

/** All metadata versions with a name, oldest first. */
export const versions: Table<Version> = table<Version>('metadata version', rows);

/** What new filesystems are unless asked: inode_has_child_snapshots (1.13), the format of the kernel 6.12. */
export const VERSION_CURRENT_WRITTEN: number = at(1, 13);

/** The newest version that can be made and changed, of those since `VERSION_CURRENT_WRITTEN`. Linux 6.16 has 1.28. */
export const VERSION_MAX_WRITTEN: number = at(1, 30);

/** The newest version whose structures we know when reading. */
export const VERSION_MAX_READ: number = at(1, 39);

/** The oldest version that the reference opens (it has no name): bcachefs_metadata_version_min. */
export const VERSION_MIN = 9;

export function versionOf(name: VersionName): number {
  return versions.idOf(name);
}

export function versionMajor(version: number): number {
  return version >> MINOR_BITS;
}

export function versionMinor(version: number): number {
  return version & ((1 << MINOR_BITS) - 1);
}

/** `1.13` */
export function versionNumber(version: number): string {
  return `${versionMajor(version)}.${versionMinor(version)}`;
}

/** Those that can be made and changed, for messages: `1.13 to 1.30`. */
export const WRITTEN_VERSIONS = `${versionNumber(VERSION_CURRENT_WRITTEN)} to ${versionNumber(VERSION_MAX_WRITTEN)}`;

/** `inode_has_child_snapshots (1.13)`, or `(unknown version) (0.0)`; mirrors bch2_version_to_text. */
export function versionText(version: number, release: Release = '1.39'): string {
  const row = versions.byId(version);
  const known = row !== undefined && (release === '1.39' || version <= (release === '1.36' ? at(1, 36) : at(1, 13)));
  return `${known ? row.name : '(unknown version)'} (${versionNumber(version)})`;
}

/**
 * `1.13`, a bare number as stored on disk (`1037`, as the reference's v1.13 format took it), or a name.
 * @throws UsageError
 */
export function parseVersion(text: string): number {
  const named = versions.byName(text);
  if (named !== undefined) return named.id;
  const dotted = /^(\d{1,2})\.(\d{1,4})$/.exec(text);
  if (dotted !== null) {
    const major = Number(dotted[1]);
    const minor = Number(dotted[2]);
    if (major < 64 && minor < 1 << MINOR_BITS) return at(major, minor);
  }
  if (/^\d{1,5}$/.test(text) && Number(text) < 0x10000) return Number(text);
  throw new UsageError(
    `found ${JSON.stringify(text)}, expected a metadata version such as 1.13 or a name such as reconcile`,
  );
}

/** Whether code whose newest version is `newest` may open a filesystem of this version. */
export function isVersionCompatible(version: number, newest: number = VERSION_MAX_READ): boolean {
  return version >= VERSION_MIN && versionMajor(version) <= versionMajor(newest);
}

/** The newest version that code of `newest` can still open beside this one: same major version. */
export function latestCompatibleVersion(version: number, newest: number = VERSION_MAX_READ): number {
  if (versionMajor(version) === 0) return version;
  let latest = version;
  for (const { id } of versions.rows) {
    if (id > latest && id <= newest && versionMajor(id) === versionMajor(version)) latest = id;
  }
  return latest;
}
