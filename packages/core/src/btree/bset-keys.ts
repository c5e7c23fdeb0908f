// Takes the keys of one bset apart: lengths, formats, header checks, order. In a sound bset every key is; where one is not, the reader
// either gives the node up or leaves that key out, as fsck does, and looks for the next place where a key can begin.
// Source: bch2_validate_bset_keys and bkey_packed_valid in btree/read.c, v1.36.1.

import { BKEY_U64S, KEY_FORMAT_CURRENT } from '../ondisk/bkey.ts';
import { type KeyUnpacker, ROW, ROW_WORDS } from '../ondisk/bkey-format.ts';
import { type Bpos, bposText, compareBpos } from '../ondisk/bpos.ts';
import type { FaultName } from '../ondisk/faults.ts';
import type { KeyProblem } from '../ondisk/keys/kind.ts';
import type { KeyChecks } from './key-checks.ts';
import { DELETED, type KeyRows } from './node.ts';
import { compareRows } from './node-sort.ts';

const VALUE_U64S_MAX = 0xff - BKEY_U64S;

/** Of keys whose header cannot be unpacked. */
const HEADER_ERRORS: ReadonlySet<string> = new Set<FaultName>([
  'btree_node_bkey_past_bset_end',
  'btree_node_bkey_bad_format',
  'btree_node_bkey_bad_u64s',
]);

export interface BsetSource {
  /** The whole node. */
  readonly words: Uint32Array;
  /** The bset's keys: the first and the end of the last, as indexes into `words`; an even number of words. */
  readonly from: number;
  readonly end: number;
  readonly unpacker: KeyUnpacker;
  readonly checks: KeyChecks;
  /** The node's range; undefined where keys outside of it are expected and dropped later. */
  readonly range: { readonly min: Bpos; readonly max: Bpos } | undefined;
}

/** The place of a faulty key. */
export interface FaultyKey {
  /** Its words, as indexes: up to where the next key begins. */
  readonly from: number;
  readonly end: number;
  /** What it is, where its header makes sense. */
  readonly row: Uint32Array | undefined;
}

/**
 * The keys of a bset, in their order, deletions among them.
 * @param fail called with each faulty key, which is then left out; it may throw to give up instead
 */
export function readBsetKeys(source: BsetSource, fail: (problem: KeyProblem, key: FaultyKey) => void): KeyRows {
  const { words, from, end } = source;
  let rows = new Uint32Array(ROW_WORDS * Math.max(1, countKeys(words, from, end)));
  let count = 0;
  let previous = -1;
  for (let at = from; at < end; ) {
    if ((count + 1) * ROW_WORDS > rows.length) {
      const larger = new Uint32Array(rows.length * 2);
      larger.set(rows);
      rows = larger;
    }
    const u64s = words[at]! & 0xff;
    const problem = keyProblem(source, at, rows, count * ROW_WORDS) ?? orderProblem(rows, previous, count);
    if (problem === undefined) {
      previous = count++;
      at += 2 * u64s;
      continue;
    }
    const isUnpacked = !HEADER_ERRORS.has(problem.error);
    const row = isUnpacked ? rows.slice(count * ROW_WORDS, (count + 1) * ROW_WORDS) : undefined;
    const next = problem.error === 'btree_node_bkey_past_bset_end' ? end : nextKey(source, at, rows, count * ROW_WORDS);
    fail(problem, { from: at, end: next, row });
    at = next;
  }
  return { rows, count };
}

/** How many keys there are if all lengths are right. */
function countKeys(words: Uint32Array, from: number, end: number): number {
  let count = 0;
  for (let at = from; at < end; count++) {
    const u64s = words[at]! & 0xff;
    if (u64s === 0) break;
    at += 2 * u64s;
  }
  return count;
}

