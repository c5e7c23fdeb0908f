// The time that everything gets which a command makes: one for the whole command, and one that can be fixed, for results that are equal
// byte for byte (https://reproducible-builds.org/specs/source-date-epoch/).

import { UsageError } from '@bcachefs-ts/core/engine';
import type { Context } from './context.ts';

export interface CreationTime {
  /** Nanoseconds since 1970. */
  readonly nowNs: bigint;
  /** Whether SOURCE_DATE_EPOCH said so; else it is the clock's. */
  readonly isFixed: boolean;
}

/** @throws UsageError */
export function creationTime(context: Pick<Context, 'env' | 'date'>): CreationTime {
  const epoch = context.env.SOURCE_DATE_EPOCH;
  if (epoch === undefined || epoch === '') {
    return { nowNs: BigInt(context.date().getTime()) * 1_000_000n, isFixed: false };
  }
  if (!/^\d{1,11}$/.test(epoch)) {
    throw new UsageError(`${JSON.stringify(epoch)}, expected whole seconds since 1970`, 'SOURCE_DATE_EPOCH');
  }
  return { nowNs: BigInt(epoch) * 1_000_000_000n, isFixed: true };
}

/**
 * Times of a file that is put into a filesystem while the time is fixed: nothing is newer than that, and when a file was last read does not
 * count, so that the result does not depend on when it was made.
 * @param mtimeNs undefined when the source does not say
 */
export function noLaterThan(fixedNs: bigint, mtimeNs: bigint | undefined): { mtimeNs: bigint; atimeNs: bigint } {
  const fixed = mtimeNs === undefined || mtimeNs > fixedNs ? fixedNs : mtimeNs;
  return { mtimeNs: fixed, atimeNs: fixed };
}

/** Seconds since 1970, as superblocks count them. */
export const secondsOf = (date: Date): bigint => BigInt(Math.floor(date.getTime() / 1000));
