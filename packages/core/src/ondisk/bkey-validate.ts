// Judging whole keys: first the header, by the btree and level that the key is in, then the value, by its type. What is wrong here is
// wrong with the key alone; how keys fit each other is fsck's.
// Source: __bch2_bkey_validate and bch2_bkey_val_validate in btree/bkey_methods.c, v1.13.0 and v1.36.1.

import { BKEY_U64S, type Bkey, type Key } from './bkey.ts';
import { type Bpos, bposText } from './bpos.ts';
import { btrees } from './btrees.ts';
import type { FaultName } from './faults.ts';
import { keyKind } from './keys/index.ts';
import { keyTypes } from './keys/key-types.ts';
import type { KeyProblem, KeyValidateContext } from './keys/kind.ts';

/** Key types of nodes above level 0. */
const INTERIOR_TYPES: readonly string[] = ['deleted', 'btree_ptr', 'btree_ptr_v2'];
/** Hide what is below them and have no size, in btrees of extents too. Mirrors bkey_extent_whiteout. */
const WHITEOUTS: readonly number[] = (['deleted', 'whiteout', 'extent_whiteout'] as const).map(keyTypes.idOf);
const VERSION_1_13 = (1 << 10) | 13;
const MAX = 0xffff_ffff;

/** Where a key is. */
export interface KeyPlace {
  /** Btree id; one that is not known has no rules. */
  readonly btree: number;
  /** 0 for leaves. */
  readonly level: number;
}

/** Everything that is wrong with a key; the first is what the reference says. */
export function keyProblems(key: Key, place: KeyPlace, context: KeyValidateContext = {}): KeyProblem[] {
  const problems = bkeyProblems(key.k, place, context);
  const kind = keyKind(key.k.type);
  if (kind === undefined) return problems;
  if (key.value.length < kind.minBytes) {
    const detail = `a value of ${key.value.length} bytes, expected ${kind.minBytes} or more`;
    return [...problems, { error: 'bkey_val_size_too_small', detail }];
  }
  return [...problems, ...kind.validate(kind.decode(key.value), key.k, context)];
}

/** What is wrong with the header of a key. */
export function bkeyProblems(k: Bkey, { btree, level }: KeyPlace, context: KeyValidateContext = {}): KeyProblem[] {
  const problems: KeyProblem[] = [];
  const wrong = (error: FaultName, detail: string) => problems.push({ error, detail });
  if (k.u64s < BKEY_U64S) wrong('bkey_u64s_too_small', `u64s ${k.u64s}, expected ${BKEY_U64S} or more`);
  const row = btrees.byId(btree);
  if (row === undefined && level === 0) return problems;
  const flags: readonly string[] = level === 0 ? (row?.flags ?? []) : [];

  if (!isTypeAllowed(k.type, { btree, level }, context)) {
    const where = level === 0 ? btrees.nameOf(btree) : 'an interior node';
    wrong('bkey_invalid_type_for_btree', `a key of type ${keyTypes.nameOf(k.type)} in ${where}`);
  }
  if (flags.includes('extents') && !WHITEOUTS.includes(k.type)) {
    if (k.size === 0) wrong('bkey_extent_size_zero', 'an extent of size 0');
    if (k.p[2] === 0 && k.size > k.p[1]!) {
      wrong('bkey_extent_size_greater_than_offset', `size ${k.size}, but it ends at ${k.p[1]}`);
    }
  } else if (k.size !== 0) {
    wrong('bkey_size_nonzero', `size ${k.size}, expected 0`);
  }
  if (level > 0) return problems;

  const snapshot = k.p[0]!;
  if (flags.includes('snapshots')) {
    if (snapshot === 0) wrong('bkey_snapshot_zero', 'snapshot 0');
  } else if (!flags.includes('snapshot_field') && snapshot !== 0) {
    wrong('bkey_snapshot_nonzero', `snapshot ${snapshot}, expected 0`);
  }
  if (isAtPosMax(k.p)) wrong('bkey_at_pos_max', `a key at ${bposText(k.p)}`);
  return problems;
}

/**
 * Whether a key of this type may be here. What is written has to be in the btree's list; of what is read, only the types that are
 * strict about it, and interior nodes.
 */
export function isTypeAllowed(type: number, { btree, level }: KeyPlace, context: KeyValidateContext = {}): boolean {
  const typeRow = keyTypes.byId(type);
  if (typeRow === undefined) return true;
  if (level > 0) return INTERIOR_TYPES.includes(typeRow.name);
  const row = btrees.byId(btree);
  if (row === undefined || typeRow.name === 'deleted') return true;
  if (!context.writing && !typeRow.strictBtree) return true;
  const isOld = context.writing && context.version !== undefined && context.version <= VERSION_1_13;
  return row.keys.includes(typeRow.name) && !(isOld && row.keysSince.includes(typeRow.name));
}

/** The snapshot does not count. */
function isAtPosMax(p: Bpos): boolean {
  return p[1] === MAX && p[2] === MAX && p[3] === MAX && p[4] === MAX;
}
