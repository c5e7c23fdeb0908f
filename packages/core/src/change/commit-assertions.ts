// What has to hold for a commit: before anything is written, every new root is in a live bucket; right before the journal entry is written that
// makes the new state the filesystem, it overwrites none that is kept. What is wrong here is our own fault, and nothing counts yet.

import { bucketPos } from '../alloc/bucket-indexes.ts';
import { bucketStateOf, TYPE } from '../alloc/bucket-state.ts';
import { entryBytesOf, spacePointers } from '../alloc/extent-pointers.ts';
import type { Transaction } from '../btree/transaction.ts';
import type { JournalReading } from '../journal/journal.ts';
import type { JournalSlot } from '../journal/write.ts';
import type { Key } from '../ondisk/bkey.ts';
import { assert } from '../ondisk/errors.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import type { Superblock } from '../ondisk/superblock.ts';

/**
 * Every new root is in a bucket that the new state knows as one of btree nodes, in that bucket's generation.
 * @param tx settled, with all that the commit changes
 */
export function assertRootsLive(tx: Transaction, sb: Superblock, roots: Iterable<{ readonly key: Key }>): void {
  const known = members(sb);
  const alloc = tx.btree('alloc');
  for (const { key } of roots) {
    for (const { dev, offset, gen } of spacePointers(entryBytesOf(key), 0).pointers) {
      const member = known[dev];
      assert(member !== undefined, 'a root is on a member of the filesystem');
      const bucket = alloc.get(bucketPos(dev, Math.floor(offset / member.bucket_size)));
      assert(bucket !== undefined, 'the bucket of a root is known');
      const { dataType, gen: bucketGen } = bucketStateOf(bucket);
      assert(dataType === TYPE.btree, 'the bucket of a root holds btree nodes');
      assert(bucketGen === gen, 'a root is of the generation of its bucket');
    }
  }
}

/** The entry overwrites none that a crash before it would need. @param keepFrom entries from this number on are needed */
export function assertEntriesKept(places: readonly JournalSlot[], { entries }: JournalReading, keepFrom: number): void {
  for (const { seq, ptrs } of entries) {
    if (seq < keepFrom) continue;
    for (const { dev, bucketIndex } of ptrs) {
      const isOverwritten = places.some(place => place.member === dev && place.bucketIndex === bucketIndex);
      assert(!isOverwritten, 'the bucket of the entry that commits has no entry that is kept');
    }
  }
}
