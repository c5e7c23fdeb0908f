// Positions and ranges of keys as people write them for what shows the journal: `inodes:0:4096`, `-extents:4096:0-extents:4096:128`.

import { UsageError } from '../ondisk/errors.ts';
import { parsePosition } from '../ondisk/notation.ts';
import { type BtreePos, btreeId, compareBtreePos, type PosRange, type Signed } from './transaction-filter.ts';

/** With commas between them, and a sign before the first. @throws UsageError */
export const parsePosRanges = (text: string): Signed<PosRange> => parseSigned(text, parsePosRange);

/** @throws UsageError for an empty part, and what `parse` throws */
export function parseSigned<T>(text: string, parse: (part: string) => T): Signed<T> {
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
