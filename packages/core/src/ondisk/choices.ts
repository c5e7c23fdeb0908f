// The small string lists that options choose from, and quota types. Checksums, compression, string hashes and member
// states have files of their own.
// Source: BCH_ERROR_ACTIONS, BCH_DEGRADED_ACTIONS, BCH_VERSION_UPGRADE_OPTS, BCH_SCRUB_JOURNAL_OPTS in
// bcachefs_format.h, BCH_FIX_ERRORS_OPTS in opts.h, enum quota_types in quota_format.h; v1.13.0 to v1.39.2.

import { type Row, type Table, table } from './table.ts';

/** What to do about an inconsistency found at run time. */
export const errorActions: Table<Row> = table<Row>('error action', [
  { id: 0, name: 'continue' },
  { id: 1, name: 'fix_safe' },
  { id: 2, name: 'panic' },
  { id: 3, name: 'ro' },
]);

/** Mounting with devices missing, since 1.36; at 1.13 `degraded` is a plain switch beside `very_degraded`. */
export const degradedActions: Table<Row> = table<Row>('degraded action', [
  { id: 0, name: 'ask' },
  { id: 1, name: 'yes' },
  { id: 2, name: 'very' },
  { id: 3, name: 'no' },
]);

/** How far mounting upgrades the metadata version. */
export const versionUpgrades: Table<Row> = table<Row>('version upgrade', [
  { id: 0, name: 'compatible' },
  { id: 1, name: 'incompatible' },
  { id: 2, name: 'none' },
]);

/** What fsck does about findings. */
export const fixErrorsChoices: Table<Row> = table<Row>('fix_errors choice', [
  { id: 0, name: 'exit' },
  { id: 1, name: 'yes' },
  { id: 2, name: 'no' },
  { id: 3, name: 'ask' },
]);

/** When the newest journal entries' data is read back at mount, since 1.39. */
export const scrubJournalChoices: Table<Row> = table<Row>('journal scrub choice', [
  { id: 0, name: 'unclean' },
  { id: 1, name: 'no' },
  { id: 2, name: 'always' },
]);

export const quotaTypes: Table<Row> = table<Row>('quota type', [
  { id: 0, name: 'usr' },
  { id: 1, name: 'grp' },
  { id: 2, name: 'prj' },
]);

/** What a quota limits: bytes (stored in sectors) and inodes. */
export const quotaCounters: Table<Row> = table<Row>('quota counter', [
  { id: 0, name: 'space' },
  { id: 1, name: 'inodes' },
]);
