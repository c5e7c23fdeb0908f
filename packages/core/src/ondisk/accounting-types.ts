// Kinds of space accounting, the first byte of an accounting key's position since 1.15 (before, the position was
// byte-swapped).
// Source: BCH_DISK_ACCOUNTING_TYPES in disk_accounting_format.h (v1.13.0) and alloc/accounting_format.h (v1.39.2).

import type { ReleasedRow } from './releases.ts';
import { type Row, type Table, table } from './table.ts';

interface AccountingTypeRow extends ReleasedRow {
  /** Counters in the value at 1.39; 1.13 does not check their number, and 1.36 has one for `snapshot`. */
  readonly nrCounters: number;
}

const rows = [
  { id: 0, name: 'nr_inodes', since: '1.13', nrCounters: 1 },
  { id: 1, name: 'persistent_reserved', since: '1.13', nrCounters: 1 },
  { id: 2, name: 'replicas', since: '1.13', nrCounters: 1 },
  { id: 3, name: 'dev_data_type', since: '1.13', nrCounters: 3 },
  { id: 4, name: 'compression', since: '1.13', nrCounters: 3 },
  { id: 5, name: 'snapshot', since: '1.13', nrCounters: 3 },
  { id: 6, name: 'btree', since: '1.13', nrCounters: 3 },
  { id: 7, name: 'rebalance_work', since: '1.13', nrCounters: 1 },
  { id: 8, name: 'inum', since: '1.13', nrCounters: 3 },
  { id: 9, name: 'reconcile_work', since: '1.36', nrCounters: 2 },
  { id: 10, name: 'dev_leaving', since: '1.36', nrCounters: 1 },
] as const satisfies readonly AccountingTypeRow[];

export type AccountingTypeName = (typeof rows)[number]['name'];
export type AccountingType = AccountingTypeRow & { readonly name: AccountingTypeName };

export const accountingTypes: Table<AccountingType> = table<AccountingType>('accounting type', rows);

/** What a reconcile_work counter counts: BCH_RECONCILE_ACCOUNTING in data/reconcile/format.h, v1.39.2. */
export const reconcileAccountingTypes: Table<Row> = table<Row>('reconcile accounting type', [
  { id: 0, name: 'replicas' },
  { id: 1, name: 'checksum' },
  { id: 2, name: 'erasure_code' },
  { id: 3, name: 'compression' },
  { id: 4, name: 'target' },
  { id: 5, name: 'high_priority' },
  { id: 6, name: 'pending' },
  { id: 7, name: 'stripes' }, // since 1.39
]);
