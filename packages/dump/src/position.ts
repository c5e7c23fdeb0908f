// Positions as people write them.

import { type Bpos, makeBpos, POS_MAX, POS_MIN, SPOS_MAX, UsageError } from '@bcachefs-ts/core/engine';

const SPECIAL: Readonly<Record<string, Bpos>> = { POS_MIN, POS_MAX, SPOS_MAX };

/**
 * `4096:12`, `4096:12:U32_MAX`, `POS_MIN`.
 * @throws UsageError
 */
export function parsePosition(text: string): Bpos {
  const special = SPECIAL[text];
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
