// The trigger of reservations: the space that they promise is counted by how many replicas it shall have.
// Source: bch2_trigger_reservation in buckets.c, v1.13.0.

import type { KeyChange, Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { BchReservation } from '../ondisk/keys/reservation.ts';
import type { TriggerContext } from './trigger-context.ts';

const RESERVATION = keyTypes.idOf('reservation');

export function reservationTrigger(
  { counters }: TriggerContext,
  _tx: Transaction,
  { before, after }: KeyChange,
): Key | undefined {
  for (const [key, sign] of [
    [before, -1],
    [after, 1],
  ] as const) {
    if (key === undefined || key.k.type !== RESERVATION || key.value.length < BchReservation.size) continue;
    counters.addReserved(key.value[BchReservation.offset.nr_replicas]!, sign * key.k.size);
  }
  return after;
}
