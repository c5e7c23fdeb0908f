// Checks a filesystem and repairs it: plan, decide, commit. Passes look at the state as repaired so far and ask about each repair; what was
// decided is staged, and one commit at the end makes all of it count. Until then nothing on the devices has changed that anything leads to:
// a refusal, an error or a second thought leaves the filesystem as it was.

import { beginChange } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { PassName } from '../ondisk/passes.ts';
import type { Reporter } from '../report/reporter.ts';
import { runPasses } from './run-passes.ts';

export interface RecoverOptions {
  /** Decides what is repaired. */
  readonly reporter: Reporter;
  readonly onPass?: (pass: PassName, round: number) => void;
  /** Called with each key that is given up, and why. */
  readonly onDropped?: (btree: number, key: Key, reason: string) => void;
}

export interface RecoverReport {
  /** The journal entry of the commit; undefined when there was nothing to commit. */
  readonly seq: number | undefined;
  /** How many rounds of passes repaired something. */
  readonly rounds: number;
}

/**
 * @throws NoSpaceError, CorruptError, DeviceError: nothing has changed then that counts, unless the writer says that its commit is
 * unfinished
 */
export function recover(writer: FilesystemWriter, options: RecoverOptions): RecoverReport {
  const { reporter, onPass, onDropped } = options;
  const rounds = runPasses(writer, {
    reporter,
    ...(onPass === undefined ? {} : { onPass }),
    drop: (btree, key, reason) => onDropped?.(btree, key, reason),
    lostData: new Set(),
    unreadable: new Set(),
    onDamage: () => {},
  });
  if (reporter.fixedCount === 0) return { seq: undefined, rounds };
  const { seq } = beginChange(writer, { after: 'staged', usesReserve: true }).commit();
  return { seq, rounds };
}