/** Unpacks the key at word `at` into the row and judges it; the row holds nothing of worth where there is a problem. */
function keyProblem(source: BsetSource, at: number, rows: Uint32Array, row: number): KeyProblem | undefined {
  const { words, end, unpacker, checks, range } = source;
  const header = words[at]!;
  const u64s = header & 0xff;
  if (at + 2 * u64s > end) {
    return {
      error: 'btree_node_bkey_past_bset_end',
      detail: `a key of ${u64s} u64s, ${(end - at) / 2} are left in the bset`,
    };
  }
  const format = (header >>> 8) & 0x7f;
  if (format > KEY_FORMAT_CURRENT) {
    return { error: 'btree_node_bkey_bad_format', detail: `a key of format ${format}, expected 0 or 1` };
  }
  const headerU64s = unpacker.keyU64s(format);
  if (u64s < headerU64s || u64s - headerU64s > VALUE_U64S_MAX) {
    return {
      error: 'btree_node_bkey_bad_u64s',
      detail: `a key of ${u64s} u64s, expected ${headerU64s} to ${VALUE_U64S_MAX + headerU64s}`,
    };
  }
  unpacker.unpack(words, at, rows, row);
  const problem = checks.problem(rows, row);
  if (problem !== undefined) return { error: problem.error, detail: `${positionText(rows, row)}: ${problem.detail}` };
  if (range !== undefined) return rangeProblem(rows, row, range.min, range.max);
  return undefined;
}

function rangeProblem(rows: Uint32Array, row: number, min: Bpos, max: Bpos): KeyProblem | undefined {
  if (compareTo(rows, row, min) < 0) {
    const detail = `a key at ${positionText(rows, row)}, the node starts at ${bposText(min)}`;
    return { error: 'bkey_before_start_of_btree_node', detail };
  }
  if (compareTo(rows, row, max) > 0) {
    const detail = `a key at ${positionText(rows, row)}, the node ends at ${bposText(max)}`;
    return { error: 'bkey_after_end_of_btree_node', detail };
  }
  return undefined;
}

/** Of two keys at one position the first has to be a deletion. */
function orderProblem(rows: Uint32Array, previous: number, current: number): KeyProblem | undefined {
  if (previous < 0) return undefined;
  const order = compareRows(rows, previous, rows, current);
  if (order < 0) return undefined;
  if (order === 0 && isDeleted(rows, previous) && !isDeleted(rows, current)) return undefined;
  const before = positionText(rows, previous * ROW_WORDS);
  const detail = `a key at ${positionText(rows, current * ROW_WORDS)} after one at ${before}`;
  return { error: 'btree_node_bkey_out_of_order', detail };
}

/** Where the next key begins after a faulty one: where its length says, else at the next place that looks like one. */
function nextKey(source: BsetSource, at: number, rows: Uint32Array, row: number): number {
  const { words, end } = source;
  const claimed = at + 2 * (words[at]! & 0xff);
  if (
    claimed > at &&
    (claimed === end || keyProblem({ ...source, range: undefined }, claimed, rows, row) === undefined)
  ) {
    return claimed;
  }
  for (let next = at + 2; next < end; next += 2) {
    if (keyProblem({ ...source, range: undefined }, next, rows, row) === undefined) return next;
  }
  return end;
}

const isDeleted = (rows: Uint32Array, index: number) => ((rows[index * ROW_WORDS]! >>> 16) & 0xff) === DELETED;

function positionText(rows: Uint32Array, row: number): string {
  return bposText(rows.slice(row + ROW.position, row + ROW.position + 5));
}

function compareTo(rows: Uint32Array, row: number, pos: Bpos): number {
  const from = row + ROW.position;
  for (let i = 4; i >= 0; i--) {
    const difference = rows[from + i]! - pos[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Whether a position lies in a range, both ends included. */
export function isWithin(pos: Bpos, min: Bpos, max: Bpos): boolean {
  return compareBpos(pos, min) >= 0 && compareBpos(pos, max) <= 0;
}
