// The three releases of the reference that the tables were compared across. 1.13 is the format that we write (the
// kernel 6.12 has it), 1.36 is what show-super prints for filesystems up to metadata version 1.36, 1.39 is the newest
// we read.

import type { Row } from './table.ts';

export type Release = '1.13' | '1.36' | '1.39';

const order: readonly Release[] = ['1.13', '1.36', '1.39'];

/** A row that a later release added, or knows by another name than earlier ones did. */
export interface ReleasedRow extends Row {
  /** The first of the three releases that lists it. */
  readonly since: Release;
  /** What earlier releases call it; `name` is what 1.39 does. */
  readonly names?: { readonly '1.13'?: string; readonly '1.36'?: string };
}

/** Whether a release lists this row. */
export function isKnownTo(release: Release, row: { readonly since: Release }): boolean {
  return order.indexOf(row.since) <= order.indexOf(release);
}

/** What a release calls this row. */
export function nameAt(release: Release, row: ReleasedRow): string {
  if (release === '1.39') return row.name;
  if (release === '1.36') return row.names?.['1.36'] ?? row.name;
  return row.names?.['1.13'] ?? row.names?.['1.36'] ?? row.name;
}

/**
 * The oldest release that knows this metadata version: what it refuses may not be written. The newest for later
 * versions.
 */
export function releaseForWriting(version: number): Release {
  return version > ((1 << 10) | 13) ? releaseForVersion(version) : '1.13';
}

/** The release whose text we match for a filesystem of this metadata version. */
export function releaseForVersion(version: number): Exclude<Release, '1.13'> {
  return version > ((1 << 10) | 36) ? '1.39' : '1.36';
}
