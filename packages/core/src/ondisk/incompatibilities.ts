// What a valid filesystem or file can be that is not handled as asked, by a name for programs. What the reference calls a fault
// (`invalid_sb_features`, `jset_unsupported_version`) keeps that name and is in the tables of faults.

import { type Row, type Table, table } from './table.ts';

interface IncompatibilityRow extends Row {
  readonly means: string;
}

function row<const N extends string>(id: number, name: N, means: string) {
  return { id, name, means };
}

const rows = [
  row(0, 'version_not_writable', 'Filesystems of this metadata version can be read, not changed.'),
  row(1, 'big_endian', 'A journal that was written by a big-endian machine.'),
  row(2, 'btree_node_big_endian', 'A btree node that was written by a big-endian machine.'),
  row(3, 'btree_ptr', 'Pointers to btree nodes as they were before Linux 5.5 (btree_ptr).'),
  row(4, 'journal_rewind', 'A journal that asks to go back to an earlier state.'),
  row(5, 'jset_too_big', 'A change whose journal entry is larger than a bucket may be small.'),
  row(6, 'no_alloc_info', 'A filesystem whose allocation info was dropped.'),
  row(7, 'unknown_csum_type', 'A checksum type that is not known.'),
  row(8, 'no_encryption_key', 'Something that takes the encryption key.'),
  row(9, 'compression_not_declared', 'Compression of a type that the superblock does not declare.'),
  row(10, 'sanitise_no_name', 'A name for which no other was found that keeps the directory in order.'),
  row(11, 'sanitise_no_place', 'An entry for which no other place was found.'),
  row(12, 'qcow2_version', 'A qcow2 file of a version that is not known.'),
  row(13, 'qcow2_encryption', 'An encrypted qcow2 file.'),
  row(14, 'qcow2_backing_file', 'A qcow2 file that is a difference to another file.'),
  row(15, 'qcow2_feature', 'A qcow2 file with a feature that is not known.'),
  row(16, 'qcow2_compression', 'A qcow2 file with compression of a type that is not known.'),
  row(17, 'archive_compression', 'An archive with compression of a type that is not known.'),
  row(18, 'undo_file_version', 'An undo file of a version that is not known.'),
  row(
    19,
    'ext4_refused',
    'An ext2, ext3 or ext4 filesystem that needs e2fsck first, or has a feature that is not read.',
  ),
] as const satisfies readonly IncompatibilityRow[];

export type IncompatibilityName = (typeof rows)[number]['name'];

export const incompatibilities: Table<IncompatibilityRow & { readonly name: IncompatibilityName }> = table<
  IncompatibilityRow & { readonly name: IncompatibilityName }
>('incompatibility', rows);
