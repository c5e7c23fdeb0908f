// The errors that core throws on purpose, and where in a filesystem something is.
//
// CorruptError       a decoder cannot go on: the reader tries another copy, else it becomes a finding
// IncompatibleError  valid, but newer or otherwise unsupported: reported by name
// DeviceError        a disk or file failed
// InputError         a file that is read into a filesystem is damaged
// NoSpaceError       there is no room for what is to be written
// UsageError         the caller asked for something impossible
// InvariantError     our own bug; no image can trip one
//
// What a CorruptError and an IncompatibleError are named by is in tables: faults.ts, incompatibilities.ts. What a reader meets and can go
// on without, CorruptError and DeviceError, is a finding as it stands (report/finding.ts): it has a name, a place, facts, and text.

import type { FaultName } from './faults.ts';
import type { IncompatibilityName } from './incompatibilities.ts';

export { assert, InvariantError } from './assert.ts';

/** Where something is. Any subset; printed the same way everywhere by `locationText`. */
export interface Location {
  readonly device?: string;
  /** 512-byte sector on the device. */
  readonly sector?: number;
  readonly btree?: string;
  readonly level?: number;
  readonly pos?: string;
  /** A superblock section or struct member, such as `members_v2[3].bucket_size`. */
  readonly field?: string;
  readonly journalSeq?: number;
  readonly path?: string;
}

/** `disk.img sector 8, members_v2[3].bucket_size` */
export function locationText(where: Location): string {
  const parts: string[] = [];
  if (where.path !== undefined) parts.push(where.path);
  if (where.btree !== undefined) {
    parts.push(
      [where.btree, where.pos, where.level === undefined ? '' : `level ${where.level}`].filter(Boolean).join(' '),
    );
  }
  if (where.journalSeq !== undefined) parts.push(`journal entry ${where.journalSeq}`);
  if (where.device !== undefined || where.sector !== undefined) {
    parts.push([where.device, where.sector === undefined ? '' : `sector ${where.sector}`].filter(Boolean).join(' '));
  }
  if (where.field !== undefined) parts.push(where.field);
  return parts.join(', ');
}

/** `disk.img sector 8: invalid_sb_csum: found 1, expected 2` */
export function faultText(fault: {
  readonly error: string;
  readonly where: Location;
  readonly detail: string;
}): string {
  return [locationText(fault.where), fault.error, fault.detail].filter(Boolean).join(': ');
}

/** Bytes that cannot be what they should be. */
export class CorruptError extends Error {
  override readonly name = 'CorruptError';
  constructor(
    readonly error: FaultName,
    readonly where: Location,
    /** What was found and what was expected. */
    readonly detail: string,
  ) {
    super([locationText(where), detail].filter(Boolean).join(': '));
  }

  get facts(): { readonly detail: string } {
    return { detail: this.detail };
  }

  text(): string {
    return faultText(this);
  }
}

/** A valid filesystem that this version cannot handle as asked. */
export class IncompatibleError extends Error {
  override readonly name = 'IncompatibleError';
  constructor(
    readonly error: FaultName | IncompatibilityName,
    readonly where: Location,
    readonly detail: string,
  ) {
    super([locationText(where), detail].filter(Boolean).join(': '));
  }
}

/** Why a device cannot be used; `io` is everything that the system reported while reading or writing. */
export type DeviceErrorKind =
  | 'missing'
  | 'busy'
  | 'permission'
  | 'read-only'
  | 'too-small'
  | 'out-of-range'
  | 'full'
  | 'io';

/** A disk or file failed, or cannot be used as asked. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError';
  constructor(
    readonly kind: DeviceErrorKind,
    readonly device: string,
    readonly detail: string,
    options?: { readonly cause?: unknown },
  ) {
    super(`${device}: ${detail}`, options);
  }

  get error(): `device_${DeviceErrorKind}` {
    return `device_${this.kind}`;
  }

  get where(): Location {
    return { device: this.device };
  }

  get facts(): { readonly detail: string } {
    return { detail: this.detail };
  }

  text(): string {
    return faultText(this);
  }
}

/** What is read into a filesystem, such as an archive, an undo file or another filesystem, is not what it should be. */
export class InputError extends Error {
  override readonly name = 'InputError';
  constructor(
    /** In one word, for programs. */
    readonly error: 'archive' | 'archive_compression' | 'undo_file' | 'ext4_damaged',
    readonly where: Location,
    readonly detail: string,
  ) {
    super([locationText(where), detail].filter(Boolean).join(': '));
  }
}

/** What has no room left: blocks of the devices, or something of a fixed size. */
export type NoSpaceCode = 'ENOSPC' | 'ENOSPC_sb' | 'journal_full' | 'no_subvolume_numbers' | 'no_snapshot_numbers';

/** There is no room for what is to be written. */
export class NoSpaceError extends Error {
  override readonly name: string = 'NoSpaceError';
  constructor(
    detail: string,
    readonly code: NoSpaceCode = 'ENOSPC',
  ) {
    super(detail);
  }
}

/** The request itself is wrong: an option, a value, a combination. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  constructor(
    readonly detail: string,
    /** The option or argument at fault, as the user writes it. */
    readonly option?: string,
    /** What is wrong in one word, for programs: `wrong_passphrase`, `member_missing`, or an errno such as `ENOENT`. */
    readonly code?: string,
  ) {
    super(option === undefined ? detail : `${option}: ${detail}`);
  }
}

/** Runs a decoder and adds the place to a CorruptError that it throws; members named by the decoder itself win. */
export function locate<T>(where: Location, decode: () => T): T {
  try {
    return decode();
  } catch (thrown) {
    if (thrown instanceof CorruptError)
      throw new CorruptError(thrown.error, { ...where, ...thrown.where }, thrown.detail);
    throw thrown;
  }
}
