// Section `counters`: how often things have happened over the filesystem's life, an array of u64 indexed by the counters' stable
// ids. Shorter and longer ones than we know occur. Source: sb/counters.c, v1.36.1.

import { type Counter, counters, countersOf } from '../counters.ts';
import { viewOf } from '../layout.ts';
import { nameAt } from '../releases.ts';
import type { SbFieldKind } from './kind.ts';

/** Values by stable id. */
export type CounterValues = readonly bigint[];

export function decodeCounters(payload: Uint8Array): CounterValues {
  const view = viewOf(payload);
  return Array.from({ length: Math.floor(payload.length / 8) }, (_, i) => view.getBigUint64(8 * i, true));
}

export function encodeCounters(values: CounterValues): Uint8Array {
  const target = new Uint8Array(8 * values.length);
  const view = viewOf(target);
  values.forEach((value, i) => {
    view.setBigUint64(8 * i, value, true);
  });
  return target;
}

export const countersField: SbFieldKind<CounterValues> = {
  name: 'counters',
  decode: decodeCounters,
  encode: encodeCounters,
  validate: () => [],
  text(out, values, { style }) {
    const present = (row: Counter) => row.id < values.length;
    for (const row of countersOf(style).filter(present)) out.print(`${nameAt(style, row)} \t${values[row.id]}\n`);
  },
  json: values => Object.fromEntries(values.map((value, id) => [counters.nameOf(id), value])),
};
