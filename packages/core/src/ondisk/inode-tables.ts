// What inodes are made of: their variable-length fields in the order of their numbers, their flags, the options among their fields,
// and the file types that modes and dirents share.
// Source: fs/inode_format.h, v1.13.0 to v1.39.2; DT_SUBVOL in fs/dirent_format.h.

import type { ReleasedRow } from './releases.ts';
import { type Row, type Table, table } from './table.ts';

/**
 * How wide a field may get. `96`: a time, two integers on disk of which the second must be zero (it was meant to make 96 bits).
 */
export type InodeFieldBits = 8 | 16 | 32 | 64 | 96;

export interface InodeFieldRow extends ReleasedRow {
  readonly bits: InodeFieldBits;
}

/** Fields of inode_v3, by number. A field that is not there is zero. */
const fieldsV3 = [
  { id: 0, name: 'bi_atime', bits: 96, since: '1.13' },
  { id: 1, name: 'bi_ctime', bits: 96, since: '1.13' },
  { id: 2, name: 'bi_mtime', bits: 96, since: '1.13' },
  { id: 3, name: 'bi_otime', bits: 96, since: '1.13' },
  { id: 4, name: 'bi_uid', bits: 32, since: '1.13' },
  { id: 5, name: 'bi_gid', bits: 32, since: '1.13' },
  { id: 6, name: 'bi_nlink', bits: 32, since: '1.13' },
  { id: 7, name: 'bi_generation', bits: 32, since: '1.13' },
  { id: 8, name: 'bi_dev', bits: 32, since: '1.13' },
  { id: 9, name: 'bi_data_checksum', bits: 8, since: '1.13' },
  { id: 10, name: 'bi_compression', bits: 8, since: '1.13' },
  { id: 11, name: 'bi_project', bits: 32, since: '1.13' },
  { id: 12, name: 'bi_background_compression', bits: 8, since: '1.13' },
  { id: 13, name: 'bi_data_replicas', bits: 8, since: '1.13' },
  { id: 14, name: 'bi_promote_target', bits: 16, since: '1.13' },
  { id: 15, name: 'bi_foreground_target', bits: 16, since: '1.13' },
  { id: 16, name: 'bi_background_target', bits: 16, since: '1.13' },
  { id: 17, name: 'bi_erasure_code', bits: 16, since: '1.13' },
  { id: 18, name: 'bi_fields_set', bits: 16, since: '1.13' },
  { id: 19, name: 'bi_dir', bits: 64, since: '1.13' },
  { id: 20, name: 'bi_dir_offset', bits: 64, since: '1.13' },
  { id: 21, name: 'bi_subvol', bits: 32, since: '1.13' },
  { id: 22, name: 'bi_parent_subvol', bits: 32, since: '1.13' },
  { id: 23, name: 'bi_nocow', bits: 8, since: '1.13' },
  { id: 24, name: 'bi_depth', bits: 32, since: '1.36' },
  { id: 25, name: 'bi_inodes_32bit', bits: 8, since: '1.36' },
  { id: 26, name: 'bi_casefold', bits: 8, since: '1.36' },
  { id: 27, name: 'bi_unused_ec_max_data_blocks', bits: 8, since: '1.39' },
] as const satisfies readonly InodeFieldRow[];

export type InodeFieldName = (typeof fieldsV3)[number]['name'];
export type InodeField = InodeFieldRow & { readonly name: InodeFieldName };

export const inodeFields: Table<InodeField> = table<InodeField>('inode field', fieldsV3);

/** Fields of inode and inode_v2: size and sectors are among them, and there is none after bi_parent_subvol. */
const fieldsV2 = [
  ...fieldsV3.slice(0, 4),
  { id: 4, name: 'bi_size', bits: 64, since: '1.13' },
  { id: 5, name: 'bi_sectors', bits: 64, since: '1.13' },
  ...fieldsV3.slice(4, 23).map(row => ({ ...row, id: row.id + 2 })),
] as const satisfies readonly InodeFieldRow[];

