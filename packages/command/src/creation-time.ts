// The time that everything gets which a command makes: one for the whole command, and one that can be fixed, for results that are equal
// byte for byte (https://reproducible-builds.org/specs/source-date-epoch/).

import { UsageError } from '@bcachefs-ts/core';
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
