// Key type damage: which errors damaged a file, how often and when, in the form of the superblock's section errors_v2. The position
// is 0:INODE:SNAPSHOT.
// Source: init/damage_format.h and init/damage.c, v1.39.2.

import { dateTimeText } from '../../util/time.ts';
import { fsckErrorText } from '../fsck-errors.ts';
import { decodeErrorsV2, type ErrorCount, ErrorEntryV2, errorCountText, errorsJson } from '../sb-fields/errors.ts';
import type { KeyKind, KeyProblem } from './kind.ts';

export interface DamageKey {
  readonly entries: readonly ErrorCount[];
  /** The entries as they are on disk. */
  readonly entryBytes: Uint8Array;
}

export const damage: KeyKind<DamageKey> = {
  name: 'damage',
  minBytes: ErrorEntryV2.size,
  decode: value => ({ entries: decodeErrorsV2(value), entryBytes: value }),
  encode: value => value.entryBytes,
  validate({ entries, entryBytes }) {
    const problems: KeyProblem[] = [];
    const wrong = (detail: string) => problems.push({ error: 'damage_entries_bad', detail });
    if (entryBytes.length % ErrorEntryV2.size !== 0) {
      wrong(`${entryBytes.length} bytes, expected a multiple of ${ErrorEntryV2.size}`);
    }
    let previous = 0;
    for (const [i, { id, first, last }] of entries.entries()) {
      if (id <= previous) wrong(`entry ${i} is for error ${id}, expected more than ${previous}`);
      if (first !== undefined && BigInt(first) > last) wrong(`entry ${i}: the first occurrence is after the last`);
      previous = id;
    }
    return problems;
  },
  text(out, { entries }, { style = '1.39', dateTime = dateTimeText }) {
    entries.forEach(({ id, count, first = 0, last }, i) => {
      if (i > 0) out.newline();
      out.print(
        `${fsckErrorText(id, style)} nr ${errorCountText(count)} first ${dateTime(first)} last ${dateTime(last)}`,
      );
    });
  },
  json: ({ entries }) => errorsJson(entries),
};
