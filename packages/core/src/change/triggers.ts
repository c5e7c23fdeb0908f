// The second half of the key-type table: what a change of a key of each type must also change. Leaving a type out does not compile, and
// `null` says that nothing follows from it, on purpose. The rooms below hold the triggers themselves; here they come together for one
// transaction, with what they share.
//
// Source: the .trigger members of the bkey_ops of all key types (alloc_background.h, ec.h, extents.h, inode.h, reflink.h, snapshot.h,
// subvolume.h), bch2_key_trigger in bkey_methods.h and run_one_trans_trigger in btree_trans_commit.c, v1.13.0.

import { allocTrigger } from '../alloc/alloc-trigger.ts';
import { pointerTrigger } from '../alloc/pointer-trigger.ts';
import { reservationTrigger } from '../alloc/reservation-trigger.ts';
import { endEmptyStripes } from '../alloc/stripe-pointers.ts';
import { stripeTrigger } from '../alloc/stripe-trigger.ts';
import { TriggerContext, type TriggerOptions } from '../alloc/trigger-context.ts';
import type { KeyChange, Transaction, Triggers } from '../btree/transaction.ts';
import {
  indirectInlineDataTrigger,
  reflinkPTrigger,
  reflinkVTrigger,
  UnreferencedExtents,
} from '../data/reflink-trigger.ts';
import { inodeTrigger } from '../fs/inode-trigger.ts';
import type { Key } from '../ondisk/bkey.ts';
import { btrees } from '../ondisk/btrees.ts';
import { assert, CorruptError } from '../ondisk/errors.ts';
import { type KeyTypeName, keyTypes } from '../ondisk/keys/key-types.ts';
import { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { subvolumeTrigger } from '../snapshots/subvolume-trigger.ts';

/** What follows from a change; at least one of both keys is of the type that it stands at. @returns the key to store */
type KeyTrigger = (context: FilesystemTriggers, tx: Transaction, change: KeyChange) => Key | undefined;

const keyTriggers: { readonly [name in KeyTypeName]: KeyTrigger | null } = {
  deleted: null,
  whiteout: null,
  error: null,
  cookie: null,
  hash_whiteout: null,
  btree_ptr: pointerTrigger,
  extent: pointerTrigger,
  reservation: reservationTrigger,
  inode: inodeTrigger,
  inode_generation: null,
  dirent: null,
  xattr: null,
  alloc: allocTrigger,
  // Limits only: what each user takes is added up in memory when a kernel mounts with quotas, from the inodes.
  quota: null,
  stripe: stripeTrigger,
  reflink_p: reflinkPTrigger,
  reflink_v: reflinkVTrigger,
  inline_data: null,
  btree_ptr_v2: pointerTrigger,
  indirect_inline_data: indirectInlineDataTrigger,
  alloc_v2: allocTrigger,
  subvolume: subvolumeTrigger,
  // The reference keeps a table in memory; nothing on disk follows.
  snapshot: null,
  inode_v2: inodeTrigger,
  alloc_v3: allocTrigger,
  // Keys of the btrees that alloc keys and extents are found by: they follow themselves.
  set: null,
  lru: null,
  alloc_v4: allocTrigger,
  backpointer: null,
  inode_v3: inodeTrigger,
  bucket_gens: null,
  snapshot_tree: null,
  logged_op_truncate: null,
  logged_op_finsert: null,
  accounting: null,
  // Types of versions that are not written.
  inode_alloc_cursor: null,
  extent_whiteout: null,
  logged_op_stripe_update: null,
  damage: null,
};

const byType: readonly (KeyTrigger | null | undefined)[] = (() => {
  const triggers: (KeyTrigger | null)[] = [];
  for (const { id, name } of keyTypes.rows) triggers[id] = keyTriggers[name];
  return triggers;
})();

const SNAPSHOTS = btrees.idOf('snapshots');

/** The triggers of one transaction. */
export class FilesystemTriggers extends TriggerContext implements Triggers {
  readonly unreferenced: UnreferencedExtents = new UnreferencedExtents();
  #tx: Transaction | undefined;
  #table: SnapshotTable | undefined;
  #tableChanges = 0;

  run(tx: Transaction, change: KeyChange): Key | undefined {
    this.#useFor(tx);
    const { before, after } = change;
    const old = before === undefined ? null : (byType[before.k.type] ?? null);
    const now = after === undefined ? null : (byType[after.k.type] ?? null);
    if (old === now) return now === null ? after : now(this, tx, change);
    if (old !== null) old(this, tx, { ...change, after: undefined });
    return now === null ? after : now(this, tx, { ...change, before: undefined });
  }

  settle(tx: Transaction): void {
    this.#useFor(tx);
    this.unreferenced.settle(tx);
    endEmptyStripes(this, tx);
    this.buckets.settle(tx, this.counters, this.time);
    this.counters.settle(tx, this.time.journalSeq, entry => this.needs.addReplicas(entry));
  }

  /** The snapshots as they are now, with the changes of the transaction. */
  snapshots(): SnapshotTable {
    const tx = this.#tx;
    assert(tx !== undefined, 'triggers run in a transaction');
    const changes = tx.changesOf(SNAPSHOTS)?.changes ?? 0;
    if (this.#table === undefined || this.#tableChanges !== changes) {
      this.#table = SnapshotTable.read(tx, {
        onDamage: damage => {
          if (!(damage instanceof CorruptError)) throw damage;
          this.damaged(damage);
        },
      });
      this.#tableChanges = changes;
    }
    return this.#table;
  }

  #useFor(tx: Transaction): void {
    assert(this.#tx === undefined || this.#tx === tx, 'triggers belong to one transaction');
    this.#tx = tx;
  }
}

export type { TriggerOptions };
