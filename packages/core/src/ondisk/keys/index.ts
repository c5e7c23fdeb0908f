// The table of key types: what a value of each type is. Types of later versions, which have no row, are carried as bytes.

import { toHex } from '../../util/hex.ts';
import type { PrintBuffer } from '../../util/print-buffer.ts';
import { bkeyText, type Key } from '../bkey.ts';
import { bposText } from '../bpos.ts';
import { assert } from '../errors.ts';
import { accounting } from './accounting.ts';
import { alloc, allocV2, allocV3 } from './alloc.ts';
import { allocV4 } from './alloc-v4.ts';
import { backpointer } from './backpointer.ts';
import { btreePtr } from './btree-ptr.ts';
import { btreePtrV2 } from './btree-ptr-v2.ts';
import { bucketGens } from './bucket-gens.ts';
import { cookie } from './cookie.ts';
import { damage } from './damage.ts';
import { dirent } from './dirent.ts';
import { deleted, extentWhiteout, hashWhiteout, set, whiteout } from './empty-values.ts';
import { keyError } from './error.ts';
import { extent } from './extent.ts';
import { indirectInlineData, inlineData } from './inline-data.ts';
import { inode, inodeV2, inodeV3 } from './inode.ts';
import { inodeAllocCursor } from './inode-alloc-cursor.ts';
import { inodeGeneration } from './inode-generation.ts';
import { type KeyTypeName, keyTypes } from './key-types.ts';
import type { KeyFormat, KeyKind, KeyTextContext } from './kind.ts';
import { loggedOpFinsert, loggedOpStripeUpdate, loggedOpTruncate } from './logged-ops.ts';
import { lru } from './lru.ts';
import { quota } from './quota.ts';
import { reflinkP } from './reflink-p.ts';
import { reflinkV } from './reflink-v.ts';
import { reservation } from './reservation.ts';
import { snapshot } from './snapshot.ts';
import { snapshotTree } from './snapshot-tree.ts';
import { stripe } from './stripe.ts';
import { subvolume } from './subvolume.ts';
import { xattr } from './xattr.ts';

/** What is forgotten here does not compile. */
const kinds: { readonly [name in KeyTypeName]: KeyKind<unknown> } = {
  deleted,
  whiteout,
  error: keyError,
  cookie,
  hash_whiteout: hashWhiteout,
  btree_ptr: btreePtr,
  extent,
  reservation,
  inode,
  inode_generation: inodeGeneration,
  dirent,
  xattr,
  alloc,
  quota,
  stripe,
  reflink_p: reflinkP,
  reflink_v: reflinkV,
  inline_data: inlineData,
  btree_ptr_v2: btreePtrV2,
  indirect_inline_data: indirectInlineData,
  alloc_v2: allocV2,
  subvolume,
  snapshot,
  inode_v2: inodeV2,
  alloc_v3: allocV3,
  set,
  lru,
  alloc_v4: allocV4,
  backpointer,
  inode_v3: inodeV3,
  bucket_gens: bucketGens,
  snapshot_tree: snapshotTree,
  logged_op_truncate: loggedOpTruncate,
  logged_op_finsert: loggedOpFinsert,
  accounting,
  inode_alloc_cursor: inodeAllocCursor,
  extent_whiteout: extentWhiteout,
  logged_op_stripe_update: loggedOpStripeUpdate,
  damage,
};
const byType = new Map(
  keyTypes.rows.map(({ id, name }) => {
    const kind: KeyKind<unknown> = kinds[name];
    assert(kind.name === name, `the row of ${name} is its own, not that of ${kind.name}`);
    return [id, kind] as const;
  }),
);

/** The row of a key type number. */
export function keyKind(type: number): KeyKind<unknown> | undefined {
  return byType.get(type);
}

/** Prints a whole key, its value indented. Mirrors bch2_bkey_val_to_text. */
export function keyText(out: PrintBuffer, key: Key, context: KeyTextContext): void {
  out.print(bkeyText(key.k));
  if (key.value.length === 0) return;
  out.indented(() => {
    out.print(': ');
    const kind = keyKind(key.k.type);
    if (kind === undefined) return;
    if (key.value.length < kind.minBytes)
      out.print(`(damaged: ${key.value.length} bytes, expected ${kind.minBytes} or more)`);
    else kind.text(out, kind.decode(key.value), context, key.k);
  });
}

/** A whole key as a plain value; an unknown value comes as hex. */
export function keyJson(key: Key, format: KeyFormat = {}): unknown {
  const { k } = key;
  const header = {
    type: keyTypes.nameOf(k.type),
    pos: bposText(k.p),
    size: k.size,
    version: k.bversion_lo,
  };
  const kind = keyKind(k.type);
  const value =
    kind === undefined || key.value.length < kind.minBytes
      ? { raw: toHex(key.value) }
      : kind.json(kind.decode(key.value), k, format);
  return { ...header, value };
}
