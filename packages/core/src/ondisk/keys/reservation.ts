// Key type reservation: space that fallocate promised; it reads as zeroes.
// Source: struct bch_reservation in data/extents_format.h and data/extents.c, v1.36.1.

import { at, bytes, layout, type Struct, u8, u32, viewOf } from '../layout.ts';
import type { KeyKind } from './kind.ts';

export const BchReservation = layout('bch_reservation', 8, {
  generation: at(0, u32),
  nr_replicas: at(4, u8),
  pad: at(5, bytes(3)),
});
export type BchReservation = Struct<typeof BchReservation>;

/** BCH_REPLICAS_MAX. */
const REPLICAS_MAX = 4;

export const reservation: KeyKind<BchReservation> = {
  name: 'reservation',
  minBytes: BchReservation.size,
  decode: value => BchReservation.get(viewOf(value), 0),
  encode(value) {
    const target = new Uint8Array(BchReservation.size);
    BchReservation.put(viewOf(target), 0, value);
    return target;
  },
  validate({ nr_replicas }) {
    if (nr_replicas >= 1 && nr_replicas <= REPLICAS_MAX) return [];
    const detail = `nr_replicas is ${nr_replicas}, expected 1 to ${REPLICAS_MAX}`;
    return [{ error: 'reservation_key_nr_replicas_invalid', detail }];
  },
  text: (out, value) => void out.print(`generation ${value.generation} replicas ${value.nr_replicas}`),
  json: ({ generation, nr_replicas }) => ({ generation, nr_replicas }),
};
