// A change of many keys that need not be one commit: it is made in batches, each of which leaves a consistent filesystem, so that memory is
// bounded and a crash loses a batch at the most. What is moved, counted anew or repaired by the million goes through here.

import { NoSpaceError } from '../ondisk/errors.ts';
import type { Change, CommitExtras } from './change.ts';
import type { CommitReport } from './writer.ts';

/** With fewer keys a commit does not need less room. */
const KEYS_LEAST = 16;

export interface Batch {
  /** There is more to do after it. */
  readonly isMore: boolean;
  readonly extras?: CommitExtras;
  /** Called when it is committed: a batch that is dropped has not happened. */
  readonly onCommitted?: () => void;
}

/**
 * Fills changes and commits them until nothing is left to do. A batch that there is no room for is dropped, and a smaller one is tried.
 * @param fill puts some of what is left into the change, about `keysMax` changed keys; undefined when nothing was left, and nothing is committed
 * @yields after each commit, with what it was
 * @throws NoSpaceError when not even a few keys can be changed; what committing throws, before or after a whole batch
 */
export function* inBatches(
  begin: () => Change,
  fill: (change: Change, keysMax: number) => Batch | undefined,
  keysMax: number,
): Generator<CommitReport, void, void> {
  for (let keys = keysMax; ; ) {
    try {
      const change = begin();
      const batch = fill(change, keys);
      if (batch === undefined) return;
      const report = change.commit(batch.extras);
      batch.onCommitted?.();
      yield report;
      if (!batch.isMore) return;
    } catch (thrown) {
      if (!(thrown instanceof NoSpaceError) || keys < KEYS_LEAST) throw thrown;
      keys = Math.floor(keys / 4);
    }
  }
}
