// What a superblock section is to the rest of core: one file per section beside this one, one row per section in index.ts.

import type { PrintBuffer } from '../../util/print-buffer.ts';
import type { Location } from '../errors.ts';
import type { FaultName } from '../faults.ts';
import type { SbFieldName } from '../sb-field-ids.ts';
import type { Superblock } from '../superblock.ts';

/** Something wrong with a superblock, by the reference's name for it. */
export interface SbProblem {
  /** Such as `invalid_sb_members` (errcode.h). */
  readonly error: FaultName;
  readonly where: Location;
  /** What was found and what was expected. */
  readonly detail: string;
}

/** Validation stops after this many in one section: a damaged megabyte has tens of thousands. */
export const PROBLEMS_MAX = 16;

/** @param field the section, or a struct member inside it */
export function problem(error: FaultName, field: string, detail: string): SbProblem {
  return { error, where: { field }, detail };
}

/** What a section's text may need beyond its own bytes. */
export interface SbTextContext {
  readonly sb: Superblock;
  /** The text of which reference release to follow; filesystems above 1.36 get that of 1.39. */
  readonly style: '1.36' | '1.39';
  /** The name to print for a member: a device path where it is known. */
  memberName(index: number): string | undefined;
  /** Turns seconds since 1970 into the local time's text. */
  dateTime(seconds: number | bigint): string;
}

export interface SbFieldKind<T> {
  readonly name: SbFieldName;
  /**
   * @param payload what follows the 8-byte section header; its length is a multiple of 8, nothing else is certain
   * @throws CorruptError with `where.field` when the bytes cannot be taken apart
   */
  decode(payload: Uint8Array, sb: Superblock): T;
  /** Absent for sections that are never written by us. */
  encode?(value: T): Uint8Array;
  /** Judges a decoded value; an empty list means that the reference would accept it too. */
  validate(value: T, sb: Superblock): SbProblem[];
  /** Prints the section's body as `show-super` does. */
  text(out: PrintBuffer, value: T, context: SbTextContext): void;
  /** The JSON form, plain values only. */
  json(value: T, sb: Superblock): unknown;
}
