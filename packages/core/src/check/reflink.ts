// References to indirect extents: each counts the reflink_p keys that reach it, pads included. One row of 24 bytes for each indirect
// extent.
// Source: bch2_gc_write_reflink_key in btree_gc.c and __trigger_reflink_p in reflink.c, v1.13.0.

import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposOffset, makeBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import { viewOf } from '../ondisk/layout.ts';
import { type InvariantContext, keyPlace } from './context.ts';

const REFLINK = btrees.idOf('reflink');
const EXTENTS = btrees.idOf('extents');
const COUNTED: readonly number[] = [keyTypes.idOf('reflink_v'), keyTypes.idOf('indirect_inline_data')];

/** Sectors of the reflink btree. */
export interface ReflinkGap {
  readonly start: number;
  readonly end: number;
}

export class ReflinkReferences {
  readonly #ends: number[] = [];
  readonly #sizes: number[] = [];
  readonly #refcounts: number[] = [];
  readonly #counts: number[] = [];

  /** An indirect extent; both types begin with their count of references. */
  addExtent({ k, value }: Key): void {
    if (!COUNTED.includes(k.type) || value.length < 8) return;
    this.#ends.push(offsetOf(k.p));
    this.#sizes.push(k.size);
    this.#refcounts.push(Number(viewOf(value).getBigUint64(0, true)));
    this.#counts.push(0);
  }

  addReference(context: InvariantContext, key: Key): void {
    const count = (i: number) => {
      this.#counts[i] = this.#counts[i]! + 1;
    };
    for (const gap of this.gapsOf(key, count))
      context.report.add('reflink_p_to_missing_reflink_v', keyPlace(EXTENTS, key.k.p), gap);
  }

  /** What a reference reaches, pads included, and nothing is there. @param onExtent called with the row of each extent that it reaches */
  *gapsOf({ k, value }: Key, onExtent?: (row: number) => void): Generator<ReflinkGap> {
    if (value.length < reflinkP.minBytes) return;
    const { idx, front_pad, back_pad } = reflinkP.decode(value);
    const end = Number(idx) + k.size + back_pad;
    let at = Number(idx) - front_pad;
    for (let i = this.#firstEndingAfter(at); at < end; i++) {
      const extentEnd = this.#ends[i];
      if (extentEnd === undefined || extentEnd - this.#sizes[i]! > at) {
        const gapEnd = extentEnd === undefined ? end : Math.min(end, extentEnd - this.#sizes[i]!);
        yield { start: at, end: gapEnd };
        at = gapEnd;
        i--;
        continue;
      }
      onExtent?.(i);
      at = extentEnd;
    }
  }

  check(context: InvariantContext): void {
    for (const [i, end] of this.#ends.entries()) {
      const where = keyPlace(REFLINK, makeBpos(0n, BigInt(end), 0));
      context.report.compare('reflink_v_refcount_wrong', where, this.#refcounts[i]!, this.#counts[i]!);
    }
  }

  /** Those that count something else than there is. */
  *wrong(): Generator<{ readonly end: number; readonly count: number }> {
    for (const [i, end] of this.#ends.entries()) {
      const count = this.#counts[i]!;
      if (this.#refcounts[i] !== count) yield { end, count };
    }
  }

  #firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ends[middle]! <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const offsetOf = (pos: Bpos): number => Number(bposOffset(pos));
