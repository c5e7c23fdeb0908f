// Compression types as stored in extents, the options that choose them, and the option's value: algorithm in the low
// four bits, level in the high four. Level 0 means the algorithm's default; a level without an algorithm is invalid.
// Source: BCH_COMPRESSION_TYPES, BCH_COMPRESSION_OPTS in bcachefs_format.h, compress.h and compress.c, v1.13.0.

import { UsageError } from './errors.ts';
import type { FeatureName } from './features.ts';
import { type Row, type Table, table } from './table.ts';

const rows = [
  { id: 0, name: 'none' },
  { id: 1, name: 'lz4_old' },
  { id: 2, name: 'gzip' },
  { id: 3, name: 'lz4' },
  { id: 4, name: 'zstd' },
  { id: 5, name: 'incompressible' },
] as const satisfies readonly Row[];

export type CompressionTypeName = (typeof rows)[number]['name'];
export type CompressionType = Row & { readonly name: CompressionTypeName };

/** `incompressible`: compressing was tried and did not help; the data is as it was. */
export const compressionTypes: Table<CompressionType> = table<CompressionType>('compression type', rows);

const options = [
  { id: 0, name: 'none', feature: null },
  { id: 1, name: 'lz4', feature: 'lz4' },
  { id: 2, name: 'gzip', feature: 'gzip' },
  { id: 3, name: 'zstd', feature: 'zstd' },
] as const;

export type CompressionOptionName = (typeof options)[number]['name'];

interface CompressionOptionRow extends Row {
  readonly name: CompressionOptionName;
  /** The incompatible feature that has to be set before anything is compressed so. */
  readonly feature: FeatureName | null;
}

/** The algorithms that compression and background_compression choose from; type names are the same. */
export const compressionOptions: Table<CompressionOptionRow> = table<CompressionOptionRow>(
  'compression option',
  options,
);

const COMPRESSION_LEVEL_MAX = 15;

/** A decoded option value; `type` is the option's number, not the compression type's. */
export interface Compression {
  readonly type: number;
  readonly level: number;
}

export function decodeCompression(value: number): Compression {
  return { type: value & 15, level: value >> 4 };
}

export function encodeCompression({ type, level }: Compression): number {
  return type | (level << 4);
}

/** A known algorithm, and no level without one; mirrors bch2_compression_opt_valid. */
export function isCompressionValid(value: number): boolean {
  const { type, level } = decodeCompression(value);
  return value < 256 && compressionOptions.byId(type) !== undefined && !(type === 0 && level !== 0);
}

/** The compression type (a number) that extents get; an invalid option counts as none. */
export function compressionTypeOf(value: number): number {
  const option = isCompressionValid(value) ? compressionOptions.byId(decodeCompression(value).type) : undefined;
  return option === undefined ? 0 : compressionTypes.idOf(option.name);
}

/** `none`, `zstd` or `zstd:5`. */
export function compressionText(value: number): string {
  const { type, level } = decodeCompression(value);
  const name = compressionOptions.byId(type)?.name ?? `(unknown compression opt ${type})`;
  return level === 0 ? name : `${name}:${level}`;
}

/**
 * `lz4`, `zstd:5`: the option's value.
 * @throws UsageError for an unknown algorithm, a level above 15 or a level on none
 */
export function parseCompression(text: string): number {
  const [name = '', levelText, ...rest] = text.split(':');
  const option = compressionOptions.byName(name);
  if (option === undefined) {
    const known = compressionOptions.rows.map(row => row.name).join(', ');
    throw new UsageError(
      `found compression ${JSON.stringify(name)}, expected one of ${known}, optionally followed by :LEVEL`,
    );
  }
  if (levelText === undefined) return option.id;
  const level = /^\d{1,3}$/.test(levelText) && rest.length === 0 ? Number(levelText) : Number.NaN;
  if (!(level <= COMPRESSION_LEVEL_MAX)) {
    throw new UsageError(`found compression level ${JSON.stringify(text.slice(name.length + 1))}, expected 0 to 15`);
  }
  if (option.id === 0 && level !== 0) throw new UsageError(`found level ${level} without compression, expected none`);
  return encodeCompression({ type: option.id, level });
}

/** Names the type, or `(unknown compression_type 37)` as the reference prints it. */
export function compressionTypeText(type: number): string {
  return compressionTypes.byId(type)?.name ?? `(unknown compression_type ${type})`;
}
