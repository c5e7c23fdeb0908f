// What a bucket, a replicas entry or an accounting counter holds.
// Source: BCH_DATA_TYPES in disk_accounting_format.h (v1.13.0) and alloc/accounting_format.h (v1.39.2).

import type { ReleasedRow } from './releases.ts';
import { type Table, table } from './table.ts';

interface DataTypeRow extends ReleasedRow {
  /** A bucket of this type holds nothing. */
  readonly isEmpty: boolean;
  /** Not counted as used by the user: superblocks and journal. */
  readonly isHidden: boolean;
}

const rows = [
  { id: 0, name: 'free', since: '1.13', isEmpty: true, isHidden: false },
  { id: 1, name: 'sb', since: '1.13', isEmpty: false, isHidden: true },
  { id: 2, name: 'journal', since: '1.13', isEmpty: false, isHidden: true },
  { id: 3, name: 'btree', since: '1.13', isEmpty: false, isHidden: false },
  { id: 4, name: 'user', since: '1.13', isEmpty: false, isHidden: false },
  { id: 5, name: 'cached', since: '1.13', isEmpty: false, isHidden: false },
  { id: 6, name: 'parity', since: '1.13', isEmpty: false, isHidden: false },
  { id: 7, name: 'stripe', since: '1.13', isEmpty: false, isHidden: false },
  { id: 8, name: 'need_gc_gens', since: '1.13', isEmpty: true, isHidden: false },
  { id: 9, name: 'need_discard', since: '1.13', isEmpty: true, isHidden: false },
  { id: 10, name: 'unstriped', since: '1.13', isEmpty: false, isHidden: false },
  { id: 11, name: 'multiple', since: '1.39', isEmpty: false, isHidden: false },
] as const satisfies readonly DataTypeRow[];

export type DataTypeName = (typeof rows)[number]['name'];
export type DataType = DataTypeRow & { readonly name: DataTypeName };

export const dataTypes: Table<DataType> = table<DataType>('data type', rows);
