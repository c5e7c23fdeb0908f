// Key type extent: file data and where its copies are. The position is INODE:END:SNAPSHOT, in sectors.
// Source: data/extents_format.h and data/extents.c, v1.36.1.

import { decodeExtentEntries, type ExtentEntry, extentEntriesText, extentEntryJson } from '../extent-entries.ts';
import { extentPtrsProblems } from './extent-ptrs.ts';
import type { KeyKind } from './kind.ts';

export interface Extent {
  readonly entries: readonly ExtentEntry[];
  /** The entries as they are on disk. */
  readonly entryBytes: Uint8Array;
}

export const extent: KeyKind<Extent> = {
  name: 'extent',
  minBytes: 0,
  decode: value => ({ entries: decodeExtentEntries(value), entryBytes: value }),
  encode: value => value.entryBytes,
  validate: (value, k, context) => extentPtrsProblems(value.entries, k, context),
  text: (out, value, context) => extentEntriesText(out, value.entries, context),
  json: value => ({ entries: value.entries.map(extentEntryJson) }),
};
