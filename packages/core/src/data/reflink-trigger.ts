// The triggers of shared data. A reflink_p counts as one reference in every indirect extent that it reaches, and reaches to the ends of
// those, by its pads; an indirect extent without references goes. It goes when the transaction settles, since a reference that is
// taken away and put back in the meantime must find it.
// Source: __trigger_reflink_p, trans_trigger_reflink_p_segment, bch2_trigger_reflink_v and bch2_trigger_indirect_inline_data in
// reflink.c, v1.13.0.

import { pointerTrigger } from '../alloc/pointer-trigger.ts';
import type { TriggerContext } from '../alloc/trigger-context.ts';
import { type KeyChange, makeKey, type Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposOffset, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { BchReflinkP, reflinkP } from '../ondisk/keys/reflink-p.ts';
import { BchReflinkV } from '../ondisk/keys/reflink-v.ts';
import { viewOf } from '../ondisk/layout.ts';

const REFLINK = btrees.idOf('reflink');
const REFLINK_P = keyTypes.idOf('reflink_p');
const REFLINK_V = keyTypes.idOf('reflink_v');
const INDIRECT_INLINE_DATA = keyTypes.idOf('indirect_inline_data');

/** Indirect extents that have lost their last reference, and may have got another since. */
export class UnreferencedExtents {
  readonly #positions = new Map<string, Bpos>();

  add(pos: Bpos): void {
    this.#positions.set(bposText(pos), pos);
  }

  /** Takes those away that are not referred to. */
  settle(tx: Transaction): void {
    for (const pos of this.#positions.values()) {
      const key = tx.get(REFLINK, pos);
      if (key !== undefined && referenceCountOf(key) === 0n) tx.delete(REFLINK, pos);
    }
    this.#positions.clear();
  }
}

export interface ReflinkContext extends TriggerContext {
  readonly unreferenced: UnreferencedExtents;
}

/** The number of references; undefined for a key that has none. */
function referenceCountOf({ k, value }: Key): bigint | undefined {
  if ((k.type !== REFLINK_V && k.type !== INDIRECT_INLINE_DATA) || value.length < BchReflinkV.size) return undefined;
  return viewOf(value).getBigUint64(BchReflinkV.offset.refcount, true);
}

export function reflinkPTrigger(context: ReflinkContext, tx: Transaction, change: KeyChange): Key | undefined {
  const { before, after } = change;
  // The new references first, so that nothing that both refer to is ever without one.
  const completed = after?.k.type === REFLINK_P ? withReferences(context, tx, after) : after;
  if (before?.k.type === REFLINK_P && before.value.length >= BchReflinkP.size) {
    const { idx, front_pad, back_pad } = reflinkP.decode(before.value);
    countReferences(context, tx, before, idx - BigInt(front_pad), idx + BigInt(before.k.size + back_pad), -1n);
  }
  return completed;
}

/** The key with pads that reach to the ends of the indirect extents that it refers to. */
function withReferences(context: ReflinkContext, tx: Transaction, key: Key): Key {
  const value = reflinkP.decode(key.value);
  const end = value.idx + BigInt(key.k.size);
  let [from, to] = [value.idx, end];
  for (const [extentStart, extentEnd] of countReferences(context, tx, key, value.idx, end, 1n)) {
    if (extentStart < from) from = extentStart;
    if (extentEnd > to) to = extentEnd;
  }
  const padded = { ...value, front_pad: Number(value.idx - from), back_pad: Number(to - end) };
  return makeKey(REFLINK_P, key.k.p, reflinkP.encode(padded), key.k);
}

/** @returns where the indirect extents begin and end */
function countReferences(
  context: ReflinkContext,
  tx: Transaction,
  { k }: Key,
  from: bigint,
  to: bigint,
  more: 1n | -1n,
): (readonly [bigint, bigint])[] {
  const missing = (at: bigint) => {
    const where = { btree: 'extents', pos: bposText(k.p) };
    const damage = new CorruptError('reflink_p_to_missing_reflink_v', where, `no indirect extent at ${at}`);
    if (more > 0n) throw damage;
    context.damaged(damage);
  };
  const extents: Key[] = [];
  let at = from;
  for (const key of tx.btree(REFLINK).keys({ from: reflinkPos(from + 1n) })) {
    if (at >= to) break;
    const end = bposOffset(key.k.p);
    if (end - BigInt(key.k.size) > at || referenceCountOf(key) === undefined) missing(at);
    if (end - BigInt(key.k.size) >= to) break;
    if (referenceCountOf(key) !== undefined) extents.push(key);
    at = end;
  }
  if (at < to) missing(at);
  for (const key of extents) changeReferences(context, tx, key, more);
  return extents.map(key => [bposOffset(key.k.p) - BigInt(key.k.size), bposOffset(key.k.p)]);
}

function changeReferences(context: ReflinkContext, tx: Transaction, key: Key, more: 1n | -1n): void {
  const count = (referenceCountOf(key) ?? 0n) + more;
  if (count < 0n) {
    const where = { btree: 'reflink', pos: bposText(key.k.p) };
    context.damaged(new CorruptError('reflink_v_refcount_wrong', where, '0 references, and one of them goes'));
    return;
  }
  const value = key.value.slice();
  viewOf(value).setBigUint64(BchReflinkV.offset.refcount, count, true);
  tx.store(REFLINK, makeKey(key.k.type, key.k.p, value, key.k));
  if (count === 0n) context.unreferenced.add(key.k.p);
}

const reflinkPos = (offset: bigint): Bpos =>
  Uint32Array.of(0, Number(offset & 0xffff_ffffn), Number(offset >> 32n), 0, 0);

/** Data is accounted for as that of any extent; the count of references is reflink_p's business. */
export function reflinkVTrigger(context: ReflinkContext, tx: Transaction, change: KeyChange): Key | undefined {
  noteUnreferenced(context, change);
  return pointerTrigger(context, tx, change);
}

export function indirectInlineDataTrigger(
  context: ReflinkContext,
  _tx: Transaction,
  change: KeyChange,
): Key | undefined {
  noteUnreferenced(context, change);
  return change.after;
}

function noteUnreferenced(context: ReflinkContext, { after }: KeyChange): void {
  if (after !== undefined && referenceCountOf(after) === 0n) context.unreferenced.add(after.k.p);
}
