import {
  allSubEntries,
  Bkey,
  decodeJsetEntries,
  encodeJsetEntries,
  filteredSubEntries,
  indentOf,
  type JsetEntry,
  type JsetEntryTypeName,
  jsetEntryTypes,
  keyTypes,
  makeBpos,
  parsePosRanges,
  type TransactionFilter,
  UsageError,
  viewOf,
} from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { parseBtrees, parseFunctions, parseSeqBounds } from '../../packages/dump/src/list-journal/arguments.ts';
import { starred } from '../../packages/dump/src/list-journal/text.ts';

function entry(type: JsetEntryTypeName, btree = 0, level = 0, payload = new Uint8Array(0)): JsetEntry {
  const id = jsetEntryTypes.idOf(type);
  return { u64s: payload.length / 8, btree_id: btree, level, type: id, pad: new Uint8Array(3), payload };
}

function log(message: string, level = 0): JsetEntry {
  const payload = new Uint8Array(Math.ceil(message.length / 8) * 8);
  payload.set(new TextEncoder().encode(message));
  return entry('log', 0, level, payload);
}

function keys(type: JsetEntryTypeName, btree: number, inode: bigint, snapshot = 0): JsetEntry {
  const payload = new Uint8Array(Bkey.size);
  Bkey.put(viewOf(payload), 0, {
    u64s: Bkey.size / 8,
    format: 1,
    type: keyTypes.idOf('deleted'),
    pad: 0,
    bversion_lo: 0n,
    bversion_hi: 0,
    size: 0,
    p: makeBpos(inode, 0n, snapshot),
  });
  return entry(type, btree, 0, payload);
}

const EXTENTS = 0;
const INODES = 1;
const ALLOC = 4;

const journal: readonly JsetEntry[] = [
  log('create'),
  keys('overwrite', INODES, 7n, 5),
  keys('btree_keys', INODES, 7n, 5),
  keys('btree_keys', ALLOC, 1n),
  log('write'),
  keys('btree_keys', EXTENTS, 7n),
  log('hello', 1),
  entry('btree_keys', 9),
  keys('btree_root', INODES, 0n),
  entry('clock'),
  log('notes'),
  log('starting', 1),
  log('work'),
  log('rebalance', 1),
];

const NOTHING: TransactionFilter = {
  btrees: undefined,
  functions: undefined,
  keys: undefined,
  logOnly: false,
  withLogs: false,
};

/** Indexes of what is shown. */
const shown = (filter: Partial<TransactionFilter>) =>
  filteredSubEntries(journal, { ...NOTHING, ...filter }).map(one => journal.indexOf(one.entry));

describe('transactions', () => {
  test('end at the next one, and at roots and clocks', () => {
    expect(shown({})).toEqual([0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13]);
  });

  test('by function', () => {
    expect(shown({ functions: parseFunctions('write,work') })).toEqual([4, 5, 6, 12, 13]);
    expect(shown({ functions: parseFunctions('-create,notes,work') })).toEqual([4, 5, 6]);
  });

  test('by btree, and only that btree’s keys of them', () => {
    expect(shown({ btrees: parseBtrees('inodes') })).toEqual([0, 1, 2]);
    expect(shown({ btrees: parseBtrees('-inodes,extents') })).toEqual([0, 3]);
  });

  test('by position: of any snapshot unless one is given', () => {
    expect(shown({ keys: parsePosRanges('inodes:7:0') })).toEqual([0, 1, 2, 3]);
    expect(shown({ keys: parsePosRanges('inodes:7:0:5') })).toEqual([0, 1, 2, 3]);
    expect(shown({ keys: parsePosRanges('inodes:7:0:6') })).toEqual([]);
    expect(shown({ keys: parsePosRanges('extents:6:0-extents:8:0,inodes:9:9') })).toEqual([4, 5, 6]);
    expect(shown({ keys: parsePosRanges('-inodes:7:0') })).toEqual([4, 5, 6, 10, 11, 12, 13]);
  });

  test('by messages; those of busy functions do not count', () => {
    expect(shown({ logOnly: true })).toEqual([4, 5, 6, 10, 11]);
    expect(shown({ functions: parseFunctions('create'), withLogs: true })).toEqual([0, 1, 2, 3, 10, 11]);
  });
});

describe('all sub-entries', () => {
  test('but those of no keys, with their places', () => {
    const all = allSubEntries(journal);
    expect(all).toHaveLength(journal.length - 1);
    expect(all.slice(0, 4).map(one => one.offsetU64s)).toEqual([1, 3, 9, 15]);
    const bytes = encodeJsetEntries(journal);
    const again = decodeJsetEntries(bytes).entries;
    expect(allSubEntries(again).at(-1)!.offsetU64s).toBe(bytes.length / 8 - 2);
  });

  test('what a transaction does is indented under its name', () => {
    expect(journal.map(indentOf)).toEqual([2, 4, 4, 4, 2, 4, 4, 4, 2, 4, 2, 4, 2, 4]);
  });
});

test('lines of what does not count begin with a star', () => {
  expect(starred('\nblacklisted\n  bytes\n    log\n\n x')).toBe('\nblacklisted\n* bytes\n*   log\n\n*x');
});

describe('arguments', () => {
  test('sequence numbers', () => {
    const max = Number.MAX_SAFE_INTEGER;
    expect(['5', '5..9', '9..5', '5..', '..9', '..'].map(text => Object.values(parseSeqBounds(text)))).toEqual([
      [5, 5],
      [5, 9],
      [5, 9],
      [5, max],
      [0, 9],
      [0, max],
    ]);
  });

  test('names of earlier releases', () => {
    expect(parseBtrees('rebalance_work,reconcile_work').list).toEqual([18, 18]);
  });

  test.each([
    ['a sequence', () => parseSeqBounds('1-2')],
    ['a large one', () => parseSeqBounds('99999999999999999')],
    ['a btree', () => parseBtrees('inode')],
    ['an empty part', () => parseFunctions('a,,b')],
    ['a position without a btree', () => parsePosRanges('7:0')],
    ['a btree without a position', () => parsePosRanges('inodes')],
    ['three ends', () => parsePosRanges('inodes:1:0-inodes:2:0-inodes:3:0')],
    ['a number out of range', () => parsePosRanges('inodes:18446744073709551616:0')],
  ])('%s that cannot be', (_what, parse) => {
    expect(parse).toThrow(UsageError);
  });
});
