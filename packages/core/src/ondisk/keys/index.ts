// The table of key types: what a value of each type is. Types without a row here are carried as bytes.

import { toHex } from '../../util/hex.ts';
import type { PrintBuffer } from '../../util/print-buffer.ts';
import { bkeyText, type Key } from '../bkey.ts';
import { bposText } from '../bpos.ts';
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
import { keyTypes } from './key-types.ts';
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

/** In the order of their numbers. */
const kinds: readonly KeyKind<unknown>[] = [
  deleted,
  whiteout,
  keyError,
  cookie,
  hashWhiteout,
  btreePtr,
  extent,
  reservation,
  inode,
  inodeGeneration,
  dirent,
  xattr,
  alloc,
  quota,
  stripe,
  reflinkP,
  reflinkV,
  inlineData,
  btreePtrV2,
  indirectInlineData,
  allocV2,
  subvolume,
  snapshot,
  inodeV2,
  allocV3,
  set,
  lru,
  allocV4,
  backpointer,
  inodeV3,
  bucketGens,
  snapshotTree,
  loggedOpTruncate,
  loggedOpFinsert,
  accounting,
  inodeAllocCursor,
  extentWhiteout,
  loggedOpStripeUpdate,
  damage,
];
const byType = new Map(kinds.map(kind => [keyTypes.idOf(kind.name), kind]));

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
