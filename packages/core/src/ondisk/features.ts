// Feature bits of the superblock (`features[0]`) and compatibility bits (`compat[0]`), by bit number. An unknown
// feature bit means that the filesystem must not be opened; an unknown compat bit is only a hint that can be dropped.
// Source: BCH_SB_FEATURES, BCH_SB_FEATURES_ALWAYS, BCH_SB_FEATURES_ALL, BCH_SB_COMPAT in bcachefs_format.h, v1.13.0 to
// v1.39.2.

import { isKnownTo, type Release, type ReleasedRow } from './releases.ts';
import { type Table, table } from './table.ts';

interface FeatureRow extends ReleasedRow {
  /**
   * When the bit is set: `always` by every mount for writing, `format` when a filesystem of the then current version is
   * made (together with the former), `use` when something needs it.
   */
  readonly when: 'always' | 'format' | 'use';
}

const rows = [
  { id: 0, name: 'lz4', since: '1.13', when: 'use' },
  { id: 1, name: 'gzip', since: '1.13', when: 'use' },
  { id: 2, name: 'zstd', since: '1.13', when: 'use' },
  { id: 3, name: 'atomic_nlink', since: '1.13', when: 'use' },
  { id: 4, name: 'ec', since: '1.13', when: 'use' },
  { id: 5, name: 'journal_seq_blacklist_v3', since: '1.13', when: 'use' },
  { id: 6, name: 'reflink', since: '1.13', when: 'use' },
  { id: 7, name: 'new_siphash', since: '1.13', when: 'format' },
  { id: 8, name: 'inline_data', since: '1.13', when: 'use' },
  { id: 9, name: 'new_extent_overwrite', since: '1.13', when: 'always' },
  { id: 10, name: 'incompressible', since: '1.13', when: 'use' },
  { id: 11, name: 'btree_ptr_v2', since: '1.13', when: 'format' },
  { id: 12, name: 'extents_above_btree_updates', since: '1.13', when: 'always' },
  { id: 13, name: 'btree_updates_journalled', since: '1.13', when: 'always' },
  { id: 14, name: 'reflink_inline_data', since: '1.13', when: 'use' },
  { id: 15, name: 'new_varint', since: '1.13', when: 'format' },
  { id: 16, name: 'journal_no_flush', since: '1.13', when: 'format' },
  { id: 17, name: 'alloc_v2', since: '1.13', when: 'always' },
  { id: 18, name: 'extents_across_btree_nodes', since: '1.13', when: 'always' },
  { id: 19, name: 'incompat_version_field', since: '1.36', when: 'format' },
  { id: 20, name: 'casefolding', since: '1.36', when: 'use' },
  { id: 21, name: 'no_alloc_info', since: '1.36', when: 'use' },
  { id: 22, name: 'small_image', since: '1.36', when: 'use' },
  { id: 23, name: 'no_default_sb', since: '1.39', when: 'use' },
] as const satisfies readonly FeatureRow[];

export type FeatureName = (typeof rows)[number]['name'];
export type Feature = FeatureRow & { readonly name: FeatureName };

/** Incompatible features, bits of `features[0]`. */
export const incompatFeatures: Table<Feature> = table<Feature>('feature', rows);

/** Compatibility hints, bits of `compat[0]`. */
export const compatFeatures: Table<ReleasedRow> = table<ReleasedRow>('compat feature', [
  { id: 0, name: 'alloc_info', since: '1.13' },
  { id: 1, name: 'alloc_metadata', since: '1.13' },
  { id: 2, name: 'extents_above_btree_updates_done', since: '1.13' },
  { id: 3, name: 'bformat_overflow_done', since: '1.13' },
  { id: 4, name: 'no_stale_ptrs', since: '1.36' },
]);

function featureMask(wanted: (row: Feature) => boolean): bigint {
  return incompatFeatures.rows.filter(wanted).reduce((mask, row) => mask | (1n << BigInt(row.id)), 0n);
}

/** BCH_SB_FEATURES_ALWAYS: what a mount for writing sets. */
export const FEATURES_ALWAYS: bigint = featureMask(row => row.when === 'always');

/** BCH_SB_FEATURES_ALL of v1.13.0: what formatting sets when the filesystem is of the current version. */
export const FEATURES_AT_FORMAT: bigint = featureMask(row => row.when !== 'use' && row.since === '1.13');

/** The bits that a release does not refuse. */
export function featuresKnownTo(release: Release): bigint {
  return featureMask(row => isKnownTo(release, row));
}
