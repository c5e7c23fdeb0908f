// Key type error: file data that is lost; reading it fails. Since 1.36 a value says why, before there was none.
// Source: KEY_TYPE_ERRORS in bcachefs_format.h and btree/bkey_methods.c, v1.36.1.

import { type Row, type Table, table } from '../table.ts';
import type { KeyKind } from './kind.ts';

export const keyErrorReasons: Table<Row> = table<Row>('key error reason', [
  { id: 0, name: 'unknown' },
  { id: 1, name: 'device_removed' },
  { id: 2, name: 'double_allocation' },
  { id: 3, name: 'no_valid_pointers_repair' },
]);

export interface KeyError {
  /** See keyErrorReasons; undefined for a key without a value. */
  readonly reason: number | undefined;
}

export const keyError: KeyKind<KeyError> = {
  name: 'error',
  minBytes: 0,
  decode: value => ({ reason: value[0] }),
  encode: ({ reason }) => (reason === undefined ? new Uint8Array() : Uint8Array.of(reason, 0, 0, 0, 0, 0, 0, 0)),
  validate: () => [],
  text(out, { reason = 0 }) {
    out.print(keyErrorReasons.byId(reason)?.name ?? `(unknown key_type_error_reason ${reason})`);
  },
  json: ({ reason }) => (reason === undefined ? {} : { reason: keyErrorReasons.nameOf(reason) }),
};
