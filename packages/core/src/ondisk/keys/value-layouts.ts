// What values begin with, as structs: for what shows or edits their bytes by name, rather than what they mean.

import type { AnyLayout } from '../layout.ts';
import { BchAllocV4 } from './alloc-v4.ts';
import { BchBackpointer } from './backpointer.ts';
import { BchBtreePtrV2 } from './btree-ptr-v2.ts';
import { BchCookie } from './cookie.ts';
import { BchDirent } from './dirent.ts';
import { BchIndirectInlineData } from './inline-data.ts';
import { BchInodeAllocCursor } from './inode-alloc-cursor.ts';
import { BchInodeGeneration } from './inode-generation.ts';
import { type KeyTypeName, keyTypes } from './key-types.ts';
import { BchLoggedOpFinsert, BchLoggedOpStripeUpdate, BchLoggedOpTruncate } from './logged-ops.ts';
import { BchLru } from './lru.ts';
import { BchQuota } from './quota.ts';
import { BchReflinkP } from './reflink-p.ts';
import { BchReflinkV } from './reflink-v.ts';
import { BchReservation } from './reservation.ts';
import { BchSnapshot } from './snapshot.ts';
import { BchSnapshotTree } from './snapshot-tree.ts';
import { BchStripe } from './stripe.ts';
import { BchSubvolume } from './subvolume.ts';
import { BchXattr } from './xattr.ts';

/** What a value begins with, and whether extent entries follow. */
export interface ValueLayout {
  readonly layout?: AnyLayout;
  readonly entries?: true;
}

/** Types that are not here have values without a fixed part, or one that is packed. */
const valueLayouts: { readonly [name in KeyTypeName]?: ValueLayout } = {
  alloc_v4: { layout: BchAllocV4 },
  backpointer: { layout: BchBackpointer },
  btree_ptr: { entries: true },
  btree_ptr_v2: { layout: BchBtreePtrV2, entries: true },
  cookie: { layout: BchCookie },
  dirent: { layout: BchDirent },
  extent: { entries: true },
  indirect_inline_data: { layout: BchIndirectInlineData },
  inode_alloc_cursor: { layout: BchInodeAllocCursor },
  inode_generation: { layout: BchInodeGeneration },
  logged_op_finsert: { layout: BchLoggedOpFinsert },
  logged_op_stripe_update: { layout: BchLoggedOpStripeUpdate },
  logged_op_truncate: { layout: BchLoggedOpTruncate },
  lru: { layout: BchLru },
  quota: { layout: BchQuota },
  reflink_p: { layout: BchReflinkP },
  reflink_v: { layout: BchReflinkV, entries: true },
  reservation: { layout: BchReservation },
  snapshot: { layout: BchSnapshot },
  snapshot_tree: { layout: BchSnapshotTree },
  stripe: { layout: BchStripe },
  subvolume: { layout: BchSubvolume },
  xattr: { layout: BchXattr },
};

/** By the number of a key type. */
export function valueLayoutOf(type: number): ValueLayout | undefined {
  const name = keyTypes.byId(type)?.name;
  return name === undefined ? undefined : valueLayouts[name];
}
