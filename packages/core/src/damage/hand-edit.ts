// Single keys and fields of the superblock, edited by hand: with all that follows from a change, and refused where it would not be valid; or
// below the triggers, where anything goes.

import { bposSuccessor } from '../btree/iterate.ts';
import { deletedKey, makeKey, type Transaction } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { keyProblems } from '../ondisk/bkey-validate.ts';
import { type Bpos, bposInode, bposOffset, bposText, compareBpos, makeBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError, UsageError } from '../ondisk/errors.ts';
import { keyKind } from '../ondisk/keys/index.ts';
import { setKeyField } from '../ondisk/keys/key-fields.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { valueLayoutOf } from '../ondisk/keys/value-layouts.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { type BitPlace, parseNumber, placeInStruct, readPlace, withPlace } from '../ondisk/struct-fields.ts';
import { BchSb, decodeSuperblock, encodeSuperblock, type Superblock } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { deleteInSnapshot } from '../snapshots/whiteouts.ts';
import { editSuperblock } from '../superblock/edit.ts';
import { keyContext } from '../superblock/key-context.ts';
import { editSuperblocks } from './superblock-damage.ts';
import type { DamageTarget } from './target.ts';

/** A field and what it is to hold, as people write both. */
export interface Assignment {
  readonly field: string;
  readonly value: string;
}

export interface HandEdit {
  readonly btree: number;
  readonly pos: Bpos;
  /** Below the triggers, and without a look at whether it is valid. */
  readonly isRaw: boolean;
}

/**
 * Changes fields of a key. @returns the key as it is now
 * @throws UsageError where there is no key, for fields that it does not have, and for values that they cannot hold
 * @throws CorruptError for a key that would not be valid; and as DamageTarget's commits do
 */
export function updateKey(target: DamageTarget, edit: HandEdit, assignments: readonly Assignment[]): Key {
  const before = target.filesystem().btree(edit.btree).get(edit.pos);
  if (before === undefined) throw new UsageError(`there is no key at ${bposText(edit.pos)}`, undefined, 'ENOENT');
  return storeByHand(target, edit, withFields(before, assignments));
}

/** Puts a key of its own making at a position, whatever is there. @throws as updateKey */
export function putKey(target: DamageTarget, edit: HandEdit, type: number, assignments: readonly Assignment[]): Key {
  const least = Math.max(keyKind(type)?.minBytes ?? 0, valueLayoutOf(type)?.layout?.size ?? 0);
  const empty = makeKey(type, edit.pos, new Uint8Array(8 * Math.ceil(least / 8)));
  return storeByHand(target, edit, withFields(empty, assignments));
}

/**
 * Takes the key away that is at exactly this position.
 * @param isInSnapshot what the position's snapshot sees there is gone for it instead: whiteouts say so where ancestors have it
 * @throws UsageError where there is none; and as DamageTarget's commits do
 */
export function removeKey(target: DamageTarget, { btree, pos, isRaw }: HandEdit, isInSnapshot: boolean): void {
  const filesystem = target.filesystem();
  if (isInSnapshot) {
    const table = SnapshotTable.read(filesystem);
    commitWith(target, isRaw, tx => deleteInSnapshot(tx, btree, table, pos));
    return;
  }
  if (filesystem.btree(btree).get(pos) === undefined) {
    throw new UsageError(`there is no key at ${bposText(pos)}`, undefined, 'ENOENT');
  }
  commitWith(target, isRaw, tx => (isRaw ? tx.store(btree, deletedKey(pos)) : tx.delete(btree, pos)));
}

const withFields = (key: Key, assignments: readonly Assignment[]): Key =>
  assignments.reduce((changed, { field, value }) => setKeyField(changed, field, value), key);

function commitWith(target: DamageTarget, isRaw: boolean, alter: (tx: Transaction) => void): void {
  if (isRaw) target.commit(alter);
  else target.edit(alter);
}

function storeByHand(target: DamageTarget, { btree, isRaw }: HandEdit, key: Key): Key {
  if (!isRaw) {
    const { sb } = target.members().newest;
    const [problem] = keyProblems(key, { btree, level: 0 }, { ...keyContext(sb), writing: true });
    refuseOverlap(target.filesystem(), btree, key);
    if (problem !== undefined) {
      const where = { btree: btrees.nameOf(btree), pos: bposText(key.k.p) };
      const detail = `a key of type ${keyTypes.nameOf(key.k.type)} would not be valid: ${problem.detail} (--raw writes it all the same)`;
      throw new CorruptError(problem.error, where, detail);
    }
  }
  commitWith(target, isRaw, tx => (isRaw ? tx.store(btree, key) : tx.update(btree, key)));
  return key;
}

/**
 * Extents of one snapshot do not overlap: what is there has to be taken away or cut first.
 * @throws UsageError with the key that is in the way
 */
function refuseOverlap(filesystem: Filesystem, btree: number, { k }: Key): void {
  if (btrees.byId(btree)?.flags.includes('extents') !== true || k.size === 0) return;
  const start = startOf(k.p, k.size);
  const after = bposSuccessor(makeBpos(bposInode(k.p), start, 0xffff_ffff));
  for (const { k: other } of filesystem.btree(btree).keys({ from: after, onDamage: () => {} })) {
    if (bposInode(other.p) !== bposInode(k.p)) return;
    if (other.p[0] !== k.p[0] || compareBpos(other.p, k.p) === 0) continue;
    if (startOf(other.p, other.size) >= bposOffset(k.p)) return;
    const detail = `sectors ${start} to ${bposOffset(k.p)} overlap ${keyTypes.nameOf(other.type)} ${bposText(other.p)} len ${other.size}`;
    throw new UsageError(`${detail}: take that away or change its k.size first (--raw writes it all the same)`);
  }
}

const startOf = (pos: Bpos, size: number): bigint => bposOffset(pos) - BigInt(size);
/** Flags by their names, in small letters too; everything else by the member of the struct. @throws UsageError */
function superblockPlace(field: string): BitPlace {
  const name = field.toUpperCase().replace(/^FLAGS\./, '');
  const found = Object.entries(sbBits).find(([flag]) => flag === name)?.[1];
  if (found === undefined) return placeInStruct(BchSb, field);
  return { bit: 8 * BchSb.offset.flags + 64 * found.word + found.lo, bits: found.hi - found.lo };
}

/** A field of the fixed part of a superblock. @throws UsageError for fields that there are not */
export const superblockField = (sb: Superblock, field: string): bigint =>
  readPlace(encodeSuperblock(sb), superblockPlace(field));

/**
 * Sets a field of the superblock, on all members.
 * @throws UsageError; CorruptError for a superblock that a kernel would not take, unless it is raw
 */
export function setSuperblockField(
  target: DamageTarget,
  { field, value }: Assignment,
  { isRaw, now }: { readonly isRaw: boolean; readonly now: bigint },
): void {
  const place = superblockPlace(field);
  const number = parseNumber(value);
  if (number === undefined) throw new UsageError(`${field}: found '${value.slice(0, 80)}', expected a number`);
  const edit = (sb: Superblock) => decodeSuperblock(withPlace(encodeSuperblock(sb), place, number), { field });
  if (isRaw) editSuperblocks(target, edit);
  else editSuperblock(target.members(), edit, { now });
}
