// Hash functions of names in dirents and xattrs: the types that inodes store (in bi_flags), and the option that chooses
// for new ones.
// Source: BCH_STR_HASH_TYPES, BCH_STR_HASH_OPTS in bcachefs_format.h, bch2_str_hash_opt_to_type in str_hash.h, v1.13.0.

import { assert } from './errors.ts';
import { type Row, type Table, table } from './table.ts';

const types = [
  { id: 0, name: 'crc32c' },
  { id: 1, name: 'crc64' },
  { id: 2, name: 'siphash_old' },
  { id: 3, name: 'siphash' },
] as const satisfies readonly Row[];

export type StrHashTypeName = (typeof types)[number]['name'];

/** `siphash_old` derives its key in another way; the feature new_siphash ended its use. */
export const strHashTypes: Table<Row & { readonly name: StrHashTypeName }> = table('string hash type', types);

const options = [
  { id: 0, name: 'crc32c' },
  { id: 1, name: 'crc64' },
  { id: 2, name: 'siphash' },
] as const satisfies readonly Row[];

export type StrHashOptionName = (typeof options)[number]['name'];

export const strHashOptions: Table<Row & { readonly name: StrHashOptionName }> = table('string hash option', options);

/**
 * The type (a number) for new inodes.
 * @param option value of str_hash, 0 to 2
 * @param hasNewSiphash the superblock has the feature new_siphash
 */
export function strHashTypeOf(option: number, hasNewSiphash = true): number {
  const row = strHashOptions.byId(option);
  assert(row !== undefined, `string hash option ${option} was not validated`);
  return strHashTypes.idOf(row.name === 'siphash' && !hasNewSiphash ? 'siphash_old' : row.name);
}
