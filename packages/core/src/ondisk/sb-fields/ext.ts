// Section `ext`: what the next mount has to do: recovery passes to run, errors to repair without a word, and btrees that lost nodes.
// It has grown since v1.13: shorter ones read as zeroes. Sources: bcachefs_format.h and sb/io.c, v1.36.1 and v1.39.2.

import { btrees } from '../btrees.ts';
import { assert, CorruptError } from '../errors.ts';
import { fsckErrors } from '../fsck-errors.ts';
import { array, at, layout, type Struct, u64, viewOf } from '../layout.ts';
import { passNames } from '../passes.ts';
import { nameAt, type Release } from '../releases.ts';
import { type Superblock, sectionPayload, withSection } from '../superblock.ts';
import { flagNames, setBits } from './flags.ts';
import type { SbFieldKind } from './kind.ts';

/** struct bch_sb_field_ext without its header. */
const BchSbExt = layout('bch_sb_field_ext', 112, {
  recovery_passes_required: at(0, array(u64, 2)), // bits are stable pass ids
  errors_silent: at(16, array(u64, 8)), // bits are fsck error ids
  btrees_lost_data: at(80, u64), // bits are btree ids; since 1.13, as is what is above
  flags0: at(88, u64), // see sbExtBits; since 1.39
  btrees_lost_data_ever: at(96, u64), // never cleared; since 1.39
  btrees_clean: at(104, u64), // checked and not changed since; since 1.39
});
type BchSbExt = Struct<typeof BchSbExt>;

export interface Ext extends BchSbExt {
  /** The length that the section has without its header; members beyond it read as zero. */
  readonly sizeBytes: number;
  /** Bytes after the members that we know. */
  readonly tail: Uint8Array;
}

/** v1.13's length. */
const EXT_1_13_BYTES = BchSbExt.offset.flags0;

/** What the reference asks for at least: the section as it was before btrees_lost_data. */
const BYTES_MIN = BchSbExt.offset.btrees_lost_data;

/** An empty section as v1.13 writes it. */
export function blankExt(): Ext {
  return decodeExt(new Uint8Array(EXT_1_13_BYTES));
}

/** @throws CorruptError invalid_sb_ext */
export function decodeExt(payload: Uint8Array): Ext {
  if (payload.length < BYTES_MIN) {
    throw new CorruptError(
      'invalid_sb_ext',
      { field: 'ext' },
      `${payload.length} bytes, expected ${BYTES_MIN} or more`,
    );
  }
  const known = new Uint8Array(BchSbExt.size);
  known.set(payload.subarray(0, BchSbExt.size));
  return { ...BchSbExt.get(viewOf(known), 0), sizeBytes: payload.length, tail: payload.slice(BchSbExt.size) };
}

export function encodeExt(value: Ext): Uint8Array {
  const known = new Uint8Array(BchSbExt.size);
  BchSbExt.put(viewOf(known), 0, value);
  assert(
    !known.subarray(value.sizeBytes).some(byte => byte !== 0),
    `the ext section is too short for what it should hold`,
  );
  const target = new Uint8Array(value.sizeBytes);
  target.set(known.subarray(0, value.sizeBytes));
  target.set(value.tail, value.sizeBytes - value.tail.length);
  return target;
}

/** What a superblock has there; all zero where it has no such section. @throws CorruptError invalid_sb_ext */
export function extOf(sb: Superblock): Ext {
  const payload = sectionPayload(sb, 'ext');
  return payload === undefined ? blankExt() : decodeExt(payload);
}

/** A superblock with other contents of the section, which is made where there is none. */
export function withExt(sb: Superblock, edit: (ext: Ext) => Partial<Ext>): Superblock {
  const ext = extOf(sb);
  return withSection(sb, 'ext', encodeExt({ ...ext, ...edit(ext) }));
}

/** The same with other passes for the next mount to run. @param edit of a mask of stable ids */
export function withPassesRequired(sb: Superblock, edit: (mask: bigint) => bigint): Superblock {
  return withExt(sb, ({ recovery_passes_required: [first = 0n, second = 0n] }) => ({
    recovery_passes_required: [edit(first), second],
  }));
}

/** `flags0`, where options of 1.39 are stored; undefined when the superblock has none. */
export function extFlags0(sb: Superblock): bigint | undefined {
  const payload = sectionPayload(sb, 'ext');
  return payload === undefined || payload.length < BchSbExt.offset.btrees_lost_data_ever
    ? undefined
    : viewOf(payload).getBigUint64(BchSbExt.offset.flags0, true);
}

function errorNames(words: readonly bigint[], release: Release): string[] {
  return setBits(words).map(id => {
    const row = fsckErrors.byId(id);
    return row === undefined ? `unknown(${id})` : nameAt(release, row);
  });
}

/** Names of the passes that the next mount is to run. Passes beyond the first word do not exist yet. */
export function requiredPasses(value: Ext, release: Release): string[] {
  return passNames((value.recovery_passes_required[1]! << 64n) | value.recovery_passes_required[0]!, release);
}

export const extField: SbFieldKind<Ext> = {
  name: 'ext',
  decode: decodeExt,
  encode: encodeExt,
  validate: () => [],
  text(out, value, { style }) {
    out.print(`Recovery passes required:\t${requiredPasses(value, style).join(',')}\n`);
    out.print(`Errors to silently fix:\t${errorNames(value.errors_silent, style).join(',')}\n`);
    const btreeNames = (mask: bigint) => flagNames(btrees, mask, style).join(',');
    out.print(`Btrees with missing data:\t${btreeNames(value.btrees_lost_data)}\n`);
    if (style === '1.36') return;
    if (value.sizeBytes >= BchSbExt.offset.btrees_clean) {
      out.print(`Btrees that have ever lost data:\t${btreeNames(value.btrees_lost_data_ever)}\n`);
    }
    if (value.sizeBytes >= BchSbExt.size) out.print(`Btrees validated clean:\t${btreeNames(value.btrees_clean)}\n`);
  },
  json: value => ({
    recovery_passes_required: requiredPasses(value, '1.39'),
    errors_silent: errorNames(value.errors_silent, '1.39'),
    btrees_lost_data: flagNames(btrees, value.btrees_lost_data, '1.39'),
    flags0: value.flags0,
    btrees_lost_data_ever: flagNames(btrees, value.btrees_lost_data_ever, '1.39'),
    btrees_clean: flagNames(btrees, value.btrees_clean, '1.39'),
  }),
};
