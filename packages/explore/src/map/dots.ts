// What one dot of a bucket map shows: the data type that takes most of its room, and whether at least half of it is full. Types of empty buckets
// only show where nothing else is. The same for a terminal with colours, one without, and a drawing.

import type { DotColor } from '@bcachefs-ts/command';
import { type DataTypeName, dataTypes, type MapCell, totalsOf } from '@bcachefs-ts/core/engine';

export interface Look {
  /** Capital where at least half of the room is taken, else small. */
  readonly letter: string;
  readonly color: DotColor;
  /** In drawings. */
  readonly fill: string;
}

const looks: Readonly<Record<DataTypeName, Look>> = {
  free: { letter: '.', color: 'gray', fill: '#8c959f' },
  sb: { letter: 'S', color: 'magenta', fill: '#8250df' },
  journal: { letter: 'J', color: 'cyan', fill: '#1b7c83' },
  btree: { letter: 'B', color: 'blue', fill: '#0969da' },
  user: { letter: 'U', color: 'green', fill: '#1a7f37' },
  cached: { letter: 'C', color: 'yellow', fill: '#bf8700' },
  parity: { letter: 'P', color: 'red', fill: '#cf222e' },
  stripe: { letter: 'E', color: 'green', fill: '#4ac26b' },
  need_gc_gens: { letter: 'G', color: 'gray', fill: '#57606a' },
  need_discard: { letter: 'D', color: 'gray', fill: '#6e7781' },
  unstriped: { letter: 'N', color: 'green', fill: '#57ab5a' },
  multiple: { letter: 'M', color: 'red', fill: '#a40e26' },
};
const unknownLook: Look = { letter: '?', color: 'red', fill: '#000000' };

export function lookOf(dataType: number): Look {
  const row = dataTypes.byId(dataType);
  return row === undefined ? unknownLook : looks[row.name];
}

export const isEmptyType = (dataType: number): boolean => dataTypes.byId(dataType)?.isEmpty ?? false;

export interface Dot {
  readonly firstBucket: number;
  readonly buckets: number;
  readonly dataType: number;
  /** Of all its room: 0 to 1, more only where the counts are wrong. */
  readonly fullness: number;
}

/** @param bucketSizeSectors 0 on a member whose superblock is damaged: nothing is known to be full then */
export function dotOf({ firstBucket, buckets, types }: MapCell, bucketSizeSectors: number): Dot {
  let [dataType, most, isEmpty] = [types[0]?.dataType ?? 0, -1, true];
  let sectors = 0;
  for (const type of types) {
    const empty = isEmptyType(type.dataType);
    sectors += type.sectors;
    if (empty && !isEmpty) continue;
    const weight = empty ? type.buckets : type.sectors;
    if (empty === isEmpty && weight <= most) continue;
    [dataType, most, isEmpty] = [type.dataType, weight, empty];
  }
  const room = buckets * bucketSizeSectors;
  return { firstBucket, buckets, dataType, fullness: room === 0 ? 0 : sectors / room };
}

export function letterOf({ dataType, fullness }: Dot): string {
  const { letter } = lookOf(dataType);
  return fullness < 0.5 && !isEmptyType(dataType) ? letter.toLowerCase() : letter;
}

/** Neighbouring cells together, so that there are `max` at most. */
export function joined(cells: readonly MapCell[], max: number): readonly MapCell[] {
  const each = Math.ceil(cells.length / Math.max(1, max));
  if (each <= 1) return cells;
  return Array.from({ length: Math.ceil(cells.length / each) }, (_, nr) => {
    const own = cells.slice(nr * each, (nr + 1) * each);
    const buckets = own.reduce((sum, cell) => sum + cell.buckets, 0);
    return { firstBucket: own[0]!.firstBucket, buckets, types: totalsOf(own) };
  });
}
