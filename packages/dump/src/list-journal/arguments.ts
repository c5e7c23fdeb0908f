// The values of list_journal's options, as people write them.

import {
  type BtreePos,
  btreeId,
  btrees,
  compareBtreePos,
  type PosRange,
  parsePosition,
  type Signed,
  UsageError,
} from '@bcachefs-ts/core/engine';

/** Sequence numbers from `first` to `last`, both included. */
export interface SeqBounds {
  readonly first: number;
  readonly last: number;
}

/** `12`, `12..20`, `12..`, `..20`. */
export function parseSeqBounds(text: string): SeqBounds {
  const found = /^(?:(\d+)|(\d*)\.\.(\d*))$/.exec(text);
  if (found === null) throw new UsageError(`'${text}' is neither a sequence number nor a range such as 12..20`);
  const [, only, from, to] = found;
  if (only !== undefined) return { first: seqOf(only), last: seqOf(only) };
  const first = from ? seqOf(from) : 0;
  const last = to ? seqOf(to) : Number.MAX_SAFE_INTEGER;
  return first <= last ? { first, last } : { first: last, last: first };
}

function seqOf(digits: string): number {
  const seq = Number(digits);
  if (!Number.isSafeInteger(seq)) throw new UsageError(`${digits} is too large, sequence numbers are below 2^53`);
  return seq;
}

/** `extents,inodes`, `-alloc`. */
export function parseBtrees(text: string): Signed<number> {
  return signed(text, name => {
    const id = btreeId(name);
    if (id !== undefined) return id;
    const known = btrees.rows.map(row => row.name).join(', ');
    throw new UsageError(`there is no btree called '${name}', only ${known}`);
  });
}

/** `bch2_write_index_default,bch2_create`, `-btree_node_write_work`. */
export const parseFunctions = (text: string): Signed<string> => signed(text, name => name);

/** `inodes:0:4096`, `extents:4096:0-extents:4096:128`. */
export const parsePosRanges = (text: string): Signed<PosRange> => signed(text, parsePosRange);

function signed<T>(text: string, parse: (part: string) => T): Signed<T> {
  const sign = /^[+-]/.exec(text)?.[0];
  const list = text.slice(sign === undefined ? 0 : 1).split(',');
  if (list.includes('')) throw new UsageError(`'${text}' has an empty part, expected names with commas between them`);
  return { keepMatching: sign !== '-', list: list.map(parse) };
}

function parsePosRange(text: string): PosRange {
  const [from = '', to, ...more] = text.split('-');
  if (more.length > 0) throw new UsageError(`'${text}' has more than two ends, expected START-END`);
  const start = parseBtreePos(from);
  const end = to === undefined ? start : parseBtreePos(to);
  return compareBtreePos(start, end) <= 0 ? { start, end } : { start: end, end: start };
}

function parseBtreePos(text: string): BtreePos {
  const colon = text.indexOf(':');
  const btree = btreeId(colon < 0 ? text : text.slice(0, colon));
  if (btree === undefined || colon < 0) {
    throw new UsageError(`'${text}' is not a position in a btree, expected BTREE:INODE:OFFSET such as inodes:0:4096`);
  }
  return { btree, pos: parsePosition(text.slice(colon + 1)) };
}
