// Variable sections of the superblock by type number; unknown ones are carried along. Every device's superblock holds a
// copy of each, except for the journal's, which differ per device.
// Source: BCH_SB_FIELDS, BCH_SINGLE_DEVICE_SB_FIELDS in bcachefs_format.h, v1.13.0 to v1.39.2.

import type { ReleasedRow } from './releases.ts';
import { type Table, table } from './table.ts';

interface SbFieldRow extends ReleasedRow {
  /** Differs from device to device instead of being replicated. */
  readonly singleDevice: boolean;
}

const rows = [
  { id: 0, name: 'journal', since: '1.13', singleDevice: true },
  { id: 1, name: 'members_v1', since: '1.13', singleDevice: false },
  { id: 2, name: 'crypt', since: '1.13', singleDevice: false },
  { id: 3, name: 'replicas_v0', since: '1.13', singleDevice: false },
  { id: 4, name: 'quota', since: '1.13', singleDevice: false },
  { id: 5, name: 'disk_groups', since: '1.13', singleDevice: false },
  { id: 6, name: 'clean', since: '1.13', singleDevice: false },
  { id: 7, name: 'replicas', since: '1.13', singleDevice: false },
  { id: 8, name: 'journal_seq_blacklist', since: '1.13', singleDevice: false },
  { id: 9, name: 'journal_v2', since: '1.13', singleDevice: true },
  { id: 10, name: 'counters', since: '1.13', singleDevice: false },
  { id: 11, name: 'members_v2', since: '1.13', singleDevice: false },
  { id: 12, name: 'errors', since: '1.13', singleDevice: false },
  { id: 13, name: 'ext', since: '1.13', singleDevice: false },
  { id: 14, name: 'downgrade', since: '1.13', singleDevice: false },
  { id: 15, name: 'recovery_passes', since: '1.36', singleDevice: false },
  { id: 16, name: 'extent_type_u64s', since: '1.36', singleDevice: false },
  { id: 17, name: 'errors_v2', since: '1.39', singleDevice: false },
] as const satisfies readonly SbFieldRow[];

export type SbFieldName = (typeof rows)[number]['name'];
export type SbField = SbFieldRow & { readonly name: SbFieldName };

export const sbFieldIds: Table<SbField> = table<SbField>('superblock section', rows);
