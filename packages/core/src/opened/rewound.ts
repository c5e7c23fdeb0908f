// A filesystem as it was after an earlier entry of its journal, for reading (journal/rewind.ts).

import { rewindReach, rewound } from '../journal/rewind.ts';
import { UsageError } from '../ondisk/errors.ts';
import type { Damage } from '../report/finding.ts';
import { dateTimeText } from '../util/time.ts';
import type { Filesystem } from './filesystem.ts';

/** After this journal entry, or after the last one that was written by then. */
export type RewindTarget = { readonly seq: number } | { readonly seconds: number };

/**
 * What is open is shared: closing either closes both.
 * @throws UsageError when the journal does not reach it
 */
export function rewoundFilesystem(
  filesystem: Filesystem,
  target: RewindTarget,
  onDamage: (damage: Damage) => void,
): Filesystem {
  const { set, replay, key } = filesystem;
  const seq = 'seq' in target ? target.seq : seqBy(filesystem, target.seconds);
  return filesystem.at(rewound(set, replay, key, seq, onDamage));
}

function seqBy({ set, replay, key }: Filesystem, seconds: number): number {
  const { points, limit } = rewindReach(set, replay, key);
  const found = points.findLast(point => point.seconds !== undefined && point.seconds <= BigInt(seconds));
  if (found !== undefined) return found.seq;
  throw new UsageError(`nothing as old as ${dateTimeText(seconds)} can be gone back to: ${limit}`);
}
