// What a recovery pass is: it reads the filesystem as it was repaired so far, says what it finds, and changes what it may. One file a pass
// under passes/, one row each in the table there; run-passes.ts calls them in order.
//
// A pass walks each btree that it needs once, with bounded memory, and asks the reporter about every single repair. Its repairs go into the
// current transaction, with triggers; nothing is on the devices before the commit of the whole run.

import type { Change } from '../change/change.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import type { PassName } from '../ondisk/passes.ts';
import type { FilesystemState } from '../opened/filesystem.ts';
import type { Reporter } from '../report/reporter.ts';

export interface PassContext {
  /** The state with everything that was repaired before the current transaction; new after each checkpoint. */
  readonly state: FilesystemState;
  /** What repairs go into: its transaction shows the state with what was repaired since. New after each checkpoint. */
  readonly change: Change;
  readonly reporter: Reporter;
  /** What cannot be kept goes here, before the transaction forgets it. */
  drop(btree: number, key: Key, reason: string): void;
  /** Btrees that have lost keys for good: what is missing there is made anew from what names it, and not taken for deleted. */
  readonly lostData: ReadonlySet<BtreeName>;
  /** Btrees that cannot be read wholly and are not repaired: nothing is concluded from what is absent there. */
  readonly unreadable: ReadonlySet<BtreeName>;
  /** The recorded version of keys becomes at least this. */
  raiseKeyVersion(version: bigint): void;
  /** Stages what was changed when it is much, and begins anew. Not while iterating over the state or the transaction. */
  checkpoint(): void;
}

export interface Pass {
  readonly name: PassName;
  /** Passes that have to have run. */
  readonly needs: readonly PassName[];
  run(context: PassContext): void;
}
