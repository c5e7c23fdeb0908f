// What can be wrong with file data, as values: who restores a file gives its verdict from these.

import type { CorruptError, DeviceError } from '../ondisk/errors.ts';

/** What reading data can fail with. */
export type DataError = CorruptError | DeviceError;

/** A copy that could not be used, where there may be others. */
export interface ReplicaFailure {
  /** Why, and where: `where` of a CorruptError names key, device and sector. */
  readonly error: DataError;
  /** The index of the member that it is on. */
  readonly device: number;
}

/**
 * healed    a copy failed, another one gave the right bytes
 * suspect   bytes that failed their checksum or whose extent is marked as damaged were given, because they were asked for
 * lost      no copy gives the bytes
 * metadata  keys of the file were lost: what was given for the range may be older than the file, or not its own
 */
export type FindingKind = 'healed' | 'suspect' | 'lost' | 'metadata';

/** Something wrong with a range of a file. */
export interface FileFinding {
  readonly kind: FindingKind;
  readonly error: DataError;
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}