export type InodeFieldV2 = InodeFieldRow & { readonly name: InodeFieldName | 'bi_size' | 'bi_sectors' };

export const inodeFieldsV2: Table<InodeFieldV2> = table<InodeFieldV2>('inode_v2 field', fieldsV2);

/** Bits of `bi_flags`; bits from 20 on hold other things. */
export const inodeFlags: Table<ReleasedRow> = table<ReleasedRow>('inode flag', [
  { id: 0, name: 'sync', since: '1.13' },
  { id: 1, name: 'immutable', since: '1.13' },
  { id: 2, name: 'append', since: '1.13' },
  { id: 3, name: 'nodump', since: '1.13' },
  { id: 4, name: 'noatime', since: '1.13' },
  { id: 5, name: 'i_size_dirty', since: '1.13' },
  { id: 6, name: 'i_sectors_dirty', since: '1.13' },
  { id: 7, name: 'unlinked', since: '1.13' }, // no name leads here any more: to be deleted
  { id: 8, name: 'backptr_untrusted', since: '1.13' },
  { id: 9, name: 'has_child_snapshot', since: '1.13' }, // the inode exists in a younger snapshot too
  { id: 10, name: 'has_case_insensitive', since: '1.36' }, // or something below it is, for overlayfs
  { id: 11, name: '31bit_dirent_offset', since: '1.36' },
  { id: 12, name: 'has_inode_opts', since: '1.39' }, // some option is set on the inode itself
  { id: 13, name: 'has_access_acl', since: '1.39' },
  { id: 14, name: 'has_default_acl', since: '1.39' },
]);

/** Options that an inode can have of its own, kept in the field bi_NAME plus one; ids are the bits of bi_fields_set. */
const options = [
  { id: 0, name: 'data_checksum', field: 'bi_data_checksum' },
  { id: 1, name: 'compression', field: 'bi_compression' },
  { id: 2, name: 'project', field: 'bi_project' },
  { id: 3, name: 'background_compression', field: 'bi_background_compression' },
  { id: 4, name: 'data_replicas', field: 'bi_data_replicas' },
  { id: 5, name: 'promote_target', field: 'bi_promote_target' },
  { id: 6, name: 'foreground_target', field: 'bi_foreground_target' },
  { id: 7, name: 'background_target', field: 'bi_background_target' },
  { id: 8, name: 'erasure_code', field: 'bi_erasure_code' },
  { id: 9, name: 'nocow', field: 'bi_nocow' },
  { id: 10, name: 'inodes_32bit', field: 'bi_inodes_32bit' },
  { id: 11, name: 'casefold', field: 'bi_casefold' },
] as const satisfies readonly (Row & { readonly field: InodeFieldName })[];

export type InodeOptionName = (typeof options)[number]['name'];
export type InodeOptionRow = (typeof options)[number];

export const inodeOptions: Table<InodeOptionRow> = table<InodeOptionRow>('inode option', options);

/** File types: bits 12 to 15 of a mode, and the types of dirents, which have one more: the root of a subvolume. */
const types = [
  { id: 0, name: 'unknown' },
  { id: 1, name: 'fifo' },
  { id: 2, name: 'chr' },
  { id: 4, name: 'dir' },
  { id: 6, name: 'blk' },
  { id: 8, name: 'reg' },
  { id: 10, name: 'lnk' },
  { id: 12, name: 'sock' },
  { id: 14, name: 'whiteout' },
  { id: 16, name: 'subvol' },
] as const satisfies readonly Row[];

export type FileTypeName = (typeof types)[number]['name'];

export const fileTypes: Table<Row & { readonly name: FileTypeName }> = table('file type', types);

/** DT_DIR and DT_SUBVOL. */
export const FILE_TYPE_DIR = 4;
export const FILE_TYPE_REG = 8;
export const FILE_TYPE_LNK = 10;
export const FILE_TYPE_SUBVOL = 16;
