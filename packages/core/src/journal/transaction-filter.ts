// What of the journal is shown: which entries, which transactions of an entry, which keys. A transaction is a log message that names
// the function, and the sub-entries that follow it up to the next one. Mirrors cmd_list_journal.c, v1.36.1.

import { decodeKeys, type Key } from '../ondisk/bkey.ts';
import { type Bpos, bposSnapshot, compareBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { decodeJsetEntry, type JsetEntry } from '../ondisk/jset-entries.ts';
import { jsetEntryTypes } from '../ondisk/jset-entry-types.ts';

/** Things named with a sign before them: `+` or nothing keeps what matches, `-` what does not. */
export interface Signed<T> {
  readonly keepMatching: boolean;
  readonly list: readonly T[];
}

/** A position in some btree. */
export interface BtreePos {
  readonly btree: number;
  readonly pos: Bpos;
}

/** Positions from `start` to `end`, both included. */
export interface PosRange {
  readonly start: BtreePos;
  readonly end: BtreePos;
}

export interface TransactionFilter {
  /** Btree ids. */
  readonly btrees: Signed<number> | undefined;
  readonly functions: Signed<string> | undefined;
  readonly keys: Signed<PosRange> | undefined;
  /** Only transactions with log messages. */
  readonly logOnly: boolean;
  /** Those of nothing but log messages too, whatever else is asked for. */
  readonly withLogs: boolean;
}

/** A sub-entry that is shown, and where it is in its journal entry. */
export interface ShownSubEntry {
  readonly entry: JsetEntry;
  /** From the start of the journal entry's first sub-entry to this one's payload, in u64s. */
  readonly offsetU64s: number;
}

const TYPE = {
  btreeKeys: jsetEntryTypes.idOf('btree_keys'),
  btreeRoot: jsetEntryTypes.idOf('btree_root'),
  writeBufferKeys: jsetEntryTypes.idOf('write_buffer_keys'),
  overwrite: jsetEntryTypes.idOf('overwrite'),
  log: jsetEntryTypes.idOf('log'),
  datetime: jsetEntryTypes.idOf('datetime'),
  usage: jsetEntryTypes.idOf('usage'),
  clock: jsetEntryTypes.idOf('clock'),
} as const;

const PRINTED_KEYS: readonly number[] = [TYPE.btreeRoot, TYPE.btreeKeys, TYPE.writeBufferKeys, TYPE.overwrite];
const OUTSIDE_TRANSACTIONS: readonly number[] = [TYPE.btreeRoot, TYPE.datetime, TYPE.usage, TYPE.clock];
/** Functions that log as they work; their messages make nothing worth a look. */
const BUSY_FUNCTIONS: readonly string[] = ['rebalance', 'reconcile', 'copygc', 'promote'];

/** Whether the payload is keys that can be left out by btree and printed without values. */
export const isPrintedKeys = (entry: JsetEntry): boolean => PRINTED_KEYS.includes(entry.type);

/** A transaction begins with a log message of level 0; messages inside of it have level 1. */
const isTransactionStart = (entry: JsetEntry): boolean => entry.type === TYPE.log && entry.level === 0;

export const isDatetime = (entry: JsetEntry): boolean => entry.type === TYPE.datetime;

/** How far the reference indents a sub-entry: what a transaction does stands under its name. */
export function indentOf(entry: JsetEntry): number {
  const isOutside = entry.type === TYPE.btreeRoot || entry.type === TYPE.datetime || entry.type === TYPE.usage;
  return isTransactionStart(entry) || isOutside ? 2 : 4;
}

/** The message of a log sub-entry. */
function messageOf(entry: JsetEntry): string {
  const value = decodeJsetEntry(entry);
  return value?.type === 'log' ? value.message : '';
}

const isLogMessage = (entry: JsetEntry) =>
  entry.type === TYPE.log && entry.level !== 0 && !BUSY_FUNCTIONS.includes(messageOf(entry));

/** The keys, as far as they can be taken apart. */
export function keysOf(entry: JsetEntry): readonly Key[] {
  try {
    return decodeKeys(entry.payload);
  } catch (thrown) {
    if (thrown instanceof CorruptError) return []; // Its text says so.
    throw thrown;
  }
}

/** Whether keys of this btree are asked for. */
function matchesBtrees(filter: Signed<number> | undefined, entry: JsetEntry): boolean {
  if (filter === undefined) return true;
  return (
    entry.level === 0 && entry.type !== TYPE.btreeRoot && filter.list.includes(entry.btree_id) === filter.keepMatching
  );
}

/** Whether the sub-entry updates, or records the old state of, one of the positions. */
export function touches(filter: Signed<PosRange> | undefined, entry: JsetEntry): boolean {
  if (filter === undefined || entry.level !== 0) return false;
  if (entry.type !== TYPE.btreeKeys && entry.type !== TYPE.overwrite) return false;
  return keysOf(entry).some(({ k }) => filter.list.some(range => isInside(range, { btree: entry.btree_id, pos: k.p })));
}

function isInside({ start, end }: PosRange, at: BtreePos): boolean {
  // Without a snapshot in the range, keys of any snapshot match.
  const anySnapshot = bposSnapshot(start.pos) === 0 && bposSnapshot(end.pos) === 0;
  const pos = anySnapshot ? Uint32Array.from(at.pos, (word, i) => (i === 0 ? 0 : word)) : at.pos;
  return compareBtreePos({ ...at, pos }, start) >= 0 && compareBtreePos({ ...at, pos }, end) <= 0;
}

export function compareBtreePos(a: BtreePos, b: BtreePos): number {
  return a.btree - b.btree || compareBpos(a.pos, b.pos);
}

/** The sub-entries that are shown without a filter. */
export function allSubEntries(entries: readonly JsetEntry[]): readonly ShownSubEntry[] {
  return withOffsets(entries).filter(({ entry }) => isShown(undefined, entry));
}

/** The sub-entries of the transactions that a filter lets through. */
export function filteredSubEntries(entries: readonly JsetEntry[], filter: TransactionFilter): readonly ShownSubEntry[] {
  const all = withOffsets(entries);
  const shown: ShownSubEntry[] = [];
  for (let start = 0; start < all.length; ) {
    if (!isTransactionStart(all[start]!.entry)) {
      start++;
      continue;
    }
    const end = transactionEnd(all, start);
    const transaction = all.slice(start, end);
    if (isWanted(transaction, filter)) shown.push(...transaction.filter(({ entry }) => isShown(filter.btrees, entry)));
    start = end;
  }
  return shown;
}

function withOffsets(entries: readonly JsetEntry[]): readonly ShownSubEntry[] {
  let offsetU64s = 1; // the header of the first
  return entries.map(entry => {
    const shown = { entry, offsetU64s };
    offsetU64s += 1 + entry.payload.length / 8;
    return shown;
  });
}

/** Sub-entries of no keys are padding: their places, when more room was reserved than was used. */
function isShown(filter: Signed<number> | undefined, entry: JsetEntry): boolean {
  return !isPrintedKeys(entry) || (entry.payload.length > 0 && matchesBtrees(filter, entry));
}

function transactionEnd(all: readonly ShownSubEntry[], start: number): number {
  let end = start + 1;
  while (end < all.length) {
    const { entry } = all[end]!;
    if (isTransactionStart(entry) || OUTSIDE_TRANSACTIONS.includes(entry.type)) break;
    end++;
  }
  return end;
}

function isWanted([start, ...rest]: readonly ShownSubEntry[], filter: TransactionFilter): boolean {
  const entries = rest.map(({ entry }) => entry);
  const isLogOnly = entries.length > 0 && entries.every(entry => entry.payload.length === 0 || isLogMessage(entry));
  if (filter.withLogs && isLogOnly) return true;
  if (filter.logOnly && !entries.some(isLogMessage)) return false;
  const hasBtree = (entry: JsetEntry) => isPrintedKeys(entry) && isShown(filter.btrees, entry);
  if (filter.btrees !== undefined && !entries.some(hasBtree)) return false;
  const { functions, keys } = filter;
  if (functions !== undefined && start !== undefined) {
    if (functions.list.includes(messageOf(start.entry)) !== functions.keepMatching) return false;
  }
  return keys === undefined || entries.some(entry => touches(keys, entry)) === keys.keepMatching;
}

/** The id of a btree by its name at any release. */
export function btreeId(name: string): number | undefined {
  const row = btrees.byName(name) ?? btrees.rows.find(one => Object.values(one.names ?? {}).includes(name));
  return row?.id;
}
