// Positions, btrees and key types as people write them: on command lines, and in the words of kvdb.

import { type Bpos, makeBpos, POS_MAX, POS_MIN, SPOS_MAX } from './bpos.ts';
import { btrees } from './btrees.ts';
import { UsageError } from './errors.ts';
import { keyTypes } from './keys/key-types.ts';

const SPECIAL: ReadonlyMap<string, Bpos> = new Map(Object.entries({ POS_MIN, POS_MAX, SPOS_MAX }));

/**
 * `4096:12`, `4096:12:U32_MAX`, `POS_MIN`.
 * @throws UsageError
 */
export function parsePosition(text: string): Bpos {
  const special = SPECIAL.get(text);
  if (special !== undefined) return special;
  const [inode, offset, snapshot = '0', ...more] = text.split(':');
  if (inode === undefined || offset === undefined || more.length > 0) {
    throw new UsageError(
      `'${text.slice(0, 80)}' is not a position, expected INODE:OFFSET, INODE:OFFSET:SNAPSHOT, POS_MIN, POS_MAX or SPOS_MAX`,
    );
  }
  return makeBpos(unsigned(inode, 64), unsigned(offset, 64), Number(unsigned(snapshot, 32)));
}

function unsigned(text: string, bits: 32 | 64): bigint {
  const max = (1n << BigInt(bits)) - 1n;
  if (text === `U${bits}_MAX`) return max;
  const value = /^\d{1,20}$/.test(text) ? BigInt(text) : undefined;
  if (value === undefined || value > max) {
    throw new UsageError(`'${text.slice(0, 40)}' is not a number of ${bits} bits`);
  }
  return value;
}

/**
 * A name of now or of earlier releases, or the number of a btree that has none here.
 * @throws UsageError
 */
export function parseBtree(text: string): number {
  const row =
    btrees.byName(text) ?? btrees.rows.find(({ names }) => Object.values(names ?? {}).some(name => name === text));
  if (row !== undefined) return row.id;
  if (/^\d{1,2}$/.test(text) && Number(text) < 64) return Number(text);
  const known = btrees.rows.map(({ name }) => name).join(', ');
  throw new UsageError(`there is no btree called ${JSON.stringify(text)}, only ${known}`);
}

/** @throws UsageError */
export function parseKeyType(text: string): number {
  const row = keyTypes.byName(text);
  if (row !== undefined) return row.id;
  const known = keyTypes.rows.map(({ name }) => name).join(', ');
  throw new UsageError(`there is no key type called ${JSON.stringify(text)}, only ${known}`);
}
