// Sections `errors` and `errors_v2`: which errors were ever found, how often and when, in order of their ids. v2 (1.39) replaces the
// other and knows the first time too. Source: sb/errors_format.h and sb/errors.c, v1.36.1 and v1.39.2.

import type { PrintBuffer } from '../../util/print-buffer.ts';
import { bits, getBits } from '../bits.ts';
import { fsckErrors, fsckErrorText } from '../fsck-errors.ts';
import { array, at, layout, u64, viewOf } from '../layout.ts';
import { PROBLEMS_MAX, problem, type SbFieldKind, type SbProblem } from './kind.ts';

export interface ErrorCount {
  readonly id: number;
  readonly count: number;
  /** Seconds since 1970; undefined in `errors`, which does not have it. */
  readonly first: number | undefined;
  readonly last: bigint;
}

/** struct bch_sb_field_error_entry. */
const ErrorEntry = layout('bch_sb_field_error_entry', 16, {
  v: at(0, u64), // see ENTRY
  last_error_time: at(8, u64), // seconds since 1970
});
const ENTRY = { id: bits(0, 0, 16), nr: bits(0, 16, 64) } as const;

/** struct bch_sb_field_error_entry_v2. */
export const ErrorEntryV2 = layout('bch_sb_field_error_entry_v2', 16, {
  v: at(0, array(u64, 2)), // see ENTRY_V2
});
/** The time of the last occurrence, 40 bits, crosses the word boundary. */
const ENTRY_V2 = {
  id: bits(0, 0, 16),
  nr: bits(0, 16, 48),
  last_lo: bits(0, 48, 64),
  last_hi: bits(1, 0, 24),
  first: bits(1, 24, 64),
} as const;
/** Counts stop here: it means this many or more. */
const COUNT_MAX_V2 = 2 ** 32 - 1;

function decodeErrors(payload: Uint8Array): readonly ErrorCount[] {
  const view = viewOf(payload);
  return Array.from({ length: Math.floor(payload.length / ErrorEntry.size) }, (_, i) => {
    const { v, last_error_time } = ErrorEntry.get(view, i * ErrorEntry.size);
    return { id: getBits([v], ENTRY.id), count: getBits([v], ENTRY.nr), first: undefined, last: last_error_time };
  });
}

function encodeErrors(value: readonly ErrorCount[]): Uint8Array {
  const target = new Uint8Array(ErrorEntry.size * value.length);
  const view = viewOf(target);
  value.forEach(({ id, count, last }, i) => {
    ErrorEntry.put(view, i * ErrorEntry.size, { v: BigInt(id) | (BigInt(count) << 16n), last_error_time: last });
  });
  return target;
}

export function decodeErrorsV2(payload: Uint8Array): readonly ErrorCount[] {
  const view = viewOf(payload);
  return Array.from({ length: Math.floor(payload.length / ErrorEntryV2.size) }, (_, i) => {
    const { v } = ErrorEntryV2.get(view, i * ErrorEntryV2.size);
    return {
      id: getBits(v, ENTRY_V2.id),
      count: getBits(v, ENTRY_V2.nr),
      first: getBits(v, ENTRY_V2.first),
      last: BigInt(getBits(v, ENTRY_V2.last_lo) + getBits(v, ENTRY_V2.last_hi) * 2 ** 16),
    };
  });
}

function validate(value: readonly ErrorCount[], field: string): SbProblem[] {
  const problems: SbProblem[] = [];
  for (const [i, entry] of value.entries()) {
    if (problems.length >= PROBLEMS_MAX) break;
    const wrong = (detail: string) => problems.push(problem('invalid_sb_errors', `${field}[${i}]`, detail));
    const name = fsckErrorText(entry.id);
    if (entry.count === 0) wrong(`an entry with count 0 (id ${name})`);
    if (entry.first !== undefined && BigInt(entry.first) > entry.last)
      wrong(`first occurrence after last (id ${name})`);
    const next = value[i + 1];
    if (next !== undefined && entry.id >= next.id) wrong(`entries out of order: ${entry.id} before ${next.id}`);
  }
  return problems;
}

/** Prints the newest error first. */
function text(out: PrintBuffer, value: readonly ErrorCount[], line: (entry: ErrorCount) => void): void {
  // Left behind for the sections that follow, as in the reference: the columns of a member's heading depend on it.
  if (out.tabStopCount <= 1) out.pushTabStop(16);
  const newestFirst = [...value].sort((a, b) => (a.last === b.last ? 0 : a.last < b.last ? 1 : -1));
  for (const entry of newestFirst) line(entry);
}

/** A count of errors_v2, which says whether there may have been more. */
export const errorCountText = (count: number): string => (count >= COUNT_MAX_V2 ? `${count}+` : `${count}`);

export const errorsJson = (value: readonly ErrorCount[]) => ({
  entries: value.map(({ id, count, first, last }) => ({
    error: fsckErrors.nameOf(id),
    id,
    count,
    ...(first === undefined ? {} : { first_time: first }),
    last_time: last,
  })),
});

export const errorsField: SbFieldKind<readonly ErrorCount[]> = {
  name: 'errors',
  decode: decodeErrors,
  encode: encodeErrors,
  validate: value => validate(value, 'errors'),
  text: (out, value, { style, dateTime }) =>
    text(out, value, ({ id, count, last }) => {
      out
        .print(fsckErrorText(id, style))
        .tab()
        .print(`${count}`)
        .tab()
        .print(`${dateTime(last)}\n`);
    }),
  json: errorsJson,
};

export const errorsV2Field: SbFieldKind<readonly ErrorCount[]> = {
  name: 'errors_v2',
  decode: decodeErrorsV2,
  validate: value => validate(value, 'errors_v2'),
  text: (out, value, { style, dateTime }) =>
    text(out, value, ({ id, count, first, last }) => {
      out.print(fsckErrorText(id, style)).tab();
      out.print(errorCountText(count)).tab();
      out
        .print(dateTime(first ?? 0))
        .tab()
        .print(`${dateTime(last)}\n`);
    }),
  json: errorsJson,
};
