// The values of list_journal's options, as people write them.

import { btreeId, btrees, parseSigned, type Signed, UsageError } from '@bcachefs-ts/core/engine';

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
  return parseSigned(text, name => {
    const id = btreeId(name);
    if (id !== undefined) return id;
    const known = btrees.rows.map(row => row.name).join(', ');
    throw new UsageError(`there is no btree called '${name}', only ${known}`);
  });
}

/** `bch2_write_index_default,bch2_create`, `-btree_node_write_work`. */
export const parseFunctions = (text: string): Signed<string> => parseSigned(text, name => name);
