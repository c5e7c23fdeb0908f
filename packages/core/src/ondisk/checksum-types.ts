// Checksum types as stored beside data and metadata, the options that choose them, and which type an option stands for.
// Encryption brings its own types, which are checksum and MAC in one.
// Source: BCH_CSUM_TYPES, bch_crc_bytes, BCH_CSUM_OPTS in bcachefs_format.h, bch2_csum_opt_to_type in checksum.h,
// v1.13.0.

import { assert } from './errors.ts';
import { type Row, type Table, table } from './table.ts';

interface ChecksumTypeRow extends Row {
  /** How much of the 16 bytes of a bch_csum is used; the rest is zero. */
  readonly sizeBytes: number;
  /** A ChaCha20/Poly1305 MAC: what it covers is encrypted. */
  readonly isEncryption: boolean;
}

const rows = [
  { id: 0, name: 'none', sizeBytes: 0, isEncryption: false },
  { id: 1, name: 'crc32c_nonzero', sizeBytes: 4, isEncryption: false },
  { id: 2, name: 'crc64_nonzero', sizeBytes: 8, isEncryption: false },
  { id: 3, name: 'chacha20_poly1305_80', sizeBytes: 10, isEncryption: true },
  { id: 4, name: 'chacha20_poly1305_128', sizeBytes: 16, isEncryption: true },
  { id: 5, name: 'crc32c', sizeBytes: 4, isEncryption: false },
  { id: 6, name: 'crc64', sizeBytes: 8, isEncryption: false },
  { id: 7, name: 'xxhash', sizeBytes: 8, isEncryption: false },
] as const satisfies readonly ChecksumTypeRow[];

export type ChecksumTypeName = (typeof rows)[number]['name'];
export type ChecksumType = ChecksumTypeRow & { readonly name: ChecksumTypeName };

/** The `_nonzero` types start from all ones and end inverted, so that zeroes do not sum to zero; metadata uses them. */
export const checksumTypes: Table<ChecksumType> = table<ChecksumType>('checksum type', rows);

const options = [
  { id: 0, name: 'none', data: 'none', metadata: 'none' },
  { id: 1, name: 'crc32c', data: 'crc32c', metadata: 'crc32c_nonzero' },
  { id: 2, name: 'crc64', data: 'crc64', metadata: 'crc64_nonzero' },
  { id: 3, name: 'xxhash', data: 'xxhash', metadata: 'xxhash' },
] as const;

export type ChecksumOptionName = (typeof options)[number]['name'];

interface ChecksumOption extends Row {
  readonly name: ChecksumOptionName;
  /** The checksum type for file data. */
  readonly data: ChecksumTypeName;
  /** The checksum type for btree nodes, journal and superblock. */
  readonly metadata: ChecksumTypeName;
}

/** What metadata_checksum and data_checksum choose from. */
export const checksumOptions: Table<ChecksumOption> = table<ChecksumOption>('checksum option', options);

function optionRow(option: number): ChecksumOption {
  const row = checksumOptions.byId(option);
  assert(row !== undefined, `checksum option ${option} was not validated`);
  return row;
}

/**
 * The checksum type (a number) of btree nodes and journal. The superblock is never encrypted: it always takes
 * `encrypted` false.
 * @param option value of metadata_checksum, 0 to 3
 */
export function metadataChecksumType(option: number, encrypted = false): number {
  return checksumTypes.idOf(encrypted ? 'chacha20_poly1305_128' : optionRow(option).metadata);
}

/**
 * The checksum type (a number) of newly written file data; nocow data has none.
 * @param option value of data_checksum, 0 to 3
 * @param encryption null without; wideMacs keeps 128 instead of 80 bits
 */
export function dataChecksumType(option: number, encryption: { readonly wideMacs: boolean } | null = null): number {
  if (encryption === null) return checksumTypes.idOf(optionRow(option).data);
  return checksumTypes.idOf(encryption.wideMacs ? 'chacha20_poly1305_128' : 'chacha20_poly1305_80');
}

/** Names the type, or `(unknown csum_type 37)` as the reference prints it. */
export function checksumTypeText(type: number): string {
  return checksumTypes.byId(type)?.name ?? `(unknown csum_type ${type})`;
}
